"""Limits of a worker, and how several workers share one listener, in every pool."""

from __future__ import annotations

from miniwsgi.metrics.scoreboard import CONNECTIONS, REJECTED, REQUESTS, WAITING

from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .worker_applications import SERVED_BY, holding
from .worker_harness import pools


@pools()
def test_a_body_beyond_body_max_is_refused_before_it_is_read(site, pool):
    application, _gate = holding(site)
    worker = site.fork(application, pool, body_max_bytes=1000)
    announced = site.connect().send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
    assert [response.status for response in announced.end()] == [413]
    chunked = site.connect().send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunked.send(b"200\r\n" + b"x" * 0x200 + b"\r\n").send(b"200\r\n")
    assert [response.status for response in chunked.end()] == [413]
    fits = site.connect().send(b"POST /fits HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"y" * 1000)
    assert fits.answer().body == b"/fits" + b"y" * 1000
    wait_for(lambda: worker.cells[REJECTED] == 2)
    wait_for(lambda: worker.cells[REQUESTS] == 1)


@pools("epoll-1", "epoll-8", "fork")
def test_beyond_its_connections_a_worker_accepts_nothing(site, pool):
    application, _gate = holding(site)
    worker = site.fork(application, pool, connections=3)
    kept = [site.connect() for _ in range(3)]
    for client in kept:
        client.get("/1").answer()
    waiting = site.connect().get("/waiting")
    assert waiting.silent(0.3)
    assert worker.cells[CONNECTIONS] == 3
    kept[0].close()
    assert waiting.answer().body == b"/waiting"


@pools("epoll-1", "epoll-8", "fork")
def test_a_limit_of_one_connection_is_a_limit(site, pool):
    application, _gate = holding(site)
    site.fork(application, pool, connections=1)
    kept = site.connect()
    kept.get("/1").answer()
    waiting = site.connect().get("/waiting")
    assert waiting.silent(0.3)
    kept.close()
    assert waiting.answer().body == b"/waiting"


@pools("fork")
def test_who_waits_gets_the_place_of_a_silent_connection_and_no_request_is_lost(site, pool):
    application, gate = holding(site)
    worker = site.fork(
        application, pool, threads=3, drain_idle=0.2, keep_alive_timeout=PATIENCE_SECONDS, head_timeout=PATIENCE_SECONDS
    )
    silent, idle, busy = site.connect(), site.connect(), site.connect()
    assert idle.get("/1").answer().all("connection") == []
    busy.get("/hold")
    site.record.wait(1)
    wait_for(lambda: worker.cells[CONNECTIONS] == 3)
    waiting = [site.connect().get(f"/{number}") for number in range(5)]
    assert [client.answer().body for client in waiting] == [b"/%d" % number for number in range(5)]
    assert silent.end() == idle.end() == []
    waiting = [site.connect().get("/hold") for _ in range(3)]
    site.record.wait(3)  # all places are taken by requests: one waits for the first of them
    gate.open(4)
    assert [client.answer().body for client in (busy, *waiting)] == [b"/hold"] * 4
    assert site.connect().get("/after").answer().status == 200


@pools("fork")
def test_while_nobody_waits_a_silent_connection_keeps_its_place(site, pool):
    application, _gate = holding(site)
    worker = site.fork(application, pool, threads=1, drain_idle=0.2, keep_alive_timeout=PATIENCE_SECONDS)
    idle = site.connect()
    idle.get("/1").answer()
    wait_for(lambda: worker.cells[CONNECTIONS] == 1)
    assert idle.silent(1)
    assert idle.get("/2").answer().all("connection") == []


@pools()
def test_the_log_names_who_holds_all_threads_and_says_when_that_is_over(site, pool):
    application, gate = holding(site)
    threads = 1 if pool in {"epoll-1", "prefork"} else 2
    worker = site.fork(application, pool, threads=threads)
    held = [site.connect().get("/hold") for _ in range(threads)]
    site.record.wait(threads)
    waiting = site.connect().get("/waits")
    wait_for(lambda: "busy for more than a second" in worker.log())
    (line,) = [line for line in worker.log().splitlines() if "busy for more than a second" in line]
    assert line.count("GET /hold") == threads
    gate.open(threads)
    for client in (*held, waiting):
        client.answer()
    wait_for(lambda: "are busy any more" in worker.log())


def test_beyond_in_flight_requests_are_answered_503(site):
    application, gate = holding(site)
    worker = site.fork(application, threads=2, in_flight=3)
    held = [site.connect().get("/hold") for _ in range(3)]
    site.record.wait(2)
    wait_for(lambda: worker.cells[WAITING] == 1)
    refused = site.connect()
    answer = wait_for(lambda: refused.get("/more").answer())
    assert answer.status == 503
    assert answer.all("retry-after") == ["1"]
    assert answer.all("connection") == ["close"]
    assert refused.end() == []
    gate.open(3)
    for client in held:
        assert client.answer().body == b"/hold"
    assert site.get("/after").status == 200


@pools("prefork", "epoll-1", "epoll-8")
def test_workers_share_their_connections_evenly(site, pool):
    application, _gate = holding(site)
    workers = [site.fork(application, pool) for _ in range(3)]
    for _ in range(30):
        site.connect()
    wait_for(lambda: sum(worker.cells[CONNECTIONS] for worker in workers) == 30)
    assert all(8 <= worker.cells[CONNECTIONS] <= 12 for worker in workers), [w.cells[CONNECTIONS] for w in workers]


@pools("prefork", "epoll-1")
def test_a_busy_worker_with_few_connections_does_not_keep_others_from_accepting(site, pool):
    application, gate = holding(site)
    busy = site.fork(application, pool, slot=0, drain_idle=PATIENCE_SECONDS)
    held = site.connect().get("/hold")
    site.record.wait(1)
    site.fork(application, pool, slot=1, drain_idle=PATIENCE_SECONDS)
    kept = [site.connect() for _ in range(6)]
    for client in kept:
        answer = client.get("/1").answer()
        assert answer.all(SERVED_BY) != [str(busy.pid)]
    gate.open()
    assert held.answer().all(SERVED_BY) == [str(busy.pid)]


def test_a_worker_that_has_lost_its_interpreter_does_not_keep_others_from_accepting(site):
    application, gate = holding(site)
    stuck = site.fork(application, slot=0)
    held = site.connect().get("/wedge")
    site.record.wait(1)
    site.fork(application, slot=1)
    for _ in range(6):
        answer = site.connect().get("/1").answer()
        assert answer.all(SERVED_BY) != [str(stuck.pid)]
    gate.open()
    assert held.answer().all(SERVED_BY) == [str(stuck.pid)]
