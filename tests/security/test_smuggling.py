"""Request smuggling: what the proxy takes for one request and the server for two, or the other way round.

Behind nginx and HAProxy as their files are shipped, each request that reaches the application must bear the mark that
the proxy puts on those it knows of, and clients who share the connection to the daemon must get their own answers. The
same bytes also come over one connection from a proxy that understands nothing and takes all of them for one request.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.effort import effort
from tests.support.metrics_client import Port
from tests.support.ports import free_port
from tests.support.proxies import HAProxy, Nginx, Proxy
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS

from .framings import FRAMINGS, Framing

APP = """
import json

SEEN = []

def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/seen":
        body = json.dumps(SEEN).encode()
        SEEN.clear()
    else:
        names = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "HTTP_X_FORWARDED_FOR",
                 "HTTP_X_REQUEST_ID")
        SEEN.append({name: environ.get(name) for name in names})
        body = f"answer to {path}?{query}".encode()
    status = {"/not-modified": "304 Not Modified", "/no-content": "204 No Content"}.get(path, "200 OK")
    if path == "/long":
        body *= 1000
    if path != "/unread":
        environ["wsgi.input"].read()
    start_response(status, [("Content-Type", "text/plain")])
    return [body]
"""
# Ends the attacker's connection, whatever came before: the request asks for it; should it be taken for part of a body,
# the rest makes that complete, and is no request.
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + b"\0" * 8192
PROXYS_ID = re.compile(r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
REFUSALS = {400, 408, 413, 417, 431, 501, 505}

tokens = count(1)


class Server:
    """A daemon with one worker on a Unix socket."""

    def __init__(self, directory: Path, pool: str = "epoll") -> None:
        self.service = Service(directory)
        self.service.write(APP)
        self.path = directory / "http.sock"
        self.metrics_port = free_port()
        configuration = self.service.configure(
            f"""
            [server]
            bind = ["unix:{self.path}"]
            pool = "{pool}"
            workers = 1
            threads = 1
            [proxy]
            trusted = ["unix"]
            """
        )
        metrics = f"metrics.bind=127.0.0.1:{self.metrics_port}"  # the tests' environment turns it off
        self.daemon = self.service.start("-c", configuration, "--set", metrics, bind=False)
        self.daemon.settle(1)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE_SECONDS)
        client.connect(str(self.path))
        return client

    def seen(self) -> list[dict[str, Any]]:
        """What the application has been asked for since the last time."""
        with self.connect() as client:
            client.sendall(b"GET /seen HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            found: list[dict[str, Any]] = json.loads(received(client).partition(b"\r\n\r\n")[2])
        return found

    def accepted(self) -> int:
        """How many connections it has accepted."""
        return int(Port(self.metrics_port).total("miniwsgi_connections_accepted_total"))


def received(client: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    found = b""
    try:
        while data := client.recv(65536):
            found += data
    except ConnectionError:
        pass
    return found


class Client:
    """Somebody else, on a connection to the proxy that is kept."""

    def __init__(self, proxy: Proxy) -> None:
        self._connection = proxy.connect()

    def ask(self) -> None:
        """A request of its own must get the answer to that. It may be repeated, as by any client, if it got none."""
        token = f"token-{next(tokens)}"
        for attempt in (1, 2):
            try:
                self._connection.request("GET", f"/victim?{token}")
                response = self._connection.getresponse()
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                assert attempt == 1, "twice"
                self._connection.close()
        assert (response.status, response.read()) == (200, f"answer to /victim?{token}".encode())

    def close(self) -> None:
        self._connection.close()


def answers_in(data: bytes, method: str) -> list[tuple[int, bytes]]:
    """Status and body of each answer, the first one to `method`, the others to GET."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        length = re.search(rb"\r\nContent-Length: ([0-9]+)", head)
        bare = method == "HEAD" or status in {204, 304}
        size = 0 if bare or length is None else int(length[1])
        found.append((status, data[:size]))
        data, method = data[size:], "GET"
    return found


# --- nginx and HAProxy ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[Nginx, HAProxy], ids=lambda kind: kind.name)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Server]]:
    """A proxy with its shipped file before a daemon."""
    kind: type[Proxy] = request.param
    kind.need()
    server = Server(tmp_path_factory.mktemp(kind.name))
    try:
        with kind(server.service.directory / "proxy", server.path, server.metrics_port) as proxy:
            server.daemon.wait(lambda: proxy.get()[0] == 200, "the proxy finds it")
            yield proxy, server
    finally:
        server.service.close()


def test_clients_share_one_connection_to_the_daemon(front: tuple[Proxy, Server]) -> None:
    """Or the tests below would show nothing."""
    proxy, server = front
    one, other = Client(proxy), Client(proxy)
    one.ask()
    before = server.accepted()
    for _ in range(5):
        other.ask()
        one.ask()
    assert server.accepted() == before
    one.close()
    other.close()


@pytest.mark.parametrize("framing", [one for one in FRAMINGS if one.ends], ids=lambda framing: framing.name)
def test_proxy_and_server_agree(framing: Framing, front: tuple[Proxy, Server]) -> None:
    proxy, server = front
    one, other = Client(proxy), Client(proxy)
    one.ask()
    server.seen()
    with socket.create_connection(proxy.address, timeout=PATIENCE_SECONDS) as attacker:
        try:
            attacker.sendall(framing.sent + LAST)
        except ConnectionError:
            pass  # it has refused already
        answers = received(attacker)
    one.ask()
    other.ask()
    one.ask()
    one.close()
    other.close()
    assert b"token-" not in answers, "somebody else's answer"
    seen = server.seen()
    for request in seen:
        assert PROXYS_ID.fullmatch(str(request["HTTP_X_REQUEST_ID"])), f"the proxy does not know of it: {request}"
        assert request["HTTP_X_FORWARDED_FOR"] == request["REMOTE_ADDR"] == "127.0.0.1", request
    ids = [request["HTTP_X_REQUEST_ID"] for request in seen]
    assert len(set(ids)) == len(ids), "the proxy knows of one of these"
    assert sum(request["PATH_INFO"] == "/victim" for request in seen) == 3


# --- a proxy that takes all of it for one request ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=effort(["epoll"], ["epoll", "prefork", "fork"]))
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp(request.param), request.param)
    yield server
    server.service.close()


@pytest.mark.parametrize("framing", [one for one in FRAMINGS if one.naive], ids=lambda framing: framing.name)
def test_nothing_comes_out_of_what_a_naive_proxy_takes_for_one_request(framing: Framing, bare: Server) -> None:
    """One answer and then the next client's, or a refusal and the connection's end."""
    token = f"token-{next(tokens)}"
    with bare.connect() as upstream:
        try:
            upstream.sendall(framing.sent + f"GET /victim?{token} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            upstream.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        data = received(upstream)
    method = framing.sent.lstrip().split()[0].decode("latin-1")
    answers = answers_in(data, method)
    seen = bare.seen()
    assert "/hidden" not in {request["PATH_INFO"] for request in seen}
    if answers[0][0] in REFUSALS:
        assert (answers[1:], seen) == ([], [])
    else:
        assert [answer[1] for answer in answers[1:]] == [f"answer to /victim?{token}".encode()]
