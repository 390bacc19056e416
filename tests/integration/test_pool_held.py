"""Answers that wait for each other, in a real worker: a call that lasts does not keep them, whatever it keeps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from miniwsgi.daemon.engine import choice
from miniwsgi.daemon.worker.pools.epoll.loop import EpollPool
from miniwsgi.metrics.scoreboard import REQUESTS

from tests.support.daemon import suspend
from tests.support.waiting import wait_for

from .worker_applications import holding
from .worker_harness import Site, pools

if "compiled" not in choice.available():
    pytest.skip("no compiled engine in this Python", allow_module_level=True)


def hold_all() -> None:
    """In a worker, before it begins: calls are as long as answers are held for, and nothing is sent for its age."""
    begin = EpollPool.__init__

    def begin_holding(self: EpollPool, *arguments: Any) -> None:
        begin(self, *arguments)
        turn: Any = self._turn
        turn.held.tiny_ns, turn.held.short_ns, turn.held.old_ns = -1, 10**15, 10**15

    EpollPool.__init__ = begin_holding  # type: ignore[method-assign]


@pools("epoll-1", "epoll-8")
@pytest.mark.parametrize("path", ["/hold", "/wedge"], ids=["waits", "keeps the interpreter"])
def test_a_held_answer_comes_while_the_next_call_lasts(site: Site, pool: str, path: str) -> None:
    application, gate = holding(site)
    worker = site.fork(application, pool, prepare=hold_all, engine="compiled")
    fast, slow = site.connect(), site.connect()
    for client in (slow, fast):  # epoll looks again at the last one first, if the loop is stopped before it waits
        assert client.get("/").answer().status == 200
    suspend(worker.pid)
    fast.get("/fast")
    slow.get(path)
    worker.signal(signal.SIGCONT)
    site.record.wait(1)
    assert fast.answer().body == b"/fast"
    gate.open()
    assert slow.answer().body == path.encode()
    wait_for(lambda: worker.cells[REQUESTS] == 4)
    assert fast.get("/again").answer().body == b"/again"


@pools("epoll-1", "epoll-8")
@pytest.mark.parametrize("wedges", [False, True], ids=["waits", "keeps the interpreter"])
def test_blocks_of_a_stream_come_while_the_application_makes_the_next_one(site: Site, pool: str, wedges: bool) -> None:
    gate = site.gate()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"first"] if environ["PATH_INFO"] == "/" else blocks()

    def blocks() -> Iterator[bytes]:
        yield b"one "
        yield b"two "
        (gate.keep_the_interpreter if wedges else gate.wait)()
        yield b"three "
        yield b"four"

    worker = site.fork(application, pool, prepare=hold_all, engine="compiled")
    client = site.connect()
    assert client.get("/").answer().body == b"first"
    client.get("/stream")
    client.take_until(lambda: len(client.reader.responses) == 2 and client.reader.responses[1].body == b"one two ")
    gate.open()
    assert client.answer().body == b"one two three four"
    wait_for(lambda: worker.cells[REQUESTS] == 2)


@pools("epoll-1", "epoll-8")
@pytest.mark.parametrize("path", ["/hold", "/wedge"], ids=["waits", "keeps the interpreter"])
def test_an_answer_comes_while_the_next_one_that_was_sent_ahead_is_made(site: Site, pool: str, path: str) -> None:
    application, gate = holding(site)
    worker = site.fork(application, pool, prepare=hold_all, engine="compiled")
    client = site.connect()
    assert client.get("/").answer().status == 200
    asked = "".join(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n" for target in ("/a", "/b", path, "/c"))
    client.send(asked.encode())
    assert [client.answer().body for _ in range(2)] == [b"/a", b"/b"]
    gate.open()
    assert [client.answer().body for _ in range(2)] == [path.encode(), b"/c"]
    wait_for(lambda: worker.cells[REQUESTS] == 5)
