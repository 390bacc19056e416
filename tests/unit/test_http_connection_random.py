"""Any bytes, cut anyhow: the same requests, the same verdict, no exception but ProtocolError."""

from __future__ import annotations

import random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from miniwsgi.daemon.http.connection import Connection, Parsing
from miniwsgi.daemon.http.head import Limits

from tests.conformance.case import END_CHUNK, Stage, chunk, get, request
from tests.conformance.parser import Outcome, feed, parse
from tests.support.effort import effort

LIMITS = Limits(request_line_bytes=120, field_bytes=150, fields=8, fields_bytes=400, body_max_bytes=300)
# Where a stream has several faults, the one that is reported depends on which is seen first.
SEEN_EARLY = {400, 414, 431}

METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"get"]
TARGETS = [b"/", b"/a%20b?c", b"*", b"http://b/c", b"/%", b"/" + b"p" * 110]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]
LINES = [
    b"X-A: b", b"X-A:b: c", b"x-a:  \t c ", b"Cookie: a=1", b"cookie: b=2", b"X_A: d", b"Proxy: e", b"Accept: */*",
    b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue", b"X-E:", b"X: \xe9\x85", b"Host: b",
]  # fmt: skip
INTERESTING = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\0", b":", b": ", b"\x85", b"\xff", b"0", b"1", b",", b";", b'"',
    b"\\", b"#", b"%", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: c\r\n",
    b"GET / HTTP/1.1\r\n",
    b"HTTP/2.0", b"0\r\n\r\n", b"v" * 200,
]  # fmt: skip


@st.composite
def message(draw):
    """A request that is mostly right."""
    version = draw(st.sampled_from(VERSIONS))
    line = b" ".join((draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS)), version))
    lines = draw(st.lists(st.sampled_from(LINES), max_size=5))
    if version == b"HTTP/1.1":
        lines.insert(0, b"Host: a")
    match draw(st.integers(0, 3)):
        case 0:
            body = draw(st.binary(max_size=40))
            lines.append(b"Content-Length: %d" % len(body))
        case 1:
            chunks = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3))
            extension = draw(st.sampled_from([b"", b";a", b';a="b;c"', b" ; a = b"]))
            body = b"".join(chunk(data).replace(b"\r\n", extension + b"\r\n", 1) for data in chunks)
            body += draw(st.sampled_from([END_CHUNK, b"0\r\nX-T: v\r\n\r\n", b"00;a=b\r\n\r\n"]))
            lines.append(b"Transfer-Encoding: chunked")
        case _:
            body = b""
    empty = draw(st.sampled_from([b"", b"", b"\r\n", b"\r\n\r\n"]))
    return empty + request(line, *lines, body=body)


@st.composite
def stream(draw):
    """Some messages, often with a fault somewhere."""
    data = b"".join(draw(st.lists(message(), min_size=1, max_size=4)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(data)))
        drop = draw(st.sampled_from([0, 0, 1, 2, 10]))
        data = data[:at] + draw(st.sampled_from(INTERESTING) | st.binary(max_size=3)) + data[at + drop :]
    return data


def cut(data, seed):
    """The data in pieces: of one byte, of a few, or of many."""
    chance = random.Random(seed)
    largest = chance.choice([1, 2, 5, 50, 400])
    at, pieces = 0, []
    while at < len(data):
        size = chance.randint(1, largest)
        pieces.append(data[at : at + size])
        at += size
    return pieces


def compare(data, seed, limits=LIMITS):
    whole, end = Connection(limits), Connection(limits)
    expected = feed(whole, [data])
    for outcome in (feed(end, cut(data, seed)), parse(cut(data, seed + 1), limits, late=True)):
        assert (outcome.requests, outcome.stage) == (expected.requests, expected.stage)
        assert outcome.status == expected.status or {outcome.status, expected.status} <= SEEN_EARLY
    assert end.state is whole.state
    assert len(end.pending) <= limits.request_line_bytes + limits.fields_bytes + 6
    assert all(len(request.body) <= limits.body_max_bytes for request in expected.requests)


@settings(max_examples=effort(83, 250), deadline=None)
@given(stream(), st.integers(0, 2**32))
@example(get(b"/next") * 3, 0)
def test_requests_do_not_depend_on_how_they_are_cut(data, seed):
    compare(data, seed)


@settings(max_examples=effort(40, 80), deadline=None)
@given(
    st.binary(max_size=300) | st.lists(st.sampled_from(INTERESTING), max_size=20).map(b"".join), st.integers(0, 2**32)
)
def test_garbage_does_not_either(data, seed):
    compare(data, seed)
    compare(b"GET / HTTP/1.1\r\nHost: a\r\n" + data, seed)
    compare(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data, seed)


@settings(max_examples=effort(40, 120), deadline=None)
@given(st.lists(message(), min_size=1, max_size=4), st.lists(st.integers(0, 3), min_size=2, max_size=8))
def test_a_connection_in_use_is_as_good_as_a_fresh_one(messages, order):
    """What is remembered of heads, lines and names changes nothing."""
    connection = Connection(LIMITS)
    for index in order:
        data = messages[index % len(messages)]
        at = data.find(b"\r\n\r\n") + 4
        fresh = parse([data], LIMITS)
        assert feed(connection, [data[:at], data[at:]] if index % 2 else [data]) == fresh
        if connection.state is not Parsing.IDLE:
            connection = Connection(LIMITS)


@settings(max_examples=effort(30, 60), deadline=None)
@given(st.lists(message(), min_size=1, max_size=5))
def test_messages_in_a_row_are_the_messages(messages):
    expected = Outcome([], Stage.IDLE)
    for data in messages:
        outcome = parse([data], LIMITS)
        expected = Outcome(expected.requests + outcome.requests, outcome.stage, outcome.status)
        if outcome.stage is not Stage.IDLE:
            break
    assert parse([b"".join(messages)], LIMITS) == expected
