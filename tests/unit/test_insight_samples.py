"""How what workers say of their threads becomes samples: dumps of faulthandler, and lines of the sampler."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from miniwsgi.daemon.master.insight.counters import ProcessCounts
from miniwsgi.daemon.master.insight.dumps import threads
from miniwsgi.daemon.master.insight.evidence import Frame, Request
from miniwsgi.daemon.master.insight.inspected import Inspected
from miniwsgi.daemon.master.insight.looking import WorkerLook
from miniwsgi.metrics.scoreboard import SLOT_BYTES, Running
from miniwsgi.metrics.slot import Slot

DUMP = """\
Current thread 0x00007f0000000002 (most recent call first):
  File "/opt/miniwsgi/daemon/worker/orders.py", line 9 in Orders._write_stacks

Thread 0x00007f0000000001 (most recent call first):
  File "/srv/shop/a b.py", line 7 in query
  File "/srv/shop/made.py", line ??? in <lambda>
  File "/srv/shop/shop.py", line 3 in <module>
"""


def test_a_dump_is_read_with_the_requests_that_threads_ran() -> None:
    running = [Running(0, 1_000_000_000, "GET", "/orders", ident=0x7F0000000001)]
    asking, asked = threads(DUMP, running, 3_500_000_000)
    assert (asking.ident, asking.request) == (0x7F0000000002, None)
    assert asked.frames == (Frame("/srv/shop/a b.py", 7, "query"), Frame("/srv/shop/shop.py", 3, "<module>"))
    assert asked.request == Request("GET", "/orders", None, 2.5)


def line(**fields: object) -> bytes:
    return msgspec.json.encode(fields)


def test_lines_of_the_sampler_are_stretches_of_time() -> None:
    found = Inspected()
    assert not found.has_begun
    found.take(line(kind="begin", order={}, pid=7, python="3.12"), 0)
    assert found.has_begun
    frames = [("application", "/srv/shop/app.py", 3, "app.py", "application"), ("query", "/srv/shop/db.py", 8, "", "")]
    rows = [[0, 2, 1, 1, 2, 10, 500_000_000, 5_000_000], [1, 1, 0, 0, 0, 10, 500_000_000, 0]]
    found.take(
        line(
            kind="samples", seconds=1.0, looks=20, late_ns=40_000_000, frames=frames, nodes=[[0, 0], [1, 1]],
            threads=[[11, "mw-thread-0", 0], [12, "mw-thread-1", 1]],
            requests=[["/orders", "x-1", "GET", "/orders", 500_000_000]], rows=rows,
        ),
        2_500_000_000,
    )  # fmt: skip
    found.take(
        line(kind="samples", seconds=1.5, looks=22, late_ns=440_000_000, rows=[[0, 2, 1, 1, 2, 2, 250_000_000, 0]]), 0
    )
    found.take(line(kind="end", why="time", looks=22), 0)
    assert (found.looks, found.seconds, found.late_seconds, found.longest_seconds) == (22, 1.5, 0.44, 0.2)
    (first,), (second,) = found.moments
    assert first.frames == (Frame("/srv/shop/db.py", 8, "query"), Frame("/srv/shop/app.py", 3, "application"))
    assert first.request == Request("GET", "/orders", "/orders", 2.0)
    assert (first.cpu, second.cpu) == (0.01, 0.0)
    assert (first.weight + second.weight) / 2 == pytest.approx(0.5)  # it was there for half of the time


def test_a_refusal_is_kept() -> None:
    found = Inspected()
    found.take(line(kind="refused", why="another one is under way"), 0)
    assert (found.refused, found.has_begun, found.moments) == ("another one is under way", False, ())
    with pytest.raises(msgspec.DecodeError):
        found.take(b"garbage", 0)


def test_the_thread_that_looks_is_not_starved_for_others() -> None:
    """It began after the look: on a busy host its own waits for a CPU are no worker's."""
    before = ProcessCounts(0.0, 0, {1: 2.0, 2: 1.0}, "S")
    assert ProcessCounts(0.1, 0, {1: 2.5, 3: 4.0}, "S").starved_since(before) == 0.5
    assert ProcessCounts(0.1, 0, None, "S").starved_since(before) is None


@pytest.mark.parametrize(("pid", "held"), [(2**22 + 1, 0.0), (os.getpid(), 1.0)], ids=["ended", "there"])
def test_a_worker_that_has_ended_owes_no_stacks(pid: int, held: float) -> None:
    """One that is there and does not answer has an interpreter that lets nobody run."""
    slot = Slot(0, memoryview(bytearray(SLOT_BYTES)))
    fleet: Any = SimpleNamespace(board=SimpleNamespace(slot=lambda _index: slot))
    worker: Any = SimpleNamespace(slot=0, pid=pid)
    look = WorkerLook(worker, fleet, 8, "epoll")
    look._asked_at = look._begun = time.monotonic() - 5
    evidence, *_ = look.evidence()
    assert round(evidence.held, 1) == held


def test_waits_for_a_cpu_are_nobody_holding_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of the sampler, which has ended when the look does."""
    slot = Slot(0, memoryview(bytearray(SLOT_BYTES)))
    fleet: Any = SimpleNamespace(board=SimpleNamespace(slot=lambda _index: slot))
    worker: Any = SimpleNamespace(slot=0, pid=2**22 + 1)
    look = WorkerLook(worker, fleet, 8, "epoll")
    look._process = ProcessCounts(0.0, 0, {1: 2.0}, "S")
    look._begun = time.monotonic() - 5
    look._inspected.late_seconds = 4.0
    look._delays = {1: 3.5, 2: 2.5}
    evidence, *_ = look.evidence()
    assert evidence.held < 0.01
    counts = iter([ProcessCounts(4.0, 0, {1: 6.0}, "R")])
    monkeypatch.setattr("miniwsgi.daemon.master.insight.looking.process_counts", lambda _pid: next(counts))
    evidence, *_ = look.evidence()
    assert evidence.held > 0.5  # those that wait for the interpreter have late turns, too
    monkeypatch.undo()
    look._delays = {1: 2.0}
    evidence, *_ = look.evidence()
    assert evidence.held > 0.5
