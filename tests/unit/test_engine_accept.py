"""A new client, accepted by each engine: what is known of it, how it is counted, and what there is of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.contract import Conversation
from miniwsgi.daemon.engine.listening_socket import ListeningSocket
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker.context import Context
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, CLOSED_BY, SLOT_BYTES, Closed
from miniwsgi.metrics.slot import Slot

from tests.conformance.case import get
from tests.support.waiting import PATIENCE_SECONDS

NOW = 10**12
WAYS = ["IPv4", "IPv6", "IPv4 over IPv6", "Unix"]
ADDRESSES = ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "REMOTE_PORT")


class World:
    """A worker's listener of one kind, and its clients."""

    def __init__(self, engine: str, way: str, directory: Path) -> None:
        self.way = way
        if way == "Unix":
            self.listening = socket.socket(socket.AF_UNIX)
            self.listening.bind(str(directory / "socket"))
            self.listening.listen()
        elif way == "IPv4":
            self.listening = socket.create_server(("127.0.0.1", 0))
        else:
            self.listening = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=way != "IPv6")
        listener = Listener(os.dup(self.listening.fileno()), "x", way == "Unix", "server.name", "80")
        memory = memoryview(bytearray(SLOT_BYTES))
        board: Any = SimpleNamespace(slot=lambda index: Slot(index, memory))
        settings = Settings(
            generation=1, listeners=(listener,), scoreboard_fd=-1, module="x", directory="/", engine=engine
        )
        log = ErrorLog("error", "text", False, "worker", slot=0)
        self.context = Context(settings, board, 0, log, None, self.application, choose(engine))
        self.thread = ThreadAccount(0, self.context.slot, 0)
        self.ours = ListeningSocket(listener)
        self.environs: list[dict[str, Any]] = []
        self.open: list[socket.socket] = [self.listening]

    def application(self, environ, start_response):
        self.environs.append(environ)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    def connect(self) -> socket.socket:
        if self.way == "Unix":
            client = socket.socket(socket.AF_UNIX)
            client.connect(self.listening.getsockname())
        else:
            host = "::1" if self.way == "IPv6" else "127.0.0.1"
            client = socket.create_connection((host, self.listening.getsockname()[1]), timeout=5)
        self.open.append(client)
        return client

    def accept(self) -> Conversation:
        return self.context.accept(self.ours, NOW)

    def close(self) -> None:
        self.ours.close()
        for each in self.open:
            each.close()


@pytest.fixture(params=WAYS)
def world(request, engine: str, tmp_path: Path) -> Iterator[World]:
    try:
        made = World(engine, request.param, tmp_path)
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        pytest.skip("no IPv6 here")
    yield made
    made.close()


def test_each_client_has_an_address_of_its_own(world: World) -> None:
    conversations = []
    for number in range(3):
        client = world.connect()
        conversations.append(world.accept())
        client.send(get(b"/%d" % number))
    for conversation in conversations:
        conversation.serve(world.thread, NOW)
    for number, (environ, client) in enumerate(zip(world.environs, world.open[1:], strict=True)):
        if world.way == "Unix":
            remote = ("", "")
        else:
            host, port, *_ = client.getsockname()
            remote = (host, str(port))
        assert tuple(environ[name] for name in ADDRESSES) == ("server.name", "80", *remote)
        assert environ["PATH_INFO"] == f"/{number}"
        assert [type(environ[name]) for name in ADDRESSES] == [str] * 4
        assert environ == {**world.environs[0], **{name: environ[name] for name in environ if name in CHANGES}}


CHANGES = {*ADDRESSES, "PATH_INFO", "RAW_URI", "REQUEST_URI", "miniwsgi.request_id", "wsgi.early_hints"}


def test_its_socket_never_blocks_and_is_no_programs(world: World) -> None:
    world.connect()
    sock = world.accept().sock
    assert sock.gettimeout() == 0.0
    assert (sock.family, sock.type) == (world.listening.family, socket.SOCK_STREAM)
    assert fcntl.fcntl(sock.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
    assert fcntl.fcntl(sock.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    sock.close()


@pytest.mark.parametrize("asked", [False, True], ids=["no socket object", "a socket object"])
def test_who_hangs_up_closes_the_descriptor_once_and_its_socket_is_a_closed_one(world: World, asked: bool) -> None:
    world.connect()
    conversation = world.accept()
    fd = conversation.fileno()
    if asked:
        assert conversation.sock.fileno() == fd
        assert conversation.sock is conversation.sock
    conversation.close()
    assert conversation.fileno() == fd
    conversation.hang_up()
    reused = os.dup(0)
    assert reused == fd
    try:
        assert conversation.fileno() == conversation.sock.fileno() == -1
        with pytest.raises(OSError, match="Bad file descriptor"):
            conversation.sock.recv(1)
        conversation.hang_up()
        del conversation
        os.fstat(reused)  # it is another's, and open
    finally:
        os.close(reused)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the interpreter's own sockets
@pytest.mark.parametrize("asked", [False, True], ids=["no socket object", "a socket object"])
def test_a_conversation_that_nobody_has_any_more_leaves_no_descriptor(world: World, asked: bool) -> None:
    world.connect()
    conversation = world.accept()
    fd = conversation.fileno()
    if asked:
        assert conversation.sock
    conversation.close()
    del conversation
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_what_the_application_sets_for_its_own_sockets_is_not_for_clients(world: World) -> None:
    world.connect()
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(7.5)
    try:
        sock = world.accept().sock
    finally:
        socket.setdefaulttimeout(before)
    assert sock.gettimeout() == 0.0
    assert fcntl.fcntl(sock.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
    sock.close()


def test_a_client_that_cannot_be_begun_with_leaves_no_descriptor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_site: object, _base: object) -> None:
        raise MemoryError

    client = world.connect()
    with monkeypatch.context() as short:
        short.setattr("miniwsgi.daemon.engine.site.Site.proxy_for", fail)
        with contextlib.suppress(MemoryError):
            world.accept()
    gc.collect()
    client.settimeout(PATIENCE_SECONDS)
    assert client.recv(1) == b"", "its socket is closed"


def test_it_is_counted_as_it_comes_and_as_it_ends(world: World) -> None:
    cells = world.context.slot.cells
    for number, why in enumerate((Closed.CLIENT, Closed.IDLE, Closed.TIMEOUT), 1):
        world.connect()
        conversation: Any = world.accept()
        assert (cells[ACCEPTED], cells[CLOSED]) == (number, number - 1)
        conversation.closed = why
        conversation.close()
        conversation.sock.close()
        assert (cells[ACCEPTED], cells[CLOSED], cells[CLOSED_BY + why]) == (number, number, 1)


def test_it_is_counted_where_the_worker_counts_when_it_ends(world: World) -> None:
    """In pool fork that is another slot than at its beginning."""
    world.connect()
    conversation = world.accept()
    others = memoryview(bytearray(SLOT_BYTES))
    world.context.count_in(Slot(1, others))
    conversation.close()
    conversation.sock.close()
    assert (world.context.slot.cells[CLOSED], world.context.slot.cells[ACCEPTED]) == (1, 0)


def test_nobody_there_is_told_as_by_accept_itself(world: World) -> None:
    with pytest.raises(BlockingIOError):
        world.accept()


def test_who_has_left_again_is_a_client_all_the_same(world: World) -> None:
    client = world.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    conversation = world.accept()
    conversation.close()
    conversation.sock.close()
    assert world.context.slot.cells[CLOSED] == 1
