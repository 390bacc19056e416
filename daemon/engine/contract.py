"""The engine's contract: the page to read first. What a conversation is, and who may do what with it, and when.

A *conversation* is one client's exchange with the application over one non-blocking descriptor. A *site* is what all
conversations of a worker share. A pool waits for descriptors and knows conversations, descriptors, threads and time;
bytes, heads and answers stay in here. `plain` is the reference; another engine gives the same bytes, environ, counters
and log lines. Two seams are inside of it: where bytes come from and go to (`wire`: sockets), and the grammar of heads
(`daemon.http.connection`: HTTP; `uwsgi.connection`).

Who: the *owner* is the thread that has the loop; in a pool without a loop of several threads it is the only one there
is. The owner calls everything but what is said below, one conversation at a time. A *thread* of the pool is one that
has been given a conversation in stage REQUEST or RESUMABLE: it calls `answer` or `resume`, on the thread that called
the application first, and then gives it back to the owner, who alone calls `settle`. In between nobody else touches the
conversation, but for `expire`, which any thread may call at any time, and `gone`, which the owner may set.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum, auto
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..unpatched import Socket
from .account import ThreadAccount

if TYPE_CHECKING:
    from .listening_socket import ListeningSocket


class Outcome(IntEnum):
    """What a call has come to: what the owner does next."""

    IDLE = 0  # all is said; wait for the next request
    MORE = auto()  # part of a request is here; wait for the rest
    AGAIN = auto()  # bytes are here that were not looked at: others want a turn, then `receive` again
    REQUEST = auto()  # a whole request is here: `answer`
    UPGRADE = auto()  # as REQUEST, for a thread of its own if there is one: it may take its connection (`upgrade`)
    DONE = auto()  # of answer and resume: the application is through
    PAUSED = auto()  # it has more, which waits for the client, or for the next turn: `flush` when writable
    TAKEN = auto()  # of serve: the call lasted, and another thread owns the loop; give the conversation back to it
    UNSENT = auto()  # bytes wait for the client to read: `flush` when the descriptor is writable
    RESUME = auto()  # there is room for more of a result: `resume`, on its thread
    LAST = auto()  # no further request, and all is sent: part from the client in stages
    REFUSED = auto()  # the same after an answer of the server's own, of which `unsent` bytes may be left: `flush`
    END = auto()  # the client has ended the connection between requests, or has said so and has its answer: close it
    GONE = auto()  # the client is gone: close it


class Stage(Enum):
    """Where a conversation is."""

    READING = "reading"  # the client's bytes are wanted: between requests or inside one
    UNPARSED = "unparsed"  # bytes are here that have not been looked at
    REQUEST = "request"  # a whole request is here, and nobody has it or a thread waits to be free for it
    ANSWERING = "answering"  # a thread is inside the application
    ANSWERED = "answered"  # it came out of it, with all of the result or a part; not yet settled
    PAUSED = "paused"  # a part of a result is given, the client has to read before there is more
    RESUMABLE = "resumable"  # the result's own thread is to go on with it, or to close it
    UNSENT = "unsent"  # the whole result is given and counted, the client has to read the rest of it
    OVER = "over"  # no further request; what is left of the last answer may have to be sent
    CLOSED = "closed"  # nothing is kept any more; the descriptor is the pool's


# What every call may come to, and the stage that it leaves behind. What is not here must not be called.
_PARSED = {
    Outcome.MORE: Stage.READING,
    Outcome.AGAIN: Stage.UNPARSED,
    Outcome.REQUEST: Stage.REQUEST,
    Outcome.REFUSED: Stage.OVER,
}
_HERE = {**_PARSED, Outcome.UPGRADE: Stage.REQUEST}  # where the site has sockets; what is parsed in parts has a body
_NEXT = {**_HERE, Outcome.IDLE: Stage.READING, Outcome.LAST: Stage.OVER, Outcome.GONE: Stage.OVER}
_SETTLED = {**_NEXT, Outcome.PAUSED: Stage.PAUSED, Outcome.UNSENT: Stage.UNSENT}
_SERVED = {**_SETTLED, Outcome.TAKEN: Stage.ANSWERED}
_END = {Outcome.END: Stage.OVER}
_ANSWERED = {Outcome.DONE: Stage.ANSWERED, Outcome.PAUSED: Stage.ANSWERED}
_REFUSED = {Outcome.REFUSED: Stage.OVER, Outcome.GONE: Stage.OVER}
_GONE = {Outcome.GONE: Stage.OVER}
# A request for a static file is answered, and settled, as soon as it is here.
_RECEIVED = {
    **_HERE, **_END, **_GONE,
    Outcome.IDLE: Stage.READING, Outcome.UNSENT: Stage.UNSENT, Outcome.LAST: Stage.OVER,
}  # fmt: skip
STAGES: dict[tuple[Stage, str], dict[Outcome, Stage]] = {
    (Stage.READING, "receive"): _RECEIVED,
    (Stage.READING, "serve"): {**_SERVED, **_END},
    (Stage.READING, "refuse"): _REFUSED,
    (Stage.READING, "dismiss"): {Outcome.LAST: Stage.OVER, Outcome.GONE: Stage.OVER},
    (Stage.UNPARSED, "receive"): _RECEIVED,
    (Stage.UNPARSED, "serve"): {**_SERVED, **_END},
    (Stage.UNPARSED, "abandon"): _GONE,
    (Stage.REQUEST, "answer"): _ANSWERED,
    (Stage.REQUEST, "serve"): {**_SERVED, **_END},
    (Stage.REQUEST, "refuse"): _REFUSED,
    (Stage.REQUEST, "abandon"): _GONE,
    (Stage.ANSWERED, "settle"): {**_SETTLED, **_END},
    # Pools whose threads wait for their clients themselves have all sent before they settle.
    (Stage.ANSWERED, "flush"): {
        Outcome.UNSENT: Stage.ANSWERED, Outcome.DONE: Stage.ANSWERED, Outcome.RESUME: Stage.RESUMABLE,
    },
    (Stage.ANSWERED, "abandon"): {Outcome.DONE: Stage.ANSWERED, Outcome.RESUME: Stage.RESUMABLE},
    (Stage.PAUSED, "flush"): {Outcome.UNSENT: Stage.PAUSED, Outcome.RESUME: Stage.RESUMABLE},
    (Stage.PAUSED, "abandon"): {Outcome.RESUME: Stage.RESUMABLE},
    (Stage.RESUMABLE, "resume"): _ANSWERED,
    (Stage.UNSENT, "flush"): {**_NEXT, Outcome.UNSENT: Stage.UNSENT},
    (Stage.UNSENT, "abandon"): _GONE,
    (Stage.OVER, "flush"): {Outcome.UNSENT: Stage.OVER, Outcome.LAST: Stage.OVER, Outcome.GONE: Stage.OVER},
    (Stage.OVER, "abandon"): _GONE,
}  # fmt: skip


class Awaited(Enum):
    """What a conversation waits for from its client: each has a limit of its own, which is the pools' affair."""

    REQUEST = "request"  # nothing of the next one is here
    HEAD = "head"  # the rest of one
    BODY = "body"  # the rest of one
    READER = "reader"  # that the client reads
    NOTHING = "nothing"


class Refusal(Enum):
    """Why a pool has a request refused."""

    HEAD_LATE = "the head did not come in time"
    BODY_SLOW = "the body comes too slowly"
    TOO_MANY = "as many run or wait as limits.in_flight allows"


class Expired(NamedTuple):
    """A request that was answered, or whose connection was cut, in the application's place."""

    request: str  # method and path
    request_id: str
    seconds: float  # since it was complete
    trace_id: str | None = None  # of its traceparent


class Conversation(Protocol):
    """One client's. Times are `time.monotonic_ns()`; `thread` is where the calling thread shows what it runs."""

    # facts, for the owner to read
    sock: Socket  # non-blocking; an engine may make it when it is first asked for; the pool watches it
    stage: Stage
    since_ns: int  # when it began to wait for what it waits for, for the owner to begin anew …
    since_bytes: int  # … with what was `delivered` then
    requests: int  # answered so far
    thread: ThreadAccount | None  # on which the application was called for the request
    ready_ns: int  # when the request was complete; the owner sets it when it gives the request to a thread
    called_ns: int  # when the application was last called, or a result resumed …
    ended_ns: int  # … and when that was over
    # for the owner to set
    gone: bool  # the client is gone: nothing more is sent
    mask: int  # what the pool watches the descriptor for; the engine does not look at it

    def fileno(self) -> int:
        """The descriptor, without a socket object; below 0 once it is closed."""

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""

    @property
    def awaited(self) -> Awaited:
        """What the client has to do next."""

    @property
    def ahead(self) -> bool:
        """Whether the client has sent more than its present request."""

    @property
    def can_wait(self) -> bool:
        """In stage ANSWERED: the answer is whole, and out, and the client has nothing to do but to ask again."""

    # in the order of the exchange; what is allowed when, and what comes of it, is in STAGES

    def receive(self, now: int) -> Outcome:
        """Take once what has come, and parse it, or go on with what was left unparsed. A refusal is sent, and so is the
        answer to a request for a static file.
        """

    def answer(self, thread: ThreadAccount, now: int) -> Outcome:
        """Call the application, send what it gives. On a thread of the pool; no exception gets past it."""

    def settle(self) -> Outcome:
        """Count and log an answer that is complete, and look for the client's next request."""

    def serve(self, thread: ThreadAccount, now: int) -> Outcome:
        """`receive`, `answer` and `settle` in a row, as far as it goes: what the owner calls for a usual request.

        While it is inside the application the conversation is in `thread.calls`: who takes it owns the loop.
        """

    def resume(self, thread: ThreadAccount, now: int) -> Outcome:
        """Go on with a result, on the thread that called the application for it; close it if the client is gone."""

    def flush(self) -> Outcome:
        """The client reads again: send what waits for that. Beyond the last byte it goes on as `settle`."""

    def refuse(self, why: Refusal) -> Outcome:
        """Answer in the application's place, and end."""

    def dismiss(self, *, draining: bool) -> Outcome:
        """End because the client has kept silent between two requests."""

    def abandon(self, *, slow: bool = False) -> Outcome:
        """The client has left, or (`slow`) reads too slowly, before it had all of its answer."""

    def expire(self, limit_ns: int, now: int) -> Expired | None:
        """Answer 504, or cut the connection, if the application has had the request for longer than `limit_ns`.

        By any thread. None: it has not, or it was faster. The conversation goes on to `settle`; it is counted already.
        """

    def delivered(self) -> int:
        """Bytes that the client has sent of the present body, or got of its answer, by the kernel's account."""

    def forget(self) -> None:
        """Drop what is kept to parse the next request faster: it has been silent for long."""

    def close(self) -> None:
        """Keep nothing any more, and count the connection as closed. `sock` stays open."""

    def hang_up(self) -> None:
        """Close the descriptor: behind `close`, unless the pool has given the socket on."""


Unusual = Callable[[Any, int, int, int], int]  # thread, descriptor, what epoll told of it, now
GoOn = Callable[[Any, Conversation, Outcome, int], int]  # thread, conversation, what came of `serve`, when that began


# Takes the next client of a listener and serves it at once, as the pool does: what it has sent is mostly its request.
# It is among the conversations, and counted, before. Whoever ends with END is closed, one that has not sent all yet is
# watched. Arguments: thread, now. Returns the time when that was through, 0 if the loop was lost, or, below 0, the
# errno for which accept(2) has failed, also if there is no client.
Door = Callable[[Any, int], int]

# Sleeps, again and again while calls of the application are short, without the interpreter, which one that sleeps in
# Python has to be given at each look. Arguments: the slot's cells; the first cell of the thread that calls; what others
# are told of the sleeper (`stalls.Stalls.expected`); in ns: how long a sleep is, what a long call is, what late is.
# Returns how often it has slept.
Doze = Callable[[memoryview, int, memoryview, int, int, int], int]


class Turn(Protocol):
    """One wait of a loop, and the requests that it brings. One a pool; everything belongs to the loop's owner.

    Made of the epoll, the pool's conversations by descriptor, and two calls back into the pool, `unusual` and `go_on`,
    which return the time when they were through, or 0 if the loop was lost; a call of the application of more than
    `long_ns` is told to `go_on`, too.
    """

    inline: bool  # whether requests are served at all, or each event is the pool's
    ends_ns: int  # until then a client's next request is run at once, if it has been sent ahead; set for each turn
    served: int  # requests that were run to their end, for the pool to take: begun anew by setting it to 0
    lets_go: bool  # whether serving, but for the application, lets other threads have the interpreter
    others: list[int]  # descriptors that told something in `serve` and are no conversation's: the pool's to look at
    holds: bool  # whether answers of one turn may wait for each other for a moment, if the engine can do that

    def open(self) -> None:
        """Make what it needs: once, in the process that serves, before it begins."""

    def descriptors(self) -> tuple[int, ...]:
        """What is open for it: nothing for processes that the application forks."""

    def wait(self, seconds: float) -> int:
        """How many descriptors have something to tell; after `seconds` none."""

    def serve(self, thread: ThreadAccount, now: int) -> int:
        """Let all of them go on; when that was over, or 0 if the loop was lost: nothing else of this turn is looked at.

        A conversation that waits for its client's next request is served; what is told of another one goes to
        `unusual`, a descriptor that is no conversation's behind what is in `others`. What ends otherwise than with
        IDLE, or lasts, goes to `go_on`; one that ends with END may be closed here instead, and no more be counted as
        open.

        Answers that wait for each other are sent before this returns, before either of the two calls back, and when a
        call lasts; their conversations, which are in stage ANSWERED until then, are settled in the answers' order. Only
        if the loop was lost, they are not.
        """

    def door(self, site: Any, listening: ListeningSocket) -> Door | None:
        """Of a listener whose conversations are this engine's, and of their Site. None: the pool takes its clients."""

    def settle(self, thread: ThreadAccount, now: int) -> int:
        """Send and settle what was held when the loop was lost; as `serve`. Whoever takes the loop calls this first."""
