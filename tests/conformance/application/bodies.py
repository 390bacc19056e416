"""Routes that return, yield or write a body in each of the ways of PEP 3333, rightly and wrongly sized."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from .routes import RECORDS, TEXT, Environ, Recorded, RecordedList, Result, answer, argument, record, route, token_of

HELD_MAX_SECONDS = 120.0


@route("/list")
def plain_list(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    return [b"one", b"two", b"three"]


@route("/tuple")
def plain_tuple(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    return (b"one", b"", b"two")


@route("/empty-list")
def empty_list(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    return []


@route("/empty-strings")
def empty_strings(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    return [b"", b""]


@route("/closing-list")
def closing_list(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    result = RecordedList([b"sized ", b"and closed"])
    result.environ = environ
    return result


@route("/generator")
def generator(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    yield from (b"one", b"", b"two", b"three")


@route("/empty-generator")
def empty_generator(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    yield from ()


@route("/sized")
def sized(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, ("Content-Length", "6")])
    yield from (b"one", b"", b"two")


@route("/closing")
def closing(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    return Recorded(environ, [b"to be ", b"closed"])


@route("/endless")
def endless(environ: Environ, start_response: Callable[..., Any]) -> Result:
    """More than any socket buffer holds, slowly enough to be noticed: for clients that go away."""

    def blocks() -> Iterator[bytes]:
        for _ in range(2000):
            yield bytes(65536)
            time.sleep(0.001)

    start_response("200 OK", [TEXT])
    return Recorded(environ, blocks())


@route("/big/")
def big(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    return [b"x" * int(argument(environ))]


@route("/big-stream/")
def big_stream(environ: Environ, start_response: Callable[..., Any]) -> Result:
    left = int(argument(environ))
    start_response("200 OK", [TEXT])
    while left:
        block = min(left, 16000)
        yield b"x" * block
        left -= block


@route("/held")
def held(environ: Environ, start_response: Callable[..., Any]) -> Result:
    """`?t=TOKEN`: answers when the test has put a file `TOKEN.released` among the records."""
    record(environ, "called")
    released = RECORDS / f"{token_of(environ)}.released"
    deadline = time.monotonic() + HELD_MAX_SECONDS
    while not released.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return answer(start_response, b"released")


@route("/sleep/")
def sleep(environ: Environ, start_response: Callable[..., Any]) -> Result:
    time.sleep(int(argument(environ)) / 1000)
    return answer(start_response, b"slept")


@route("/write")
def write(environ: Environ, start_response: Callable[..., Any]) -> Result:
    put = start_response("200 OK", [TEXT])
    put(b"written ")
    put(b"")
    put(b"twice, ")
    return [b"then returned"]


@route("/write-only")
def write_only(environ: Environ, start_response: Callable[..., Any]) -> Result:
    put = start_response("200 OK", [TEXT, ("Content-Length", "7")])
    put(b"written")
    return []


@route("/write-generator")
def write_generator(environ: Environ, start_response: Callable[..., Any]) -> Result:
    put = start_response("200 OK", [TEXT])
    put(b"written, ")
    return iter([b"then ", b"iterated"])


@route("/too-few")
def too_few(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, ("Content-Length", "10")])
    return Recorded(environ, [b"five!"])


@route("/too-few-none")
def too_few_none(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, ("Content-Length", "10")])
    return []


@route("/too-many")
def too_many(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, ("Content-Length", "5")])
    return Recorded(environ, [b"fiv", b"e! and ", b"more"])


@route("/too-many-list")
def too_many_list(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, ("Content-Length", "5")])
    return [b"five! and more"]


@route("/too-many-written")
def too_many_written(environ: Environ, start_response: Callable[..., Any]) -> Result:
    put = start_response("200 OK", [TEXT, ("Content-Length", "5")])
    put(b"fiv")
    put(b"e! and more")
    return []
