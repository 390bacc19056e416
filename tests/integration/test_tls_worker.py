"""TLS in workers of each pool: handshakes, what comes before them and instead of them, tickets, renewals, the end."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from miniwsgi.daemon.settings import Tls
from miniwsgi.daemon.tls.material import MaterialMemory, Pair
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, HANDSHAKES, Handshake

from tests.support.waiting import PATIENCE_SECONDS, wait_for
from tests.unit.tls_world import client_context, material

from .worker_harness import Site, Worker, made_site, pools

__all__ = ["made_site"]

LARGE = bytes(3 << 20)


def application(environ, start_response):
    """By path: the environ, a large answer, what was sent."""
    path = environ["PATH_INFO"]
    if path == "/large":
        body = LARGE
    elif path == "/echo":
        body = environ["wsgi.input"].read()
    else:
        body = repr({name: value for name, value in environ.items() if type(value) is str}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Secure:
    """A listener with TLS, as a master keeps it."""

    def __init__(self, site: Site, *pairs: Pair, client: str = "none", client_ca: str = "") -> None:
        self.site = site
        self.client_ca = client_ca
        self.memory = MaterialMemory(material(*pairs, client_ca=client_ca))
        self.listeners = (site.as_listener(tls=Tls(self.memory.fd, client)),)

    def fork(self, pool: str, **settings: Any) -> Worker:
        return self.site.fork(application, pool, listeners=self.listeners, **settings)

    def connect(self, context: ssl.SSLContext | None = None, **options: Any) -> ssl.SSLSocket:
        sock = socket.create_connection(self.site.address, timeout=PATIENCE_SECONDS)
        return (context or client_context()).wrap_socket(sock, server_hostname="localhost", **options)

    def get(self, path: str = "/", **options: Any) -> bytes:
        with self.connect(**options) as client:
            return ask(client, path)


def ask(client: ssl.SSLSocket, path: str = "/", body: bytes = b"", fields: str = "") -> bytes:
    """The body of the answer."""
    method = "POST" if body else "GET"
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    client.sendall(head.encode() + body)
    with client.makefile("rb") as answer:
        assert b" 200 " in answer.readline()
        length = 0
        while (line := answer.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return answer.read(length)


def handshakes(worker: Worker) -> dict[str, int]:
    """How many have come to what."""
    counts = {result.name: worker.cells[HANDSHAKES + result] for result in Handshake}
    return {name: count for name, count in counts.items() if count}


@pytest.fixture
def secure(site: Site) -> Iterator[Secure]:
    made = Secure(site)
    yield made
    made.memory.close()


@pools()
def test_requests_are_answered(secure: Secure, pool: str) -> None:
    worker = secure.fork(pool)
    with secure.connect() as client:
        for _ in range(3):
            assert b"'SSL_PROTOCOL': 'TLSv1.3'" in ask(client)
        assert ask(client, "/large") == LARGE
        assert ask(client, "/echo", LARGE) == LARGE
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] == 1)
    assert handshakes(worker) == {"COMPLETE": 1}
    assert worker.log() == ""
