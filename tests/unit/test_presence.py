"""Who has left, and who has only nothing more to send; and what becomes of a result that gives nothing."""

from __future__ import annotations

import select
import socket
import struct

import pytest
from miniwsgi.daemon.engine import presence
from miniwsgi.daemon.engine.presence import has_left

from .call_world import Wire, World

RESET = struct.pack("ii", 1, 0)


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        return listening.accept()[0], client


def told(server: socket.socket, events: int) -> None:
    """Wait until the kernel has told of it."""
    poller = select.poll()
    poller.register(server, events)
    assert poller.poll(60_000)


def test_one_that_is_there_or_has_only_ended_its_requests_has_not_left():
    for server, client in (tcp(), socket.socketpair()):
        with server, client:
            assert not has_left(server)
            client.shutdown(socket.SHUT_WR)
            told(server, select.POLLRDHUP)
            assert not has_left(server)
            assert not has_left(server)
            server.send(b"answer")
            assert client.recv(100) == b"answer"


def test_a_reset_and_the_close_of_a_unix_socket_show_at_once():
    server, client = tcp()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()
    told(server, 0)
    assert has_left(server)
    server.close()
    server, client = socket.socketpair()
    client.close()
    told(server, 0)
    assert has_left(server)
    server.close()


def test_a_close_shows_once_the_clients_kernel_has_forgotten_the_connection(monkeypatch):
    soon = tuple((level, option, min(value, 1)) for level, option, value in presence.PROBES)
    monkeypatch.setattr(presence, "PROBES", soon)
    server, client = tcp()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)  # s, instead of a minute
    client.close()
    told(server, select.POLLRDHUP)
    assert not has_left(server)
    told(server, 0)
    assert has_left(server)
    server.close()


class Endless:
    """Gives nothing, and never ends; its client leaves after a while."""

    def __init__(self, world):
        self.world = world
        self.pulls = 0
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.pulls += 1
        if self.pulls == 10:
            self.world.wire.left = True
        assert self.pulls < 100
        return b""

    def close(self):
        self.closed += 1


def test_a_result_that_gives_nothing_ends_when_its_client_has_left():
    world = World()
    result = Endless(world)

    def application(environ, start_response):
        start_response("200 OK", [])
        return result

    world.run(application)
    assert (result.pulls, result.closed, world.call.aborted, world.wire.data) == (10, 1, True, b"")


def test_writing_nothing_ends_too():
    world = World()
    result = Endless(world)

    def application(environ, start_response):
        write = start_response("200 OK", [])
        while True:
            write(next(result))

    world.run(application)
    assert (result.pulls, world.call.aborted, world.site.errors) == (10, True, [])


@pytest.mark.parametrize("begun", [False, True])
def test_and_when_somebody_has_answered_in_its_place(begun):
    world = World(wire=Wire())

    def application(environ, start_response):
        start_response("200 OK", [])
        if begun:
            yield b"begun"
        world.call.expire()
        for _ in range(100):
            yield b""
        raise AssertionError("it is pulled on")

    world.run(application)
    assert (world.call.aborted, world.site.errors) == (True, [])
