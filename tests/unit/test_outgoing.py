"""What waits for a client is sent as far as the client takes it, and of a file only for so long."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine import outgoing
from miniwsgi.daemon.engine.outgoing import FLUSH_NS, SENDFILE_BYTES, Outgoing
from miniwsgi.daemon.engine.transport import Disconnected
from miniwsgi.daemon.engine.wire import Wire
from miniwsgi.daemon.unpatched import os, socket

PARTS = 10


class Kernel:
    """sendfile(2) to a client that takes `takes` bytes a call, each of which lasts so long."""

    def __init__(self, takes: int, call_ns: int) -> None:
        self.takes = takes
        self.call_ns = call_ns
        self.now = 0
        self.sent: list[int] = []
        self.leaves_after = PARTS  # calls

    def sendfile(self, out: int, fd: int, offset: int, count: int) -> int:
        assert offset == sum(self.sent)
        if len(self.sent) == self.leaves_after:
            raise BrokenPipeError
        self.now += self.call_ns
        self.sent.append(min(count, self.takes))
        return self.sent[-1]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kernel]:
    def made(takes: int = SENDFILE_BYTES, call_ns: int = 0) -> Kernel:
        kernel = Kernel(takes, call_ns)
        system = SimpleNamespace(dup=os.dup, close=os.close, sendfile=kernel.sendfile)
        monkeypatch.setattr(outgoing, "os", system)
        monkeypatch.setattr(outgoing, "time", SimpleNamespace(monotonic_ns=lambda: kernel.now))
        return kernel

    return made


@pytest.mark.parametrize(
    ("takes", "call_ns", "calls"),
    [
        pytest.param(SENDFILE_BYTES, 0, PARTS, id="the client takes all"),
        pytest.param(SENDFILE_BYTES - 1, 0, 1, id="the client takes no more just now"),
        pytest.param(SENDFILE_BYTES, FLUSH_NS // 2, 3, id="others want a turn"),
        pytest.param(SENDFILE_BYTES, FLUSH_NS + 1, 1, id="it comes from a disk"),
    ],
)
def test_a_file_is_sent_while_the_client_takes_it_and_others_need_not_wait(
    kernel: Callable[..., Kernel], takes: int, call_ns: int, calls: int
) -> None:
    made = kernel(takes, call_ns)
    with socket.socket() as sock, open(__file__, "rb") as file:
        kept = Outgoing(sock)
        kept.keep_file(file.fileno(), 0, PARTS * SENDFILE_BYTES)
        kept.flush()
        assert len(made.sent) == calls
        assert kept.unsent == PARTS * SENDFILE_BYTES - sum(made.sent)
        assert kept.sent == sum(made.sent)
        kept.discard()


def over(sock: Any) -> Wire:
    class Bare(Wire):  # with the fields that a conversation has
        pass

    return Bare(sock, SimpleNamespace(pool="epoll"))  # type: ignore[arg-type]


def test_a_file_that_the_client_takes_at_once_needs_no_turn_of_the_loop(kernel: Callable[..., Kernel]) -> None:
    made = kernel()
    with socket.socket() as sock, open(__file__, "rb") as file:
        transport = over(sock)
        transport.send_file(file.fileno(), 0, PARTS * SENDFILE_BYTES)
        assert (len(made.sent), transport.unsent) == (PARTS, 0)


def test_a_client_that_leaves_in_the_midst_of_a_file_is_told(kernel: Callable[..., Kernel]) -> None:
    made = kernel()
    made.leaves_after = 2
    with socket.socket() as sock, open(__file__, "rb") as file:
        transport = over(sock)
        with pytest.raises(Disconnected):
            transport.send_file(file.fileno(), 0, PARTS * SENDFILE_BYTES)
        assert transport.gone
        transport.discard_kept()
