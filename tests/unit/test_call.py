"""What an exchange makes of applications that behave (PEP 3333): framing, write(), generators, pauses, files, hints."""

from __future__ import annotations

import itertools
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniwsgi.daemon.engine.call import Phase

from tests.support.effort import effort
from tests.unit.call_world import TEXT, Result, Wire, World, app, length


def generator(*blocks):
    yield from blocks


class ClosingList(list):
    closed = 0

    def close(self):
        self.closed += 1


class InMemory(Result):
    streaming = False


# --- sized results ---


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ([b"one"], b"one"),
        ([b"one", b"two", b"three"], b"onetwothree"),
        ((b"one", b"", b"two"), b"onetwo"),
        ([], b""),
        ((), b""),
        ([b""], b""),
        ([b"", b""], b""),
        ([b"x" * 1_000_000], b"x" * 1_000_000),
        (ClosingList([b"one", b"two"]), b"onetwo"),
        (ClosingList([b"one"]), b"one"),
        (ClosingList(), b""),
        (InMemory(b"one", b"two"), b"onetwo"),
        (InMemory(), b""),
    ],
)
def test_sized_results_go_out_in_one_piece(result, body):
    world = World().run(app(result))
    assert world.outcome == ("200", body, True, True)
    assert world.fields == {"Content-Type": "text/plain", "Content-Length": str(len(body))}
    assert len(world.wire.sends) == 1
    assert world.call.phase is Phase.DONE
    assert world.call.sent == len(body)
    assert getattr(result, "closed", 1) == 1
    world.check()


@pytest.mark.parametrize("streaming", [True, None, 0])
def test_only_what_says_that_it_does_not_stream_is_joined(streaming):
    result = Result(b"one", b"two")
    result.streaming = streaming
    world = World().run(app(result))
    assert world.fields["Transfer-Encoding"] == "chunked"
    assert world.body == b"onetwo"


# --- results of unknown length ---


@pytest.mark.parametrize(
    ("result", "body", "sends"),
    [
        (generator(b"one", b"two"), b"onetwo", 3),
        (Result(b"one"), b"one", 2),
        (Result(b"", b"one", b"", b"two", b""), b"onetwo", 3),
        (iter([b"one"]), b"one", 2),
        ({b"one": 1}, b"one", 2),
    ],
)
def test_streamed_results_are_chunked(result, body, sends):
    world = World().run(app(result))
    assert world.outcome == ("200", body, True, True)
    assert world.fields == {"Content-Type": "text/plain", "Transfer-Encoding": "chunked"}
    assert len(world.wire.sends) == sends
    assert world.call.sent == len(body)
    world.check()


@pytest.mark.parametrize("result", [generator(), Result(), Result(b"", b""), iter([])])
def test_a_stream_of_nothing_has_a_length(result):
    world = World().run(app(result))
    assert world.outcome == ("200", b"", True, True)
    assert world.fields["Content-Length"] == "0"
    assert len(world.wire.sends) == 1


def test_a_stream_with_its_length():
    world = World().run(app(Result(b"one", b"two"), headers=length(6)))
    assert world.outcome == ("200", b"onetwo", True, True)
    assert "Transfer-Encoding" not in world.fields
    assert world.site.mistakes == []


@pytest.mark.parametrize(("http11", "headers", "goes_on"), [(False, [], False), (False, length(3), True)])
def test_http10_is_not_chunked(http11, headers, goes_on):
    world = World(http11=http11).run(app(Result(b"abc"), headers=headers))
    assert world.outcome == ("200", b"abc", True, goes_on)
    assert world.fields["Connection"] == ("keep-alive" if goes_on else "close")
    world.check()


def test_blocks_go_out_before_the_next_is_asked_for():
    wire = Wire()
    counts = []

    def blocks():
        for block in (b"one", b"two", b"three"):
            counts.append(len(wire.sends))
            yield block

    World(wire=wire).run(app(blocks()))
    assert counts == [0, 1, 2]


def test_bytes_of_a_subclass_are_bytes():
    class Bytes(bytes):
        pass

    for result in ([Bytes(b"one")], [Bytes(b"one"), Bytes(b"two")], Result(Bytes(b"one"))):
        assert World().run(app(result)).body.startswith(b"one")


# --- start_response ---


def test_start_response_in_the_first_block():
    def application(environ, start_response):
        yield b""
        start_response("202 Late", TEXT)
        yield b"late"

    world = World().run(application)
    assert world.status == "202 Late"
    assert world.outcome == ("202", b"late", True, True)


def test_status_and_headers_are_known_to_whoever_logs():
    headers = [("X-A", "b")]
    world = World().run(app([b"x"], "404 Not Here", headers))
    assert (world.call.status, world.call.headers) == ("404 Not Here", headers)
    assert world.status == "404 Not Here"
    assert "404 Not Here" in repr(world.call)


def test_changing_the_headers_afterwards_changes_nothing():
    headers = [("X-A", "b")]

    def application(environ, start_response):
        start_response("200 OK", headers)
        headers.append(("X-Late\r\n", "c"))
        return [b"x"]

    assert "X-Late\r\n" not in World().run(application).fields


def test_the_environ_is_handed_through():
    environ = {"a": "b"}
    seen = []

    def application(given, start_response):
        seen.append(given)
        start_response("200 OK", [])
        return []

    World().run(application, environ)
    assert seen[0] is environ


# --- HEAD and statuses without a body ---


@pytest.mark.parametrize("result", [[b"one"], [b"one", b"two"], [], InMemory(b"one"), ClosingList([b"one"])])
def test_head_of_sized_results(result):
    size = sum(map(len, getattr(result, "blocks", result)))
    world = World("HEAD").run(app(result))
    assert world.outcome == ("200", b"", True, True)
    assert world.fields.get("Content-Length", "0") == str(size)
    assert world.call.sent == 0
    world.check()


def test_head_of_an_endless_generator_ends():
    result = Result()
    result.blocks = itertools.repeat(b"x")
    world = World("HEAD").run(app(map(bytes, itertools.repeat(b"x"))))
    assert world.outcome == ("200", b"", True, True)
    assert "Transfer-Encoding" not in world.fields


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
def test_one_block_is_enough_where_there_is_no_body(method, status):
    result = Result(b"", b"one", b"two", b"three")
    world = World(method).run(app(result, status, length(3) if method == "HEAD" else []))
    assert world.outcome == (status[:3], b"", True, True)
    assert len(world.wire.sends) == 1
    assert result.pulled == 2
    assert result.closed == 1
    assert world.site.mistakes == []


@pytest.mark.parametrize("result", [[b"body"], Result(b"body"), Result(), [], InMemory(b"body")])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_no_body_for_statuses_without_one(status, result):
    world = World().run(app(result, status))
    assert world.outcome == (status[:3], b"", True, True)
    assert not {"Content-Length", "Transfer-Encoding"} & set(world.fields)


def test_a_1xx_is_no_answer():
    world = World().run(app([b"x"], "199 Odd"))
    assert world.status == "500 Internal Server Error"
    assert world.call.failed
    assert world.call.persistent


def test_a_status_without_a_reason_is_told():
    world = World().run(app([b"x"], "200"))
    assert world.wire.data.startswith(b"HTTP/1.1 200 \r\n")
    assert [mistake[:16] for mistake in world.site.mistakes] == ['the status "200"']


class Bytes(bytes):
    pass


def octets(data):
    return array("B", data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, Bytes, octets], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("shape", ["list", "tuple", "iterable", "in memory", "write"])
@pytest.mark.parametrize("parts", [(b"whole",), (b"in ", b"two"), (b"", b"x"), (b"",)], ids=len)
def test_what_is_like_bytes_is_judged_alike_alone_and_in_company(kind, shape, parts):
    def written(environ, start_response):
        write = start_response("200 OK", [])
        for part in parts:
            write(kind(part))
        return []

    blocks = [kind(part) for part in parts]
    made = {"list": blocks, "tuple": tuple(blocks), "iterable": Result(*blocks), "in memory": InMemory(*blocks)}
    world = World().run(written if shape == "write" else app(made[shape]))
    assert world.outcome == ("200", b"".join(parts), True, True)
    assert world.call.sent == sum(map(len, parts))


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
def test_write_where_there_is_no_body(status):
    def application(environ, start_response):
        write = start_response(status, [])
        write(b"one")
        write(b"two")
        return [b"three"]

    world = World("HEAD" if status == "200 OK" else "GET").run(application)
    assert world.outcome == (status[:3], b"", True, True)
    assert len(world.wire.sends) == 1


# --- write() ---


def written(*blocks, result=(), headers=TEXT):
    def application(environ, start_response):
        write = start_response("200 OK", headers)
        for block in blocks:
            write(block)
        return result

    return application


@pytest.mark.parametrize(
    ("result", "body"),
    [([], b"onetwo"), ([b"three"], b"onetwothree"), (Result(b"three", b"four"), b"onetwothreefour"),
    (Result(), b"onetwo"),
     (InMemory(b"three"), b"onetwothree"), ([b""], b"onetwo")],
)  # fmt: skip
def test_write_then_a_result(result, body):
    world = World().run(written(b"one", b"", b"two", result=result))
    assert world.outcome == ("200", body, True, True)
    assert world.fields["Transfer-Encoding"] == "chunked"
    assert getattr(result, "closed", 1) == 1
    assert world.call.sent == len(body)


def test_write_with_its_length():
    world = World().run(written(b"one", b"two", headers=length(6)))
    assert world.outcome == ("200", b"onetwo", True, True)
    assert world.site.mistakes == []


def test_writing_nothing_sends_nothing():
    def application(environ, start_response):
        start_response("200 OK", [])(b"")
        start_response("503 Other", [], (ValueError, ValueError(), None))
        return [b"x"]

    assert World().run(application).status == "503 Other"


def test_write_in_http10():
    world = World(http11=False).run(written(b"one", result=[b"two"]))
    assert world.outcome == ("200", b"onetwo", True, False)


def test_write_waits_for_a_client_that_does_not_read():
    world = World(wire=Wire(full=True)).run(written(b"one", b"two", result=[b"three"]))
    assert world.wire.waits == 2
    assert world.outcome == ("200", b"onetwothree", True, True)
    assert world.pauses == 0


# --- pauses ---


def test_a_result_is_not_pulled_while_it_pauses():
    result = Result(b"one", b"", b"two", b"three")
    world = World(wire=Wire(full=True))
    pulled = []
    complete = world.call.run(app(result), {})
    while not complete:
        pulled.append(result.pulled)
        assert result.closed == 0
        assert world.call.phase is Phase.STARTED
        complete = world.call.resume()
    assert pulled == [1, 3, 4]
    assert result.closed == 1
    assert world.outcome == ("200", b"onetwothree", True, True)
    world.check()


@pytest.mark.parametrize("headers", [[], length(6)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("http11", [True, False])
def test_pauses_change_nothing_on_the_wire(headers, method, http11):
    blocks = [b"one", b"", b"two"]
    paused = World(method, http11, wire=Wire(full=True)).run(app(Result(*blocks), headers=headers))
    at_once = World(method, http11).run(app(Result(*blocks), headers=headers))
    assert paused.wire.data == at_once.wire.data
    assert paused.outcome == at_once.outcome
    assert paused.pauses == (2 if method == "GET" else 0)


def test_sized_results_do_not_pause():
    assert World(wire=Wire(full=True)).run(app([b"x" * 1_000_000])).pauses == 0


def test_a_client_that_leaves_during_a_pause():
    result = Result(b"one", b"two")
    world = World(wire=Wire(full=True))
    assert not world.call.run(app(result), {})
    world.call.abandon()
    assert (result.pulled, result.closed) == (1, 1)
    assert world.call.aborted
    world.check()


# --- early hints ---

LINK = [("Link", "</a.css>; rel=preload")]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_early_hints_come_first(method):
    world = World(method)

    def application(environ, start_response):
        world.call.early_hints(LINK)
        start_response("200 OK", [])
        world.call.early_hints(LINK)
        return [b"x"]

    world.run(application)
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    assert world.wire.sends[:2] == [hints, hints]
    assert world.status == "200 OK"
    assert world.call.persistent


def test_early_hints_behind_the_head_are_ignored():
    world = World()

    def application(environ, start_response):
        start_response("200 OK", [])(b"one")
        world.call.early_hints(LINK)
        return [b"two"]

    assert world.run(application).body == b"onetwo"
    assert b" 103 " not in world.wire.data
    world.call.early_hints(LINK)
    assert b" 103 " not in world.wire.data


def test_http10_gets_no_early_hints():
    world = World(http11=False)
    world.call.early_hints(LINK)
    assert world.wire.data == b""


# --- anything ---


@settings(max_examples=effort(66, 200), deadline=None)
@given(
    st.lists(st.sampled_from([b"", b"a", b"bcd", b"x" * 300]), max_size=5),
    st.lists(st.sampled_from([b"", b"w", b"yz"]), max_size=3),
    st.sampled_from([list, tuple, lambda blocks: Result(*blocks), lambda blocks: InMemory(*blocks), ClosingList]),
    st.sampled_from([None, 0, 3, 10]),
    st.sampled_from(["GET", "HEAD"]),
    st.booleans(),
    st.booleans(),
)
def test_every_body_arrives_or_is_known_to_be_short(blocks, writes, kind, announced, method, http11, full):
    world = World(method, http11, wire=Wire(full=full))
    world.run(written(*writes, result=kind(blocks), headers=[] if announced is None else length(announced)))
    whole = b"".join(writes + blocks)
    world.check()
    assert world.site.errors == []
    if method == "HEAD":
        assert (world.body, world.call.persistent, world.call.aborted) == (b"", True, False)
        return
    expected = whole if announced is None else whole[:announced]
    assert world.body == expected
    assert world.call.sent == len(expected)
    short = announced is not None and len(whole) < announced
    assert world.complete is (not short)
    assert world.call.aborted is short
    assert bool(world.site.mistakes) is (announced is not None and len(whole) != announced)
    assert world.call.persistent is (not short and world.fields.get("Connection") != "close")
