"""Looking into a worker: a profile on order, in every pool, that leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import select
import time
import tracemalloc
from collections import Counter
from typing import Any

import pytest
from miniwsgi.daemon.master.running import inspection

from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .worker_harness import Site, Worker, links, pools

PROFILE = {"what": "profile", "seconds": 0.3, "rate": 100, "by_thread": True}
REQUEST = 2  # sampler.State


class Looking:
    """One inspection, seen as the master sees it."""

    def __init__(self, worker: Worker, **order: Any) -> None:
        self.fd, theirs = os.pipe()
        worker.control.send("inspect", (theirs,), order={**PROFILE, **order})
        os.close(theirs)
        self.data = b""

    def take(self) -> bool:
        """False at the end."""
        assert select.select([self.fd], [], [], PATIENCE_SECONDS)[0], self.data
        chunk = os.read(self.fd, 65536)
        self.data += chunk
        return bool(chunk)

    def begin(self) -> Looking:
        """It is under way."""
        while b"\n" not in self.data:
            assert self.take()
        return self

    def lines(self) -> list[dict[str, Any]]:
        """All of them, when it has ended."""
        while self.take():
            pass
        self.close()
        return [json.loads(line) for line in self.data.splitlines()]

    def close(self) -> None:
        os.close(self.fd)


def functions(lines: list[dict[str, Any]], figure: int = 5, state: int | None = None) -> Counter[str]:
    """How much of a figure of the rows (5: samples, 6: wall ns, 7: on-CPU ns) was seen inside each function."""
    frames: list[Any] = []
    nodes: list[Any] = [(0, -1)]
    found: Counter[str] = Counter()
    for line in lines:
        frames += line.get("frames", ())
        nodes += line.get("nodes", ())
        for row in line.get("rows", ()):
            if state is not None and row[4] != state:
                continue
            node, inside = row[1], set()
            while node:
                node, frame = nodes[node]
                inside.add(frames[frame][0].rpartition(".")[2])
            found.update(dict.fromkeys(inside, row[figure]))
    return found


def nothing_left(worker: Worker, descriptors: list[str]) -> None:
    """Of an inspection that is over: neither its pipe nor its thread, and another one may come."""
    worker.wait_for_descriptors(descriptors)

    def threads() -> set[str]:
        lines = Looking(worker, seconds=0.05).lines()
        return {name for line in lines for _ident, name, _number in line.get("threads", ())}

    # The pipe is closed by a thread that has yet to end.
    wait_for(lambda: "MainThread" in (names := threads()) and "mw-inspect" not in names, story=threads)


def waiting_for(gate):
    def application(environ, start_response):
        environ["miniwsgi.route"] = "/held/<id>"
        if environ["PATH_INFO"].startswith("/held"):
            wait_at_the_gate()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"."]

    def wait_at_the_gate():
        gate.wait()

    return application


@pools("epoll-1", "epoll-8", "prefork", short=("epoll-8", "prefork"))
def test_a_profile_sees_requests_that_hold_all_threads_and_leaves_nothing_behind(site: Site, pool: str) -> None:
    gate = site.gate()
    worker = site.fork(waiting_for(gate), pool)
    at_once = 8 if pool == "epoll-8" else 1
    clients = [site.connect().get(f"/held/{number}") for number in range(at_once)]
    gate.wait_for_those_who_come(at_once)
    before = worker.descriptors()
    lines = Looking(worker).lines()
    assert lines[0]["kind"] == "begin"
    assert lines[-1]["kind"] == "end"
    assert lines[-1]["why"] == "time"
    seen = functions(lines, state=REQUEST)
    assert seen["wait_at_the_gate"] >= at_once * lines[-1]["looks"] * 0.5
    requests = [request for line in lines for request in line.get("requests", ())]
    assert {(route, method, path) for route, _id, method, path, _since in requests} == {
        ("/held/<id>", "GET", f"/held/{number}") for number in range(at_once)
    }
    assert all(request_id for _route, request_id, *_ in requests)
    innermost = {lines[1]["frames"][row[2]][0] for row in lines[1]["rows"] if row[4] == REQUEST}
    assert innermost <= {"Gate.wait", "waiting_for.<locals>.wait_at_the_gate"}
    worker.wait_for_descriptors(before)
    gate.open(at_once)
    assert all(client.answer().body == b"." for client in clients)


def test_what_computes_is_told_from_what_waits(site: Site) -> None:
    gate = site.gate()

    def application(environ, start_response):
        (spin if environ["PATH_INFO"] == "/spin" else rest)()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"."]

    def rest():
        gate.wait()

    def spin():
        gate.come()
        while not select.select([gate.fds[0]], [], [], 0)[0]:
            sum(range(1000))

    worker = site.fork(application, "epoll-8")
    clients = [site.connect().get(path) for path in ("/spin", "/rest")]
    gate.wait_for_those_who_come(2)

    def look() -> list[dict[str, Any]] | None:
        lines = Looking(worker).lines()
        return lines if functions(lines, 7, REQUEST)["spin"] else None  # it may have got no processor meanwhile

    lines = wait_for(look)
    wall, cpu = functions(lines, 6, REQUEST), functions(lines, 7, REQUEST)
    assert cpu["rest"] == 0
    assert wall["rest"] >= PROFILE["seconds"] * 0.9e9 <= wall["spin"]
    assert cpu["spin"] <= wall["spin"] * 1.1
    gate.open(2)
    assert [client.answer().status for client in clients] == [200, 200]


def forking(environ, start_response):
    if not os.fork():
        os.close(0)
        time.sleep(PATIENCE_SECONDS)  # ended with the test
        os._exit(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"."]


def test_one_at_a_time_that_no_child_holds_and_that_ends_with_its_reader(site: Site) -> None:
    worker = site.fork(forking, "epoll-8")
    assert site.get("/").status == 200
    before = worker.at_rest()
    first = Looking(worker, seconds=60).begin()
    second = Looking(worker).lines()
    assert [line["kind"] for line in second] == ["refused"]
    assert "one at a time" in second[0]["why"]
    assert site.get("/").status == 200  # forks while it is under way
    pipe = os.readlink(f"/proc/self/fd/{first.fd}")
    assert pipe in worker.descriptors()
    for child in worker.process.children():
        wait_for(lambda pid=child.pid: pipe not in links(pid), "the child without the pipe")  # when it is itself
    first.close()
    nothing_left(worker, before)


@pytest.mark.parametrize("order", [{"what": "profile"}, {"what": "weather"}])
def test_what_cannot_be_looked_at_is_refused(site: Site, order: dict[str, Any]) -> None:
    worker = site.fork(forking, "fork")
    lines = Looking(worker, **order).lines()
    assert [line["kind"] for line in lines] == ["refused"]
    assert "py-spy" in lines[0]["why"] or "weather" in lines[0]["why"]


class Handle:
    """A worker as `inspection` needs it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def send(self, kind: str, fds: tuple[int, ...], **fields: Any) -> None:
        self._worker.control.send(kind, fds, **fields)
        os.close(fds[0])


def test_the_master_knows_a_worker_that_does_not_answer_from_one_that_does(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = site.gate()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/keep":
            gate.keep_the_interpreter()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"."]

    worker = site.fork(application, "epoll-8")

    def look() -> list[bytes] | None:
        return asyncio.run(inspection.inspect(Handle(worker), {"what": "profile", "rate": 100}, 0.05))

    def kinds() -> list[str]:
        return [json.loads(line)["kind"] for line in look() or ()]

    found = wait_for(kinds)  # a worker that gets no processor does not answer either
    assert (found[0], found[-2:]) == ("begin", ["samples", "end"])
    monkeypatch.setattr(inspection, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(inspection, "MARGIN_SECONDS", 0.1)
    client = site.connect().get("/keep")
    wait_for(worker.slot.running)
    wait_for(lambda: look() is None)  # the first order may have come before the interpreter was held
    gate.open()
    assert client.answer().body == b"."
    monkeypatch.undo()
    wait_for(lambda: kinds()[:1] == ["begin"])  # what nobody reads has ended


LEAKED = 200  # objects a request
kept: list[Any] = []


class Order:
    """Of which more and more are kept."""


def leaking(environ, start_response):
    kept.extend(Order() for _ in range(LEAKED))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"."]


def looks(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert (lines[0]["kind"], lines[-1]["kind"]) == ("begin", "end")
    return [line for line in lines if line["kind"] == "look"]


def test_what_grows_in_memory_is_found_and_tracing_ends_with_it(site: Site) -> None:
    worker = site.fork(leaking, "epoll-8")
    assert site.get("/").status == 200
    before = worker.at_rest()

    def look() -> list[dict[str, Any]] | None:
        """Its looks, with a request between the first and the last; None: it came too late, or not all of it."""
        looking = Looking(worker, what="memory", seconds=0.3, diff=True, pause_seconds=5)
        while b'"look"' not in looking.data:
            assert looking.take()
        assert site.get("/").status == 200
        first, half, last = looks(looking.lines())
        return [first, half, last] if grown(first, last) >= LEAKED and allocated(last) >= LEAKED else None

    def grown(first: dict[str, Any], last: dict[str, Any]) -> int:
        orders = f"{__name__}.Order"
        return dict(last["types"])[orders] - dict(first["types"])[orders]

    def allocated(one: dict[str, Any]) -> int:
        """Blocks of memory, by one line of this file."""
        return max((blocks for file, _line, _size, blocks in one["lines"] if file == __file__), default=0)

    first, _half, last = found = wait_for(look)
    assert grown(first, last) == LEAKED
    assert {one["tracing"] for one in found} == {"ours"}
    nothing_left(worker, before)
    assert looks(Looking(worker, what="memory", seconds=0).lines())[0]["tracing"] == "none"


def test_tracing_of_the_applications_own_goes_on(site: Site) -> None:
    worker = site.fork(leaking, "epoll-8", prepare=tracemalloc.start)
    for _ in range(2):
        (look,) = looks(Looking(worker, what="memory", seconds=0.01, pause_seconds=5).lines())
        assert look["tracing"] == "application"
        assert look["lines"]


def test_what_would_hold_the_worker_up_for_long_is_left_out(site: Site) -> None:
    worker = site.fork(leaking, "epoll-8", prepare=tracemalloc.start)
    (look,) = looks(Looking(worker, what="memory", seconds=0, pause_seconds=1e-9).lines())
    assert (look["objects"], look["types"], look["lines"]) == (None, [], [])
    assert "objects would hold the worker up for" in look["no_types"]
    assert "blocks of memory would" in look["no_lines"]
