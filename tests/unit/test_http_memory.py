"""What a connection keeps in memory: no more than its limits, whatever a client sends and for however long."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from miniwsgi.daemon.http import head as head_module
from miniwsgi.daemon.http.connection import Connection, Parsing
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Known

from tests.conformance.case import END_CHUNK, chunk, chunked, get, request
from tests.conformance.parser import LARGE, SMALL, feed

ENDLESS = {
    "method": [b"A"],
    "target": [b"GET /", b"a"],
    "field": [get()[:-2] + b"X-A: ", b"v"],
    "fields": [get()[:-2], b"X-A: v\r\n"],
    "field name": [get()[:-2], b"X"],
    "chunk size": [chunked(), b"0"],
    "chunk extension": [chunked(b"5;"), b"a"],
    "quoted extension": [chunked(b'5;a="'), b"a"],
    "chunk extensions": [chunked(), b"1;" + b"a" * 500 + b"\r\nh\r\n"],
    "chunks": [chunked(), chunk(b"h")],
    "trailer": [chunked(b"0\r\nX: "), b"v"],
    "trailers": [chunked(b"0\r\n"), b"X: v\r\n"],
    "empty lines": [b"\r\n"],
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_is_refused(name):
    *start, endless = ENDLESS[name]
    connection = Connection(SMALL)
    tracemalloc.start()
    try:
        pending = 0
        for piece in itertools.chain(start, itertools.repeat(endless, 20_000)):
            try:
                connection.receive(piece)
            except ProtocolError:
                break
            pending = max(pending, len(connection.pending))
        assert connection.state is Parsing.CLOSED
        assert pending <= SMALL.request_line_bytes + SMALL.fields_bytes + 6
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


def test_a_body_in_small_pieces_needs_little_more_than_its_size():
    for data in (b"ab", b"a" * 100):
        count = 32768 // len(data)
        tracemalloc.start()
        connection = Connection(LARGE)
        connection.receive(chunked())
        for _ in range(count):
            connection.receive(chunk(data))
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        connection.receive(END_CHUNK)
        assert connection.body.file().read() == data * count
        assert used < 3 * 32768


def test_what_is_remembered_of_clients_is_bounded():
    """And what one client fills, others can still use."""
    bounds = {"lines": "LINES", "names": "NAMES", "hosts": "HOSTS", "wishes": "WISHES"}
    known = Known()
    caches = {name: getattr(known, name) for name in bounds}

    def parse(pieces):
        feed(Connection(LARGE, known=known), pieces)

    for n in range(3000):
        lines = [b"Host: h%d" % n, b"X-%d: v" % n, b"Connection: c%d" % n]
        parse([request(b"GET /%d HTTP/1.1" % n, *lines)])
        for name, bound in bounds.items():
            assert 0 < len(caches[name]) <= getattr(head_module, f"_KEPT_{bound}")
    lines = [b"Host: " + b"h" * 5000, b"X" * 5000 + b": v", b"Connection: " + b"c" * 5000]
    parse([request(b"GET /" + b"p" * 5000 + b" HTTP/1.1", *lines)])
    for cache in caches.values():
        assert max(map(len, cache)) <= head_module._KEPT_LINE_BYTES
    parse([request(b"GET /mine HTTP/1.1", b"Host: mine", b"X-Mine: v", b"Connection: mine")])
    assert b"GET /mine HTTP/1.1" in known.lines
    assert "X-Mine:" in known.names
    assert "mine" in known.hosts
    assert "mine" in known.wishes
