"""What an application answers, and what it keeps: the same for each engine. The ways are in `answer_ways`.

An `Answer` is data, so that it can be chosen by chance, shown, and made simpler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Pair = tuple[str, str]


class Text(str):
    """A str of the application's own class."""

    __slots__ = ()

    def __format__(self, _spec: str) -> str:
        return "formatted"


class Event(Enum):
    """What happens while the application has the request, by others."""

    NOTHING = "nothing"
    TAKEN = "another thread takes the loop over"
    EXPIRED = "the request is answered in its place"
    GONE = "the owner has seen that the client is gone"
    CLIENT_LEFT = "the client closes"
    PARTED = "the server begins to close its connections"


class Reading(Enum):
    """How the application reads wsgi.input."""

    NOT = 0
    ALL = 1
    PARTS = 2
    LINES = 3
    LIST = 4
    LATE = 5  # with the first block of the result
    CLOSED = 6
    SEEK = 7
    AFTERWARDS = 8  # when the request is over


class Headers(Enum):
    """As what the fields are given."""

    LIST = 0
    SAME_LIST = 1  # the very object of the connection's other answers
    CHANGED_LATER = 2  # while the answer is made
    TUPLE = 3
    GENERATOR = 4
    LISTS = 5  # of lists
    SUBCLASSES = 6


STATUSES: tuple[Any, ...] = (
    "200 OK", "200 OK", "200 OK", "200 OK", "204 No Content", "304 Not Modified", "404 Not Found", "500 Oops", "200",
    "200 ", "299 \xe9", Text("201 Created"), "100 Continue", "099 X", "2000 X", "200 a\nb", "200 \u20ac", 200, None,
    b"200 OK",
)  # fmt: skip
PAIRS: tuple[Any, ...] = (
    ("Content-Type", "text/plain"), ("Content-Type", "text/plain"), ("X-A", "b"), ("X-A", "c"), ("x-a", "\xe9"),
    ("Set-Cookie", "a=1"), ("Set-Cookie", "a=2"), ("Date", "then"), ("Server", "mine"), ("date", ""),
    ("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Keep-Alive", "x"), ("Upgrade", "h2c"),
    ("X-Long", "v" * 5000), ("X-Many", "w" * 200), ("X-Request-Id", "given"), ("Content-Length", "-1"),
    ("Content-Length", " 3 "), ("Content-Length", "x"), ("X-A", "a\r\nb"), ("X A", "b"), ("", "b"), ("X-A", "\u20ac"),
    ("X-A", 1), ("X-A",), "ab", None, (b"X-A", b"b"), (Text("X-T"), Text("v")),
)  # fmt: skip
SIZES = (0, 0, 1, 1, 2, 5, 11, 100, 4096, 16384, 70_000)
STREAM = b"0123456789abcdefghijklmnopqrstuvwxyz\r\n" * 2048


@dataclass(frozen=True, slots=True)
class Answer:
    """One, with a body of blocks of these sizes. `length`: by how much Content-Length differs; None: there is none."""

    way: str = "list"  # of answer_ways.WAYS
    status: Any = "200 OK"
    pairs: tuple[Any, ...] = (("Content-Type", "text/plain"),)
    headers: Headers = Headers.LIST
    sizes: tuple[int, ...] = (2,)
    length: int | None = None
    reading: Reading = Reading.NOT
    event: Event = Event.NOTHING
    late: bool = False  # it happens behind the first block
    changes: int = 0  # of the environ, by place in answer_ways.CHANGES

    @property
    def blocks(self) -> list[bytes]:
        return [STREAM[:size] for size in self.sizes]


PLAINEST = Answer()


class DeliberateError(Exception):
    """The application's own failure."""


class Connection:
    """What an application knows of one connection: what it was told, and what it keeps from one request to the next."""

    def __init__(self) -> None:
        self.same_list: list[Any] = []
        self.told: list[object] = []  # of what engines must do alike: bodies read, calls of close(), what was raised
        self.kept: list[Any] = []
        self.streams: list[Any] = []  # wsgi.input of requests that are over
        self.happen: Callable[[Answer], object] = lambda given: None  # what others do

    def start(self, given: Answer, start_response: StartResponse, *exc_info: Any) -> Any:
        """Call start_response, with the fields as the answer has them."""
        pairs = list(given.pairs)
        if given.length is not None:
            pairs.append(("Content-Length", str(max(0, sum(given.sizes) + given.length))))
        headers: Any = pairs
        match given.headers:
            case Headers.SAME_LIST:
                headers = self.same_list
                headers[:] = pairs
            case Headers.TUPLE:
                headers = tuple(pairs)
            case Headers.GENERATOR:
                headers = (pair for pair in pairs)
            case Headers.LISTS:
                headers = [list(pair) if isinstance(pair, tuple) else pair for pair in pairs]
            case Headers.SUBCLASSES:
                headers = [tuple(Text(part) for part in pair) if _all_text(pair) else pair for pair in pairs]
        write = start_response(given.status, headers, *exc_info)
        if given.headers is Headers.CHANGED_LATER:
            headers[:] = [("X-Later", "changed"), ("Content-Length", "77")]
        return write

    def read(self, reading: Reading, environ: Environ) -> None:
        """The body, and those of the requests before that are read late."""
        while self.streams:
            try:
                self.told.append(self.streams.pop().read())
            except ValueError as error:
                self.told.append(str(error))
        if reading is Reading.NOT:
            return
        stream = environ["wsgi.input"]
        match reading:
            case Reading.PARTS:
                found: Any = [stream.read(3), stream.read(0), stream.readline(), stream.read(None), stream.read()]
            case Reading.LINES:
                found = list(stream)
            case Reading.LIST:
                found = [stream.readline(2), stream.readlines(), stream.readlines(1)]
            case Reading.AFTERWARDS:
                self.streams.append(stream)
                return
            case Reading.CLOSED:
                stream.close()
                found = type(stream).__name__
                self.kept.append(stream)
            case Reading.SEEK:
                found = [stream.read(1), stream.seek(0), stream.tell(), stream.read(), stream.readable()]
            case _:
                found = stream.read()
        self.told.append(found)

    def blocks(self, given: Answer, environ: Environ) -> Iterator[bytes]:
        """One after the other, and then what happens at the end is told."""
        try:
            if given.reading is Reading.LATE:
                self.read(Reading.ALL, environ)
            for number, block in enumerate(given.blocks):
                if number == 1 and given.late:
                    self.happen(given)
                yield block
            self.told.append("exhausted")
        finally:
            self.told.append("closed")


def _all_text(pair: object) -> bool:
    return isinstance(pair, tuple) and all(isinstance(part, str) for part in pair)
