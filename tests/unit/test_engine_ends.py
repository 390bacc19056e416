"""Who is closed at once after its last answer, and who in stages (RFC 9112 section 9.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.engine.plain import FLIGHT_BYTES

from tests.conformance.case import get

from .conversation_world import NOW, World

CLOSE = b"Connection: close"
LAST = get(b"/", CLOSE)


def fails() -> list[bytes]:
    raise ValueError("on purpose")


def breaks_off() -> Iterator[bytes]:
    yield b"."
    raise ValueError("on purpose")


def serve(world: World, request: bytes) -> Outcome:
    world.send(request)
    return world.conversation.serve(world.thread, NOW)


@pytest.mark.parametrize("request_", [LAST, b"GET / HTTP/1.0\r\n\r\n", b"HEAD / HTTP/1.0\r\n\r\n"])
@pytest.mark.parametrize(
    "answer",
    [lambda: [b"."], lambda: [bytes(FLIGHT_BYTES)], lambda: iter([b".", b"."]), fails],
    ids=["small", "as large as may be", "in parts", "the application raises"],
)
def test_a_client_that_has_asked_for_the_end_gets_it(world: World, request_: bytes, answer: Callable) -> None:
    world.answer = answer
    assert serve(world, request_) is Outcome.END


@pytest.mark.parametrize(
    "request_",
    [
        LAST + b"\r\n",
        LAST + b"GET /another HTTP/1.1\r\nHost: x\r\n\r\n",
        get(b"/", CLOSE, b"Content-Length: 1", method=b"POST", body=b"x"),
        get(b"/", CLOSE, b"Transfer-Encoding: chunked", method=b"POST", body=b"0\r\n\r\n"),
    ],
    ids=["it has sent an empty line", "it has sent another request", "with a body", "with one in chunks"],
)
def test_one_that_may_have_more_to_send_is_waited_for(world: World, request_: bytes) -> None:
    """Some clients put an empty line behind a body (RFC 9112 section 2.2)."""
    assert serve(world, request_) is Outcome.LAST


@pytest.mark.parametrize(
    "answer",
    [lambda: [bytes(FLIGHT_BYTES + 1)], breaks_off],
    ids=["large", "broken off"],
)
def test_one_that_may_still_have_to_read_is_waited_for(world: World, answer: Callable) -> None:
    world.answer = answer
    assert serve(world, LAST) is Outcome.LAST


def test_one_that_has_not_read_before_is_waited_for(world: World) -> None:
    world.fill()
    assert serve(world, LAST) is Outcome.UNSENT
    while world._read():
        pass
    assert world.conversation.flush() is Outcome.LAST


def test_one_that_would_have_gone_on_is_waited_for(world: World) -> None:
    world.context.site.closing = True
    assert serve(world, get()) is Outcome.LAST


def test_one_whose_request_has_expired_is_waited_for(world: World) -> None:
    """The 504 is sent by somebody else, who has ended our side already."""
    world.during = lambda: world.conversation.expire(0, world.conversation.called_ns + 1)
    assert serve(world, LAST) is Outcome.LAST
