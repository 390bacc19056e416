"""WebSockets beside WSGI (RFC 6455 section 4.2): a request's own connection, for a library that takes it over.

What asks for an upgrade may get an ordinary answer all the same (RFC 9110 section 7.8), and only the application knows.
So the connection is offered in the environ, as a socket that is made when it is first used. From then on nothing of
ours is written on it, and what the library returns to WSGI in the end is discarded. Where there is no thread for it,
what is found in the environ refuses instead, with an answer in place of the library's exception.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from typing import Any, Protocol

from ..http.errors import REASONS
from ..unpatched import Lock, Socket, os, socket
from .call import Application, Phase
from .claim import Taken
from .file_wrapper import FileWrapper
from .presence import probe
from .pump import Pump
from .transport import Disconnected

# Where simple-websocket (flask-sock, Flask-SocketIO, python-socketio), and what was made for gunicorn, look for it.
VARIABLES = ("werkzeug.socket", "gunicorn.socket")
# Keepalive is silent while bytes are on their way: a client that vanishes then would be found by TCP's retries, in 15
# minutes. So is one that takes nothing for so long (tcp(7)).
USER_TIMEOUT_MILLISECONDS = 40_000  # as `presence.PROBES` find those that vanish in silence
# What asks for one of these uses the socket. Looks of debuggers and error trackers do not: repr(), hasattr() and such.
_USES = frozenset(name for name in dir(socket.socket) if not name.startswith("_"))


class Lack(Enum):
    """Why a connection cannot be taken over; the value is the status of the answer, and a name."""

    POOL = 501, "nothing here has threads for them"
    PLACES = 503, "limits.sockets are open"
    THREAD = 503, "none could be started"

    @property
    def status(self) -> int:
        return self.value[0]


class Unavailable(BaseException):
    """No connection can be taken over here. No Exception: frameworks answer those themselves, with a traceback."""

    def __init__(self, lack: Lack) -> None:
        super().__init__(lack)
        self.lack = lack


class Sockets(Protocol):
    """Who has threads for connections that applications take over: the epoll pool."""

    def offer(self, conversation: Any, call: Any, /) -> Offer | Lack:
        """What the application may take, if this thread was made for it."""


class Offer:
    """One request's connection, while the application may take it, and when it has.

    It may be taken by any thread of the application, also in the moment in which the request's own one comes back.
    """

    __slots__ = ("_call", "_conversation", "_lock", "_over", "_tell", "end", "pump", "taken")

    def __init__(self, conversation: Any, call: Any, tell: Callable[[], None]) -> None:
        """`tell` is called when the application has taken it, on that thread."""
        self._conversation = conversation
        self._call = call
        self._tell = tell
        self._lock = Lock()
        self._over = False
        self.taken = False
        self.end: Any = None  # what to shut down, for the application to find the connection's end
        self.pump: Pump | None = None

    def __repr__(self) -> str:
        return f"<Offer {'taken' if self.taken else 'open'} {self._conversation}>"

    def take(self) -> tuple[int, int]:
        """The application has it from here on: the family and the descriptor of a socket. Raises OSError."""
        with self._lock:
            if self._over:
                raise ConnectionAbortedError("the request is over")
            found = self._take()
            self.taken = True
            self._tell()
            return found

    def close(self) -> bool:
        """Whether the application has taken it; from here on it cannot any more."""
        with self._lock:
            self._over = True
            return self.taken

    def _take(self) -> tuple[int, int]:
        conversation, call = self._conversation, self._call
        answers = conversation.site.answers
        try:
            answers.take(call)  # for good: whatever else the application would answer is not sent
        except Taken:
            raise ConnectionAbortedError("the request was answered meanwhile") from None
        try:
            if call.phase is not Phase.OPEN:
                raise ConnectionAbortedError("the answer to the request has begun")
            return self._connection(conversation)
        except BaseException:
            answers.offer(call)
            raise

    def _connection(self, conversation: Any) -> tuple[int, int]:
        http, sock = conversation._http, conversation.sock
        probe(sock)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MILLISECONDS)
        if not http.pending and isinstance(sock, Socket):
            self.end = sock
            return sock.family, os.dup(sock.fileno())
        # Bytes that are here already have to make the application's socket readable, for those who wait with select.
        pump = Pump(sock, http.pending)
        fd = os.dup(pump.end.fileno())
        try:
            pump.start()  # the last that may fail: from here on the connection is the pump's
        except BaseException:
            os.close(fd)
            raise
        http.pending = b""
        self.pump, self.end = pump, pump.end
        return socket.AF_UNIX, fd


def is_offered(conversation: Any) -> bool:
    """Whether a request whose fields ask for an upgrade is to have a thread of its own."""
    return conversation.site.sockets is not None and conversation._http.line.method == "GET"


def application_for(conversation: Any, environ: dict[str, Any], call: Any) -> Application:
    """The application, for a request whose fields ask for an upgrade; its connection is put into the environ."""
    site = conversation.site
    application: Application = site.application
    if call.method != "GET":
        return application
    offer = Lack.POOL if site.sockets is None else site.sockets.offer(conversation, call)
    offered: Any = Refused(offer) if isinstance(offer, Lack) else _offered(offer)
    for name in VARIABLES:
        environ[name] = offered
    upgrade = _Upgrade(site, call, None if isinstance(offer, Lack) else offer)
    return lambda environ, start_response: upgrade.answer(application, environ, start_response)


class _Upgrade:
    """What becomes of the answer to a request whose connection the application may take, or may not."""

    __slots__ = ("_call", "_offer", "_result", "_site", "_start_response")

    def __init__(self, site: Any, call: Any, offer: Offer | None) -> None:
        self._site = site
        self._call = call
        self._offer = offer

    def answer(self, application: Application, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self._start_response = start_response
        try:
            result = application(environ, start_response)
        except Unavailable as error:
            return self._refuse(error.lack)
        except (StopIteration, ConnectionError):  # how the libraries end for gunicorn and for Werkzeug
            if not self._is_taken:
                raise
            result = None
        if isinstance(result, (list, tuple)) and self._offer is not None:
            self._offer.close()
        self._result = result
        if self._is_taken:
            self.close()
            raise Disconnected
        if isinstance(result, (list, tuple, FileWrapper)) or getattr(result, "streaming", None) is False:
            return result  # see `Call`, which knows their length
        return self

    def __iter__(self) -> Iterator[bytes]:
        """The application may want the connection as late as in its result."""
        try:
            yield from self._result
        except Unavailable as error:
            yield from self._refuse(error.lack)
        except ConnectionError:
            if not self._is_taken:
                raise
        if self._is_taken:
            raise Disconnected

    def close(self) -> None:
        close = getattr(self._result, "close", None)
        if close is not None:
            close()

    @property
    def _is_taken(self) -> bool:
        return self._offer is not None and self._offer.taken

    def _refuse(self, lack: Lack) -> list[bytes]:
        """To be called while the Unavailable is handled."""
        status = lack.status
        self._site.no_socket(lack, self._call.request_id)
        line = f"{status} {REASONS[status]}"
        fields = [("Content-Type", "text/plain; charset=utf-8")]
        if lack is not Lack.POOL:
            fields.append(("Retry-After", "1"))
        self._start_response(line, fields, sys.exc_info())
        return [f"{line}\n".encode()]


class Refused:
    """Stands where the connection would: whoever uses it has the request answered with a refusal."""

    __slots__ = ("_lack",)

    def __init__(self, lack: Lack) -> None:
        self._lack = lack

    def __repr__(self) -> str:
        return f"<no socket: {self._lack.status}>"

    def __getattr__(self, name: str) -> Any:
        if name in _USES:
            raise Unavailable(self._lack)
        raise AttributeError(name)


def _offered(offer: Offer) -> Any:
    # What `socket.socket` is by now: gevent's, where the application is patched; greenlets would hang in a real one.
    made = _offered_class(sys.modules["socket"].socket)
    offered = made.__new__(made)
    object.__setattr__(offered, "_offer", offer)
    return offered


@cache
def _offered_class(base: Any) -> Any:
    class UpgradedSocket(base):  # type: ignore[misc]
        """A connection that the application has taken over: a blocking socket, and its own."""

        __slots__ = ("_offer",)

    class OfferedSocket(UpgradedSocket):
        """One that it may take: it becomes an UpgradedSocket when it is first used."""

        __slots__ = ()

        def __getattribute__(self, name: str) -> Any:
            if name in _USES and type(self) is OfferedSocket:
                family, fd = object.__getattribute__(self, "_offer").take()
                self.__class__ = UpgradedSocket
                base.__init__(self, family, socket.SOCK_STREAM, 0, fd)
                self.setblocking(True)
            return base.__getattribute__(self, name)

        def __repr__(self) -> str:
            return "<a socket that nobody has used yet>"

    return OfferedSocket
