"""Limits: what costs a client little does not cost the server much.

The limits themselves: tests/conformance/tables/{limits,timeouts}.py, test_pool_limits.py, test_pool_timeouts.py.
"""

from __future__ import annotations

import select
import socket
import tracemalloc

import psutil
import pytest
from miniwsgi.daemon.engine.proxy import Proxy
from miniwsgi.daemon.http import head
from miniwsgi.daemon.http.connection import Connection, Parsing
from miniwsgi.daemon.http.errors import ProtocolError

from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS

MEBIBYTE = 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
FIELDS_BYTES = 60_000  # nearly what the default limits let through

# --- time: whatever is sent, so many bytes are looked at so often -----------------------------------------------------

HEADS = {
    "one long field": GET + b"a: " + b"x" * 16_000 + b"\r\n\r\n",
    "fields to the limit": GET + (b"a: " + b"x" * 600 + b"\r\n") * 98 + b"\r\n",
    "fields that are all new": GET + b"".join(b"n%d: x\r\n" % number for number in range(98)) + b"\r\n",
    "field of colons": GET + b"a: " + b":" * 16_000 + b"\r\n\r\n",
    "field of blanks": GET + b"a: " + b" \t" * 8_000 + b"x\r\n\r\n",
    "long request line": b"GET /" + b"a" * 8_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "escapes": b"GET /" + b"%41" * 2_600 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "broken escapes": b"GET /" + b"%" * 8_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority of colons": b"GET http://" + b"a:" * 4_000 + b"/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "Host of escapes": b"GET / HTTP/1.1\r\nHost: " + b"%41" * 5_000 + b"!\r\n\r\n",
    "Host of letters, then none": b"GET / HTTP/1.1\r\nHost: " + b"a" * 16_000 + b"/\r\n\r\n",
    "Connection of many": GET + b"Connection: " + b"a, " * 5_000 + b"\r\n\r\n",
    "Transfer-Encoding of many": GET + b"Transfer-Encoding: " + b"a, " * 5_000 + b"\r\n\r\n",
    "Content-Length of many digits": GET + b"Content-Length: " + b"9" * 16_000 + b"\r\n\r\n",
    "Content-Length of zeros": GET + b"Content-Length: " + b"0" * 16_000 + b"1\r\n\r\n",
}
CHUNKS = {
    "chunks of a byte": b"1\r\nx\r\n" * 10_000,
    "extensions": (b"1" + b";a" * 500 + b"\r\nx\r\n") * 60,
    "extensions that break off": b"1" + b';a = "\\x"\t' * 90 + b"!\r\nx\r\n",
    "quotation without end": b'1;a="' + b"\\x" * 500 + b"\r\nx\r\n",
    "blanks": b"1;a" + b" \t" * 500 + b"!\r\nx\r\n",
    "blanks before an equals sign": b"1" + b";a \t \t \t \t" * 90 + b"=\r\nx\r\n",
    "letters": b"1;" + b"a" * 1_000 + b"!\r\nx\r\n",
    "trailers": b"0\r\n" + b"a:b\r\n" * 3_000 + b"\r\n",
    "trailer of colons": b"0\r\na" + b":" * 1_000 + b"\x00\r\n\r\n",
}


def parse(data: bytes, step: int) -> None:
    connection = Connection(head.Limits())
    try:
        for at in range(0, len(data), step):
            connection.receive(data[at : at + step])
    except ProtocolError:
        assert connection.state is Parsing.CLOSED


@pytest.mark.timeout(PATIENCE_SECONDS)  # a second is too much by far; what looks back again and again takes hours
@pytest.mark.parametrize("name", [*HEADS, *CHUNKS])
def test_nothing_takes_long_to_parse(name: str) -> None:
    """Byte by byte, in segments of the usual size, and at once."""
    for step in (1, 1460, 65536):
        parse(HEADS[name] if name in HEADS else POST + CHUNKS[name], step)


@pytest.mark.timeout(PATIENCE_SECONDS)
@pytest.mark.parametrize(
    "piece",
    [",", ";", '"', "\\", " ", "\t", "a=", 'a="', 'a="\\', "for=1.1.1.1,", "[", "[::1]:", "1:", "a=\t \t"],
    ids=repr,
)
def test_no_forwarded_field_takes_long_to_read(piece: str) -> None:
    said = (piece * FIELDS_BYTES)[:FIELDS_BYTES]
    for forwarded in (False, True):
        environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_FORWARDED": said, "HTTP_X_FORWARDED_FOR": said}
        Proxy(("10.0.0.0/8",), forwarded=forwarded).apply(environ)


# --- memory: what is remembered for speed is bounded, and a body has one copy -----------------------------------------


def test_what_is_remembered_of_clients_is_bounded() -> None:
    known = head.Known()
    for number in range(5_000):
        line = b"GET /%d HTTP/1.1\r\n" % number
        fields = b"Host: h%d\r\nN%d: x\r\nConnection: c%d\r\n\r\n" % (number, number, number)
        assert Connection(head.Limits(), known=known).receive(line + fields)
    kept = [
        (len(known.lines), head._KEPT_LINES),
        (len(known.names), head._KEPT_NAMES),
        (len(known.hosts), head._KEPT_HOSTS),
        (len(known.wishes), head._KEPT_WISHES),
    ]
    assert all(0 < size <= bound for size, bound in kept)


def test_requests_sent_ahead_are_not_read_before_their_turn(service: Service) -> None:
    """A client that asks and asks while its first request runs fills its own socket, and nothing of ours."""
    service.hold()
    daemon = service.start("--workers", "1")
    flood = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2_400
    with socket.create_connection(daemon.address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        daemon.wait(service.has_begun, "the first request runs")
        worker = psutil.Process(daemon.workers()[0])
        before = worker.memory_info().rss
        client.setblocking(False)
        sent = 0
        while sent < 64 * MEBIBYTE and select.select([], [client], [], 1.0)[1]:
            try:
                sent += client.send(flood)
            except BlockingIOError:
                continue
        assert sent < 64 * MEBIBYTE, "it is read without end"
        assert worker.memory_info().rss - before < 4 * MEBIBYTE
        service.release()
        client.setblocking(True)
        client.settimeout(PATIENCE_SECONDS)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("size", [1, 2, 500], ids=lambda size: f"chunks of {size}")
def test_a_body_in_small_chunks_needs_no_more_memory_than_in_one(size: int) -> None:
    """A list of bytes objects of one byte each would need some forty times as much."""
    kept_bytes = 32 * 1024
    data = (b"%x\r\n%b\r\n" % (size, b"x" * size)) * (kept_bytes // size)
    connection = Connection(head.Limits(), kept_bytes)
    tracemalloc.start()
    try:
        connection.receive(POST)
        for at in range(0, len(data), 1000):
            connection.receive(data[at : at + 1000])
        assert connection.state is Parsing.BODY
        assert tracemalloc.get_traced_memory()[0] < 3 * kept_bytes
    finally:
        tracemalloc.stop()
