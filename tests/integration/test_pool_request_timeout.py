"""`request_timeout` and `boot_check` in every pool, on whichever thread the application hangs."""

from __future__ import annotations

import time

import pytest
from miniwsgi.codes import Code
from miniwsgi.metrics.scoreboard import ABORTED, CONNECTIONS, REQUESTS, TIMED_OUT, SlotState

from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .worker_harness import Site, pools
from .worker_pace import BRIEF_SECONDS, at_any_pace, hurry

ACCESS = {"access_log_format": "%(r)s %(s)s"}


def hanging(site: Site):
    """/hang gives nothing until the gate is opened, /stall a head and a block before."""
    gate, record = site.gate(), site.record

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/hang":
            record.note("begun")
            gate.wait()
            record.note("hung")
        start_response("200 OK", [])
        if path == "/stall":
            return stall()
        return [path.encode()]

    def stall():
        try:
            yield b"first"
            record.note("begun")
            gate.wait()
            record.note("hung")
            yield b"second"
        finally:
            record.note("closed")

    return application, gate


def access_log(site: Site) -> dict[str, str]:
    return {"access_log": str(site.directory / "access.log"), **ACCESS}


def logged(site: Site) -> list[str]:
    return (site.directory / "access.log").read_text().splitlines()


@pools()
def test_a_request_that_hangs_is_answered_504(site, pool):
    application, gate = hanging(site)
    worker = site.fork(application, pool, prepare=hurry, request_timeout=BRIEF_SECONDS, **access_log(site))
    began = time.monotonic()
    client = site.connect().get("/hang")
    answer = client.answer()
    assert answer.status == 504
    assert answer.all("connection") == ["close"]
    assert time.monotonic() - began > BRIEF_SECONDS
    assert client.end() == []
    wait_for(lambda: logged(site) == ["GET /hang HTTP/1.1 504"])
    wait_for(lambda: worker.cells[TIMED_OUT] == 1)
    wait_for(lambda: "a request exceeded timeouts.request: GET /hang" in worker.log())
    if pool != "fork":
        assert worker.message("timeout")["request"] == "GET /hang"
        wait_for(lambda: worker.slot.state is SlotState.DRAINING)
        gate.open()
        assert worker.wait() == 0
        assert "hung" in site.record.lines()
    wait_for(lambda: worker.cells[REQUESTS] == 1 and worker.cells[CONNECTIONS] == 0)
    assert worker.cells[TIMED_OUT] == 1
    assert logged(site) == ["GET /hang HTTP/1.1 504"]  # one line, also when the application has come back


@pools()
@at_any_pace("the head has to be out before the limit")
def test_a_response_that_hangs_is_cut(site, pool, limit):
    application, gate = hanging(site)
    worker = site.fork(application, pool, prepare=hurry, request_timeout=limit, **access_log(site))
    client = site.connect().get("/stall")
    [cut] = client.end()
    assert (cut.status, bytes(cut.body), cut.complete) == (200, b"first", False)
    wait_for(lambda: logged(site) == ["GET /stall HTTP/1.1 504"])
    if pool != "fork":  # its process is gone
        worker.message("timeout")
        gate.open()
        assert worker.wait() == 0
        assert site.record.lines() == ["begun", "hung", "closed"]
    wait_for(lambda: worker.cells[TIMED_OUT] == worker.cells[REQUESTS] == 1)
    assert worker.cells[ABORTED] == 0
    assert logged(site) == ["GET /stall HTTP/1.1 504"]


@pools("epoll-8", "fork")
@at_any_pace("the worker has to accept all of them before the first is too late")
def test_every_thread_is_looked_after(site, pool, limit):
    application, gate = hanging(site)
    worker = site.fork(application, pool, prepare=hurry, request_timeout=limit)
    clients = [site.connect().get("/hang") for _ in range(8)]
    for client in clients:
        assert client.answer().status == 504
        client.end()
    wait_for(lambda: worker.cells[TIMED_OUT] == 8)
    if pool == "fork":
        assert site.get("/next").body == b"/next"
    else:
        gate.open(8)
        assert worker.wait() == 0


@pools("epoll-8")
@at_any_pace("the others have to be answered in time")
def test_after_a_timeout_the_worker_accepts_no_more_but_finishes_the_others(site, pool, limit):
    application, gate = hanging(site)
    other = site.connect()
    worker = site.fork(application, pool, prepare=hurry, request_timeout=limit, drain_idle=600)
    other.get("/1").answer()
    hanging_one = site.connect().get("/hang")
    assert hanging_one.answer().status == 504
    hanging_one.end()
    worker.message("timeout")
    late = site.connect().get("/late")
    answer = other.get("/2").answer()
    assert (answer.body, answer.all("connection")) == (b"/2", ["close"])
    other.end()
    assert late.silent(0.2)
    gate.open()
    assert worker.wait() == 0


@pools("fork")
@at_any_pace("the next one has to be answered in time")
def test_in_a_pool_of_processes_the_one_that_hangs_goes_and_the_worker_stays(site, pool, limit):
    application, _gate = hanging(site)
    worker = site.fork(application, pool, prepare=hurry, request_timeout=limit)
    assert site.connect().get("/hang").answer().status == 504
    wait_for(lambda: not worker.process.children())
    assert site.get("/next").body == b"/next"
    assert worker.slot.state is SlotState.READY
    assert not worker.heard("timeout")


@pools()
@at_any_pace("the application has to come back in time")
def test_requests_within_their_time_are_left_alone(site, pool, limit):
    def application(environ, start_response):
        time.sleep(0.6 * limit)
        start_response("200 OK", [])
        return [b"done"]

    worker = site.fork(application, pool, prepare=hurry, request_timeout=limit)
    client = site.connect()
    for _ in range(4):  # together they last longer than the limit
        assert client.get("/").answer().status == 200
    assert worker.slot.state is SlotState.READY


@pools("epoll-1", "epoll-8")
@at_any_pace("the application has to come back in time")
def test_the_time_in_which_a_client_does_not_read_is_not_the_applications(site, pool, limit):
    def application(environ, start_response):
        start_response("200 OK", [])
        return blocks()

    def blocks():
        for number in range(100):
            if number == 90:
                time.sleep(0.6 * limit)
            yield b"x" * 65536

    worker = site.fork(application, pool, prepare=hurry, request_timeout=limit)
    client = site.connect(receive_bytes=4096).get("/")
    assert not client.silent(PATIENCE_SECONDS)
    time.sleep(1.2 * limit)  # the subject of the test: it is paused meanwhile
    assert len(client.answer().body) == 100 * 65536
    assert worker.slot.state is SlotState.READY


@pools()
def test_boot_check_is_asked_before_anybody_else(site, pool):
    record = site.record

    def application(environ, start_response):
        record.note(f"{environ['PATH_INFO']}?{environ['QUERY_STRING']} {environ['HTTP_HOST']}")
        start_response("204 No Content", [])
        return []

    early = site.connect().get("/early")
    site.fork(application, pool, boot_check="/health?deep=1")
    assert early.answer().status == 204
    assert record.lines() == ["/health?deep=1 localhost", "/early? test"]


@pools()
@pytest.mark.parametrize("how", ["500", "404", "raises"])
def test_a_failed_boot_check_is_told_and_ends_the_worker(site, pool, how):
    def application(environ, start_response):
        if how == "raises":
            raise RuntimeError("no database")
        environ["wsgi.errors"].write("as a framework has caught it: no database\n")
        start_response(f"{how} Wrong", [])
        return []

    worker = site.fork(application, pool, boot_check="/health", ready=False)
    failed = worker.message("failed")
    assert failed["code"] == Code.BOOT_CHECK_FAILED.value
    assert "GET /health" in failed["error"]
    assert ("500" if how == "raises" else how) in failed["error"]
    if how == "raises":
        assert failed["traceback"].endswith("RuntimeError: no database")
        assert "call.py" not in failed["traceback"], "our own frames are of no use to anybody"
    else:
        assert failed["traceback"] == "as a framework has caught it: no database"
    assert worker.wait() == 3
    assert not worker.heard("ready")


@pools("fork")
def test_what_an_application_does_behind_its_whole_answer_is_not_cut_short(site, pool):
    record = site.record

    class Result:
        def __iter__(self):
            return iter([b"whole"])

        def close(self):
            time.sleep(5)  # longer than a process that is stuck would be given: limit and two seconds
            record.note("closed")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return Result()

    site.fork(application, pool, request_timeout=1, **access_log(site))
    client = site.connect().get("/")
    assert client.answer().body == b"whole"
    wait_for(lambda: record.lines() == ["closed"])
    wait_for(lambda: logged(site) == ["GET / HTTP/1.1 200"])
