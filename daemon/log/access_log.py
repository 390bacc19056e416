"""The access log: one line a request, in the combined or common format, a format string of atoms, or JSON.

What a line says is `access_format`; it costs two microseconds, and is queued in a `Writer`. Standard library only.
"""

from __future__ import annotations

import json
from typing import Any

from ..unpatched import time
from .access_format import JSON, Faster, Headers, compile_format, parse, time_of_second
from .access_skip import Wanted
from .error_log import iso_timestamp
from .ring import Ring
from .writer import Writer, lost_message

LINGER_SECONDS = 0.02  # at 100,000 requests/s 2,000 lines gather, a fifth of the queue
# By descriptor, because a socket (the journal's) cannot be opened by its path.
_STREAMS = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}


class AccessLog:
    """Lines about answered requests to `destination`: "-" for standard output, or a path.

    `format` is "combined", "common", "json" or a format string. Raises ValueError for what is wrong with a
    format string, OSError when the path cannot be opened. `writer` (its own by default) has reopen, flush and
    lost. Lines gather in `ring` for 20 ms; `at_once`: they do not. `faster` renders usual lines.
    """

    every = True  # each request gets a line: an engine may write usual ones without asking `log`

    def __init__(
        self,
        destination: str,
        format: str = "combined",
        writer: Writer | None = None,
        *,
        ring: Ring | None = None,
        at_once: bool = False,
        faster: Faster | None = None,
    ) -> None:
        self.render = compile_format(format)
        if writer is None:
            linger = 0.0 if at_once else LINGER_SECONDS
            target = _STREAMS.get(destination, destination)
            writer = Writer(target, at_once=at_once, linger_seconds=linger, ring=ring)
        if writer.notice is None:
            writer.notice = _json_notice if format == JSON else _comment_notice
        self.writer = writer
        self._put = writer.put
        if faster is not None:
            self.render = faster(parse(format), self.render, time_of_second, iso_timestamp, writer.append)

    def __repr__(self) -> str:
        return f"<AccessLog {self.writer!r}>"

    def log(self, environ: dict[str, Any], status: str, headers: Headers, body_bytes: int, duration_ns: int) -> None:
        """Queue the line of one request: its environ, or what is known of it; the response's status line
        ("200 OK"), header and body bytes; the nanoseconds from complete request to complete response.
        """
        try:
            entry = self.render(environ, status, headers, body_bytes, duration_ns)
        except Exception:  # of what the application has left there, whose own methods may do anything
            entry = self.render(_texts(environ), status, _pairs(headers), body_bytes, duration_ns)
        self._put(entry)


class SelectiveAccessLog(AccessLog):
    """Lines about those requests alone that are `wanted` (see `access_skip.wanted`); the rest as AccessLog."""

    every = False

    def __init__(self, wanted: Wanted, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._wanted = wanted

    def log(self, environ: dict[str, Any], status: str, headers: Headers, body_bytes: int, duration_ns: int) -> None:
        if self._wanted(environ, status, duration_ns):
            super().log(environ, status, headers, body_bytes, duration_ns)


def _texts(environ: dict[str, Any]) -> dict[str, Any]:
    """What in it is nothing but text; a copy, as the application may still change its own."""
    return {key: value for key, value in environ.copy().items() if type(key) is type(value) is str}


def _pairs(headers: Headers) -> Headers:
    """Those that still are what start_response was given."""
    pairs = list(headers) if type(headers) in {list, tuple} else []
    return [pair for pair in pairs if type(pair) is tuple and [*map(type, pair)] == [str, str]]


def _json_notice(lines: int, reason: str) -> bytes:
    entry = {"time": iso_timestamp(time.time()), "lost": lines, "message": lost_message(lines, reason)}
    return json.dumps(entry).encode() + b"\n"


def _comment_notice(lines: int, reason: str) -> bytes:
    return f"# {lost_message(lines, reason)}\n".encode()
