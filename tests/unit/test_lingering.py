"""Connections that are closed in stages: for how long, how many, how much is read from them."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from miniwsgi.daemon.worker.pools import lingering
from miniwsgi.daemon.worker.pools.lingering import LINGER_NS, Lingering

NOW = 10**12


@pytest.fixture
def world() -> Iterator[SimpleNamespace]:
    """`connect()` gives the client's end of a connection that lingers since `now`."""
    poller = select.epoll()
    settings = SimpleNamespace(minimum_rate=500)
    found = SimpleNamespace(
        poller=poller, settings=settings, lingering=Lingering(poller, settings), sockets=[], clients=[],
    )  # fmt: skip

    def connect(now: int = NOW, answer: bytes = b"") -> socket.socket:
        sock, client = socket.socketpair()
        sock.setblocking(False)
        client.setblocking(False)
        if answer:
            sock.send(answer)
        poller.register(sock.fileno(), select.EPOLLIN)
        found.sockets.append(sock)
        found.clients.append(client)
        found.lingering.add(sock, now)
        return client

    found.connect = connect
    yield found
    for each in (*found.sockets, *found.clients, poller):
        each.close()


def test_the_client_sees_the_end_at_once_and_its_own_end_closes(world):
    client = world.connect(answer=b"answer")
    assert client.recv(100) == b"answer"
    assert client.recv(100) == b""
    (sock,) = world.sockets
    client.send(b"\r\n")
    world.lingering.read(sock.fileno())
    assert sock.fileno() in world.lingering
    client.close()
    world.lingering.read(sock.fileno())
    assert len(world.lingering) == 0
    assert sock.fileno() == -1


def test_one_that_is_gone_already_is_closed(world):
    sock, client = socket.socketpair()
    poller = select.epoll()
    poller.register(sock.fileno(), select.EPOLLIN)
    left = Lingering(poller, SimpleNamespace(minimum_rate=500))
    with poller, client:
        sock.shutdown(socket.SHUT_RDWR)
        left.add(sock, NOW)
        if sock.fileno() >= 0:  # a Unix socket may be shut down twice; then its end is read
            left.read(sock.fileno())
        assert len(left) == 0
        assert sock.fileno() == -1


def test_silence_ends_it(world):
    world.connect(NOW)
    world.connect(NOW + 1)
    world.lingering.look(NOW + LINGER_NS)
    assert len(world.lingering) == 2
    world.lingering.look(NOW + LINGER_NS + 1)
    assert len(world.lingering) == 1
    world.lingering.look(NOW + LINGER_NS + 2)
    assert len(world.lingering) == 0


def test_who_still_takes_its_answer_is_waited_for(world, monkeypatch):
    queued = [100_000, 50_000, 20_000, 0, 0]
    monkeypatch.setattr(lingering, "queued_bytes", lambda sock: queued.pop(0))
    world.connect(NOW)
    now = NOW
    for left in (4, 3, 2, 1):  # the last time it has everything: now its own end is waited for
        now += LINGER_NS + 1
        world.lingering.look(now)
        assert (len(world.lingering), len(queued)) == (1, left)
    world.lingering.look(now + LINGER_NS + 1)
    assert len(world.lingering) == 0


def test_who_takes_too_little_is_not(world, monkeypatch):
    queued = [100_000, 100_000 - 900]
    monkeypatch.setattr(lingering, "queued_bytes", lambda sock: queued.pop(0))
    world.connect(NOW)
    world.lingering.look(NOW + LINGER_NS + 1)
    assert len(world.lingering) == 1
    world.lingering.look(NOW + 2 * LINGER_NS + 2)  # 500 bytes a second are wanted
    assert len(world.lingering) == 0


def test_their_number_is_bounded_and_the_oldest_gives_way(world):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 * 8, hard))  # of what a process may have open an eighth is theirs
    try:
        world.lingering = Lingering(world.poller, world.settings)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for number in range(5):
        world.connect(NOW + number)
    assert len(world.lingering) == 3
    assert [sock.fileno() < 0 for sock in world.sockets] == [True, True, False, False, False]


def test_what_is_read_from_one_is_bounded(world, monkeypatch):
    monkeypatch.setattr(lingering, "MAX_BYTES", 100)
    client = world.connect()
    (sock,) = world.sockets
    client.send(b"x" * 100)
    world.lingering.read(sock.fileno())
    assert len(world.lingering) == 1
    client.send(b"x")
    world.lingering.read(sock.fileno())
    assert len(world.lingering) == 0


def test_a_forked_process_only_lets_go(world):
    client = world.connect()
    copy = world.sockets[0].dup()
    world.lingering.disown()
    assert len(world.lingering) == 0
    client.send(b"x")
    assert copy.recv(1) == b"x"
    copy.close()
