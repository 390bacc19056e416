"""A conversation over a socket pair, its client and its application, for tests of the engine's contract."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.claim import Claim
from miniwsgi.daemon.engine.contract import Conversation, Outcome, Stage
from miniwsgi.daemon.http.response import Encodings
from miniwsgi.daemon.log.access_log import AccessLog
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings, StaticFiles
from miniwsgi.daemon.static.routes import Routes
from miniwsgi.daemon.worker.context import Context
from miniwsgi.metrics.scoreboard import SLOT_BYTES
from miniwsgi.metrics.slot import Slot

from tests.conformance.case import chunk, get

NOW = 10**12
BIG = bytes(8 << 20)  # more than all socket buffers
MANY_CHUNKS = chunk(b"x") * 1500  # more than one `receive` looks at
GARBAGE = b"\x01\r\n\r\n"
WANTS_CONTINUE = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"


class World:
    """A conversation over a socket pair. `answer` is what the application gives, `during` is called in it.

    `peer` is the client's address; "": it is one of a Unix socket. `protocol` is what its listener speaks.
    """

    def __init__(
        self, engine: str, peer: str = "127.0.0.1", access: AccessLog | None = None, protocol: str = "http",
        use: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        """`use`: an application instead of our own."""
        memory = memoryview(bytearray(SLOT_BYTES))  # no board: it would cost two descriptors
        board: Any = SimpleNamespace(slot=lambda index: Slot(index, memory))
        listener = Listener(0, "x", not peer, "x", "80", protocol)
        settings = Settings(
            generation=1, listeners=(listener,), scoreboard_fd=-1, module="x", directory="/", engine=engine, **options
        )
        log = ErrorLog("error", "text", False, "worker", slot=0)
        self.context = Context(settings, board, 0, log, access, use or self.application, choose(engine))
        self.calls: Claim[Any] = Claim()
        self.calls_made = 0
        self.thread = ThreadAccount(0, self.context.slot, 0, self.calls)
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        self.conversation: Conversation = self.context.converse(self.near, listener, (peer, 1), NOW)
        self.answer: Callable[[], Any] = lambda: [b"."]
        self.during: Callable[[], object] = lambda: None

    def application(self, environ, start_response):
        start_response("200 OK", [])
        self.calls_made += 1
        self.during()
        return self.answer()

    def beside(self, path: str) -> Conversation:
        """Another client's conversation, whose request is here."""
        near, self._other = socket.socketpair()
        near.setblocking(False)
        other = self.context.converse(near, Listener(0, "x", False, "x", "80"), ("127.0.0.1", 2), NOW)
        self._other.send(get(path.encode()))
        assert other.receive(NOW) is Outcome.REQUEST
        return other

    def serve_files(self, directory: Path, **options: Any) -> None:
        """From now on what is below /static/ is answered by the server."""
        site, entry = self.context.site, StaticFiles("/static/", str(directory), **options)
        site.static = Routes([entry], Encodings(), self.context.log)
        self.conversation._checked = site.checks(None)  # type: ignore[attr-defined]

    # --- the client ---

    def send(self, *data: bytes) -> None:
        assert self.far.send(b"".join(data)) == len(b"".join(data))

    def read_all(self) -> None:
        """As fast as it comes, from now on: of what is unsent a part is left that the socket takes at once."""
        while self.conversation.unsent > 4096:
            self._read()
            self.conversation.flush_kept()  # type: ignore[attr-defined]
        while self._read():
            pass

    def _read(self) -> bytes:
        try:
            return self.far.recv(1 << 20)
        except BlockingIOError:
            return b""

    def leave(self) -> None:
        self.far.close()

    def fill(self) -> None:
        """The socket takes nothing more."""
        try:
            while True:
                self.near.send(bytes(65536))
        except BlockingIOError:
            pass

    # --- the way to a stage ---

    def pause(self) -> None:
        self.thread.turn_ends_ns = 1
        self.answer = lambda: iter([b"a", b"b", b"c"])

    def bring_to(self, stage: Stage, *behind: bytes, fields: tuple[bytes, ...] = ()) -> None:
        """By a request behind which other bytes come; UNPARSED by one whose chunks these bytes are to end."""
        conversation = self.conversation
        if stage is Stage.READING:
            return
        if stage is Stage.UNPARSED:
            body = b"".join((MANY_CHUNKS, *behind))
            self.send(get(b"/", b"Transfer-Encoding: chunked", *fields, method=b"POST", body=body))
            assert conversation.receive(NOW) is Outcome.AGAIN
        elif stage is Stage.OVER:
            self.send(GARBAGE)
            assert conversation.receive(NOW) is Outcome.REFUSED
        else:
            self.send(get(b"/", *fields), *behind)
            assert conversation.receive(NOW) is Outcome.REQUEST
            if stage is Stage.REQUEST:
                return
            if stage is Stage.UNSENT:
                self.answer = lambda: [BIG]
            elif stage in {Stage.PAUSED, Stage.RESUMABLE}:
                self.pause()
            conversation.answer(self.thread, NOW)
            if stage is Stage.ANSWERED:
                return
            conversation.settle()
            if stage is Stage.RESUMABLE:
                assert conversation.flush() is Outcome.RESUME
        assert conversation.stage is stage
