"""Processes that the application forks: what they must not have of the server's, and what becomes of the worker."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading

import pytest
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, CONNECTIONS, REQUESTS

from tests.support.service import Service, get
from tests.support.waiting import wait_for

from .worker_harness import Site, pools

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


# --- that come back into the server --------------------------------------------------------------------------------

CAME_BACK = re.compile(
    r"a process that the application forked (\w+(?: \w+)?) and came back into the server: it is ended"
)


def returns(start_response):
    start_response("200 OK", [])
    return [b"child" if not fork() else b"served"]


def calls_start_response_again(start_response):
    """As frameworks do, which catch what is raised."""
    start_response("200 OK", [])
    if fork():
        return [b"served"]
    try:
        raise ValueError
    except ValueError:
        start_response("500 Oops", [], sys.exc_info())
        return [b"child"]


def raises(start_response):
    start_response("200 OK", [])
    if not fork():
        raise ValueError("in the child")
    return [b"served"]


def exits(start_response):
    start_response("200 OK", [])
    if not fork():
        sys.exit(5)
    return [b"served"]


def writes(start_response):
    write = start_response("200 OK", [])
    if not fork():
        write(b"child")
    return [b"served"]


def yields(start_response):
    start_response("200 OK", [])
    yield b"ser"
    yield b"child" if not fork() else b"ved"


def yields_nothing_for_ever(start_response):
    start_response("200 OK", [])
    if not fork():
        while True:
            yield b""
    yield b"served"


def ends_its_generator(start_response):
    start_response("200 OK", [])
    yield b"served"
    fork()


def raises_in_its_generator(start_response):
    start_response("200 OK", [])
    yield b"served"
    if not fork():
        raise ValueError("in the child")


class Closed(list):
    def __init__(self, *, raises: bool) -> None:
        super().__init__([b"served"])
        self.raises = raises

    def close(self) -> None:
        if not fork() and self.raises:
            raise ValueError("in the child")


def comes_back_from_close(start_response):
    start_response("200 OK", [])
    return Closed(raises=False)


def raises_in_close(start_response):
    start_response("200 OK", [])
    return Closed(raises=True)


class Iterated:
    def __iter__(self):
        return iter([b"child" if not fork() else b"served"])


def comes_back_from_iter(start_response):
    start_response("200 OK", [])
    return Iterated()


children: list[int] = []


def fork() -> int:
    pid = os.fork()
    if pid:
        children.append(pid)
    return pid


WAYS = {
    returns: "returned", calls_start_response_again: "returned", raises: "raised ValueError", exits: "",
    writes: "returned", yields: "returned", yields_nothing_for_ever: "returned", ends_its_generator: "returned",
    raises_in_its_generator: "raised ValueError", comes_back_from_close: "returned",
    raises_in_close: "raised ValueError", comes_back_from_iter: "returned",
}  # fmt: skip


@pools()
def test_a_forked_process_that_comes_back_is_ended_and_its_parent_alone_answers(site: Site, pool: str) -> None:
    ways = {way.__name__: way for way in WAYS}

    def application(environ, start_response):
        name = environ["PATH_INFO"][1:]
        if name in ways:
            return ways[name](start_response)
        pid = children.pop()
        start_response("200 OK", [])
        return [str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()]

    worker = site.fork(application, pool)
    for way, how in WAYS.items():
        client = site.connect().get(f"/{way.__name__}")
        assert client.answer().body == b"served", way
        assert client.get("/status").answer().body == (b"5" if way is exits else b"70"), way
        client.close()
        told = CAME_BACK.findall(worker.log())
        assert told[-1:] == [how] or way is exits, way
    wait_for(lambda: worker.cells[REQUESTS] == 2 * len(WAYS))
    assert len(CAME_BACK.findall(worker.log())) == len(WAYS) - 1
    assert "Traceback" in worker.log()
    assert worker.alive()


@pools("epoll-1", "prefork", "fork")
@pytest.mark.parametrize("whose", ["worker", "process of the connection"])
def test_one_that_a_signal_handler_forks_never_runs_the_loop(site: Site, pool: str, whose: str) -> None:
    """Handlers of the application's run wherever the main thread is: here, inside the server."""

    def fork_and_tell(*_arguments: object) -> None:
        pid = os.fork()
        if pid:
            site.record.note(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def application(environ, start_response):
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]

    worker = site.fork(application, pool, prepare=lambda: signal.signal(signal.SIGALRM, fork_and_tell))
    client = site.connect()
    serving = client.get("/").answer().body
    wait_for(lambda: worker.cells[REQUESTS] == 1)
    accepted, closed = worker.cells[ACCEPTED], worker.cells[CLOSED]
    os.kill(worker.pid if whose == "worker" else int(serving), signal.SIGALRM)
    assert site.record.wait(1) == ["70"]
    assert len(CAME_BACK.findall(worker.log())) == 1
    assert client.get("/").answer().body == serving
    assert (worker.cells[ACCEPTED], worker.cells[CLOSED]) == (accepted, closed)


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


FORKS_AT_IMPORT_AND_COMES_BACK = """
import os, sys

if not os.fork():
    HOW
else:
    os.wait()

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""


@pytest.mark.parametrize("preload", ["true", "false"])
@pytest.mark.parametrize("how", ["pass", "sys.exit('in the child')"])
def test_a_child_of_the_import_that_comes_back_is_ended(service: Service, preload: str, how: str) -> None:
    service.write(FORKS_AT_IMPORT_AND_COMES_BACK.replace("HOW", how))
    daemon = service.start("--workers", "1", "--preload", preload)
    assert get(daemon) == "served"
    told = daemon.log().count("a process that the application forked returned and came back into the server")
    assert told == (how == "pass")
