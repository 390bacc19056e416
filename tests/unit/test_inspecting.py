"""What an inspection of a worker is made of, without a worker: stacks, clocks, the pipe."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from itertools import count
from types import FrameType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from miniwsgi.daemon import traceparent
from miniwsgi.daemon.engine import account, request_ids
from miniwsgi.daemon.engine.contract import Stage
from miniwsgi.daemon.master.running import inspection
from miniwsgi.daemon.worker.inspecting import call_tree, memory, requests, thread_clocks
from miniwsgi.daemon.worker.inspecting.call_tree import CallTree, Frame, Origin, Origins
from miniwsgi.daemon.worker.inspecting.results import ReaderGone, Results
from miniwsgi.daemon.worker.inspecting.sampler import Sampler, State
from miniwsgi.daemon.worker.inspecting.thread_clocks import UNKNOWN, ThreadClocks


def stack(depth: int) -> FrameType:
    """The innermost frame of so many calls of this function."""
    return stack(depth - 1) if depth > 1 else sys._getframe()


def path(tree: CallTree, node: int) -> list[Frame]:
    found: list[Frame] = []
    while node:
        node, frame = tree.nodes[node]
        found.append(tree.frames[frame])
    return found


def test_a_stack_is_told_from_the_outermost_frame_on_and_kept_once() -> None:
    tree = CallTree(Origins("shop"))
    node = tree.node(stack(3))
    assert [frame.function for frame in path(tree, node)[:3]] == ["stack", "stack", "stack"]
    assert {frame.file for frame in path(tree, node)[:3]} == {__file__}
    size = len(tree.nodes)
    assert tree.node(stack(3)) != node  # it is called from another line
    assert len(tree.nodes) == size + 4


def test_what_is_too_deep_or_too_much_is_cut_and_counted() -> None:
    tree = CallTree(Origins("shop"), depth=5)
    found = path(tree, tree.node(stack(50)))
    assert [frame.function for frame in found] == ["stack"] * 5 + [call_tree.CUT]
    assert (tree.cut_depth, tree.cut_stacks) == (1, 0)
    small = CallTree(Origins("shop"), nodes=4)
    small.node(stack(50))
    assert (len(small.nodes), small.cut_stacks) == (4, 1)


def test_whose_code_a_frame_is() -> None:
    origins = Origins("shop.wsgi:app")
    library = "/srv/venv/lib/python3.11/site-packages/flask/app.py"
    files = (call_tree.__file__, os.__file__, library, "/srv/shop/views.py", "<string>")
    assert [origins.of(file) for file in files] == [
        Origin.SERVER, Origin.STDLIB, Origin.LIBRARY, Origin.APPLICATION, Origin.APPLICATION,
    ]  # fmt: skip


def test_an_installed_application_is_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    package = "/srv/venv/lib/python3.11/site-packages/shop/"
    module: Any = type(sys)("shop")
    module.__file__ = f"{package}__init__.py"
    monkeypatch.setitem(sys.modules, "shop", module)
    monkeypatch.setattr(sys, "path", ["/srv/venv/lib/python3.11/site-packages"])
    origins = Origins("shop.wsgi:app")
    assert origins.of(f"{package}views.py") is Origin.APPLICATION
    assert origins.of("/srv/venv/lib/python3.11/site-packages/shopping/cart.py") is Origin.LIBRARY
    assert origins.short(f"{package}views.py") == "shop/views.py"


def test_each_threads_clock_is_its_own() -> None:
    begin, spun, end = threading.Event(), threading.Event(), threading.Event()

    def spin() -> None:
        begin.wait()
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        spun.set()
        end.wait()

    spinning, waiting = threading.Thread(target=spin), threading.Thread(target=end.wait)
    clocks = ThreadClocks()
    for thread in (spinning, waiting):
        thread.start()
        assert thread.ident is not None
        assert clocks.spent(thread.ident) == 0
    begin.set()
    spun.wait()
    assert clocks.spent(spinning.ident or 0) >= 50e6
    assert clocks.spent(waiting.ident or 0) < 50e6
    end.set()
    for thread in (spinning, waiting):
        thread.join()
    assert [clocks.spent(1), clocks.spent(1)] == [UNKNOWN, UNKNOWN]
    assert clocks.unknown == {1}


def test_a_thread_that_has_ended_is_no_harm() -> None:
    thread = threading.Thread(target=lambda: None)
    clocks = ThreadClocks()
    clocks._clocks[1] = ((~0xFFFFFFF << 3) | 6, 0)  # of a number that no thread has
    assert clocks.spent(1) == 0
    thread.start()
    thread.join()
    clocks.keep_only({2})
    assert not clocks._clocks


def test_the_applications_threads_are_told_from_those_of_the_server() -> None:
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, name=name) for name in ("mw-thread-1", "jobs")]
    for thread in threads:
        thread.start()
    sampler = Sampler(CallTree(Origins("shop")), route=None, by_thread=True)
    for _ in range(2):
        sampler.look(10_000_000)
    end.set()
    for thread in threads:
        thread.join()
    news = sampler.news()
    names = [name for _ident, name, _number in news["threads"]]
    states = {names[row[0]]: row[4] for row in news["rows"]}
    assert (states["mw-thread-1"], states["jobs"]) == (State.IDLE, State.APPLICATION)
    assert sum(row[5] for row in news["rows"] if names[row[0]] == "jobs") == 2  # it may have been at two places
    assert not sampler.news()["rows"]
    merged = Sampler(CallTree(Origins("shop")), route="/orders", by_thread=False)
    merged.look(10_000_000)
    assert not merged.news()["rows"]


def test_a_slow_reader_holds_nobody_and_one_that_leaves_ends_it() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    results = Results(writing)
    line = "x" * 50_000
    while not results.is_slow:
        results.write(text=line)
    results.sleep(0)
    received = b""
    while results.is_slow:
        received += os.read(reading, 1 << 20)
        results.go_on()
    received += os.read(reading, 1 << 20)
    assert received.endswith(b'"}\n')
    os.close(reading)
    began = time.monotonic()
    with pytest.raises(ReaderGone):
        results.sleep(60)
    assert time.monotonic() - began < 30
    with pytest.raises(ReaderGone):
        results.write(text="more")
    os.close(writing)


def test_names_that_are_long_or_no_unicode_are_told_all_the_same() -> None:
    name, file = "f" * 4000, b"/srv/\xff/shop.py".decode("utf-8", "surrogateescape")
    module: dict[str, Any] = {}
    exec(compile(f"import sys\ndef {name}(): return sys._getframe()", file, "exec"), module)
    tree = CallTree(Origins("shop"))
    frame = path(tree, tree.node(module[name]()))[0]
    assert frame.function == "f" * (call_tree.MAX_NAME - 1) + "…"
    reading, writing = os.pipe2(os.O_NONBLOCK)
    try:
        Results(writing).write(file=frame.file)
        assert msgspec.json.decode(os.read(reading, 4096)) == {"file": "/srv/?/shop.py"}  # as the master reads it
    finally:
        os.close(reading)
        os.close(writing)


def test_a_thread_that_begins_is_none_without_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks, begins, stays = ThreadClocks(), 1, 2
    natives = {begins: 0, stays: 0}
    monkeypatch.setattr(thread_clocks, "_native_id", natives.__getitem__)
    assert [clocks.spent(ident) for ident in natives] == [UNKNOWN, UNKNOWN]
    assert clocks.unknown == set()
    natives[begins] = os.getpid()
    assert [clocks.spent(ident) for ident in natives] == [0, UNKNOWN]
    assert clocks.unknown == {stays}
    clocks.keep_only(set())  # another thread gets the same ident, and begins
    natives[begins] = 0
    clocks.spent(begins)
    assert clocks.unknown == {stays}


class Succession:
    """A conversation whose request has ended, and the next one begun, each time that somebody looks."""

    stage = Stage.ANSWERING
    called_ns = 1

    def __init__(self) -> None:
        self._numbers = count(1)

    @property
    def _environ(self) -> dict[str, str]:
        number = next(self._numbers)
        return {
            "REQUEST_METHOD": "GET",
            request_ids.VARIABLE: str(number),
            traceparent.VARIABLE: f"00-{number:032d}-{number:016d}-01",
        }


def test_a_requests_trace_is_its_own_and_not_that_of_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert thread.ident is not None
        monkeypatch.setitem(account.threads, thread.ident, SimpleNamespace(conversation=Succession(), native_id=0))
        rows = requests._rows({thread.ident: 0}, ThreadClocks(), Origins("shop"))
    finally:
        end.set()
        thread.join()
    ((ident, request_id, _route, trace_id, *_),) = rows
    assert (ident, int(trace_id)) == (thread.ident, int(request_id))


def test_processes_that_are_forked_meanwhile_do_not_trace() -> None:
    memory._tracing.begin()
    try:
        if not (pid := os.fork()):
            os._exit(memory.tracemalloc.is_tracing())
        assert memory._tracing.whose() == "ours"
    finally:
        memory._tracing.end()
    assert os.waitpid(pid, 0)[1] == 0
    assert memory._tracing.whose() == "none"


class SayingWorker:
    """A worker that says so much, and leaves."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def send(self, _kind: str, fds: tuple[int, ...], **_fields: Any) -> None:
        os.write(fds[0], self._said)
        os.close(fds[0])


@pytest.mark.parametrize(("said", "taken"), [(b"{}\n" * 100, 100), (b"{}\n" + b"x" * 200 + b"\n", 1)])
def test_the_length_of_a_line_is_bounded_and_not_that_of_a_profile(
    said: bytes, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "MAX_BYTES", 50)
    monkeypatch.setattr(inspection, "CHUNK_BYTES", 60)
    worker: Any = SayingWorker(said)

    async def lines() -> list[bytes]:
        return [line async for line in inspection.results(worker, {}, 1)]

    assert len(asyncio.run(lines())) == taken
    assert len(b"".join(asyncio.run(inspection.inspect(worker, {}, 1)) or [])) <= 50  # where all is kept
