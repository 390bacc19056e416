"""uwsgi in every pool, beside HTTP on another listener of the same worker, and how it ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from miniwsgi.daemon.settings import Listener
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, CONNECTIONS, REQUESTS, TIMED_OUT

from tests.support.uwsgi import packet, post
from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .worker_harness import Site, Worker, pools

MEBIBYTE = 1 << 20


class Speaker:
    """A second listener, which speaks uwsgi."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = self.socket.getsockname()

    def fork(self, application: Callable[..., Any], pool: str, **settings: Any) -> Worker:
        host, port = self.site.address
        listeners = (
            Listener(self.site.listener.fileno(), f"{host}:{port}", False, host, str(port)),
            Listener(self.socket.fileno(), "uwsgi", False, host, str(self.address[1]), "uwsgi"),
        )
        return self.site.fork(application, pool, listeners=listeners, trusted=("127.0.0.1",), **settings)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE_SECONDS)

    def ask(self, data: bytes) -> bytes:
        """All of the answer."""
        with self.connect() as client:
            client.sendall(data)
            return read_all(client)


def read_all(client: socket.socket) -> bytes:
    answer = b""
    while data := client.recv(1 << 20):
        answer += data
    return answer


@pytest.fixture
def speaker(site: Site) -> Any:
    made = Speaker(site)
    yield made
    made.socket.close()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    start_response("200 OK", [])
    match environ["PATH_INFO"]:
        case "/large":
            return [b"x" * MEBIBYTE] * 8
        case "/stream":
            return (b"%d " % number for number in range(5))
    return [environ["REMOTE_ADDR"].encode(), b" ", environ["wsgi.input"].read()]


def body_of(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), answer[:500]
    assert b"chunked" not in head
    return body


@pools()
def test_requests_in_uwsgi_and_in_http(site: Site, speaker: Speaker, pool: str, engine: str) -> None:
    """Whatever engine the others have."""
    worker = speaker.fork(application, pool, engine=engine)
    kept = site.connect()
    for number in range(3):
        assert kept.get("/").answer().body == b"127.0.0.1 "
        assert body_of(speaker.ask(post(b"%d" % number))) == b"192.0.2.1 %d" % number
    assert body_of(speaker.ask(packet(target=b"/stream"))) == b"0 1 2 3 4 "
    assert body_of(speaker.ask(packet(target=b"/large"))) == b"x" * 8 * MEBIBYTE
    assert body_of(speaker.ask(post(b"y" * MEBIBYTE))) == b"192.0.2.1 " + b"y" * MEBIBYTE
    assert speaker.ask(b"\x05" + packet()[1:]).startswith(b"HTTP/1.1 501 ")
    kept.close()
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] > 0 == worker.cells[CONNECTIONS])
    assert worker.cells[REQUESTS] == 9


@pools(short=("epoll-8", "fork"))
def test_many_at_once(site: Site, speaker: Speaker, pool: str) -> None:
    """From clients that send byte by byte, and from others meanwhile."""
    speaker.fork(application, pool)
    answers: list[bytes] = []

    def slowly() -> None:
        with speaker.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = post(b"slow")
            for at in range(len(data)):
                client.sendall(data[at : at + 1])
            answers.append(body_of(read_all(client)))

    threads = [threading.Thread(target=slowly) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert body_of(speaker.ask(packet())) == b"192.0.2.1 "
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert answers == [b"192.0.2.1 slow"] * 4


@pools(short=("epoll-8", "prefork"))
def test_a_client_that_says_nothing_holds_nobody_up(site: Site, speaker: Speaker, pool: str) -> None:
    speaker.fork(application, pool)
    with speaker.connect(), speaker.connect() as halfway:
        halfway.sendall(post(b"x")[:-1])
        assert body_of(speaker.ask(packet())) == b"192.0.2.1 "
        halfway.sendall(b"x")
        assert body_of(read_all(halfway)) == b"192.0.2.1 x"


@pools("epoll-8", "prefork", short=("epoll-8",))
def test_a_client_that_says_nothing_is_closed(site: Site, speaker: Speaker, pool: str) -> None:
    speaker.fork(application, pool, head_timeout=0.2)
    with speaker.connect() as silent:
        assert read_all(silent) == b""


@pools(short=("epoll-8", "fork"))
def test_a_drain_finishes_what_runs(site: Site, speaker: Speaker, pool: str) -> None:
    gate = site.gate()

    def waits(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        site.record.note("called")
        gate.wait()
        start_response("200 OK", [])
        return [b"done"]

    worker = speaker.fork(waits, pool)
    with speaker.connect() as client:
        client.sendall(packet())
        site.record.wait(1)
        worker.tell("drain", deadline=20)
        gate.open()
        assert body_of(read_all(client)) == b"done"
    assert worker.wait() == 0


@pools("epoll-8", "prefork", short=("epoll-8",))
def test_a_request_that_takes_too_long_is_answered(site: Site, speaker: Speaker, pool: str) -> None:
    gate = site.gate()

    def waits(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        gate.wait()
        start_response("200 OK", [])
        return []

    worker = speaker.fork(waits, pool, request_timeout=0.2)
    assert speaker.ask(packet()).startswith(b"HTTP/1.1 504 ")
    wait_for(lambda: worker.cells[TIMED_OUT] == 1, "it is counted")
    gate.open()
