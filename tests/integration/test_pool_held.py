"""Answers that wait for each other, in a real worker: a call that lasts does not keep them, whatever it keeps."""

from __future__ import annotations

import signal
from typing import Any

import psutil
import pytest
from miniwsgi.daemon.engine import choice
from miniwsgi.daemon.worker.pools.epoll.loop import EpollPool
from miniwsgi.metrics.scoreboard import REQUESTS

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
    worker.signal(signal.SIGSTOP)
    wait_for(lambda: worker.process.status() == psutil.STATUS_STOPPED)
    fast.get("/fast")
    slow.get(path)
    worker.signal(signal.SIGCONT)
    site.record.wait(1)
    assert fast.answer().body == b"/fast"
    gate.open()
    assert slow.answer().body == path.encode()
    wait_for(lambda: worker.cells[REQUESTS] == 4)
    assert fast.get("/again").answer().body == b"/again"
