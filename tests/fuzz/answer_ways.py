"""How an application may answer, in all the ways of PEP 3333 and past them."""

from __future__ import annotations

import contextlib
import io
import random
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from .answers import (
    PAIRS,
    SIZES,
    STATUSES,
    Answer,
    Connection,
    DeliberateError,
    Environ,
    Event,
    Headers,
    Reading,
    StartResponse,
    Text,
)


class Result:
    """An iterable with a close(), which may raise, as may its iteration."""

    def __init__(
        self, connection: Connection, blocks: list[Any], *, fails: bool = False, close_fails: bool = False
    ) -> None:
        self._connection = connection
        self._blocks = iter(blocks)
        self._fails = fails
        self._close_fails = close_fails

    def __iter__(self) -> Result:
        return self

    def __next__(self) -> Any:
        for block in self._blocks:
            return block
        if self._fails:
            raise DeliberateError("in the middle")
        raise StopIteration

    def close(self) -> None:
        self._connection.told.append("close()")
        if self._close_fails:
            raise DeliberateError("in close()")


class ClosingList(list[bytes]):
    def close(self) -> None:
        self.append(b"closed")


class InMemory:
    """As Django's HttpResponse: it says that all of it is there."""

    streaming = False

    def __init__(self, blocks: list[bytes]) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)


Way = Callable[[Connection, Answer, Environ, StartResponse], Any]
WAYS: dict[str, Way] = {}


def way(function: Way) -> Way:
    WAYS[function.__name__.strip("_")] = function
    return function


def _body(make: Callable[[Connection, Answer, Environ], Any]) -> Way:
    """A way that starts its response and gives what is made."""

    def give(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
        connection.start(given, start_response)
        return make(connection, given, environ)

    return give


WAYS.update({
    "list": _body(lambda _connection, given, _environ: given.blocks),
    "tuple": _body(lambda _connection, given, _environ: tuple(given.blocks)),
    "generator": _body(lambda connection, given, environ: connection.blocks(given, environ)),
    "result": _body(lambda connection, given, _environ: Result(connection, given.blocks)),
    "iterator": _body(lambda _connection, given, _environ: iter(given.blocks)),
    "closing list": _body(lambda _connection, given, _environ: ClosingList(given.blocks)),
    "in memory": _body(lambda _connection, given, _environ: InMemory(given.blocks)),
    "fails midway": _body(lambda connection, given, _environ: Result(connection, given.blocks, fails=True)),
    "close fails": _body(lambda connection, given, _environ: Result(connection, given.blocks, close_fails=True)),
    "bytes-like": _body(
        lambda _connection, given, _environ: [bytearray(b) if len(b) % 2 else memoryview(b) for b in given.blocks]
    ),
    "one bytearray": _body(lambda _connection, given, _environ: [bytearray(b"".join(given.blocks))]),
    "text": _body(lambda _connection, given, _environ: [b"a", "b"]),
    "one text": _body(lambda _connection, given, _environ: ["b"]),
    "texts": _body(lambda connection, given, _environ: Result(connection, [*given.blocks, "b"])),
    "none in it": _body(lambda _connection, given, _environ: [None]),
    "nothing": _body(lambda _connection, given, _environ: None),
    "bytes": _body(lambda _connection, given, _environ: b"".join(given.blocks)[:9]),
    "number": _body(lambda _connection, given, _environ: 7),
})  # fmt: skip


@way
def _raises(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    raise DeliberateError("before its response")


@way
def _exits(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    connection.start(given, start_response)
    raise (SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError())[len(given.sizes) % 4]


@way
def _lazy_start(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    connection.start(given, start_response)
    yield from given.blocks


@way
def _never_starts(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    return given.blocks


@way
def _starts_twice(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    connection.start(given, start_response)
    connection.start(given, start_response)
    return given.blocks


def _restart(connection: Connection, given: Answer, start_response: StartResponse) -> None:
    """What PEP 3333 has exc_info for."""
    try:
        raise DeliberateError("to be told by exc_info")
    except DeliberateError as error:
        start_response("503 Instead", [("X-Instead", "1")], (type(error), error, error.__traceback__))


@way
def _restarts(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    connection.start(given, start_response)
    _restart(connection, given, start_response)
    return given.blocks


@way
def _restarts_late(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    connection.start(given, start_response)
    yield b"".join(given.blocks)
    _restart(connection, given, start_response)
    yield b"more"


@way
def _writes(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    write = connection.start(given, start_response)
    for block in given.blocks:
        write(block)
    return []


@way
def _writes_first(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    write = connection.start(given, start_response)
    write(b"written ")
    if len(given.sizes) % 2:
        return given.blocks
    return Result(connection, given.blocks)


@way
def _write_fails(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    write = connection.start(given, start_response)
    write(b"written ")
    raise DeliberateError("after write()")


@way
def _writes_wrong(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    write = connection.start(given, start_response)
    try:
        write("text")
    except TypeError as error:
        connection.told.append(str(error))
    return given.blocks


@way
def _hints(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    hint = environ.get("wsgi.early_hints")
    if hint is not None:
        hint([("Link", "</a>; rel=preload"), ("Content-Length", "5")])
    connection.start(given, start_response)
    if hint is not None:
        hint([("Link", "</b>; rel=preload")])
    return given.blocks


@way
def _keeps_environ(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    """And empties it with the next request: nobody else may see that."""
    connection.start(given, start_response)
    for kept in connection.kept:
        if isinstance(kept, dict):
            kept.clear()
    connection.kept.append(environ)
    connection.kept.append(start_response)
    return given.blocks


@way
def _starts_again_later(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    """With the start_response of a request that is over."""
    for kept in connection.kept:
        if callable(kept):
            try:
                kept("200 Late", [])
            except Exception as error:
                connection.told.append(repr(error))
    connection.start(given, start_response)
    return given.blocks


class Dying:
    """Begins the response when it goes, behind it; when that is depends on what else an engine has of the request."""

    def __init__(self, start_response: StartResponse) -> None:
        self._start_response = start_response

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._start_response("200 Late", [])


@way
def _dies_late(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    """With what is left in the environ, which nobody else keeps."""
    connection.start(given, start_response)
    environ["kept"] = Dying(start_response)
    return given.blocks


@way
def _empties(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    """Its environ, and begins the response again with the next request."""
    connection.start(given, start_response)
    environ.clear()
    connection.kept.append(start_response)
    return given.blocks


@way
def _measures(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    """What the server measures itself."""
    connection.start(given, start_response)
    yield from given.blocks
    environ["miniwsgi.cpu_ns"] = ("x", -5, 7, True, None)[len(given.sizes) % 5]
    environ["miniwsgi.cpu_of"] = None


@way
def _wraps(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    connection.start(given, start_response)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"".join(given.blocks)), 16_000)


@way
def _sends_file(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    connection.start(given, start_response)
    file = tempfile.TemporaryFile()  # the engine closes it
    file.write(b"".join(given.blocks))
    file.seek(1)
    return environ["wsgi.file_wrapper"](file)


def _no_change(environ: Environ) -> None:
    """The environ stays as it is."""


def _other_method(environ: Environ) -> None:
    environ["REQUEST_METHOD"] = "HEAD"
    environ["PATH_INFO"] = "/elsewhere"
    environ["RAW_URI"] = "/\u20ac\n"


def _route(environ: Environ) -> None:
    environ["miniwsgi.route"] = "/a/{b}"


def _odd_route(environ: Environ) -> None:
    environ["miniwsgi.route"] = Text("/c") if environ["REQUEST_METHOD"] == "GET" else 5


def _without_id(environ: Environ) -> None:
    environ.pop("miniwsgi.request_id")
    environ["wsgi.early_hints"] = None


def _emptied(environ: Environ) -> None:
    environ.clear()


def _no_words(environ: Environ) -> None:
    environ["miniwsgi.route"] = None
    environ["miniwsgi.cpu_ns"] = "long"


CHANGES: tuple[Callable[[Environ], None], ...] = (
    _no_change, _other_method, _route, _odd_route, _without_id, _emptied, _no_words,
)  # fmt: skip


def give(connection: Connection, given: Answer, environ: Environ, start_response: StartResponse) -> Any:
    """The answer itself, as an application gives it."""
    if given.reading is not Reading.LATE:
        connection.read(given.reading, environ)
    CHANGES[given.changes](environ)
    return WAYS[given.way](connection, given, environ, start_response)


_USUAL_WAYS = ("list", "list", "tuple", "generator", "result")
_ALL_WAYS = tuple(WAYS)
_USUAL_PAIRS = PAIRS[:8]
_HEADERS, _READINGS, _EVENTS = tuple(Headers), tuple(Reading), tuple(Event)


def answer(chance: random.Random) -> Answer:
    """Most are what applications do; some are what they should not."""
    rarely = chance.random() < 0.15
    pairs = [chance.choice(_USUAL_PAIRS) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
    if rarely:
        pairs += [chance.choice(PAIRS) for _ in range(chance.choice((1, 1, 2)))]
    return Answer(
        chance.choice(_ALL_WAYS if chance.random() < 0.25 else _USUAL_WAYS),
        chance.choice(STATUSES) if rarely or chance.random() < 0.2 else "200 OK",
        tuple(pairs),
        chance.choice(_HEADERS) if chance.random() < 0.3 else Headers.LIST,
        tuple([chance.choice(SIZES) for _ in range(chance.choice((0, 1, 1, 1, 1, 2, 3, 6)))]),
        chance.choice((None, None, 0, 0, -1, 1, -100, 70_000)) if chance.random() < 0.5 else None,
        chance.choice(_READINGS),
        chance.choice(_EVENTS) if chance.random() < 0.1 else Event.NOTHING,
        chance.random() < 0.5,
        chance.randrange(len(CHANGES)) if chance.random() < 0.15 else 0,
    )
