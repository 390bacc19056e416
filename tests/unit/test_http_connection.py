"""The states of a connection against their table, and what it says while a request comes."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.http.connection import STATES, Connection, Parsing, ParsingEvent
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Known, parse_request_line

from tests.conformance.case import END_CHUNK, chunk, chunked, get, get10, post, request
from tests.conformance.parser import SMALL, feed, parse

NEXT = get(b"/next")
HEAD = post(b"abc")[:-3]
WAITING = get(b"/", b"Expect: 100-continue", b"Content-Length: 3")


def fed(*pieces, limits=SMALL, **options):
    connection = Connection(limits, **options)
    for piece in pieces:
        connection.receive(piece)
    return connection


# --- the table ---

REACHED = {  # ways to come into a state
    Parsing.IDLE: [(), (b"\r\n",), (NEXT, True)],
    Parsing.HEAD: [(b"G",), (NEXT[:-1],), (b"\r",), (NEXT, True, b"GET / HTTP/1.1\r\n")],
    Parsing.BODY: [(HEAD,), (HEAD + b"a",), (chunked(b"5\r\nhe"),), (chunked(b"1\r\na\r\n0\r\n"),)],
    Parsing.ANSWERING: [(NEXT,), (NEXT + NEXT,), (HEAD, b"abc"), (NEXT, True, NEXT)],
    Parsing.CLOSED: [(NEXT, False), (b"\0",), (chunked(b"x\r\n"),)],
}
HAPPENS = {  # what makes an event happen in a state; bytes are received, a bool finishes, None closes
    (Parsing.IDLE, ParsingEvent.BYTES): [b"G", NEXT[:-1], b"\r", b"\r\nG"],
    (Parsing.IDLE, ParsingEvent.EMPTY_LINE): [b"\r\n"],
    (Parsing.IDLE, ParsingEvent.HEAD_DONE): [HEAD, HEAD + b"ab", chunked(b"1\r\n")],
    (Parsing.IDLE, ParsingEvent.REQUEST_DONE): [NEXT, HEAD + b"abc", NEXT + b"GET", b"\r\n" + NEXT],
    (Parsing.IDLE, ParsingEvent.ERROR): [
        b"\0",
        b"GET\r\n",
        get(b"#"),
        get(b"/", b"Content-Length: 2000"),
        chunked(b"x\r\n"),
    ],
    (Parsing.ANSWERING, ParsingEvent.BYTES): [b"G", NEXT, b"\0"],
    (Parsing.ANSWERING, ParsingEvent.FINISHED): [True],
    (Parsing.ANSWERING, ParsingEvent.FINISHED_LAST): [False],
    (Parsing.CLOSED, ParsingEvent.BYTES): [b"G", NEXT, b"\0"],
    **{(state, ParsingEvent.CLOSE): [None] for state in Parsing},
}
CONTINUED = {  # the same for states where it depends on how they were reached
    (Parsing.HEAD, ParsingEvent.BYTES): [((b"GE",), b"T"), ((b"\r",), b"\nGET")],
    (Parsing.HEAD, ParsingEvent.EMPTY_LINE): [((b"\r",), b"\n"), ((b"\r\n", b"\r"), b"\n")],
    (Parsing.HEAD, ParsingEvent.HEAD_DONE): [((HEAD[:-1],), b"\n"), ((HEAD[:9],), HEAD[9:])],
    (Parsing.HEAD, ParsingEvent.REQUEST_DONE): [((NEXT[:-1],), b"\n"), ((HEAD[:9],), HEAD[9:] + b"abc"),
    ((b"\r",), b"\n" + NEXT)],
    (Parsing.HEAD, ParsingEvent.ERROR): [((b"GET",), b"\n"), ((b"\r",), b"\r"), ((NEXT[:-2],), b"x\r\n\r\n"),
    ((b"GET",), None)],
    (Parsing.BODY, ParsingEvent.BYTES): [((HEAD,), b"ab"), ((chunked(b"5\r\n"),), b"h"), ((chunked(b"0\r\n"),), b"\r")],
    (Parsing.BODY, ParsingEvent.REQUEST_DONE): [((HEAD,), b"abc"), ((HEAD,), b"abcGET"),
    ((chunked(b"0\r\n"),), b"\r\n")],
    (Parsing.BODY, ParsingEvent.ERROR): [((chunked(b"5\r\n"),), b"hello!!"), ((chunked(b"0\r\n"),), b"x\r\n"),
    ((HEAD,), None)],
}  # fmt: skip


def reach(steps):
    connection = Connection(SMALL)
    for step in steps:
        if isinstance(step, bool):
            connection.finish(step)
        else:
            try:
                connection.receive(step)
            except ProtocolError:
                pass
    return connection


def happen(connection, stimulus):
    """Do it; the event that the connection reported."""
    before = connection.state
    if isinstance(stimulus, bool):
        return ParsingEvent.FINISHED if connection.finish(stimulus) else ParsingEvent.FINISHED_LAST
    try:
        if stimulus is None:
            connection.end_of_input()
            return None
        if connection.receive(stimulus):
            return ParsingEvent.REQUEST_DONE
    except ProtocolError:
        return ParsingEvent.ERROR
    if connection.state is Parsing.BODY and before is not Parsing.BODY:
        return ParsingEvent.HEAD_DONE
    return ParsingEvent.EMPTY_LINE if connection.state is Parsing.IDLE else ParsingEvent.BYTES


def test_every_state_is_reached():
    assert set(REACHED) == set(Parsing)
    for state, ways in REACHED.items():
        for way in ways:
            assert reach(way).state is state, way


def test_the_table_is_what_happens():
    assert set(HAPPENS) | set(CONTINUED) == set(STATES)
    for (state, event), stimuli in HAPPENS.items():
        for way in REACHED[state]:
            if event is ParsingEvent.EMPTY_LINE and way == (b"\r\n",):
                continue  # the second: as good, but the third is an error
            for stimulus in stimuli:
                connection = reach(way)
                if event is ParsingEvent.CLOSE:
                    connection.close()
                else:
                    assert happen(connection, stimulus) is event, (way, stimulus)
                assert connection.state is STATES[state, event], (way, stimulus)
    for (state, event), histories in CONTINUED.items():
        for way, stimulus in histories:
            connection = reach(way)
            assert connection.state is state
            assert happen(connection, stimulus) is event, (way, stimulus)
            assert connection.state is STATES[state, event], (way, stimulus)


def test_the_end_of_input_between_requests_is_no_error():
    for state in (Parsing.IDLE, Parsing.ANSWERING, Parsing.CLOSED):
        for way in REACHED[state]:
            connection = reach(way)
            connection.end_of_input()
            assert connection.state is state


def test_what_arrives_while_a_request_is_answered_waits():
    connection = fed(get(b"/1"))
    assert not connection.receive(get(b"/2"))
    assert not connection.receive(get(b"/3"))
    assert connection.line.path == "/1"
    connection.finish(True)
    assert connection.advance()
    assert connection.line.path == "/2"
    connection.finish(True)
    assert connection.advance()
    assert connection.line.path == "/3"
    connection.finish(True)
    assert not connection.advance()
    assert connection.state is Parsing.IDLE


def test_nothing_is_kept_of_what_waited_when_it_is_closed():
    connection = fed(get(b"/1") + get(b"/2"))
    connection.close()
    assert connection.pending == b""
    assert not connection.advance()


def test_nothing_follows_the_last_response():
    connection = fed(get(b"/1") + get(b"/2"))
    assert not connection.finish(False)
    assert not connection.receive(NEXT)
    assert connection.state is Parsing.CLOSED


def test_repr_shows_state_and_request():
    assert "IDLE" in repr(Connection(SMALL))
    connection = fed(get(b"/path"))
    assert "ANSWERING" in repr(connection)
    assert "GET /path HTTP/1.1" in repr(connection)
    assert "fields=1 body=0 persistent=True" in repr(connection.head)


def test_forgetting_changes_nothing():
    connection = fed(get(b"/", b"X-A: b"))
    connection.finish(True)
    connection.forget()
    assert connection.head is None
    assert connection.receive(get(b"/", b"X-A: b"))
    assert connection.head.fields["HTTP_X_A"] == "b"


# --- the fast path ---


def test_a_repeated_head_is_parsed_once():
    connection = fed(get(b"/1", b"X-A: b"))
    head = connection.head
    for path in (b"/1", b"/2", b"/1"):
        connection.finish(True)
        assert connection.receive(get(path, b"X-A: b"))
        assert connection.head is head
        assert connection.line.path == path.decode()


@pytest.mark.parametrize(
    ("first", "second", "paths", "status"),
    [
        (get(b"/", b"X-A: b"), get(b"/", b"X-A: c"), ["/"], 0),
        (get(), b"junk\r\nHost: a\r\n\r\n", [], 400),
        (get(), b"\r\n\r\n\r\n" + get(), [], 400),
        (get(), b"\r\n" + get(b"/2"), ["/2"], 0),
        (get(), get() + get(b"/2"), ["/", "/2"], 0),
        (get(), b"GET / HTTP/1.1\r\nX-A: b\r\nHost: a\r\n\r\n", ["/"], 0),
        (get(), b"GET / HTTP/1.1\r\nX-A: b\n\r\nHost: a\r\n\r\n", [], 400),
        (post(b"abc"), post(b"def"), ["/"], 0),
        (chunked(END_CHUNK), chunked(chunk(b"a"), END_CHUNK), ["/"], 0),
        (get10(b"/", b"Connection: keep-alive"), request(b"GET / HTTP/1.1", b"Connection: keep-alive"), [], 400),
        (get(b"/"), request(b"GET / HTTP/1.0", b"Host: a"), ["/"], 0),
    ],
)
def test_a_second_request_is_as_good_as_a_first(first, second, paths, status):
    known = Known()
    parse_request_line(b"GET / HTTP/1.1", known)
    parse_request_line(b"GET / HTTP/1.0", known)
    connection = Connection(SMALL, known=known)
    feed(connection, [first])
    seen = feed(connection, [second])
    assert seen == parse([second], SMALL)
    assert ([request.path for request in seen.requests], seen.status) == (paths, status)


@pytest.mark.parametrize("body", [b"abc", b"xyz", get(b"/forged")])
def test_a_repeated_head_whose_body_comes_later(body):
    for data in (post(body), get(b"/", b"Transfer-Encoding: chunked", body=chunk(body) + END_CHUNK)):
        head, _, rest = data.partition(b"\r\n\r\n")
        connection = Connection(SMALL)
        for pieces in ([data], [head + b"\r\n\r\n", rest], [data], [head + b"\r\n\r\n", rest]):
            assert feed(connection, pieces) == parse([data], SMALL)
            assert connection.state is Parsing.IDLE


def test_an_empty_line_in_front_of_a_repeated_head_is_counted_once():
    connection = Connection(SMALL)
    for _ in range(5):
        feed(connection, [b"\r\n\r\n", get()])
        assert connection.state is Parsing.IDLE
    feed(connection, [b"\r\n", b"\r\n"])
    assert feed(connection, [b"\r\n" + get()]).status == 400


# --- 100-continue ---


@pytest.mark.parametrize(
    ("pieces", "waits"),
    [
        ([WAITING], True),
        ([WAITING[:20], WAITING[20:]], True),
        ([get(b"/", b"Expect: 100-continue", b"Transfer-Encoding: chunked")], True),
        ([WAITING + b"a"], False),
        ([WAITING, b"a"], False),
        ([WAITING + b"abc"], False),
        ([get(b"/", b"Expect: 100-continue")], False),
        ([get(b"/", b"Expect: 100-continue", b"Content-Length: 0")], False),
        ([get10(b"/", b"Expect: 100-continue", b"Content-Length: 3")], False),
        ([HEAD], False),
        ([WAITING[:-1]], False),
    ],
)
def test_a_client_is_told_to_continue_only_if_it_waits(pieces, waits):
    assert fed(*pieces).wants_continue is waits


def test_who_is_answered_to_continue_is_not_asked_twice():
    connection = fed(WAITING, b"abc")
    connection.finish(True)
    connection.receive(post(b"abc")[:-3])
    assert not connection.wants_continue
    connection.receive(b"abc")
    connection.finish(True)
    connection.receive(WAITING)
    assert connection.wants_continue
    connection.close()
    assert not connection.wants_continue


def test_progress_of_a_body_is_counted_as_sent():
    connection = fed(get(b"/", b"Transfer-Encoding: chunked") + b"5\r\nhe")
    assert connection.received == 5
    connection.receive(b"llo\r\n" + END_CHUNK)
    assert connection.received == 15
    connection.finish(True)
    connection.receive(HEAD)
    assert connection.received == 0
