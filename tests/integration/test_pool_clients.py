"""What clients do to a worker: pipelining, leaving at every stage, closing half, asking for much and reading slowly."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

import pytest
from miniwsgi.metrics.scoreboard import ABORTED, ACCEPTED, CLIENTS_LEFT, CLOSED, CONNECTIONS, REQUESTS, WAITING

from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .worker_applications import echo, holding
from .worker_harness import Site, pools
from .worker_pace import at_any_pace, hurry

BLOCK = b"x" * 65536


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


# --- pipelining -------------------------------------------------------------------------------------------------------


@pools()
def test_requests_behind_one_that_blocks_are_answered_in_order(site, pool):
    application, gate = holding(site)
    site.fork(application, pool)
    client = site.connect().send(get("/1") + get("/hold") + get("/2") + get("/3")[:20])
    site.record.wait(1)
    client.send(get("/3")[20:] + get("/hold") + b"POST /4 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    gate.open()
    site.record.wait(2)
    client.send(b"cd" + get("/5"))
    gate.open()
    for body in (b"/1", b"/hold", b"/2", b"/3", b"/hold", b"/4abcd", b"/5"):
        assert client.answer().body == body


@contextlib.contextmanager
def asking_without_end(site: Site) -> Iterator[threading.Thread]:
    """A client that sends request upon request, and reads what comes, until its connection is closed."""
    client, batch = site.connect(), get("/again") * 500
    client.socket.setblocking(False)
    stop = threading.Event()

    def ask() -> None:
        unsent = batch
        while not stop.is_set():
            select.select([client.socket], [client.socket], [], 1)
            try:
                unsent = unsent[client.socket.send(unsent) :] or batch
            except BlockingIOError:
                pass
            except ConnectionError:
                return
            try:
                if not client.socket.recv(1 << 20):
                    client.close()
                    return
            except BlockingIOError:
                pass
            except ConnectionError:
                return

    thread = threading.Thread(target=ask)
    thread.start()
    yield thread
    stop.set()
    thread.join()


def tenth_of_a_millisecond(environ, start_response):
    time.sleep(0.0001)
    return echo(environ, start_response)


@pools()
def test_a_client_that_never_stops_asking_does_not_keep_a_worker_from_its_orders(site, pool):
    worker = site.fork(tenth_of_a_millisecond, pool, drain_idle=0.2)
    with asking_without_end(site) as thread:
        wait_for(lambda: worker.cells[REQUESTS] > 400)
        worker.tell("drain", deadline=20)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "its connection has not been closed"
    assert worker.wait() == 0


@pools("epoll-1", "epoll-8", "prefork")
def test_a_client_that_never_stops_asking_does_not_keep_others_waiting(site, pool):
    site.fork(tenth_of_a_millisecond, pool)
    with asking_without_end(site):
        for _ in range(10):
            assert site.get("/other").body == b"/other"


@pools()
def test_who_waits_for_100_behind_another_request_gets_it(site, pool):
    site.fork(echo, pool)
    client = site.connect()
    client.send(get("/1") + b"POST /2 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert client.answer().body == b"/1"
    wait_for(lambda: [response.status for response in client.reader.responses] == [200, 100] or not client.take())
    assert client.send(b"body").answer().body == b"/2body"


@pools("epoll-1", "epoll-8")
@at_any_pace("the client has to send its pieces in time")
def test_a_slow_second_body_is_not_measured_by_the_response_before_it(site, pool, limit):
    def application(environ, start_response):
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [BLOCK * 100 if environ["PATH_INFO"] == "/big" else b"small"]

    site.fork(application, pool, prepare=hurry, body_timeout=limit, send_timeout=600)
    client = site.connect(receive_bytes=4096)
    piece = b"." * int(400 * limit)
    client.send(b"POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    time.sleep(0.05)  # so that the body comes in two pieces
    client.send(b"cdPOST /small HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (21 * len(piece)) + piece)
    assert len(client.answer().body) == 100 * len(BLOCK)
    for _ in range(20):  # 2,000 bytes a second for four times the limit
        time.sleep(limit / 5)
        client.send(piece)
    assert client.answer().body == b"small"


# --- leaving ----------------------------------------------------------------------------------------------------------

STAGES = {
    "before a byte": b"",
    "amid the head": b"GET /x HT",
    "amid the body": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234",
    "while a big body is kept": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n" + 8 * BLOCK,
    "while the application runs": get("/hold"),
    "with another request sent": get("/hold") + get("/next"),
    "with half a request sent": get("/hold") + b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234",
    "with the next waiting for 100": get("/hold")
    + b"POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
}


@pools()
@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_may_leave_at_any_time(site, pool, how):
    application, gate = holding(site)
    worker = site.fork(application, pool, drain_idle=0.2)
    site.get("/warm")
    before = worker.at_rest()
    begun = 0
    for stage, sent in STAGES.items():
        client = site.connect().send(sent)
        if b"/hold" in sent:
            begun += 1
            site.record.wait(begun)
        elif pool != "prefork" or sent:
            wait_for(lambda: worker.cells[CONNECTIONS] == 1, stage)
        getattr(client, how)()
        if b"/hold" in sent:
            time.sleep(0.01)  # so that its end arrives before the application's answer
            gate.open()
        wait_for(lambda: worker.cells[CONNECTIONS] == 0, stage)
        assert site.get("/alive").body == b"/alive", stage
    wait_for(lambda: worker.cells[CONNECTIONS] == 0)
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] == 2 * len(STAGES) + 1)
    worker.wait_for_descriptors(before)
    assert "Traceback" not in worker.log()


@pools("epoll-1", "epoll-8")
def test_a_held_connection_that_is_reset_costs_no_time(site, pool):
    """An event that cannot be masked would make the loop spin until the application is done."""
    application, gate = holding(site)
    worker = site.fork(application, pool)
    other = site.connect()
    other.get("/1").answer()
    clients = [site.connect().get("/hold") for _ in range(1 if pool == "epoll-1" else 3)]
    site.record.wait(len(clients))
    for client in clients:
        client.send(get("/more"))
        client.reset()
    if pool == "epoll-8":
        other.get("/2").answer()
    began = worker.cpu_seconds()
    time.sleep(0.3)  # the subject of the test
    assert worker.cpu_seconds() - began < 0.1
    gate.open(len(clients))
    other.close()
    wait_for(lambda: worker.cells[CONNECTIONS] == 0)


@pools()
def test_a_half_closed_client_gets_its_answers(site, pool):
    application, gate = holding(site)
    site.fork(application, pool)
    client = site.connect().send(get("/1") + get("/hold") + get("/2"))
    client.half_close()
    site.record.wait(1)
    gate.open()
    for body in (b"/1", b"/hold", b"/2"):
        assert client.answer().body == body
    assert client.end() == []


@pools()
def test_a_half_closed_client_that_reads_slowly_gets_everything(site, pool):
    def application(environ, start_response):
        start_response("200 OK", [])
        return (BLOCK for _ in range(160))

    site.fork(application, pool)
    client = site.connect(receive_bytes=4096).get("/")
    client.half_close()
    assert not client.silent(PATIENCE_SECONDS)
    assert len(client.answer().body) == 160 * len(BLOCK)
    assert client.end() == []


# --- big responses ----------------------------------------------------------------------------------------------------


@pools("prefork", "fork")
@pytest.mark.parametrize("how", ["generator", "write", "close"])
def test_a_block_is_out_before_the_next_is_made(site, pool, how):
    """Where nobody goes on sending while the application makes the next one (PEP 3333, "Buffering and Streaming"), or
    does in close() what its client need not wait for."""
    gate, size = site.gate(), 200_000
    site.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", str(size + 1))])
        if how == "write":
            write(b"x" * size)
            gate.wait()
            return [b"."]
        return Closing([b"x" * size, b"."]) if how == "close" else blocks()

    class Closing(list):
        def close(self):
            gate.wait()

    def blocks():
        yield b"x" * size
        gate.wait()
        yield b"."

    site.fork(application, pool)
    client = site.connect(receive_bytes=4096).get("/")
    client.take_until(lambda: client.received > size)
    gate.open()
    assert len(client.answer().body) == size + 1


@pools()
def test_a_generator_is_pulled_as_its_client_reads(site, pool):
    """10 MiB for a client that reads nothing: no more of it is made than buffers hold."""
    record, size = site.record, 160
    site.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(size * len(BLOCK)))])
        return blocks()

    def blocks():
        for _ in range(size):
            record.note("pulled")
            yield BLOCK

    worker = site.fork(application, pool)
    client = site.connect(receive_bytes=4096).get("/")
    site.record.wait(2)
    most = [0]

    def quiet() -> bool:
        last, most[0] = most[0], len(record.lines())
        time.sleep(0.3)
        return last == most[0]

    wait_for(quiet)
    assert most[0] * len(BLOCK) < 1_500_000
    memory = worker.process.memory_info().rss
    assert len(client.answer().body) == size * len(BLOCK)
    assert worker.process.memory_info().rss - memory < 2_000_000


@pools()
@pytest.mark.parametrize("what", ["shrinks", "is deleted", "grows"])
def test_a_file_that_changes_while_it_is_sent(site, pool, what):
    path = site.directory / "file"
    path.write_bytes(BLOCK * 160)

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/alive":
            return [b"yes"]
        return environ["wsgi.file_wrapper"](path.open("rb"))

    worker = site.fork(application, pool)
    site.get("/alive")
    before = worker.at_rest()
    client = site.connect(receive_bytes=4096).get("/")
    assert not client.silent(PATIENCE_SECONDS)
    if what == "shrinks":
        os.truncate(path, 10 * len(BLOCK))
        [cut] = client.end()
        assert not cut.complete  # what was already queued may have become zeros: see sendfile(2)
    else:
        if what == "grows":
            with path.open("ab") as file:
                file.write(BLOCK)
        else:
            path.unlink()
        assert len(client.answer().body) == 160 * len(BLOCK)
    client.close()
    wait_for(lambda: worker.cells[CONNECTIONS] == 0)
    worker.wait_for_descriptors(before)
    assert site.get("/alive").body == b"yes"


@pools("epoll-1", "epoll-8")
def test_one_big_file_does_not_keep_the_loop_from_others(site, pool):
    path = site.directory / "file"
    with path.open("wb") as file:
        file.truncate(1 << 30)

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/small":
            return [b"small"]
        return environ["wsgi.file_wrapper"](path.open("rb"))

    site.fork(application, pool)
    big = site.connect().get("/big")
    other = site.connect()
    turns = 0
    received = 0
    while received < 64 << 20:
        received += len(big.socket.recv(1 << 20))
        if turns < 20:
            turns += 1
            assert other.get("/small").answer().body == b"small"
    big.reset()
    assert other.get("/small").answer().body == b"small"


# --- gone -------------------------------------------------------------------------------------------------------------


@pools()
def test_a_generator_that_gives_nothing_ends_when_its_client_has_gone(site, pool):
    record = site.record

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] != "/endless":
            yield b"well"
            return
        try:
            record.note("begun")
            while True:
                time.sleep(0.002)
                yield b""
        finally:
            record.note("closed")

    worker = site.fork(application, pool)
    client = site.connect().get("/endless")
    record.wait(1)
    client.reset()
    assert record.wait(2) == ["begun", "closed"]
    wait_for(lambda: worker.cells[ABORTED] == worker.cells[CLIENTS_LEFT] == 1)
    assert site.get("/after").body == b"well"


@pools("epoll-1", "epoll-8", "prefork")
def test_what_waits_for_a_thread_is_not_run_when_its_client_has_gone(site, pool):
    gate, record = site.gate(), site.record

    def application(environ, start_response):
        record.note(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/hold":
            gate.wait()
        return echo(environ, start_response)

    threads = 2 if pool == "epoll-8" else 1
    worker = site.fork(application, pool, threads=threads)
    gone = site.connect()
    stays = site.connect()
    for client in (gone, stays):
        client.get("/known").answer()
    held = [site.connect().get("/hold") for _ in range(threads)]
    record.wait(2 + threads)
    (site.connect() if pool == "prefork" else gone).get("/gone").reset()
    stays = site.connect() if pool == "prefork" else stays
    stays.get("/stays")
    if pool != "prefork":
        stays.half_close()
    if threads > 1:
        wait_for(lambda: worker.cells[CLIENTS_LEFT] == 1)
    gate.open(threads)
    assert [client.answer().body for client in (*held, stays)] == [b"/hold"] * threads + [b"/stays"]
    wait_for(lambda: worker.cells[CLIENTS_LEFT] == 1)
    assert "/gone" not in record.lines()
    assert site.get("/after").status == 200
    wait_for(lambda: worker.cells[WAITING] == 0)


# --- context variables ------------------------------------------------------------------------------------------------

SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


@pools()
def test_what_a_request_sets_is_not_seen_by_the_next(site, pool):
    def application(environ, start_response):
        seen = SEEN.get()
        SEEN.set(environ["PATH_INFO"])
        start_response("200 OK", [])
        yield f"{seen} ".encode()
        yield SEEN.get().encode()

    site.fork(application, pool)
    client = site.connect()
    for path in ("/1", "/2", "/3"):
        assert client.get(path).answer().body == b"nothing " + path.encode()
