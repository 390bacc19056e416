"""Routes that use start_response late, twice, never or with exc_info, raise, or return what is no body."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from .routes import TEXT, Environ, Recorded, RecordedList, Result, argument, record, route


class DeliberateError(Exception):
    """Raised by the application on purpose."""


@route("/late-start")
def late_start(environ: Environ, start_response: Callable[..., Any]) -> Result:
    def blocks() -> Iterator[bytes]:
        start_response("202 Late", [TEXT])
        yield b"started "
        yield b"late"

    return Recorded(environ, blocks())


@route("/never-start")
def never_start(environ: Environ, start_response: Callable[..., Any]) -> Result:
    return RecordedList([b"no head"])


@route("/never-start-streamed")
def never_start_streamed(environ: Environ, start_response: Callable[..., Any]) -> Result:
    return Recorded(environ, [b"no ", b"head"])


@route("/never-start-empty")
def never_start_empty(environ: Environ, start_response: Callable[..., Any]) -> Result:
    return []


@route("/double-start")
def double_start(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [("X-Old", "yes")])
    start_response("200 OK", [("X-Old", "yes")])
    return [b"twice"]


@route("/double-start-sent")
def double_start_sent(environ: Environ, start_response: Callable[..., Any]) -> Result:
    def blocks() -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"sent, "
        start_response("200 OK", [TEXT])
        yield b"then started again"

    return Recorded(environ, blocks())


def failure() -> Any:
    try:
        raise DeliberateError("on purpose")
    except DeliberateError:
        return sys.exc_info()


@route("/exc-info/before")
def exc_info_before(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, ("X-Old", "yes"), ("Content-Length", "3")])
    start_response("503 Replaced", [TEXT, ("X-New", "yes")], failure())
    return [b"replaced"]


@route("/exc-info/first")
def exc_info_first(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("503 Only", [TEXT], failure())
    return [b"the only head"]


@route("/exc-info/empty-block")
def exc_info_empty_block(environ: Environ, start_response: Callable[..., Any]) -> Result:
    """PEP 3333: an empty bytestring sends no head yet, so it can still be replaced."""
    start_response("200 OK", [TEXT, ("X-Old", "yes")])
    yield b""
    start_response("503 Replaced", [TEXT], failure())
    yield b"replaced"


@route("/exc-info/after")
def exc_info_after(environ: Environ, start_response: Callable[..., Any]) -> Result:
    def blocks() -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"sent, "
        start_response("503 Replaced", [TEXT], failure())
        record(environ, "start_response-returned")
        yield b"never seen"

    return Recorded(environ, blocks())


@route("/raise")
def raise_at_once(environ: Environ, start_response: Callable[..., Any]) -> Result:
    raise DeliberateError("before start_response")


@route("/raise-started")
def raise_started(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, ("X-Old", "yes")])
    raise DeliberateError("after start_response")


@route("/raise-first")
def raise_first(environ: Environ, start_response: Callable[..., Any]) -> Result:
    def blocks() -> Iterator[bytes]:
        raise DeliberateError("in the first block")
        yield b""

    start_response("200 OK", [TEXT, ("X-Old", "yes")])
    return Recorded(environ, blocks())


def then_raise(*blocks: bytes) -> Iterator[bytes]:
    yield from blocks
    raise DeliberateError("in the body")


@route("/raise-later")
def raise_later(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT])
    return Recorded(environ, then_raise(b"sent, "))


@route("/raise-later-sized")
def raise_later_sized(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, ("Content-Length", "100")])
    return Recorded(environ, then_raise(b"sent, "))


@route("/raise-written")
def raise_written(environ: Environ, start_response: Callable[..., Any]) -> Result:
    put = start_response("200 OK", [TEXT])
    put(b"sent, ")
    raise DeliberateError("after write()")


@route("/raise-in-close")
def raise_in_close(environ: Environ, start_response: Callable[..., Any]) -> Result:
    class Failing(Recorded):
        def close(self) -> None:
            super().close()
            raise DeliberateError("in close()")

    start_response("200 OK", [TEXT, ("Content-Length", "4")])
    return Failing(environ, [b"fine"])


RESULTS: dict[str, Any] = {
    "none": None,
    "number": 7,
    "str-list": ["text"],
    "number-list": [7],
    "none-list": [None],
    "mixed-list": [b"bytes, then ", "text"],
    "str": "text",
}


@route("/result/")
def result(environ: Environ, start_response: Callable[..., Any]) -> Any:
    start_response("200 OK", [TEXT])
    return RESULTS[argument(environ)]


@route("/str-later")
def str_later(environ: Environ, start_response: Callable[..., Any]) -> Any:
    start_response("200 OK", [TEXT])
    return Recorded(environ, [b"bytes, then ", "text"])  # type: ignore[list-item]


@route("/write-str")
def write_str(environ: Environ, start_response: Callable[..., Any]) -> Any:
    start_response("200 OK", [TEXT])("text")
    return []
