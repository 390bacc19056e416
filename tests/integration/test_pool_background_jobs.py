"""Jobs in threads and executors of the application outlast its last request: they are waited for, in their time."""

from __future__ import annotations

import atexit
import concurrent.futures
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from miniwsgi.metrics.scoreboard import SlotState

from tests.support.daemon import ALONE
from tests.support.service import Service, get
from tests.support.waiting import wait_for

from .worker_harness import Site, made_site, pools
from .worker_pace import FixedPace

__all__ = ["made_site"]


def hand_over() -> None:
    """For `prepare`: in the epoll pool each request is run by a thread of the server's."""
    FixedPace.install()
    FixedPace.slow = True


def say_soon() -> None:
    """For `prepare`: who is waited for is said at once, not after a second."""
    from miniwsgi.daemon.worker import background_jobs

    background_jobs.SAY_AFTER_NS = 0


def starts(job, executor=None):
    """An application that starts `job` in a thread called report, or gives it to the executor twice."""

    def application(environ, start_response):
        if executor is None:
            threading.Thread(target=job, name="report").start()
        else:
            for _ in range(2):
                executor.submit(job)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    return application


@pools()
def test_a_job_in_a_thread_is_waited_for_before_exit_functions(site: Site, pool: str) -> None:
    gate, record = site.gate(), site.record

    def job() -> None:
        record.note("begun")
        gate.wait()
        record.note("done")

    def prepare() -> None:
        hand_over()
        atexit.register(record.note, "exit function")

    worker = site.fork(starts(job), pool, prepare=prepare)
    assert site.get("/").body == b"ok"
    record.wait(1)
    worker.tell("drain", deadline=20)
    wait_for(lambda: worker.slot.state is SlotState.DRAINING)
    assert worker.alive()
    gate.open()
    assert worker.wait() == 0
    assert record.lines() == ["begun", "done", "exit function"]


@pools("epoll-8", "prefork", "fork")
def test_what_was_given_to_an_executor_is_run(site: Site, pool: str) -> None:
    gate, record = site.gate(), site.record
    executor = concurrent.futures.ThreadPoolExecutor(1)

    def job() -> None:
        gate.wait()
        record.note("done")

    worker = site.fork(starts(job, executor), pool, prepare=hand_over)
    assert site.get("/").body == b"ok"
    worker.tell("drain", deadline=20)
    wait_for(lambda: worker.slot.state is SlotState.DRAINING)
    gate.open(2)
    assert worker.wait() == 0
    assert record.lines() == ["done", "done"]


@pools("epoll-8", "fork")
def test_a_line_says_who_is_waited_for_and_what_it_does(site: Site, pool: str) -> None:
    gate = site.gate()

    def job() -> None:
        gate.wait()

    worker = site.fork(starts(job), pool, prepare=say_soon)
    site.get("/")
    worker.tell("drain", deadline=20)
    said = "waiting for 1 thread of the application: report (in Gate.wait, "
    wait_for(lambda: said in worker.log(), worker.log())
    assert "s more (timeouts.graceful)" in worker.log()
    gate.open()
    assert worker.wait() == 0


def test_a_daemon_thread_is_not_waited_for(site: Site) -> None:
    gate = site.gate()

    def application(environ, start_response):
        threading.Thread(target=gate.wait, daemon=True).start()
        start_response("200 OK", [])
        return [b"ok"]

    worker = site.fork(application, "epoll-8")
    site.get("/")
    worker.tell("drain", deadline=60)
    assert worker.wait() == 0


@pytest.mark.parametrize("end", ["deadline", "second TERM"])
def test_a_job_that_takes_too_long_is_cut_off_and_named(site: Site, end: str) -> None:
    gate, record = site.gate(), site.record

    def prepare() -> None:
        say_soon()
        atexit.register(record.note, "exit function")

    worker = site.fork(starts(gate.wait), "epoll-8", prepare=prepare)
    site.get("/")
    if end == "deadline":
        worker.tell("drain", deadline=0.2)
    else:
        worker.signal(signal.SIGTERM)
        assert worker.message("recycle")["reason"] == "signal"
        worker.tell("drain", deadline=60)
        wait_for(lambda: "waiting for 1 thread" in worker.log())
        worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "not finished in time (timeouts.graceful), cut off: 1 thread of the application: report" in worker.log()
    assert record.lines() == ["exit function"]


def test_a_master_that_stops_shortens_the_time(site: Site) -> None:
    gate = site.gate()
    worker = site.fork(starts(gate.wait), "prefork", prepare=say_soon)
    site.get("/")
    worker.tell("drain", deadline=60)
    wait_for(lambda: "waiting for 1 thread" in worker.log())
    worker.tell("finish", deadline=0.1, accept=[])
    assert worker.wait() == 0
    assert "cut off" in worker.log()


JOB = """
    import os, threading, time
    def job():
        open("begun", "a").close()
        while os.path.exists("held"):
            time.sleep(0.01)
        with open("done", "a") as file:
            file.write(f"{os.getpid()}\\n")
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/job":
            threading.Thread(target=job, name="report").start()
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
"""


@pytest.mark.parametrize("pool", ["epoll", "fork"])
def test_reloads_do_not_wait_for_jobs(service: Service, pool: str) -> None:
    service.write(JOB)
    service.hold()
    daemon = service.start("--workers", "1", "--pool", pool)
    has_job = get(daemon, "/job")
    daemon.wait(service.has_begun, "the job")
    first = daemon.workers()  # in pool fork there is also the connection's process
    for _ in range(2):
        assert daemon.reload()
        daemon.wait(lambda: len(daemon.workers()) == len(first) + 1, "those that wait, and their successor")
    assert set(first) < set(daemon.workers())
    daemon.wait_for_log("waiting for 1 thread of the application: report (in job, ")
    service.release()
    daemon.wait(lambda: len(daemon.workers()) == 1, "the end of the job")
    assert (service.directory / "done").read_text().split() == [has_job]


@pytest.mark.parametrize("end", ["release", "second TERM"])
def test_pool_single_waits_and_a_second_signal_ends_it(service: Service, end: str) -> None:
    service.write(JOB)
    service.hold()
    path, log_path = service.directory / "http.sock", service.directory / "log"
    argv = [sys.executable, "-m", "miniwsgi.daemon", "serve", "app", "--pool", "single", "--bind", f"unix:{path}"]
    argv += ["--set", "timeouts.graceful=1h"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(argv, cwd=service.directory, stderr=log, env={**os.environ, **ALONE})
    try:
        wait_for(path.exists, "the socket")
        with socket.socket(socket.AF_UNIX) as client:
            wait_for(lambda: not client.connect_ex(str(path)), "a connection")
            client.sendall(b"GET /job HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        wait_for(service.has_begun, "the job")
        process.terminate()
        wait_for(lambda: "waiting for 1 thread of the application: report (in job, " in log_path.read_text())
        if end == "release":
            service.release()
        else:
            process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert (service.directory / "done").exists() is (end == "release")
    assert not path.exists()
