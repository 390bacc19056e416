"""Memory is flat: whatever is asked and answered, again and again, leaves nothing behind, in each engine.

Blocks of Python's allocator are counted to the last one; what compiled code allocates by itself shows in the process's
size. Where the interpreter is a debug build, references are counted, too.
"""

from __future__ import annotations

import gc
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from miniwsgi.daemon.engine import choice, plain

from tests.conformance.case import END_CHUNK, chunk, get
from tests.support.effort import effort

from .conversations import make
from .engine_worker import LISTENER, PLAY, Worker
from .playing import play

pytestmark = pytest.mark.skipif(not sys.getallocatedblocks(), reason="PYTHONMALLOC=malloc: no blocks are counted")

SEED = 7  # of the scripts, the same in each run: what they leave is counted
ROUNDS = 40
LEAKED = ROUNDS // 2  # from here on it is not the interpreter, which keeps some of what is given back
ATTEMPTS = 16  # CPython 3.11's traceback, which parses lines, keeps ever less of ten times
DIFFERENT = 300  # values of what changes: fewer than are remembered
LOOSE_BLOCKS = 100
LOOSE_BYTES = 512 * 1024
PAGE_BYTES = 4096

BROWSER = b"".join(b"X-Field-%d: value %d of a browser\r\n" % (number, number) for number in range(12))
CHUNKED = chunk(b"abc") + END_CHUNK
# What a client asks for, again and again; `n` is a number that changes.
KINDS: dict[str, Callable[[int], bytes]] = {
    "the fewest bytes": lambda n: get(b"/"),
    "the same fields": lambda n: get(b"/same", *BROWSER.split(b"\r\n")[:-1]),
    "fields that change": lambda n: get(b"/%d" % n, *BROWSER.split(b"\r\n")[:-1], b"Cookie: session=%d" % n),
    "a query that changes": lambda n: get(b"/?n=%d" % n),
    "a small body": lambda n: get(b"/", b"Content-Length: 9", method=b"POST", body=b"123456789"),
    "a chunked body": lambda n: get(b"/", b"Transfer-Encoding: chunked", method=b"POST", body=CHUNKED),
    "HTTP/1.0": lambda n: b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD": lambda n: get(b"/", method=b"HEAD"),
    "sixteen at once": lambda n: get(b"/a") * 16,
}  # fmt: skip


class Client:
    """One connection, kept alive, of a worker whose loop runs the engine's turns; each kind of answer in its turn."""

    def __init__(self, engine: str) -> None:
        self.worker = Worker(engine, "as it comes")
        self.worker.site.application = self.application
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        base = {**self.worker.site.connection_environ(LISTENER, ("127.0.0.1", 7)), PLAY: "none"}
        self.conversation: Any = self.worker.begin(self.worker.site, self.near, base, time.monotonic_ns())
        self.conversation.mask = select.EPOLLIN
        self.worker.plays["none"] = self  # type: ignore[assignment]
        self.worker.conversations[self.near.fileno()] = self.conversation
        self.worker.epoll.register(self.near.fileno(), select.EPOLLIN)
        self.requests = 0

    def application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        number = self.requests = self.requests + 1
        headers = [("Content-Type", "text/plain"), ("X-Number", str(number % DIFFERENT))]
        start_response("200 OK" if number % 9 else "404 Not Found", headers if number % 5 else headers[:1])
        match number % 7 if environ["SERVER_PROTOCOL"] == "HTTP/1.1" else -1:  # else it could not be kept alive
            case 0:
                return iter([b"in ", b"parts"])
            case 1:
                return (b"a tuple",)
            case 2:
                return [b"of ", b"many"]
            case 3 if number % 3 == 0:
                raise RuntimeError
        return [b"hello"]

    def ask(self, data: bytes) -> None:
        worker = self.worker
        self.far.send(data)
        worker.turn.wait(0)
        worker.turn.serve(worker.threads[0], time.monotonic_ns())
        while self.conversation.stage.value in {"request", "unparsed"}:
            self.conversation.serve(worker.threads[0], time.monotonic_ns())
        assert self.conversation.stage.value == "reading", self.conversation
        self.far.recv(1 << 16)

    def went_on(self, outcome: object, now: int) -> int:
        """Called by the worker for what the turn does not end by itself."""
        return now

    def ask_all(self, rounds: int) -> None:
        for number in range(rounds):
            for make_request in KINDS.values():
                self.ask(make_request(number % DIFFERENT))
        self.worker.forget_lines()

    def close(self) -> None:
        self.conversation.close()
        self.near.close()
        self.far.close()


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def references() -> int:
    count: Callable[[], int] = getattr(sys, "gettotalrefcount", lambda: 0)
    return count()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


@pytest.mark.timeout(3600)
def test_connections_leave_nothing(engine: str) -> None:
    """Of all ways to ask, to answer and to end: each again and again."""
    gc.collect()
    gc.freeze()  # what others have made need not be looked at each time
    try:
        for number in range(effort(20, 5000)):
            script = make(SEED, number)
            worker = Worker(engine, script.server)
            for _ in range(ATTEMPTS):  # what is remembered of a first time is no leak: one goes on
                counted, referred = blocks(), references()
                for _ in range(ROUNDS):
                    play(worker, script)
                counted, referred = blocks() - counted, references() - referred  # in this order: garbage has references
                if max(counted, referred) < LEAKED:
                    break
            assert max(counted, referred) < LEAKED, (
                f"{counted} blocks and {referred} references more after {ROUNDS} times {script}"
            )
    finally:
        gc.unfreeze()


@pytest.mark.timeout(3600)
def test_requests_leave_nothing(engine: str) -> None:
    """Ten million of them in the long run, on one connection."""
    client = Client(engine)
    rounds = effort(500, 420_000)  # of 24 requests each
    try:
        client.ask_all(2 * DIFFERENT)
        before, size = blocks(), resident_bytes()
        for _ in range(10):
            client.ask_all(rounds // 10)
        after, grown = blocks(), resident_bytes() - size
    finally:
        client.close()
    assert client.requests > rounds * 24
    assert after - before < LOOSE_BLOCKS, f"{before} blocks, then {after}"
    assert grown < LOOSE_BYTES, f"{grown} bytes more than before"


class Leaking(plain.Conversation):
    """Keeps what it has refused."""

    engine = "leaking"
    __slots__ = ()
    kept: ClassVar[list[object]] = []

    def _refuse(self, why: Any) -> Any:
        self.kept.append(object())
        return super()._refuse(why)


def test_a_leak_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "ENGINES", [choice.Engine("leaking", lambda: Leaking)])
    with pytest.raises(AssertionError, match=r"blocks and .* references more after"):
        test_connections_leave_nothing("leaking")
