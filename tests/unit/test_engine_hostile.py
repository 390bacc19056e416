"""Objects of the application that raise wherever they are touched: its request fails, and nothing else does."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.log.access_log import AccessLog, SelectiveAccessLog
from miniwsgi.daemon.log.access_skip import wanted
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


class Untold:
    """As a proxy of something that is over: whoever asks it for its text has an exception."""

    def __str__(self) -> str:
        raise RuntimeError

    __bool__ = __repr__ = __str__


class UntoldText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError

    lower = partition = __bool__ = __hash__ = __str__


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


@pytest.mark.parametrize("format", ["combined", "json", "%(m)s %({k}e)s %({x}o)s"])
@pytest.mark.parametrize("left", [Untold(), UntoldText("x")], ids=lambda left: type(left).__name__)
def test_what_is_left_in_the_environ_costs_its_place_in_the_log_and_no_more(engine, format, left):
    begin, lines = choose(engine).begin, []
    kept = SimpleNamespace(put=lines.append, append=None, notice=None)
    options = {"writer": kept, "faster": begin.access_lines}
    chosen = wanted(["GET /none agent:x"])
    for access in (AccessLog("-", format, **options), SelectiveAccessLog(chosen, "-", format, **options)):
        for key in ("REQUEST_METHOD", "RAW_URI", "REMOTE_ADDR", "HTTP_USER_AGENT", "HTTP_AUTHORIZATION", "k"):
            world = World(engine, access=access)

            def application(environ, start_response, key=key):
                environ[key] = left
                start_response("200 OK", headers := [("X", "y")])
                headers.append("no pair")
                return [b"."]

            world.context.site.application = application
            for _ in range(2):
                assert ask(world).endswith(b".")
            assert world.context.slot.cells[REQUESTS] == 2
            world.near.close()
            world.far.close()
    assert len(lines) == 24
    assert b"y" in lines[0] or "%({x}o)s" not in format


def test_a_status_that_cannot_be_looked_up(world):
    def application(environ, start_response):
        start_response(UntoldText("299 X"), [])
        return [b"."]

    world.context.site.application = application
    for _ in range(2):
        assert ask(world).startswith(b"HTTP/1.1 299 X\r\n")
