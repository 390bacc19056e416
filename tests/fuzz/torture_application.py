"""What both daemons of `two_daemons` serve: a request says itself how it is to be answered.

The query is `way=…&sizes=…&waits=…`: the body's blocks, and how long the application takes before each of them. A block
consists of its request's own path, so that nobody else's byte can pass for one of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

WAYS = (
    "list", "list", "list", "list", "tuple", "closing", "blocks", "blocks", "sized", "write", "hints", "fails",
    "raises", "keeps",
)  # fmt: skip
kept: dict[str, dict[str, Any]] = {}  # by client


class DeliberateError(Exception):
    """The application's own failure."""


def _wait(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)


class Closing(list[bytes]):
    """A body whose close() takes its time."""

    seconds = 0.0

    def close(self) -> None:
        _wait(self.seconds)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    query = dict(part.split("=") for part in environ["QUERY_STRING"].split("&"))  # quickly: see `held.pxi`
    way = query["way"]
    waits = [float(wait.replace("p", ".")) / 1000 for wait in query["waits"].split(".")]
    own = environ["PATH_INFO"].encode()
    blocks = [(own * (size // len(own) + 1))[:size] for size in map(int, query["sizes"].split("."))]
    _wait(waits[0])
    if way == "raises":
        raise DeliberateError
    fields = [("Content-Type", "text/plain"), ("X-Of", own.decode())]
    hint = environ.get("wsgi.early_hints")
    if way == "hints" and hint is not None:
        hint([("Link", f"<{own.decode()}>")])
    if way == "sized":
        fields.append(("Content-Length", str(sum(map(len, blocks)))))
    if way == "keeps":
        client = environ["REMOTE_PORT"]
        kept.pop(client, {}).clear()  # of its last request, which is over
        kept[client] = environ
    write = start_response("200 OK", fields)
    if way == "write":
        write(blocks[0])
        _wait(waits[-1])
        return blocks[1:]
    if way in {"blocks", "sized", "fails"}:
        return _one_after_the_other(blocks, waits, fails=way == "fails")
    if way == "closing":
        body = Closing(blocks)
        body.seconds = waits[-1]
        return body
    return tuple(blocks) if way == "tuple" else blocks


def _one_after_the_other(blocks: list[bytes], waits: list[float], *, fails: bool) -> Iterator[bytes]:
    for number, block in enumerate(blocks):
        if number:
            _wait(waits[number % len(waits)])
        yield block
    if fails:
        raise DeliberateError
