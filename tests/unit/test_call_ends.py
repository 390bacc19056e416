"""What an exchange makes of clients that leave and of applications that take too long."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.engine.call import Disconnected, Phase
from miniwsgi.daemon.http.response import ServerFields

from tests.unit.call_world import TEXT, Result, Wire, World, app, length

BOOM = ValueError("boom")


def raiser(environ, start_response):
    raise BOOM


class InMemory(Result):
    streaming = False


# --- a client that is gone ---


def streamed(result):
    return app(result), result


def by_write(result):
    def application(environ, start_response):
        write = start_response("200 OK", TEXT)
        write(b"one")
        write(b"two")
        return result

    return application, result


def hinting(world):
    def application(environ, start_response):
        world.call.early_hints([])
        start_response("200 OK", TEXT)
        return [b"x"]

    return application


@pytest.mark.parametrize("breaks_at", range(1, 8))
@pytest.mark.parametrize("make", [streamed, by_write])
@pytest.mark.parametrize("full", [False, True])
def test_a_client_that_leaves_at_any_time(breaks_at, make, full):
    application, result = make(Result(b"three", b"four"))
    wire = Wire(breaks_at=breaks_at, full=full)
    world = World(wire=wire).run(application)
    broken = wire.broken
    exchange = world.call
    assert exchange.aborted is broken
    assert exchange.persistent is not broken
    assert not exchange.failed
    assert world.site.errors == []
    called = make is streamed or breaks_at > (4 if full else 2)
    assert result.closed == int(called)
    assert exchange.phase is (Phase.BROKEN if broken else Phase.DONE)  # EXPIRED would not be counted
    world.check()


@pytest.mark.parametrize("application", [app([b"x"]), app([]), app(InMemory(b"x")), raiser, app(Result())])
def test_a_client_that_has_left_before(application):
    world = World(wire=Wire(breaks_at=1)).run(application)
    assert world.wire.data == b""
    assert world.call.aborted
    assert world.call.failed is (application is raiser)
    world.check()


def test_a_client_that_leaves_before_early_hints():
    world = World(wire=Wire(breaks_at=1))
    world.run(hinting(world))
    assert world.call.aborted
    assert world.wire.data == b""
    assert world.site.errors == []


def test_an_application_that_swallows_the_disconnection():
    def application(environ, start_response):
        write = start_response("200 OK", TEXT)
        for _ in range(5):
            try:
                write(b"x")
            except Disconnected:
                pass
        return [b"y"]

    world = World(wire=Wire(breaks_at=3)).run(application)
    assert world.call.aborted
    assert not world.call.persistent


# --- an application that takes too long ---


def expired_in(wire=None, method="GET"):
    world = World(method, wire=wire)
    answers = []

    def expire():
        answers.append(world.call.expire())

    return world, answers, expire


def check_expired(world, answers, *, started):
    exchange = world.call
    assert exchange.phase is Phase.EXPIRED
    assert exchange.aborted
    assert not exchange.persistent
    if started:
        assert answers == [b""]
        assert not world.wire.data.endswith(b"0\r\n\r\n")
    else:
        assert answers[0].startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert b"Connection: close\r\n" in answers[0]
        assert exchange.status == "504 Gateway Timeout"
        assert world.wire.data == b""
    assert exchange.expire() is None
    world.check()


@pytest.mark.parametrize(
    "make", [lambda: [b"late"], lambda: [], lambda: Result(b"late"), Result, lambda: InMemory(b"late")]
)
@pytest.mark.parametrize("before", [True, False])
def test_expired_during_the_call(make, before):
    world, answers, expire = expired_in()
    result = make()

    def application(environ, start_response):
        if not before:
            expire()
        start_response("200 OK", TEXT)
        if before:
            expire()
        return result

    world.run(application)
    if not before:  # it has been recorded as what expire said
        assert world.call.status == "504 Gateway Timeout"
    check_expired(world, answers, started=False)
    assert getattr(result, "closed", 1) == 1
    assert world.site.errors == []


def test_an_error_after_the_end_of_patience_is_reported_and_not_sent():
    world, answers, expire = expired_in()

    def application(environ, start_response):
        expire()
        raise BOOM

    world.run(application)
    check_expired(world, answers, started=False)
    assert world.site.errors == [BOOM]


@pytest.mark.parametrize("headers", [[], length(6), length(3), length(9)])
def test_expired_between_blocks(headers):
    world, answers, expire = expired_in()
    result = Result(b"one", lambda: expire() or b"two", b"three")
    world.run(app(result, headers=headers))
    check_expired(world, answers, started=True)
    assert world.body == b"one"
    assert (result.pulled, result.closed) == (2, 1)
    assert world.site.errors == []


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("result", [[b"one"], [], Result(b"one", b"two"), Result(), InMemory(b"one")])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_expired_while_something_is_sent(at, result, method):
    """What is sent is on the wire; but whoever expired it has the last word on the connection, if that was not all."""
    is_result = type(result) is Result
    if isinstance(result, Result):
        result = type(result)(*([b"one", b"two"][: at if result.blocks else 0]))
    wire = Wire()
    world, answers, expire = expired_in(wire, method)
    wire.meanwhile = lambda: expire() if len(wire.sends) == at else None
    world.run(app(result))
    is_end = not is_result or wire.data.endswith(b"0\r\n\r\n")
    if answers and not is_end:
        assert answers == [b""]
        assert world.call.phase is Phase.EXPIRED
        assert world.call.aborted
        assert not world.call.persistent
    else:
        assert answers in ([], [None])
        assert world.call.phase is Phase.DONE
        assert world.call.persistent
    world.check()


def test_expired_while_paused():
    world, answers, expire = expired_in(Wire(full=True))
    result = Result(b"one", b"two", b"three")
    assert not world.call.run(app(result), {})
    expire()
    assert world.call.resume()
    check_expired(world, answers, started=True)
    assert (result.pulled, result.closed) == (2, 1)


def test_expired_in_write():
    world, answers, expire = expired_in()

    def application(environ, start_response):
        write = start_response("200 OK", TEXT)
        write(b"one")
        expire()
        write(b"two")
        return []

    world.run(application)
    check_expired(world, answers, started=True)
    assert world.body == b"one"


def test_expired_before_exc_info():
    world, answers, expire = expired_in()

    def application(environ, start_response):
        start_response("200 OK", TEXT)
        expire()
        start_response("503 Late", [], (ValueError, BOOM, None))
        return [b"late"]

    world.run(application)
    check_expired(world, answers, started=False)
    assert world.site.errors == [BOOM]


def test_too_late_to_expire():
    world = World().run(app([b"x"]))
    assert world.call.expire() is None
    assert world.outcome == ("200", b"x", True, True)
    world = World().run(raiser)
    assert world.call.expire() is None
    assert world.call.persistent


def test_expired_hints_are_not_sent():
    world, _, expire = expired_in()
    expire()
    world.call.early_hints([("Link", "</a>")])
    assert world.wire.data == b""


def test_expiring_does_not_wait_for_close():
    world, answers, expire = expired_in()
    result = Result(b"x")
    result.close = expire
    world.run(app(result))
    assert answers == [None]
    assert world.outcome == ("200", b"x", True, True)


def test_the_answer_in_its_place_bears_the_requests_id_whatever_the_application_was_about_to_send():
    world, answers, expire = expired_in()
    world.site.server_fields = ServerFields("", "X-Request-ID")
    world.call.request_id = "one"

    def application(environ, start_response):
        start_response("200 OK", [("X-Request-ID", "its own")])
        expire()
        return [b"late"]

    world.run(application)
    assert b"X-Request-ID: one\r\n" in answers[0]
