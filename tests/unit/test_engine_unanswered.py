"""Requests that no turn answers, behind what a turn has put together; and those that nobody does.

Every order is forced, and nothing is sent for its age, but where a test says so: see `turn_world`.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from miniwsgi.daemon.engine import choice
from miniwsgi.daemon.engine.contract import Outcome, Stage
from miniwsgi.metrics.scoreboard import ABORTED

from tests.conformance.case import get

from .turn_world import NEVER_NS, World

BODY = os.urandom(3000).hex().encode()
SMALLEST_BUFFER = 1  # the kernel makes as much of it as it must
Make = Callable[..., World]
compiled = pytest.mark.parametrize("engine", [name for name in choice.available() if name == "compiled"])


@pytest.fixture
def make(engine: str) -> Iterator[Make]:
    """A worker of each engine there is."""
    made: list[World] = []

    def make_one(**changes: Any) -> World:
        made.append(World(engine, **changes))
        made[-1].turn.ends_ns = NEVER_NS
        return made[-1]

    yield make_one
    for world in made:
        world.end()


def test_what_the_pool_serves_does_not_wait_for_the_next_one_sent_ahead(make: Make) -> None:
    """Whatever the conversation's last turn allowed: the pool may leave the next one to another thread."""
    world = make()
    client = world.client("/1")
    world.serve(1)
    assert world.is_answered("/1")
    world.clients["/1"].send(get(b"/a")[:20])
    world.serve(1)
    assert client.stage is Stage.READING
    world.clients["/1"].send(get(b"/a")[20:] + get(b"/b") + get(b"/c"))
    for target in (b"/a", b"/b"):
        assert client.serve(world.owner, time.monotonic_ns()) is Outcome.REQUEST
        assert world.got("/1").endswith(target)
    assert world.settled == 3


def _narrow(world: World, target: str) -> None:
    world.by_target[target].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALLEST_BUFFER)


def _read_some(world: World, target: str) -> bytes:
    poller = select.poll()
    poller.register(world.clients[target], select.POLLIN)
    assert poller.poll(5_000), "nothing was sent"
    return world.got(target)


@compiled
def test_no_answer_comes_in_the_middle_of_one_that_is_held(make: Make) -> None:
    """The client has read what of its first answer a thread has sent, when the request behind that expires."""
    world = make()
    client = world.client("/1", get(b"/a"))
    _narrow(world, "/1")
    for target in ("/1", "/a"):
        world.answers[target] = lambda: [BODY]
    got: list[bytes] = []

    def expire() -> None:
        world.hurry()
        got.append(_read_some(world, "/1"))
        assert client.expire(0, client.called_ns + 1)
        assert client.unsent > 0

    world.during["/a"] = expire
    world.serve(1)
    answer = b"".join(got) + world.got("/1")
    assert b"504 Gateway" not in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert b'" 504 ' in world.lines.lines[1]


@compiled
@pytest.mark.parametrize("settles", [False, True], ids=["by a thread", "by who takes the loop"])
def test_what_a_client_does_not_take_at_once_comes_while_the_next_call_lasts(make: Make, settles: bool) -> None:
    world = make()
    client = world.client("/1", get(b"/a"))
    _narrow(world, "/1")
    world.answers["/1"] = lambda: [BODY]
    got = b""

    def last() -> None:
        nonlocal got
        if settles:
            world.calls.take(client)
            world.turn.settle(world.next_owner, time.monotonic_ns())
        while not got.endswith(BODY):
            got += _read_some(world, "/1")

    world.during["/a"] = last
    world.turn.held.late_ns = 700_000
    world.turn.held.retry_ns = 1_000_000
    world.serve(1)
    assert client.unsent == 0
    if settles:
        assert client.settle() is Outcome.IDLE
    assert world.got("/1").endswith(b"/a")
    assert world.settled == 2


def test_no_answer_comes_in_the_middle_of_hints(make: Make) -> None:
    world = make()
    client = world.client("/1")
    _narrow(world, "/1")
    got: list[bytes] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([("Link", f"</{BODY.decode()}>")])
        got.append(world.got("/1"))
        assert client.unsent > 0
        assert client.expire(0, client.called_ns + 1)
        return []

    world.context.site.application = application
    world.serve(1)
    assert b"HTTP/1.1 504" not in b"".join(got) + world.got("/1")
    assert b'" 504 ' in world.lines.lines[0]


@pytest.mark.parametrize("warm", [False, True], ids=["its client's first", "its client's second"])
def test_a_request_that_never_reaches_the_application_is_logged_as_its_proxy_has_told(make: Make, warm: bool) -> None:
    world = make(trusted=("127.0.0.1",), script_name="/app")
    fields = (b"X-Forwarded-For: 203.0.113.9",)
    client = world.client("/app/1", fields=fields)
    if warm:
        assert client.serve(world.owner, 1) is Outcome.IDLE
        world.clients["/app/1"].send(get(b"/app/2", b"X-Forwarded-For: 203.0.113.9"))
    assert client.receive(1) is Outcome.REQUEST
    assert client.abandon() is Outcome.GONE
    line = world.lines.lines[-1]
    assert line.startswith(b"203.0.113.9 ")
    assert b'"GET /app/%d HTTP/1.1" 499 ' % (1 + warm) in line
    assert world.context.slot.cells[ABORTED] == 1
