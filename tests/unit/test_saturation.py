"""One line when all threads have been busy for a second, with who holds them, and one when that is over."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.worker.pools.saturation import LoneSaturation, Saturation

SECOND = 10**9


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def limited(self, key: str, level: str, code: Code, message: str, **fields: Any) -> None:
        self.lines.append(f"{level} {message} {fields}")

    def limited_info(self, key: str, message: str, **fields: Any) -> None:
        self.lines.append(f"info {message} {fields}")


@pytest.fixture
def context() -> SimpleNamespace:
    """Seven requests run, the n-th since second n."""
    running = [SimpleNamespace(method="GET", path=f"/{n}", started_ns=n * SECOND) for n in range(7, 0, -1)]
    return SimpleNamespace(log=Log(), slot=SimpleNamespace(running=lambda: running))


def test_it_is_told_once_when_it_has_lasted_and_once_when_it_is_over(context):
    saturation, lines = Saturation(context, "8 threads"), context.log.lines
    for tenths in range(80, 91):
        saturation.look(True, tenths * SECOND // 10)
    assert lines == []
    for tenths in range(91, 95):
        saturation.look(True, tenths * SECOND // 10)
    assert lines == [
        "warning all 8 threads have been busy for more than a second: what comes now waits {'running': "
        "'GET /1 8.1 s, GET /2 7.1 s, GET /3 6.1 s, GET /4 5.1 s, GET /5 4.1 s and 2 more'}"
    ]
    saturation.look(False, 10 * SECOND)
    saturation.look(False, 11 * SECOND)
    assert lines[1:] == ["info not all 8 threads are busy any more {'seconds': 2.0}"]


def test_what_does_not_last_is_not_told(context):
    saturation = Saturation(context, "8 threads")
    for tenths in range(0, 100):
        saturation.look(tenths % 10 != 0, tenths * SECOND // 10)
    assert context.log.lines == []


@pytest.mark.parametrize("where", ["queue", "client"])
def test_a_lone_thread_may_be_busy_while_nobody_waits(context, where):
    near, far = socket.socketpair()
    with near, far:
        fd = near.fileno()
        whom = ([fd], {}) if where == "queue" else ([], {fd: SimpleNamespace(sock=near)})
        saturation = LoneSaturation(context)
        saturation.look_at(*whom, 20 * SECOND)
        assert context.log.lines == []
        far.send(b"somebody")
        saturation.look_at(*whom, 20 * SECOND)
        (line,) = context.log.lines
        assert "there is one" in line
        context.slot.running().clear()
        saturation.look_at(*whom, 21 * SECOND)
        assert "not all" in context.log.lines[1]


@pytest.mark.parametrize("end", [socket.SHUT_WR, socket.SHUT_RDWR])
def test_a_client_that_ends_its_connection_does_not_wait(context, end):
    near, far = socket.socketpair()
    with near, far:
        far.shutdown(end)
        LoneSaturation(context).look_at([], {near.fileno(): SimpleNamespace(sock=near)}, 20 * SECOND)
    assert context.log.lines == []
