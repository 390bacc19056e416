"""What an engine makes of bytes, as its application is told: for engines whose parser is no part that can be had alone.

A conversation over a socket pair is given the bytes; the requests are what its application was called with.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from miniwsgi.codes import Code
from miniwsgi.daemon.engine import choice
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.contract import Awaited
from miniwsgi.daemon.engine.contract import Stage as At
from miniwsgi.daemon.engine.site import Site
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Limits
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.metrics.scoreboard import SLOT_BYTES
from miniwsgi.metrics.slot import Slot

from .case import Stage
from .parser import LARGE, Outcome, Request, parse

STAGES = {Awaited.REQUEST: Stage.IDLE, Awaited.HEAD: Stage.HEAD, Awaited.BODY: Stage.BODY}
GOES_ON = frozenset({At.READING, At.UNPARSED, At.REQUEST})
LISTENER = Listener(0, "x", False, "x", "80")
UNIX_LISTENER = Listener(0, "unix:/x", True, "x", "")


class Log:
    """Nobody reads it: the refusals are seen before they are told."""

    def error(self, code: Code, message: str, /, **fields: object) -> None:
        raise AssertionError(message)

    def limited(self, key: str, level: str, code: Code, message: str, /, **fields: object) -> None:
        pass


class Worker(Site):
    """An engine's, with limits. Its conversations share what it remembers."""

    def __init__(self, engine: str, limits: Limits) -> None:
        settings = Settings(
            generation=1, listeners=(), scoreboard_fd=-1, module="x", directory="/", engine=engine, threads=1,
            request_line_bytes=limits.request_line_bytes, field_bytes=limits.field_bytes, fields=limits.fields,
            fields_bytes=limits.fields_bytes, body_max_bytes=limits.body_max_bytes,
        )  # fmt: skip
        slot = Slot(0, memoryview(bytearray(SLOT_BYTES)))
        super().__init__(settings, slot, Log(), None, self._application, None)
        self.begin = choice.choose(engine).begin
        assert self.begin.engine == engine
        self.thread = ThreadAccount(0, slot, 0)
        self.requests: list[Request] = []
        self.refusal: ProtocolError | None = None

    def refuse(self, why: ProtocolError | OSError | str, base: dict[str, Any], *, head_only: bool) -> bytes:
        assert isinstance(why, ProtocolError)
        self.refusal = why
        return super().refuse(why, base, head_only=head_only)

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        fields = {name: value for name, value in environ.items() if name.startswith(("HTTP_", "CONTENT_"))}
        self.requests.append(
            Request(
                environ["REQUEST_METHOD"], environ["RAW_URI"], environ["PATH_INFO"], environ["QUERY_STRING"],
                environ["SERVER_PROTOCOL"] == "HTTP/1.1", True, None, fields, environ["wsgi.input"].read(),
            )
        )  # fmt: skip
        start_response("204 No Content", [])
        return []


@cache
def worker(engine: str, limits: Limits) -> Worker:
    return Worker(engine, limits)


def parse_on(engine: str, pieces: Iterable[bytes], limits: Limits = LARGE, *, unix: bool = False, late: bool = False,
             ended: bool = False) -> Outcome:  # fmt: skip
    """As `parser.parse`, on a conversation of that engine."""
    site = worker(engine, limits)
    site.requests, site.refusal = [], None
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        base = site.connection_environ(*((UNIX_LISTENER, "") if unix else (LISTENER, ("127.0.0.1", 7))))
        conversation = site.begin(site, near, base, time.monotonic_ns())
        for piece in [b"".join(pieces)] if late else pieces:
            while piece and conversation.stage is not At.OVER:
                piece = piece[far.send(piece, socket.MSG_DONTWAIT) :]  # noqa: PLW2901 - what is left of it
                _take(site, conversation)
                _read(far)
        if ended and conversation.stage is not At.OVER:
            far.shutdown(socket.SHUT_WR)
            _take(site, conversation)
        stage = Stage.REFUSED if site.refusal else STAGES.get(conversation.awaited, Stage.LAST)
        conversation.close()
    return Outcome(site.requests, stage, site.refusal.status if site.refusal else 0, site.refusal)


def _take(site: Worker, conversation: Any) -> None:
    """All that has come, and the answers to it."""
    while conversation.stage in GOES_ON:
        if conversation.stage is At.READING:
            try:
                conversation.sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return
        conversation.serve(site.thread, time.monotonic_ns())


def _read(far: socket.socket) -> None:
    """The answers: a client that did not read would not be served."""
    try:
        while far.recv(1 << 16, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        pass


def parser_of(engine: str) -> Callable[..., Outcome]:
    """Its parser: alone where it is a part of its own, which is quicker."""
    if engine == "plain":
        return parse

    def through(*arguments: Any, **options: Any) -> Outcome:
        return parse_on(engine, *arguments, **options)

    return through
