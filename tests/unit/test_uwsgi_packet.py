"""The grammar of uwsgi as tables of bytes: what is refused and why, what is a request, however its bytes come."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.engine.uwsgi.connection import UwsgiConnection
from miniwsgi.daemon.http.connection import STATES, Connection, Parsing, ParsingEvent
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Limits

from tests.support.uwsgi import block, framed, packet, post, stock

NARROW = Limits(request_line_bytes=100, field_bytes=60, fields=5, fields_bytes=600, body_max_bytes=20)
WHOLE = packet()
FIELD = (b"HTTP_A", b"b")


def fed(*pieces: bytes, limits: Limits = NARROW, stranger: str = "") -> UwsgiConnection:
    connection = UwsgiConnection(limits)
    connection.stranger = stranger
    for piece in pieces:
        connection.receive(piece)
    return connection


def refusal_of(connection: Connection, pieces: list[bytes]) -> ProtocolError | None:
    try:
        for piece in pieces:
            connection.receive(piece)
    except ProtocolError as refusal:
        return refusal
    return None


def cuts(data: bytes) -> list[list[bytes]]:
    """Every way to cut it in two, whole, and byte by byte."""
    return [
        [data],
        [data[at : at + 1] for at in range(len(data))],
        *([data[:at], data[at:]] for at in range(1, len(data))),
    ]


def damaged(at: int, byte: int, data: bytes = WHOLE) -> bytes:
    return data[:at] + bytes([byte]) + data[at + 1 :]


REFUSED: dict[str, tuple[bytes, int, str]] = {
    # sizes
    "nothing in it": (framed(b""), 400, "no REQUEST_METHOD"),
    "half a size": (framed(block(stock().items()) + b"\1"), 400, "beyond"),
    "a name and no value": (framed(block(stock().items()) + b"\1\0A"), 400, "beyond"),
    "a name beyond the packet": (framed(b"\xff\xffREQUEST_METHOD"), 400, "beyond"),
    "a value beyond the packet": (framed(b"\6\0HTTP_A\2\0b"), 400, "beyond"),
    "a value beyond the packet, into the body": (framed(b"\6\0HTTP_A\2\0b") + b"body", 400, "beyond"),
    "the packet's own size is too small": (framed(block(stock().items()), size=len(WHOLE) - 5), 400, "beyond"),
    "a size in big-endian": (b"\0\1\0\0" + bytes(256), 400, "beyond"),
    # names
    "an empty name": (packet(b"GET", b"/", (b"", b"x")), 400, "without a name"),
    "NUL in a name": (packet(b"GET", b"/", (b"HTTP_A\0", b"x")), 400, "no token"),
    "LF in a name": (packet(b"GET", b"/", (b"A\nB", b"x")), 400, "no token"),
    "a space in a name": (packet(b"GET", b"/", (b"A B", b"x")), 400, "no token"),
    "a colon in a name": (packet(b"GET", b"/", (b"HTTP_A:", b"x")), 400, "no token"),
    "a byte beyond ASCII in a name": (packet(b"GET", b"/", (b"HTTP_\xc4", b"x")), 400, "no token"),
    "a field in lower case": (packet(b"GET", b"/", (b"HTTP_a.b", b"x")), 400, "HTTP_a.b"),
    "wsgi.input": (packet(b"GET", b"/", (b"wsgi.input", b"x")), 400, "wsgi.input: a name with a dot"),
    "wsgi.url_scheme": (packet(b"GET", b"/", (b"wsgi.url_scheme", b"https")), 400, "a name with a dot"),
    "miniwsgi.request_id": (packet(b"GET", b"/", (b"miniwsgi.request_id", b"x")), 400, "a name with a dot"),
    "werkzeug.socket": (packet(b"GET", b"/", (b"werkzeug.socket", b"x")), 400, "a name with a dot"),
    # values
    "NUL in a field": (packet(HTTP_A=b"b\0"), 400, "control character in HTTP_A"),
    "CR in a field": (packet(HTTP_A=b"b\r"), 400, "control character in HTTP_A"),
    "LF in a field": (packet(HTTP_A=b"b\nSet-Cookie: c"), 400, "control character in HTTP_A"),
    "DEL in a field": (packet(HTTP_A=b"\x7f"), 400, "control character in HTTP_A"),
    "LF in a field that is dropped": (packet(HTTP_PROXY=b"\n"), 400, "control character in HTTP_PROXY"),
    "LF in the content type": (packet(CONTENT_TYPE=b"a\nb"), 400, "control character in CONTENT_TYPE"),
    "LF in the query": (packet(QUERY_STRING=b"a\nb"), 400, "control character in QUERY_STRING"),
    "NUL in the path": (packet(PATH_INFO=b"/\0"), 400, "control character in PATH_INFO"),
    "NUL in a variable of the proxy's own": (packet(SHOP=b"\0"), 400, "control character in SHOP"),
    "no method": (packet(REQUEST_METHOD=None), 400, "no REQUEST_METHOD"),
    "an empty method": (packet(b""), 400, "no REQUEST_METHOD"),
    "a method that is none": (packet(b"GET /"), 400, "REQUEST_METHOD is no token"),
    "two methods": (packet(b"GET", b"/", (b"REQUEST_METHOD", b"POST")), 400, "REQUEST_METHOD comes twice"),
    "CONNECT": (packet(b"CONNECT"), 501, "CONNECT"),
    "no path at all": (packet(REQUEST_URI=None, PATH_INFO=None), 400, "neither REQUEST_URI nor PATH_INFO"),
    "a path without its slash": (packet(PATH_INFO=b"x"), 400, "begins with /"),
    "a target with a space": (packet(REQUEST_URI=b"/ HTTP/1.1"), 400, "REQUEST_URI"),
    "a target with a fragment": (packet(REQUEST_URI=b"/#x"), 400, "REQUEST_URI"),
    "two targets": (packet(b"GET", b"/", (b"REQUEST_URI", b"/b")), 400, "REQUEST_URI comes twice"),
    "a protocol that is none": (packet(SERVER_PROTOCOL=b"SPDY/3"), 400, "SERVER_PROTOCOL"),
    "a host that is none": (packet(HTTP_HOST=b"a/b"), 400, "invalid Host"),
    "an address that is none": (packet(REMOTE_ADDR=b"1.2.3.4, 5.6.7.8"), 400, "REMOTE_ADDR"),
    "a scope": (packet(REMOTE_ADDR=b"fe80::1%\xe4"), 400, "REMOTE_ADDR"),
    "a port that is none": (packet(REMOTE_PORT=b"70000"), 400, "REMOTE_PORT"),
    "a prefix that goes up": (packet(SCRIPT_NAME=b"/a/../b"), 400, "SCRIPT_NAME"),
    "a prefix that is a host": (packet(SCRIPT_NAME=b"//evil"), 400, "SCRIPT_NAME"),
    "a prefix without its slash": (packet(SCRIPT_NAME=b"shop"), 400, "SCRIPT_NAME"),
    # bodies
    "a length that is none": (packet(CONTENT_LENGTH=b"1x"), 400, "invalid Content-Length"),
    "a length below nothing": (packet(CONTENT_LENGTH=b"-1"), 400, "invalid Content-Length"),
    "a length in other digits": (packet(CONTENT_LENGTH=b"\xb2"), 400, "invalid Content-Length"),
    "two lengths": (packet(b"POST", b"/", (b"CONTENT_LENGTH", b"2"), CONTENT_LENGTH=b"1"), 400, "CONTENT_LENGTH comes"),
    "a body of nobody knows what length": (
        packet(CONTENT_LENGTH=None, HTTP_TRANSFER_ENCODING=b"chunked"), 411, "no CONTENT_LENGTH"
    ),
    # limits
    "too much": (framed(bytes(601)), 431, "fields of 601 bytes"),
    "a long field": (packet(HTTP_A=b"b" * 55), 431, "more than 60 bytes"),
    "a long value of another kind": (packet(SHOP=b"b" * 57), 431, "more than 60 bytes"),
    "many fields": (packet(b"GET", b"/", FIELD, FIELD, FIELD, FIELD, FIELD), 431, "more than 5 fields"),
    "a long target": (packet(REQUEST_URI=b"/" + b"x" * 88), 414, "102 bytes"),
    "a long path": (packet(PATH_INFO=b"/" + b"x" * 100), 414, "101 bytes"),
    "a long query": (packet(QUERY_STRING=b"x" * 101), 414, "101 bytes"),
    "a large body": (packet(CONTENT_LENGTH=b"21"), 413, "a body of 21 bytes"),
    # other kinds of packets, and other protocols
    "modifier1 5": (damaged(0, 5), 501, "modifier1 5, modifier2 0"),
    "modifier1 100": (damaged(0, 100), 501, "modifier1 100"),
    "modifier1 30": (damaged(0, 30), 501, "leave out uwsgi_modifier1"),
    "modifier2 1": (damaged(3, 1), 501, "modifier1 0, modifier2 1"),
    "SCGI": (b"70:CONTENT_LENGTH\x000\x00", 400, "these bytes are SCGI"),
    "much SCGI": (b"1234:CONTENT_LENGTH\x000\x00", 400, "uwsgi_pass instead of scgi_pass"),
    "FastCGI": (b"\x01\x01\x00\x01\x00\x08\x00\x00", 400, "uwsgi_pass instead of fastcgi_pass"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "these bytes are HTTP, but this socket speaks uwsgi"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "these bytes are HTTP"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", 400, "these bytes are TLS"),
    "PROXY protocol 1": (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 400, "PROXY protocol"),
    "PROXY protocol 2": (b"\r\n\r\n\0\r\nQUIT\n", 400, "PROXY protocol"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_refused_however_it_comes(name: str) -> None:
    data, status, told = REFUSED[name]
    for pieces in cuts(data):
        connection = fed()
        refusal = refusal_of(connection, pieces)
        assert refusal is not None
        assert refusal.status == status, refusal
        assert told in str(refusal)
        assert connection.state is Parsing.CLOSED
        assert connection.receive(WHOLE) is False  # nothing is a request any more


GOOD = {
    "the stock variables": (packet(target=b"/a%20b?c=d", PATH_INFO=b"/a b"), "GET", "/a b", "c=d", b""),
    "without a path": (packet(target=b"/a%20b?c=d", PATH_INFO=None, QUERY_STRING=None), "GET", "/a b", "c=d", b""),
    "without a target": (packet(REQUEST_URI=None, PATH_INFO=b"/a b"), "GET", "/a b", "", b""),
    "without anything but these": (
        framed(block([(b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", b"/")])), "GET", "/", "", b""
    ),
    "LF in the path": (packet(target=b"/%0A", PATH_INFO=b"/\n"), "GET", "/\n", "", b""),
    "bytes beyond ASCII": (packet(target=b"/\xc3\xa4", HTTP_A=b"\xc3\xa4"), "GET", "/\xc3\xa4", "", b""),
    "a tab in a field": (packet(HTTP_A=b"a\tb"), "GET", "/", "", b""),
    "a body": (post(b"hello"), "POST", "/", "", b"hello"),
    "a body with leading zeros in its length": (post(b"hello", CONTENT_LENGTH=b"005"), "POST", "/", "", b"hello"),
    "a body as large as may be": (post(b"x" * 20), "POST", "/", "", b"x" * 20),
    "the same length twice": (packet(b"POST", b"/", (b"CONTENT_LENGTH", b"1"), CONTENT_LENGTH=b"1") + b"a",
                              "POST", "/", "", b"a"),
    "the last word of the proxy's configuration": (packet(b"GET", b"/", (b"PATH_INFO", b"/b")), "GET", "/b", "", b""),
    "a body of which nginx has made a length": (
        post(b"abc", HTTP_TRANSFER_ENCODING=b"chunked"), "POST", "/", "", b"abc"
    ),
    "of no body, as of nginx's subrequests": (packet(HTTP_TRANSFER_ENCODING=b"chunked"), "GET", "/", "", b""),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_request_is_the_same_however_it_comes(name: str) -> None:
    data, method, path, query, body = GOOD[name]
    seen = []
    for pieces in cuts(data):
        connection = fed(limits=Limits(body_max_bytes=20))
        complete = [connection.receive(piece) for piece in pieces]
        assert complete == [False] * (len(pieces) - 1) + [True]
        line, head = connection.line, connection.head
        assert line is not None
        assert head is not None
        read = b"" if connection.body is None else connection.body.file().read()
        assert (line.method, line.path, line.query, read) == (method, path, query, body)
        seen.append((line.target, head.length, dict(head.fields)))
    assert all(one == seen[0] for one in seen)


def test_what_is_behind_a_request_is_none() -> None:
    connection = fed(WHOLE + WHOLE)
    assert connection.state is Parsing.ANSWERING
    assert connection.pending
    assert connection.finish(False) is False
    assert connection.receive(WHOLE) is False
    behind_body = fed(post(b"hello") + WHOLE)
    assert behind_body.body is not None
    assert behind_body.body.size == 5


def test_the_states_are_those_of_http() -> None:
    """A subset of the table: no empty lines, and no second request."""
    happens = {
        (Parsing.IDLE, ParsingEvent.BYTES): ((), b"\0"),
        (Parsing.IDLE, ParsingEvent.HEAD_DONE): ((), post(b"abc")[:-1]),
        (Parsing.IDLE, ParsingEvent.REQUEST_DONE): ((), WHOLE),
        (Parsing.HEAD, ParsingEvent.BYTES): ((WHOLE[:1],), WHOLE[1:9]),
        (Parsing.HEAD, ParsingEvent.HEAD_DONE): ((WHOLE[:0], post(b"abc")[:9]), post(b"abc")[9:-3]),
        (Parsing.HEAD, ParsingEvent.REQUEST_DONE): ((WHOLE[:9],), WHOLE[9:]),
        (Parsing.BODY, ParsingEvent.BYTES): ((post(b"abc")[:-3],), b"a"),
        (Parsing.BODY, ParsingEvent.REQUEST_DONE): ((post(b"abc")[:-3],), b"abc"),
        (Parsing.ANSWERING, ParsingEvent.BYTES): ((WHOLE,), b"x"),
        (Parsing.CLOSED, ParsingEvent.BYTES): ((WHOLE, None), WHOLE),
    }
    for (state, event), (before, data) in happens.items():
        connection = fed()
        for piece in before:
            connection.receive(piece) if piece is not None else connection.close()
        assert connection.state is state, (state, event)
        connection.receive(data)
        assert connection.state is STATES[state, event], (state, event)


@pytest.mark.parametrize("data", [WHOLE[:1], WHOLE[:-1], post(b"abc")[:-1]], ids=["size", "packet", "body"])
def test_a_request_that_is_cut_off_is_refused(data: bytes) -> None:
    connection = fed(data)
    with pytest.raises(ProtocolError, match="ends before its end"):
        connection.end_of_input()
    assert connection.state is Parsing.CLOSED


def test_a_connection_without_a_byte_is_nothing() -> None:
    """As a health check makes it."""
    connection = fed()
    connection.end_of_input()
    assert connection.state is Parsing.IDLE


def test_who_may_not_speak_it_is_told_with_the_first_byte() -> None:
    with pytest.raises(ProtocolError) as refused:
        fed(b"\0", stranger="198.51.100.7")
    assert refused.value.status == 403
    assert "198.51.100.7 is not in proxy.trusted" in str(refused.value)


def test_a_socket_of_http_knows_uwsgi() -> None:
    for data in (WHOLE, post(b"hello"), packet(QUERY_STRING=None)):
        with pytest.raises(ProtocolError) as refused:
            Connection(Limits()).receive(data)
        assert refused.value.status == 400
        assert "these bytes are uwsgi, but this port speaks HTTP" in str(refused.value)
        assert '"uwsgi:' in str(refused.value)
