"""What an exchange makes of applications that misbehave: errors, exc_info, lengths that lie, close() (PEP 3333)."""

from __future__ import annotations

import itertools
import sys

import pytest
from miniwsgi.daemon.engine.call import Disconnected, Phase
from miniwsgi.daemon.http.response import BadResponse

from tests.unit.call_world import Result, Wire, World, app, length

BOOM = ValueError("boom")


def raiser(environ, start_response):
    raise BOOM


def after_start(environ, start_response):
    start_response("200 OK", [("X-Old", "leaked")])
    raise BOOM


class InMemory(Result):
    streaming = False


# --- 500: nothing was sent ---


def starts_twice(environ, start_response):
    start_response("200 OK", [("X-Old", "leaked")])
    start_response("201 Again", [])
    return [b"x"]


def never_starts(environ, start_response):
    return [b"leaked"]


def starts_badly(environ, start_response):
    start_response("200 OK", [("X-Old", "a\r\nX-Leaked: b")])
    return [b"leaked"]


def starts_badly_and_goes_on(environ, start_response):
    try:
        start_response("200 OK", [("X-Old", "a\r\nX-Leaked: b")])
    except BadResponse:
        pass
    return [b"leaked"]


def replaces_badly(environ, start_response):
    start_response("200 OK", [("X-Old", "leaked")])
    start_response("20", [], (ValueError, BOOM, None))
    return [b"leaked"]


def replaces_badly_and_goes_on(environ, start_response):
    start_response("200 OK", [("X-Old", "leaked")])
    try:
        start_response("20", [], (ValueError, BOOM, None))
    except BadResponse:
        pass
    return [b"leaked"]


def writes_text(environ, start_response):
    start_response("200 OK", [])("leaked")
    return []


def unstarted(result):
    return lambda environ, start_response: result


def started(result):
    return app(result, headers=[("X-Old", "leaked")])


FAILING = [  # each makes an application
    *(lambda it=it: it for it in (raiser, after_start, starts_twice, never_starts, starts_badly, replaces_badly)),
    lambda: starts_badly_and_goes_on, lambda: replaces_badly_and_goes_on, lambda: writes_text,
    lambda: unstarted([]), lambda: unstarted(Result(b"leaked")), lambda: unstarted(Result()),
    lambda: unstarted(InMemory(b"leaked")),
    *(lambda it=it: started(it) for it in (None, 1, "leaked", b"leaked", ["leaked"], [1], [None], [b"a", "leaked"],
                                           ("leaked",), object(), [bytearray(b"a"), "leaked"], True)),
    lambda: started(Result("leaked")), lambda: started(Result(None)), lambda: started(Result(1)),
    lambda: started(Result("")), lambda: started(Result(BOOM)), lambda: started(Result(b"", BOOM)),
    lambda: started(InMemory("leaked")), lambda: started(InMemory(BOOM)),
]  # fmt: skip


@pytest.mark.parametrize("make", FAILING)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("http11", "persistent"), [(True, True), (True, False), (False, True)])
def test_500_in_place_of_everything(make, method, http11, persistent):
    application = make()
    results = []

    def recorded(environ, start_response):
        results.append(application(environ, start_response))
        return results[0]

    world = World(method, http11, persistent).run(recorded)
    assert world.status == "500 Internal Server Error"
    assert world.body == (b"" if method == "HEAD" else b"500 Internal Server Error\n")
    assert b"leaked" not in world.wire.data
    assert world.call.persistent is (http11 and persistent)
    assert ("Connection" in world.fields) is not world.call.persistent
    assert (world.call.status, world.call.headers) == ("500 Internal Server Error", [])
    assert world.call.failed
    assert not world.call.aborted
    assert len(world.site.errors) == 1
    assert world.call.phase is Phase.DONE
    assert len(world.wire.sends) == 1
    if results and isinstance(results[0], Result):
        assert results[0].closed == 1
    world.check()


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(), Disconnected()]
)
def test_no_exception_gets_past(error):
    def application(environ, start_response):
        raise error

    world = World().run(application)
    if isinstance(error, Disconnected):
        assert world.call.aborted
    else:
        assert world.outcome == ("500", b"500 Internal Server Error\n", True, True)
        assert world.site.errors == [error]


def test_the_traceback_is_the_applications():
    def handler(environ, start_response):
        raise ValueError("its own")

    world = World().run(handler)
    frames = []
    trace = world.site.errors[0].__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert frames[-1] == "handler"


# --- too late for a 500 ---


def failing_late(then, result, headers):
    """Writes if `then` is something to go on with behind that; returns `result`."""

    def application(environ, start_response):
        write = start_response("200 OK", headers)
        if then is not None:
            write(b"sent")
        if then is BOOM:
            raise BOOM
        if then:
            write(then)
        return result

    return application


@pytest.mark.parametrize("headers", [[], length(10)])
@pytest.mark.parametrize("http11", [True, False])
@pytest.mark.parametrize(
    ("then", "blocks"),
    [(None, [b"sent", BOOM]), (None, [b"sent", "text"]), (None, [b"sent", None]), (BOOM, []), ("text", []),
    (b"", ["text"]),
     (b"", [BOOM])],
)  # fmt: skip
def test_cut_off_without_a_last_chunk(then, blocks, headers, http11):
    result = Result(*blocks)
    world = World(http11=http11).run(failing_late(then, result, headers))
    assert world.status == "200 OK"
    assert world.body == b"sent"
    assert not world.call.persistent
    assert world.call.aborted
    assert world.call.failed
    assert len(world.site.errors) == 1
    assert not world.wire.data.endswith(b"0\r\n\r\n")
    assert not world.complete or not (http11 or headers)
    assert result.closed == (0 if then in {BOOM, "text"} else 1)
    world.check()


@pytest.mark.parametrize("result", [None, ["text"], 1])
def test_a_result_that_is_no_body_behind_write(result):
    world = World().run(failing_late(b"", result, []))
    assert world.outcome == ("200", b"sent", False, False)
    assert world.call.failed


# --- exc_info ---


def test_exc_info_replaces_what_was_not_sent():
    def application(environ, start_response):
        start_response("200 OK", [("X-Old", "a"), *length(50)])
        try:
            raise BOOM
        except ValueError:
            start_response("503 Replaced", [("X-New", "b")], sys.exc_info())
        return [b"replaced"]

    world = World().run(application)
    assert world.status == "503 Replaced"
    assert world.fields == {"X-New": "b", "Content-Length": "8"}
    assert world.call.status == "503 Replaced"
    assert world.site.errors == []


def test_exc_info_in_the_only_call():
    def application(environ, start_response):
        start_response("503 Only", [], (ValueError, BOOM, None))
        return [b"x"]

    assert World().run(application).outcome == ("503", b"x", True, True)


def test_exc_info_behind_an_empty_block():
    def application(environ, start_response):
        start_response("200 OK", [("X-Old", "a")])
        yield b""
        start_response("503 Replaced", [], (ValueError, BOOM, None))
        yield b"replaced"

    world = World().run(application)
    assert world.outcome == ("503", b"replaced", True, True)
    assert "X-Old" not in world.fields


@pytest.mark.parametrize("caught", [False, True])
def test_exc_info_behind_the_head_is_raised_again(caught):
    seen = []

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"sent"
        try:
            raise BOOM
        except ValueError:
            try:
                start_response("503 Replaced", [], sys.exc_info())
            except ValueError as error:
                seen.append(error)
                if not caught:
                    raise
        yield b"more"

    world = World().run(application)
    assert seen == [BOOM]
    assert BOOM.__traceback__ is not None
    assert world.outcome == ("200", b"sentmore" if caught else b"sent", caught, caught)
    assert world.call.status == "200 OK"


def test_started_again_behind_the_head():
    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"sent"
        start_response("200 OK", [])
        yield b"more"

    world = World().run(application)
    assert world.outcome == ("200", b"sent", False, False)
    assert isinstance(world.site.errors[0], BadResponse)


# --- Content-Length that lies ---


@pytest.mark.parametrize(
    ("result", "size", "body"),
    [
        ([b"five!"], 10, b"five!"), ([b"five!"], 3, b"fiv"), ([b"five!"], 0, b""), ([], 3, b""),
        ([b"ab", b"cd"], 3, b"abc"),
        (Result(b"five!"), 10, b"five!"), (Result(b"five!"), 3, b"fiv"), (Result(b"five!"), 0, b""), (Result(), 3, b""),
        (Result(b"ab", b"cd", b"ef"), 3, b"abc"), (Result(b"ab", b"cd", b"ef"), 4, b"abcd"),
        (InMemory(b"ab", b"cd"), 3, b"abc"),
        (InMemory(b"ab"), 3, b"ab"),
    ],
)  # fmt: skip
def test_too_few_or_too_many_bytes(result, size, body):
    few = len(body) < size
    world = World().run(app(result, headers=length(size)))
    assert world.body == body
    assert world.fields["Content-Length"] == str(size)
    assert world.call.persistent is (not few)
    assert world.call.aborted is few
    assert world.call.sent == len(body)
    assert not world.call.failed
    assert len(world.site.mistakes) == 1
    assert ("fewer" if few else "more") in world.site.mistakes[0]
    assert getattr(result, "closed", 1) == 1
    world.check()


def test_a_result_that_gives_too_much_is_not_pulled_for_ever():
    """PEP 3333: stop iterating when enough has been sent."""
    result = Result(b"abc", b"def", b"ghi", b"never")
    world = World().run(app(result, headers=length(4)))
    assert world.outcome == ("200", b"abcd", True, True)
    assert (result.pulled, result.closed) == (2, 1)
    world = World().run(app(itertools.repeat(b"x"), headers=length(3)))
    assert world.outcome == ("200", b"xxx", True, True)
    assert len(world.site.mistakes) == 1


def test_a_result_that_gives_just_enough_is_pulled_to_its_end():
    ended = []

    def application(environ, start_response):
        start_response("200 OK", length(3))
        yield b"abc"
        ended.append(True)

    assert World().run(application).outcome == ("200", b"abc", True, True)
    assert ended == [True]


def test_too_much_is_written():
    def application(environ, start_response):
        write = start_response("200 OK", length(4))
        for _ in range(3):
            write(b"abc")
        return [b"more"]

    world = World().run(application)
    assert world.outcome == ("200", b"abca", True, True)
    assert len(world.site.mistakes) == 1


def test_hop_by_hop_fields_are_reported():
    world = World().run(app([b"x"], headers=[("Connection", "close"), ("Upgrade", "h2c"), ("X-A", "b")]))
    assert world.outcome == ("200", b"x", True, True)
    assert world.fields == {"X-A": "b", "Content-Length": "1"}
    assert "Connection, Upgrade" in world.site.mistakes[0]


# --- close() ---


@pytest.mark.parametrize("result_class", [Result, InMemory])
def test_an_error_in_close_is_told_and_nothing_more(result_class):
    class Failing(result_class):
        def close(self):
            super().close()
            raise BOOM

    result = Failing(b"fine")
    world = World().run(app(result))
    assert world.outcome == ("200", b"fine", True, True)
    assert world.site.errors == [BOOM]
    assert result.closed == 1


def test_close_is_called_even_where_iterating_is_impossible():
    class Closing:
        closed = 0

        def close(self):
            self.closed += 1

    result = Closing()
    assert World().run(app(result)).status[:3] == "500"
    assert result.closed == 1


def test_a_generator_is_closed():
    closed = []

    def blocks():
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    world = World(wire=Wire(breaks_at=2)).run(app(blocks()))
    assert closed == [True]
    assert world.call.aborted


def test_a_close_that_cannot_even_be_looked_up():
    class Hiding(list):
        @property
        def close(self):
            raise BOOM

    world = World().run(app(Hiding([b"fine"])))
    assert world.outcome == ("200", b"fine", True, True)
    assert world.site.errors == [BOOM]


def test_close_that_is_no_function():
    result = Result(b"x")
    result.close = 1
    assert World().run(app(result)).outcome == ("200", b"x", True, True)
