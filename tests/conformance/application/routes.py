"""What the routes share: the table of paths, the argument in a path, and the records of what was called.

A request that carries a token in its query (`?t=TOKEN`) leaves a record in a directory, so that it is
the same for all processes of a server; `/calls` hands it out.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Result = Iterable[bytes]
Handler = Callable[[Environ, Callable[..., Any]], Any]

RECORDS = Path(os.environ.get("CONFORMANCE_RECORDS") or Path(tempfile.gettempdir(), f"conformance-{os.getuid()}"))
TEXT = ("Content-Type", "text/plain")

ROUTES: dict[str, Handler] = {}


def route(path: str) -> Callable[[Handler], Handler]:
    """Register a handler; a path that ends with a slash takes whatever follows as its argument."""

    def register(handler: Handler) -> Handler:
        ROUTES[path] = handler
        return handler

    return register


def argument(environ: Environ) -> str:
    return str(environ["PATH_INFO"]).rpartition("/")[2]


def token_of(environ: Environ) -> str:
    for pair in (environ.get("QUERY_STRING") or "").split("&"):
        name, _, value = pair.partition("=")
        if name == "t" and value.isalnum():
            return value
    return ""


def record(environ: Environ, event: str) -> None:
    token = token_of(environ)
    if token and environ["PATH_INFO"] != "/calls":
        RECORDS.mkdir(mode=0o700, exist_ok=True)
        with open(RECORDS / token, "a") as file:
            file.write(event + "\n")


class Recorded:
    """A result that is not a generator, has no length, and records its close()."""

    def __init__(self, environ: Environ, blocks: Iterable[bytes]) -> None:
        self.environ = environ
        self.blocks = iter(blocks)

    def __iter__(self) -> Iterator[bytes]:
        return self.blocks

    def close(self) -> None:
        record(self.environ, "closed")


class RecordedList(list[bytes]):
    """A list with a close(): sized, and to be closed all the same."""

    environ: Environ = {}

    def close(self) -> None:
        record(self.environ, "closed")


def answer(start_response: Callable[..., Any], body: bytes, *fields: tuple[str, str]) -> Result:
    start_response("200 OK", [TEXT, *fields])
    return [body]
