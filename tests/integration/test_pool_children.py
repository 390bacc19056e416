"""Processes that the application forks: what they must not have of the server's, and what becomes of the worker."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
from miniwsgi.metrics.scoreboard import CONNECTIONS

from .conftest import Service, get
from .worker_harness import Site, made_site, pools, wait_for  # noqa: F401

OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def belongings() -> str:
    """What the calling process has: open files beyond the standard ones, and signals that it catches."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}") if int(name) > 2 else "")
        except OSError:
            pass  # the directory's own
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    caught = [number.name for number in OURS if int(status["SigCgt"], 16) & (1 << number - 1)]
    return json.dumps([sorted(link for link in links if link and not link.startswith(("/proc", "pipe"))), caught])


@pools()
@pytest.mark.parametrize("where", ["on its thread", "on another thread"])
def test_a_forked_process_has_none_of_the_servers_descriptors_and_default_signals(site: Site, pool, where) -> None:
    gate, record = site.gate(), site.record

    def fork() -> None:
        pid = os.fork()
        if not pid:
            try:
                record.note(belongings())
                gate.wait()
            finally:
                os._exit(0)
        record.note(pid)
        record.note(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/fork":
            thread = threading.Thread(target=fork)
            thread.start() if where == "on another thread" else fork()
            thread.join() if where == "on another thread" else None
        return [b"served"]

    worker = site.fork(application, pool)
    others = [site.connect() for _ in range(2)] if pool != "prefork" else []
    for other in others:
        other.get("/").answer()
    client = site.connect().get("/fork")
    lines = record.wait(2)
    pid = next(int(line) for line in lines if line.isdecimal())
    links, caught = json.loads(next(line for line in lines if not line.isdecimal()))
    assert set(links) <= {"/dev/null"}
    assert caught == ["SIGINT"]  # KeyboardInterrupt
    os.kill(pid, signal.SIGTERM)
    assert client.answer().body == b"served"
    assert record.wait(3)[2] == str(-signal.SIGTERM)
    assert site.get("/").body == b"served"
    worker.tell("drain", deadline=20)
    assert worker.wait() == 0
    assert not worker.heard("recycle")


def test_a_signal_that_comes_at_once_is_the_childs(site: Site) -> None:
    """Not even between fork(2) and its first step does it reach the worker."""

    def application(environ, start_response):
        statuses = set()
        for _ in range(20):
            pid = os.fork()
            if not pid:
                signal.pause()
            os.kill(pid, signal.SIGTERM)
            statuses.add(os.waitpid(pid, 0)[1])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr(statuses).encode()]

    worker = site.fork(application, "prefork")
    assert site.get("/").body == f"{{{int(signal.SIGTERM)}}}".encode()
    worker.tell("drain", deadline=20)
    assert worker.wait() == 0
    assert not worker.heard("recycle")


@pools("epoll-8")
def test_a_process_that_outlives_its_request_keeps_no_connection_open(site: Site, pool) -> None:
    gate = site.gate()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/fork" and not os.fork():
            try:
                site.record.note("there")
                gate.wait()
            finally:
                os._exit(0)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"served"]

    worker = site.fork(application, pool)
    client = site.connect().get("/fork", "Connection: close")
    site.record.wait(1)
    assert client.answer().body == b"served"
    assert client.end() == []  # end-of-file, although the process lives
    wait_for(lambda: not worker.cells[CONNECTIONS])
    gate.open()


# --- in a daemon --------------------------------------------------------------------------------------------------

MULTIPROCESSING = """
import multiprocessing, os, time

def application(environ, start_response):
    done = []
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        process = context.Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join()
        done.append(process.exitcode)
        with context.Pool(2) as pool:
            done.append(pool.map(abs, [-1, -2]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{done}".encode()]
"""


@pytest.mark.parametrize("pool", ["epoll", "prefork", "fork"])
def test_multiprocessing_works_in_a_view_and_the_worker_stays(service: Service, pool: str) -> None:
    service.write(MULTIPROCESSING)
    daemon = service.start("--pool", pool, "--workers", "1")
    for _ in range(2):
        assert get(daemon) == str([-signal.SIGTERM, [1, 2]] * 3)
    assert "replaced" not in daemon.log()
    assert "the next one in" not in daemon.log()


FORKS_AT_IMPORT = """
import json, os, signal, time

PID = os.fork()
if not PID:
    try:
        links = []
        for name in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink("/proc/self/fd/" + name) if int(name) > 2 else "")
            except OSError:
                pass
        with open("links.new", "w") as file:
            json.dump([link for link in links if link.startswith(("socket", "/memfd", "pipe", "anon"))], file)
        os.rename("links.new", "links")
        signal.pause()
    finally:
        os._exit(0)
while not os.path.exists("links"):
    time.sleep(0.01)

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(PID).encode()]
"""


def test_so_has_a_child_of_the_import(service: Service) -> None:
    service.write(FORKS_AT_IMPORT)
    daemon = service.start("--workers", "1", "--preload", "true")
    assert json.loads((service.directory / "links").read_text()) == []
    pid = int(get(daemon))
    os.kill(pid, signal.SIGTERM)
    daemon.wait(lambda: not os.path.exists(f"/proc/{pid}"), "the child is gone, and was reaped")
    assert get(daemon) == str(pid)
