"""What the master sees of a worker while it works, and what it is asked for: the scoreboard, heartbeats, recycling."""

from __future__ import annotations

import socket
import time
from types import SimpleNamespace

import pytest
from miniwsgi.metrics.scoreboard import (
    ABORTED,
    BOUNDS_NS,
    BYTES_IN,
    BYTES_OUT,
    CONNECTIONS,
    ERRORS,
    FIRSTS,
    HEARTBEAT,
    REQUESTS,
    S_BUCKETS,
    SlotState,
)

from tests.support.waiting import wait_for

from .worker_harness import Site, pools
from .worker_pace import hurry


def holding(site: Site):
    """/hold… waits at the gate; /wedge keeps the interpreter for a while, as C code may."""
    gate, record = site.gate(), site.record

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path.startswith("/hold"):
            record.note("begun")
            gate.wait()
        elif path == "/wedge":
            record.note("begun")
            gate.keep_the_interpreter()
        elif path == "/sleep":
            time.sleep(0.03)
        elif path == "/fail":
            raise ValueError("on purpose")
        start_response("200 OK", [])
        return [environ["wsgi.input"].read() or b"done"]

    return application, gate


@pools()
def test_a_running_request_is_seen_with_method_and_path_but_without_its_query(site, pool):
    application, gate = holding(site)
    worker = site.fork(application, pool)
    assert worker.slot.running() == []
    before = time.monotonic_ns()
    client = site.connect().get("/hold?password=secret")
    site.record.wait(1)
    [running] = worker.slot.running()
    assert (running.method, running.path) == ("GET", "/hold")
    assert before < running.started_ns < time.monotonic_ns()
    gate.open()
    client.answer()
    wait_for(lambda: not worker.slot.running())


@pools("epoll-8", "fork")
def test_each_of_many_running_requests_is_seen(site, pool):
    application, gate = holding(site)
    worker = site.fork(application, pool)
    idle = site.connect()  # in pool fork the first process, which runs nothing
    wait_for(lambda: worker.cells[CONNECTIONS] == 1)
    clients = [site.connect().get(f"/hold/{number}") for number in range(7)]
    site.record.wait(7)
    running = worker.slot.running()
    assert sorted(each.path for each in running) == [f"/hold/{number}" for number in range(7)]
    assert len({each.thread for each in running}) == 7
    gate.open(7)
    for client in clients:
        client.answer()
    wait_for(lambda: not worker.slot.running())
    idle.close()


@pools("epoll-1", "epoll-8")
def test_a_result_that_is_resumed_is_seen_as_the_request_that_it_belongs_to(site, pool):
    site.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    application, gate = holding(site)

    def with_pause(environ, start_response):
        if environ["PATH_INFO"] != "/paused":
            return application(environ, start_response)
        start_response("200 OK", [])
        return paused()

    def paused():
        yield bytes(1 << 20)
        site.record.note("resumed")
        gate.wait()

    worker = site.fork(with_pause, pool)
    reader = site.connect(receive_bytes=4096).get("/paused")
    reader.take()
    other = site.connect()
    for _ in range(20):
        other.get("/other").answer()
    resumed = time.monotonic_ns()
    reader.take_until(lambda: "resumed" in site.record.lines())
    [running] = worker.slot.running()
    assert (running.method, running.path) == ("GET", "/paused")
    assert running.started_ns > resumed
    gate.open()
    reader.answer()


@pools()
def test_the_heart_beats_while_the_application_runs(site, pool):
    application, gate = holding(site)
    worker = site.fork(application, pool)
    client = site.connect().get("/hold")
    site.record.wait(1)
    began = time.monotonic_ns()
    for seconds in (0.1, 1.1, 2.1):
        wait_for(lambda seconds=seconds: worker.cells[HEARTBEAT] > began + seconds * 1e9, f"{seconds} s")
    gate.open()
    client.answer()


@pools()
def test_the_heart_stops_when_code_keeps_the_interpreter(site, pool):
    application, gate = holding(site)
    worker = site.fork(application, pool)
    client = site.connect().get("/wedge")
    site.record.wait(1)

    def has_stopped() -> bool:
        beat = worker.cells[HEARTBEAT]
        time.sleep(0.8)  # the subject of the test: it beats four times a second
        return worker.cells[HEARTBEAT] == beat

    if pool == "fork":  # there it is another process's interpreter
        wait_for(lambda: not has_stopped())
    else:
        wait_for(has_stopped)
    beat = worker.cells[HEARTBEAT]
    gate.open()
    client.answer()
    wait_for(lambda: worker.cells[HEARTBEAT] > beat)


@pools()
def test_what_is_counted_of_a_request(site, pool):
    application, _gate = holding(site)
    worker = site.fork(application, pool)
    client = site.connect()
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000).answer()
    client.get("/sleep").answer()
    failed = client.get("/fail").answer()
    assert failed.status == 500
    client.close()
    cells = worker.cells
    wait_for(lambda: cells[REQUESTS] == 3)
    wait_for(lambda: (cells[BYTES_IN], cells[BYTES_OUT]) == (1000, 1000 + len(b"done") + len(failed.body)))
    wait_for(lambda: (cells[REQUESTS] - cells[FIRSTS], cells[ERRORS], cells[ABORTED]) == (2, 1, 0))
    slept = worker.slot.series("GET", 200)
    assert sum(cells[slept + S_BUCKETS + n] for n, bound in enumerate(BOUNDS_NS) if bound > 25_000_000) >= 1
    assert sum(cells[worker.slot.series("GET", 500) + S_BUCKETS + n] for n in range(len(BOUNDS_NS))) == 1


# --- recycling --------------------------------------------------------------------------------------------------------


@pools()
def test_after_max_requests_a_successor_is_asked_for_once(site, pool):
    application, _gate = holding(site)
    jitter = 3

    def prepare() -> None:
        from miniwsgi.daemon.worker import recycling

        hurry()
        recycling.os = SimpleNamespace(urandom=lambda count: jitter.to_bytes(count, "big"))  # type: ignore[assignment]

    worker = site.fork(application, pool, prepare=prepare, max_requests=4, max_requests_jitter=jitter)
    for _ in range(4 + jitter - 1):
        site.get("/")
    wait_for(lambda: worker.cells[REQUESTS] == 4 + jitter - 1)
    time.sleep(0.15)  # it is looked at every 50 ms
    assert not worker.heard("recycle")
    site.get("/")
    assert worker.message("recycle")["reason"] == "requests"
    assert worker.slot.state is SlotState.READY
    for _ in range(5):
        assert site.get("/").status == 200  # until it is told
    time.sleep(0.15)
    assert not worker.heard("recycle")


@pools()
@pytest.mark.parametrize(
    ("reason", "settings"), [("lifetime", {"max_lifetime": 0.5}), ("rss", {"max_rss_bytes": 1 << 20})]
)
def test_age_and_memory_are_reasons_for_a_successor(site, pool, reason, settings):
    application, _gate = holding(site)
    worker = site.fork(application, pool, prepare=hurry, **settings)
    assert worker.message("recycle")["reason"] == reason
    assert site.get("/").status == 200


@pools()
def test_a_successor_counts_on_from_its_predecessor_in_the_slot(site, pool):
    application, _gate = holding(site)
    for turn in range(1, 3):
        worker = site.fork(application, pool, slot=0, prepare=hurry, max_requests=3, drain_idle=0.1)
        for _ in range(2):
            site.get("/")
        wait_for(lambda turn=turn: worker.cells[REQUESTS] == 2 * turn)  # noqa: B023
        time.sleep(0.15)
        assert not worker.heard("recycle"), "its predecessor's requests are not its own"
        worker.tell("drain", deadline=20)
        assert worker.wait() == 0
        worker.slot.vacate()
