"""Clients that are slow to send or to read, in every pool: each state has its limit, and steady progress is enough."""

from __future__ import annotations

import threading
import time

from miniwsgi.metrics.scoreboard import ABORTED, CONNECTIONS

from tests.support.waiting import wait_for

from .worker_applications import echo
from .worker_harness import Client, Site, pools
from .worker_pace import BRIEF_SECONDS, at_any_pace, hurry

BLOCK = b"x" * 65536
BIG_BYTES = 12 * 1024 * 1024  # more than all socket buffers


def limits(limit: float) -> dict[str, float]:
    """All of them (seconds)."""
    names = ("head_timeout", "body_timeout", "send_timeout", "keep_alive_timeout")
    # The last one is, in prefork, how long one of several connections may be silent.
    return dict.fromkeys((*names, "drain_idle"), limit)


def big(site: Site):
    """An application whose responses are larger than any socket buffer, given in every way there is."""
    file = site.directory / "big"
    file.write_bytes(bytes(BIG_BYTES))
    record = site.record

    class Blocks:
        def __init__(self, name, count):
            self.name, self.left = name, count

        def __iter__(self):
            return self

        def __next__(self):
            if not self.left:
                raise StopIteration
            self.left -= 1
            return BLOCK

        def close(self):
            record.note(f"closed {self.name}")

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/ping":
            return echo(environ, start_response)
        headers = [("Content-Length", str(BIG_BYTES))]
        if path == "/list":
            start_response("200 OK", headers)
            return [bytes(BIG_BYTES)]
        if path == "/generator":
            start_response("200 OK", [])
            return Blocks("generator", BIG_BYTES // len(BLOCK))
        if path == "/file":
            start_response("200 OK", headers)
            return environ["wsgi.file_wrapper"](file.open("rb"))
        write = start_response("200 OK", headers)
        for _ in range(BIG_BYTES // len(BLOCK)):
            write(BLOCK)
        return Blocks("write", 0)

    return application


WAYS = ("list", "generator", "file", "write")


@pools()
@at_any_pace("the steady client has to send its pieces in time")
def test_each_state_of_a_slow_sender_has_its_limit(site, pool, limit):
    site.fork(echo, pool, prepare=hurry, **limits(limit))
    began = time.monotonic()
    silent, half_head, half_body, kept = [site.connect() for _ in range(4)]
    kept.get("/kept").answer()
    half_head.send(b"GET / HTT")
    half_body.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    steady = site.connect()
    sender = threading.Thread(target=send_steadily, args=(steady, limit))
    sender.start()
    for client, statuses in ((silent, []), (half_head, [408]), (half_body, [408]), (kept, [])):
        assert [response.status for response in client.end()] == statuses
        assert time.monotonic() - began > limit
    sender.join()
    assert len(steady.answer().body) == 1 + 20 * int(400 * limit)


def send_steadily(client: Client, limit: float) -> None:
    """A body at 2,000 bytes a second, four times the minimum, for four times the limit."""
    piece = b"s" * int(400 * limit)
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (20 * len(piece)))
    for _ in range(20):
        client.send(piece)
        time.sleep(limit / 5)


@pools()
def test_a_body_that_trickles_is_too_slow(site, pool):
    site.fork(echo, pool, prepare=hurry, **limits(BRIEF_SECONDS))
    client = site.connect().send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n")
    while client.silent(0.1):
        client.send(b"s")
    assert [response.status for response in client.end()] == [408]


@pools()
@at_any_pace("the client has to send its pieces in time")
def test_a_second_body_has_the_same_time_as_the_first(site, pool, limit):
    site.fork(echo, pool, prepare=hurry, **limits(limit))
    client = site.connect()
    for _ in range(2):
        send_steadily(client, limit)
        assert client.answer().status == 200


@pools()
def test_a_client_that_does_not_read_is_dropped(site, pool):
    worker = site.fork(big(site), pool, prepare=hurry, send_timeout=BRIEF_SECONDS)
    site.get("/ping")
    before = worker.at_rest()
    clients = {way: site.connect(receive_bytes=4096).get(f"/{way}") for way in WAYS}
    site.record.wait(1)
    wait_for(lambda: not worker.cells[CONNECTIONS], f"{worker.cells[CONNECTIONS]} connections")
    for way, client in clients.items():
        assert client.received == 0
        assert not any(response.complete for response in client.end()), way
    assert site.get("/ping").status == 200
    worker.wait_for_descriptors(before)
    wait_for(lambda: worker.cells[ABORTED] == len(WAYS))
    assert site.record.lines() == ["closed generator"]


@pools()
@at_any_pace("the clients have to read in time")
def test_clients_that_read_slowly_but_steadily_get_everything(site, pool, limit):
    worker = site.fork(big(site), pool, prepare=hurry, **limits(limit))
    # Pool prefork has one at a time.
    clients = [site.connect(receive_bytes=16384).get(f"/{way}") for way in (WAYS[:1] if pool == "prefork" else WAYS)]
    readers = [threading.Thread(target=read_steadily, args=(client, limit)) for client in clients]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    for client in clients:
        assert len(client.reader.responses[0].body) == BIG_BYTES
    assert worker.alive()


def read_steadily(client: Client, limit: float) -> None:
    """400 kB a second, far above the minimum, far below what buffers hold, for six times the limit; then the rest."""
    until = time.monotonic() + 6 * limit
    while time.monotonic() < until:
        client.take(size=4096)
        time.sleep(0.01)
    client.answer()


@pools()
def test_an_idle_connection_is_kept_as_long_as_keep_alive_says(site, pool):
    client = site.connect().get("/1")  # before anybody takes the time
    site.fork(echo, pool, prepare=hurry, keep_alive_timeout=600, head_timeout=BRIEF_SECONDS)
    client.answer()
    assert client.silent(3 * BRIEF_SECONDS)
    assert client.get("/2").answer().status == 200


@pools()
def test_without_keep_alive_each_response_says_that_it_is_the_last(site, pool):
    site.fork(echo, pool, keep_alive_timeout=0)
    client = site.connect().get("/1")
    assert client.answer().all("connection") == ["close"]
    assert client.end() == []


@pools()
def test_a_minimum_rate_of_none_leaves_slow_clients_alone(site, pool):
    # Sent before anybody takes the time.
    client = site.connect().send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    worker = site.fork(echo, pool, prepare=hurry, **limits(BRIEF_SECONDS), minimum_rate=0)
    assert client.silent(3 * BRIEF_SECONDS)
    assert client.send(b"cd").answer().body == b"/abcd"
    assert worker.alive()


@pools("epoll-1", "epoll-8", "prefork")
@at_any_pace("what comes before the worker is busy has to come in time")
def test_a_request_that_waits_while_the_worker_is_busy_is_not_taken_for_silence(site, pool, limit):
    hold = 4 * limit
    held = site.gate()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/busy":
            held.wait()
            if pool == "epoll-8":  # whatever the threads: nothing runs beside code that holds the interpreter
                hold_the_interpreter(hold)
            else:
                time.sleep(hold)
        return echo(environ, start_response)

    worker = site.fork(application, pool, prepare=hurry, **limits(limit))
    fresh, kept, half_head, half_body, busy = [site.connect() for _ in range(5)]
    if pool == "prefork":  # a response to one of several says that it is the last
        kept = fresh
    else:
        kept.get("/kept").answer()
    half_head.send(b"GET /head HTT")
    half_body.send(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    wait_for(lambda: worker.cells[CONNECTIONS] == 5)
    busy.get("/busy")
    held.open()
    wait_for(worker.slot.running)
    if kept is not fresh:
        kept.get("/again")
    fresh.get("/fresh")
    half_head.send(b"P/1.1\r\nHost: x\r\n\r\n")
    half_body.send(b"cd")
    for client, body in ((busy, b"/busy"), (half_head, b"/head"), (half_body, b"/bodyabcd"), (fresh, b"/fresh")):
        assert client.answer().body == body
    if kept is not fresh:
        assert kept.answer().body == b"/again"


def hold_the_interpreter(seconds: float) -> None:
    """As C code does that keeps the GIL."""
    import ctypes

    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
