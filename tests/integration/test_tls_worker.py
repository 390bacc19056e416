"""TLS in workers of each pool: handshakes, what comes before them and instead of them, tickets, renewals, the end."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from miniwsgi.daemon.engine.openings import handshake
from miniwsgi.daemon.settings import Settings, Tls
from miniwsgi.daemon.tls.material import MaterialMemory, Pair
from miniwsgi.daemon.worker.certificates import Certificates
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, HANDSHAKES, Handshake

from tests.support.waiting import PATIENCE_SECONDS, wait_for
from tests.unit.tls_world import Peer, client_context, issued, material

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


def say(site: Site, *parts: bytes) -> bytes:
    """What a client gets that sends this, and then waits for the end."""
    with socket.create_connection(site.address, timeout=PATIENCE_SECONDS) as client:
        for part in parts:
            client.sendall(part)
        got = b""
        try:
            while data := client.recv(65536):
                got += data
        except ConnectionResetError:
            pass
        return got


def is_open(client: socket.socket) -> bool:
    """Whether the server has not closed it, whatever it has sent."""
    client.setblocking(False)
    try:
        while client.recv(65536):
            pass
    except BlockingIOError:
        return True
    return False


def hello() -> bytes:
    """A client's first words."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pools(short=("epoll-8", "fork"))
def test_who_speaks_plain_http_is_told(secure: Secure, pool: str) -> None:
    worker = secure.fork(pool)
    answer = say(secure.site, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"https://" in answer
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] == 1)
    assert handshakes(worker) == {"PLAIN": 1}
    wait_for(lambda: "it speaks plain HTTP" in worker.log())


@pools("epoll-8", "prefork", short=("epoll-8",))
@pytest.mark.parametrize(
    "sent",
    [b"\x00\x01\x02garbage", b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\x00\x00", b"\x80\x2e\x01\x00\x02"],
    ids=["none", "no hello", "nothing in it", "SSL 2"],
)
def test_garbage_is_closed_and_counted(secure: Secure, pool: str, sent: bytes) -> None:
    worker = secure.fork(pool)
    for _ in range(8):
        assert not say(secure.site, sent, b"and more").startswith(b"HTTP")
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] == 8)
    assert handshakes(worker) == {"REFUSED": 8}
    assert worker.log().count("closed a connection") <= 5, "lines have a rate"
    assert b"SSL_PROTOCOL" in secure.get()


def test_names_that_are_not_ascii_have_a_line_and_no_traceback(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)  # pytest has its own
    worker = secure.fork("epoll-8")
    for _ in range(8):
        assert say(secure.site, hello().replace(b"localhost", b"l\xffcalhost"))
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] == 8)
    assert handshakes(worker) == {"REFUSED": 8}
    assert worker.log().count("\n") == worker.log().count("closed a connection") <= 5, worker.log()
    assert b"SSL_PROTOCOL" in secure.get()


@pools()
def test_who_stalls_within_the_handshake_holds_nobody_up(secure: Secure, pool: str) -> None:
    worker = secure.fork(pool, handshake_timeout=600)
    words = hello()
    stalled = [socket.create_connection(secure.site.address) for _ in range(20)]
    for number, client in enumerate(stalled):
        client.sendall(words[: number * 10] if number % 2 == 0 else words)
    assert b"SSL_PROTOCOL" in secure.get()
    for client in stalled:
        client.close()
    begun = len(stalled) - 1  # all but the one that has sent nothing
    wait_for(lambda: handshakes(worker).get("LEFT", 0) == begun, f"{begun} that have left")


@pools("epoll-8", "prefork", short=("epoll-8", "prefork"))
def test_a_handshake_has_its_time(secure: Secure, pool: str) -> None:
    worker = secure.fork(pool, handshake_timeout=0.1)
    say(secure.site, hello())  # until the server closes
    wait_for(lambda: handshakes(worker) == {"TIMEOUT": 1})
    wait_for(lambda: "the limit is timeouts.handshake" in worker.log())


@pools(short=("epoll-8", "fork"))
def test_resets_within_the_handshake_leave_nothing_behind(secure: Secure, pool: str) -> None:
    worker = secure.fork(pool)
    secure.get()
    before = worker.at_rest(1)
    words = hello()
    for size in range(0, len(words), len(words) // 8):
        client = socket.create_connection(secure.site.address)
        client.sendall(words[:size])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        client.close()
    assert b"SSL_PROTOCOL" in secure.get()
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] >= 10)
    worker.wait_for_descriptors(before)


def test_of_those_that_have_begun_the_oldest_gives_way(secure: Secure) -> None:
    def few() -> None:
        handshake.MOST_BEGUN = 4

    worker = secure.fork("epoll-8", prepare=few, handshake_timeout=600)
    words = hello()
    stalled = []
    for _ in range(6):
        client = socket.create_connection(secure.site.address, timeout=PATIENCE_SECONDS)
        client.sendall(words)
        assert client.recv(65536), "the server has answered"
        stalled.append(client)
    wait_for(lambda: handshakes(worker) == {"TIMEOUT": 2}, "two that had to give way")
    for client in stalled[:2]:
        while client.recv(65536):
            pass
    for client in stalled[2:]:
        assert is_open(client)
    for client in stalled:
        client.close()


@pools(short=("epoll-8",))
def test_a_session_goes_on_in_another_worker(site: Site, pool: str) -> None:
    made = Secure(site)
    contexts = Certificates(
        Settings(generation=1, listeners=made.listeners, scoreboard_fd=-1, module="", directory="")
    )  # before the fork
    first = made.fork(pool, certificates=contexts)
    context = client_context()
    with made.connect(context) as client:
        assert b"'SSL_SESSION_RESUMED': 'Initial'" in ask(client)
        session = client.session
    first.tell("drain", deadline=10)
    assert first.wait() == 0
    second = made.fork(pool, certificates=contexts)
    with made.connect(context, session=session) as client:
        assert client.session_reused
        assert b"'SSL_SESSION_RESUMED': 'Resumed'" in ask(client)
    wait_for(lambda: handshakes(second) == {"RESUMED": 1})
    made.memory.close()


@pools(short=("epoll-8", "fork"))
def test_new_certificates_are_for_those_who_come(site: Site, pool: str) -> None:
    made = Secure(site)
    worker = made.fork(pool)
    staying = made.connect()
    before = staying.getpeercert(True)
    assert ask(staying)
    renewed = issued("localhost", common_name="renewed")
    made.memory.replace(material(renewed))
    worker.tell("certificates")

    def shown() -> bytes:
        with made.connect() as client:
            assert ask(client)
            return client.getpeercert(True) or b""

    wait_for(lambda: shown() == ssl.PEM_cert_to_DER_cert(renewed.chain), "the new certificate")
    assert ask(staying)
    assert staying.getpeercert(True) == before
    staying.close()
    made.memory.close()


def test_certificates_that_cannot_be_used_leave_the_old_ones(secure: Secure) -> None:
    worker = secure.fork("epoll-8")
    secure.get()
    broken = Pair("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n", "no key", ("localhost",))
    secure.memory.replace(material(broken))
    worker.tell("certificates")
    wait_for(lambda: "cannot be used, the old ones stay" in worker.log())
    assert b"SSL_PROTOCOL" in secure.get()


@pools(short=("epoll-8", "prefork"))
def test_a_worker_that_leaves_says_so(secure: Secure, pool: str) -> None:
    worker = secure.fork(pool, drain_idle=0.05)
    client = secure.connect()
    assert ask(client)
    worker.tell("drain", deadline=10)
    assert client.recv(1) == b"", "a close_notify: else this would raise SSLEOFError"
    client.close()
    assert worker.wait() == 0


@pools(short=("epoll-8",))
def test_clients_certificates_are_told_and_judged(site: Site, pool: str) -> None:
    made = Secure(site, client="required", client_ca="clients")
    worker = made.fork(pool)
    ann = client_context(certificate=issued("ann@example", by="clients", common_name="Ann"))
    assert b"CN=Ann" in made.get(context=ann)
    for refused in (client_context(), client_context(certificate=issued("eve@example", by="others"))):
        with pytest.raises(OSError, match=r"(?i)certificate|alert|reset|EOF"):
            made.get(context=refused)
    wait_for(lambda: worker.cells[ACCEPTED] == worker.cells[CLOSED] == 3)
    assert handshakes(worker) == {"COMPLETE": 1, "REFUSED": 2}
    made.memory.close()


@pools()
def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(secure: Secure, pool: str) -> None:
    """In one packet: then the kernel has nothing more to tell."""
    secure.fork(pool)
    client = socket.create_connection(secure.site.address, timeout=PATIENCE_SECONDS)
    peer = Peer(client)
    assert not peer.handshake_with(b"")
    client.sendall(peer.take())
    while not peer.handshake_with(client.recv(65536)):
        pass
    client.sendall(peer.take() + peer.encrypt(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    got = b""
    while not peer.ended:
        got += peer.decrypt(client.recv(65536))
    assert b"SSL_PROTOCOL" in got
    client.close()
