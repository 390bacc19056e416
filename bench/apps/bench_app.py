"""The applications that are measured. Standard library only: they run in every server's own interpreter."""

from __future__ import annotations

import os
import time
from typing import Any

BODY = b"Hello, world!\n"
HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(BODY)))]

BLOCKING_SECONDS = 0.010
SLOW_SECONDS = 0.100
BURN_SECONDS = 0.200


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """As little as an application can do."""
    start_response("200 OK", HEADERS[:])
    return [BODY]


def blocking(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Waits 10 ms for something else, as for a database."""
    time.sleep(BLOCKING_SECONDS)
    start_response("200 OK", HEADERS[:])
    return [BODY]


def mixed(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Fast, but /slow sleeps 100 ms and /burn keeps the interpreter busy for 200 ms."""
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(SLOW_SECONDS)
    elif path == "/burn":
        end = time.monotonic() + BURN_SECONDS
        while time.monotonic() < end:
            sum(range(1000))
    start_response("200 OK", HEADERS[:])
    return [BODY]


def statuses(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers with the status that the query names, and with its process; without a query as `hello`."""
    query = environ["QUERY_STRING"]
    if not query:
        return hello(environ, start_response)
    body = str(os.getpid()).encode()
    start_response(f"{query} As Asked", [("Content-Length", str(len(body)))])
    return [body]
