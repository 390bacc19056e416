"""Bytes that go out: what a client does not take at once is kept, in order; what is large is never copied."""

from __future__ import annotations

import tracemalloc

import pytest
from miniwsgi.daemon.engine.call import GATHERED_BYTES
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.engine.transport import Disconnected

from tests.conformance.case import get

from .conversation_world import BIG, NOW, World

PARTS = (b"head", b"body", b"end")
WHOLE = b"".join(PARTS)


class Client:
    """Of a socket: it takes so many bytes at a time, or raises."""

    def __init__(self, *takes: int | OSError) -> None:
        self.takes = list(takes)
        self.got = b""

    def sendmsg(self, parts: tuple[bytes, ...]) -> int:
        return self.send(b"".join(parts))

    def send(self, data: bytes | bytearray | memoryview) -> int:
        take = self.takes.pop(0) if self.takes else len(data)
        if isinstance(take, OSError):
            raise take
        self.got += bytes(data[:take])
        return min(take, len(data))


def wire(world: World, *takes: int | OSError) -> tuple[object, Client]:
    client = Client(*takes)
    world.conversation.sock = client  # type: ignore[assignment]
    return world.conversation, client


@pytest.mark.parametrize("taken", [*range(len(WHOLE) + 1), BlockingIOError()], ids=str)
def test_what_is_left_of_several_parts_is_kept(world, taken):
    conversation, client = wire(world, taken)
    assert conversation.send_parts(PARTS) is False
    assert client.got == WHOLE[: 0 if isinstance(taken, OSError) else taken]
    assert conversation.unsent == len(WHOLE) - len(client.got)
    conversation.flush_kept()
    assert client.got == WHOLE
    assert conversation.unsent == 0


def test_parts_go_behind_what_is_kept(world):
    conversation, client = wire(world, 1)
    conversation.send(b"first")
    conversation.send_parts(PARTS)
    assert client.got == b"f"
    conversation.flush_kept()
    assert client.got == b"first" + WHOLE


def test_parts_that_are_enough_to_pause(world):
    conversation, _client = wire(world, 1)
    assert conversation.send_parts((b"head", BIG)) is True


def test_parts_for_nobody(world):
    conversation, client = wire(world, ConnectionResetError())
    for _ in range(2):  # the second is not tried
        with pytest.raises(Disconnected):
            conversation.send_parts(PARTS)
    assert conversation.gone
    assert not client.takes


@pytest.mark.parametrize(
    "request_",
    [get(), get(b"/", b"Connection: close"), b"GET / HTTP/1.0\r\n\r\n"],
    ids=["kept alive", "last", "HTTP/1.0"],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "in one block"])
def test_a_large_body_is_not_copied(world, request_, streamed):
    """Neither to be put behind its head, or between the size and the end of a chunk, nor when it has to wait."""
    world.answer = (lambda: iter([BIG])) if streamed else (lambda: [BIG])
    world.send(request_)
    assert world.conversation.receive(NOW) is Outcome.REQUEST
    tracemalloc.start()
    try:
        world.conversation.answer(world.thread, NOW)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert world.conversation.unsent > len(BIG) / 2
    assert peak < len(BIG) / 16


@pytest.mark.parametrize("size", [1, GATHERED_BYTES - 1, GATHERED_BYTES, GATHERED_BYTES + 1, 3 * GATHERED_BYTES])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "chunked"])
def test_the_bytes_are_the_same_whatever_their_size(world, size, streamed):
    block = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    world.answer = (lambda: iter([block, block])) if streamed else (lambda: [block])
    world.send(get())
    world.conversation.serve(world.thread, NOW)
    head, _, body = world.far.recv(1 << 20).partition(b"\r\n\r\n")
    chunk = b"%x\r\n%b\r\n" % (size, block)
    assert body == (chunk * 2 + b"0\r\n\r\n" if streamed else block)
    assert (b"Content-Length: %d" % size in head) is not streamed
