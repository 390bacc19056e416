"""What comes on a connection before its first request: a PROXY header, a TLS handshake, in this order.

Listeners that have none of it know nothing of this: their clients are conversations at once. An `Opening` is one
client's way there, in steps, on a non-blocking descriptor. A pool keeps it beside its conversations, by descriptor,
and calls `advance` when it is accepted and whenever the descriptor is ready; once it is READY the pool calls `begin`
and has a conversation, whose client may have sent its request already. One that is OVER has been counted and told of:
`hang_up`. An opening costs its descriptor and the little that is kept here; no thread waits for it.

All of it belongs to the owner of the loop.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from miniwsgi.metrics.scoreboard import Closed

from ...settings import Listener
from ...unpatched import Socket
from ..account import Account
from ..contract import Conversation
from ..site import Site


class Opens(Enum):
    """How far an opening has come."""

    READ = "read"  # the client is to send something
    WRITE = "write"  # it is to take something
    READY = "ready"  # all of it is behind: the first request is next
    OVER = "over"  # there will be no conversation


class TurnedAway(Exception):
    """There will be no conversation. `kind` is for the rate of lines in the log, `str()` for people."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class ClientLeft(Exception):
    """It has ended the connection before it has said anything wrong: nobody is told."""


class Step(Protocol):
    """One thing that comes before the first request; an object a connection."""

    limit_ns: int  # so long it may take
    late: str  # what is told of one that takes longer; with the name of the limit's key

    def advance(self, opening: Opening, now: int, /) -> Opens:
        """Go on as far as it goes without waiting, and take no byte of what follows. Never OVER.

        What it learns of the client is put into `opening.environ`; it may replace `opening.sock`, and `opening.make`,
        the class of the conversation. Raises TurnedAway, ClientLeft, OSError (the client is gone).
        """

    def end(self, opening: Opening, why: Closed, /) -> None:
        """The connection is closed in the midst of it."""


class Make(Protocol):
    """An engine, or one of its classes: see `choice.Begin`."""

    def __call__(self, site: Site, sock: Socket, base: dict[str, Any], now: int, /) -> Conversation: ...
    def streamed(self) -> Make: ...


class Opening:
    """One client's. Times are `time.monotonic_ns()`."""

    __slots__ = ("_site", "_steps", "environ", "listener", "make", "since_ns", "sock", "spoke")

    def __init__(
        self, steps: list[Step], site: Site, make: Make, listener: Listener, sock: Socket, address: Any, now: int
    ) -> None:  # fmt: skip
        """`address` is what accept(2) gave."""
        self.sock = sock
        self.listener = listener
        self.environ = site.connection_environ(listener, address)  # what all requests will share
        self.make = make
        self.since_ns = now  # when its present step began
        self.spoke = False  # the client has sent something since then; the pool sets it
        self._site = site
        self._steps = steps

    def __repr__(self) -> str:
        return f"<Opening {self.peer} at {self.listener.name} {self._steps}>"

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def peer(self) -> str:
        """Who it is, as far as that is known by now."""
        return self.environ["REMOTE_ADDR"] or "a Unix-socket client"

    def trusts_peer(self) -> bool:
        """Whether the client is in proxy.trusted."""
        return self._site.trusts(self.environ["REMOTE_ADDR"])

    @property
    def account(self) -> Account:
        """Where what becomes of it is counted."""
        return self._site.account

    def advance(self, now: int) -> Opens:
        """Go on with the present step, and with those behind it."""
        while self._steps:
            try:
                opens = self._steps[0].advance(self, now)
            except TurnedAway as error:
                self._end(Closed.OPENING, error.kind, str(error))
                return Opens.OVER
            except (ClientLeft, OSError):
                self._end(Closed.CLIENT)
                return Opens.OVER
            if opens is not Opens.READY:
                return opens
            del self._steps[0]
            self.since_ns, self.spoke = now, False
        return Opens.READY

    def is_late(self, now: int) -> bool:
        """Whether its present step takes longer than it may."""
        return now - self.since_ns >= self._steps[0].limit_ns

    def expire(self) -> None:
        """It is late: to be followed by `hang_up`."""
        self._end(Closed.TIMEOUT, "late", self._steps[0].late)

    def dismiss(self) -> None:
        """The worker ends, and the client has said nothing: to be followed by `hang_up`."""
        self._end(Closed.SERVER)

    def begin(self, now: int) -> Conversation:
        """The conversation that follows; the descriptor is its own from here on."""
        return self.make(self._site, self.sock, self.environ, now)

    @property
    def bare_socket(self) -> Socket:
        """The client's as the kernel has it: all that is good for a process that has forked another to serve it."""
        bare: Socket = getattr(self.sock, "under", self.sock)
        return bare

    def hang_up(self) -> None:
        """Close the descriptor."""
        self.bare_socket.close()

    def _end(self, why: Closed, kind: str = "", told: str = "") -> None:
        self._steps[0].end(self, why)
        account = self.account
        account.accepted()  # of one that begins a conversation that is counted
        account.closed(why)
        if told:
            self._site.tell_of_opening(
                f"opening-{kind}", f"closed a connection to {self.listener.name}: {told}", self.peer
            )
