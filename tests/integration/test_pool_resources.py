"""When a worker's world breaks: no descriptors, no room for bodies, an application that breaks what is not its own."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import time

import pytest
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, CONNECTIONS, ERRORS, REJECTED, REQUESTS

from tests.support.effort import effort
from tests.support.waiting import wait_for

from .worker_applications import echo, holding
from .worker_harness import pools
from .worker_pace import hurry

BODY = b"b" * 400_000


def post(path: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


# --- descriptors ------------------------------------------------------------------------------------------------------


# A pool takes a few for itself once it begins; a child of pool fork wants a few to serve at all, and takes two in the
# worker: either may be the one that is missing.
@pytest.mark.parametrize(("pool", "spare"), [("epoll-1", 5), ("epoll-8", 5), ("prefork", 3), ("fork", 6), ("fork", 7)])
def test_without_descriptors_a_worker_waits_without_spinning_and_goes_on(site, pool, spare):

    def prepare() -> None:
        from miniwsgi.daemon.worker.orders import Orders

        original = Orders.tell

        def tell(orders, kind, *descriptors, **fields):
            if kind == "ready":
                allow_descriptors(spare)
            original(orders, kind, *descriptors, **fields)

        Orders.tell = tell

    worker = site.fork(echo, pool, prepare=prepare)
    clients = [site.connect() for _ in range(8)]
    wait_for(lambda: "cannot accept connections" in worker.log())
    began = worker.cpu_seconds()
    time.sleep(0.3)  # the subject of the test
    assert worker.cpu_seconds() - began < 0.1
    assert worker.alive()
    for client in clients:  # each that goes makes room for another
        assert client.get("/x").answer().body == b"/x"
        client.close()
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] == 8)


def allow_descriptors(spare: int) -> None:
    """So many may be opened from now on: the limit is on their numbers, and there are gaps."""
    taken = {int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}
    limit = 0
    while spare:
        spare -= limit not in taken
        limit += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


# --- request bodies ---------------------------------------------------------------------------------------------------


@pools()
@pytest.mark.parametrize("why", ["is missing", "is full", "is full at the last bytes"])
def test_a_body_that_cannot_be_kept_is_answered_503(site, pool, why):
    directory = site.directory / "spool"
    if why != "is missing":
        directory.mkdir()
    # What a full disk does, as far as the process can tell: a write fails, here beyond this size.
    room = {"is full": 300_000, "is full at the last bytes": len(BODY) - 1000}.get(why)

    def prepare() -> None:
        if room:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    worker = site.fork(echo, pool, prepare=prepare, spool_directory=str(directory))
    for _ in range(3):
        client = site.connect()
        whole = post("/kept", BODY)
        client.send(whole[:-3000])  # in two pieces: the last one is what a buffer may still hold
        time.sleep(0.01)
        client.send(whole[-3000:])
        assert [response.status for response in client.end()] == [503]
    wait_for(lambda: "a request body could not be kept" in worker.log())
    assert site.connect().send(post("/small", b"x" * 1000)).answer().body == b"/small" + b"x" * 1000
    wait_for(lambda: worker.cells[REJECTED] == 3)
    wait_for(lambda: worker.cells[REQUESTS] == 1)


@pools()
def test_a_big_body_is_kept_in_a_file_that_is_gone_afterwards(site, pool):
    directory = site.directory / "spool"
    directory.mkdir()
    worker = site.fork(echo, pool, spool_directory=str(directory), drain_idle=0.2)
    client = site.connect()
    for _ in range(3):
        assert client.send(post("/", BODY)).answer().body == b"/" + BODY
    client.send(post("/", BODY)[:-1])
    client.reset()
    wait_for(lambda: not worker.cells[CONNECTIONS])
    wait_for(lambda: not any(str(directory) in name for name in worker.descriptors()))
    assert list(directory.iterdir()) == []


# --- the application --------------------------------------------------------------------------------------------------


RAISED = (SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, RecursionError, StopIteration, BaseException)


@pools()
@pytest.mark.parametrize("when", ["call", "next", "close"])
def test_whatever_the_application_raises_the_worker_lives(site, pool, when):
    class Result:
        def __init__(self, error):
            self.error, self.left = error, 2

        def __iter__(self):
            return self

        def __next__(self):
            self.left -= 1
            if not self.left:
                if when == "next":
                    raise self.error
                raise StopIteration
            return b"part"

        def close(self):
            if when == "close":
                raise self.error

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/alive":
            return echo(environ, start_response)
        error = RAISED[int(path[1:])]("on purpose")
        if when == "call":
            raise error
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Result(error)

    worker = site.fork(application, pool)
    failed = 0
    for number, error in enumerate(RAISED):
        client = site.connect().get(f"/{number}")
        if when == "call":
            assert client.answer().status == 500
            failed += 1
        elif when == "next" and error is not StopIteration:
            [cut] = client.end()
            assert not cut.complete
            failed += 1
        else:
            assert client.answer().body == b"part"
        client.close()
        assert site.get("/alive").status == 200
        if when != "next" or error is not StopIteration:
            wait_for(lambda error=error: f"the application raised {error.__name__}" in worker.log())
    wait_for(lambda: worker.cells[CONNECTIONS] == 0)
    wait_for(lambda: worker.cells[ERRORS] == failed)
    assert worker.alive()


@pools("fork")
@pytest.mark.parametrize("how", ["signal", "status"])
def test_a_process_that_ends_amid_a_request_is_told_of(site, pool, how):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/die":
            if how == "signal":
                os.kill(os.getpid(), signal.SIGSEGV)
                time.sleep(5)
            os._exit(9)
        return echo(environ, start_response)

    worker = site.fork(application, pool)
    assert site.connect().get("/die").end() == []
    wait_for(lambda: "GET /die" in worker.log())
    wait_for(lambda: ("SIGSEGV" if how == "signal" else "status 9") in worker.log())
    assert site.get("/alive").status == 200
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] == 2)


@pools()
def test_an_application_that_closes_what_is_not_its_own_hangs_nobody(site, pool):
    """The worker ends, and is replaced; it must not stay without serving, or spin."""

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/sweep":
            os.closerange(3, 65536)
        elif environ["PATH_INFO"] == "/listener":
            os.close(site.listener.fileno())
        return echo(environ, start_response)

    for path in ("/sweep", "/listener"):
        worker = site.fork(application, pool)
        clients = [site.connect().get(path)]
        if pool == "fork":  # it was only the child's
            clients[0].end() if path == "/sweep" else clients[0].answer()
            assert site.get("/alive").status == 200
        else:
            clients += [site.connect() for _ in range(3)]
            assert worker.wait() != 0, path
            assert "Traceback" in worker.log()
        worker.close()
        site.workers.remove(worker)
        for client in clients:
            client.close()


@pools("epoll-8")
def test_a_thread_that_breaks_in_the_servers_own_code_ends_the_worker(site, pool):
    def prepare() -> None:
        from miniwsgi.daemon.worker.pools.epoll.loop import EpollPool

        def broken(*_arguments):
            raise OSError(errno.EIO, "in the server's own code")

        EpollPool._give_back = broken

    application, gate = holding(site)
    worker = site.fork(application, pool, prepare=prepare)
    for _ in range(3):
        site.connect().get("/hold")
    site.record.wait(3)  # others have taken the loop over from the first two
    gate.open(3)  # whichever comes through first: the third may still have the loop, and gives nothing back
    assert worker.wait() == 1
    assert "in the server's own code" in worker.log()


@pools()
def test_processes_that_the_application_forks_keep_nothing_open(site, pool):
    """They have copies of all connections: the loop must not see what happens to those."""
    gate = site.gate()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/fork":
            pid = os.fork()
            if not pid:
                try:
                    gate.wait()
                finally:
                    os._exit(0)
            site.record.note(pid)
        return echo(environ, start_response)

    worker = site.fork(application, pool, drain_idle=0.2)
    others = [] if pool == "prefork" else [site.connect() for _ in range(3)]
    for client in others:
        client.get("/before").answer()
    assert site.get("/fork").body == b"/fork"
    for client in others:
        client.send(b"garbage\r\n\r\n")
        assert client.answer().status == 400
        client.close()
    wait_for(lambda: not worker.cells[CONNECTIONS])
    began = worker.cpu_seconds()
    time.sleep(0.3)  # the subject of the test
    assert worker.cpu_seconds() - began < 0.1
    assert site.get("/after").body == b"/after"
    gate.open()


@pools("prefork", "epoll-8")
def test_exit_functions_of_the_application_run_once_when_the_worker_leaves(site, pool):
    record = site.record

    def application(environ, start_response):
        import atexit

        atexit.register(record.note, "left")
        return echo(environ, start_response)

    worker = site.fork(application, pool)
    site.get("/")
    worker.tell("drain", deadline=20)
    assert worker.wait() == 0
    assert record.lines() == ["left"]


@pools()
def test_hundreds_of_connections_leave_no_descriptor_behind(site, pool):
    worker = site.fork(echo, pool)
    site.get("/warm")
    before = worker.at_rest()
    for turn in range(50 if pool == "fork" else effort(50, 250)):
        for sent in (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"nonsense\r\n\r\n", b"GET", b""):
            with socket.create_connection(site.address) as sock:
                sock.sendall(sent)
                if turn % 2 and len(sent) > 3:
                    sock.settimeout(20)
                    sock.recv(1000)
    wait_for(lambda: not worker.cells[CONNECTIONS])
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED])
    worker.wait_for_descriptors(before)


def test_a_full_disk_under_the_access_log_is_told_once_when_it_begins_and_once_when_it_is_over(site):
    path = site.directory / "access.log"
    path.symlink_to("/dev/full")
    worker = site.fork(echo, "epoll-8", prepare=hurry, access_log=str(path))
    for _ in range(3):
        site.get("/")
        wait_for(lambda: "the access log loses lines: No space left on device" in worker.log())
    path.unlink()
    worker.tell("reopen")
    wait_for(path.exists)

    def over():
        site.get("/")
        return "the access log is written again" in worker.log()

    wait_for(over)
    assert worker.log().count("the access log") == 2
    assert " lost: No space left on device" in path.read_text()
