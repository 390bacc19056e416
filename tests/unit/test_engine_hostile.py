"""Objects of the application that raise wherever they are touched: its request fails, and nothing else does."""

from __future__ import annotations

import contextlib

import pytest
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.metrics.scoreboard import ERRORS, REQUESTS

from tests.conformance.case import get

from .conversation_world import NOW, World


class Unhashable:
    def __hash__(self) -> int:
        raise RuntimeError


class Incomparable(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = str.__hash__


class Nameless(type):
    @property
    def __name__(cls) -> str:
        raise RuntimeError


class NamelessError(Exception, metaclass=Nameless):
    pass


class NotedError(Exception):
    @property
    def __notes__(self) -> list[str]:
        raise KeyboardInterrupt


class UntouchableError(Exception):
    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


@pytest.fixture
def world(engine):
    made = World(engine)
    yield made
    made.near.close()
    made.far.close()


def ask(world: World) -> bytes:
    world.send(get())
    assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
    return world.far.recv(10_000)


@pytest.mark.parametrize("route", [Unhashable(), Incomparable("/a"), []], ids=lambda route: type(route).__name__)
def test_a_route_that_cannot_be_looked_up(world, route):
    def application(environ, start_response):
        environ["miniwsgi.route"] = route
        return world.application(environ, start_response)

    world.context.site.application = application
    for _ in range(3):
        assert ask(world).endswith(b".")
    assert world.context.slot.cells[REQUESTS] == 3


@pytest.mark.parametrize(
    "error", [NamelessError, NotedError, UntouchableError], ids=["its class's name", "its notes", "all of it"]
)
def test_an_exception_that_cannot_be_told(world, error, capfd):
    def application(environ, start_response):
        raise error

    world.context.site.application = application
    answer = b""
    with contextlib.suppress(BaseException):  # pytest could not tell of it either
        answer = ask(world)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert world.context.slot.cells[ERRORS] == 1
    assert world.context.log.flush(1)
    assert "the application raised" in capfd.readouterr().err
