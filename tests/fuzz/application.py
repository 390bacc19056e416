"""What the fuzzed daemon serves: it says which request it answers, and answers each in one of several ways.

The way depends on the request's id alone, so that the fuzzer knows what is due. `X-Echo` is the id as it came,
`X-Target` the request target, `X-Body` the size and the checksum of the body.
"""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any


class Way(Enum):
    """How a request is answered."""

    LIST = 0
    GENERATOR = 1
    WRITE = 2
    LARGE = 3
    UNREAD = 4
    ERROR = 5
    FILE = 6
    SLOW = 7


LARGE_BYTES = 300_000  # more than a socket takes at once
SLOW_SECONDS = 0.002


def way_of(identity: str) -> Way:
    """How the request with this id is answered; most are answered plainly."""
    number = zlib.crc32(identity.encode("latin-1"))
    return Way(number // 8 % 8) if number % 8 < 4 else Way.LIST


class DeliberateError(Exception):
    """The application's own failure."""


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    identity = environ.get("HTTP_X_ID", "")
    way = way_of(identity)
    if way is Way.ERROR:
        raise DeliberateError("as this id demands")
    received = "unread"
    if way is not Way.UNREAD:
        body = environ["wsgi.input"].read()
        received = f"{len(body)} {zlib.crc32(body)}"
    fields = [("Content-Type", "text/plain"), ("X-Echo", identity), ("X-Body", received)]
    put = start_response("200 OK", [*fields, ("X-Target", environ["REQUEST_URI"])])
    answer = f"{identity}\n".encode("latin-1")
    if way is Way.GENERATOR:
        return _pieces(answer)
    if way is Way.WRITE:
        put(answer)
        return []
    if way is Way.LARGE:
        return _pieces(answer * (LARGE_BYTES // len(answer)))
    if way is Way.FILE:
        return environ["wsgi.file_wrapper"](io.BytesIO(answer))
    if way is Way.SLOW:
        time.sleep(SLOW_SECONDS)
    return [answer]


def _pieces(data: bytes) -> Iterator[bytes]:
    size = max(3, len(data) // 10)
    for at in range(0, len(data), size):
        yield data[at : at + size]
