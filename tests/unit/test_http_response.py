"""Heads of responses: their framing, Date and Server, what is remembered whole (RFC 9110 sections 6 and 15)."""

from __future__ import annotations

import calendar
import email.utils
import locale
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniwsgi.daemon.http import response
from miniwsgi.daemon.http.errors import REASONS
from miniwsgi.daemon.http.response import (
    BadResponse,
    Body,
    Encoded,
    Encodings,
    ServerFields,
    early_hints,
    encode,
    frame,
    http_date,
    refusal,
)

from tests.support.effort import effort
from tests.unit.test_http_response_fields import HOPS

NONE, SIZED, CHUNKED, CLOSE = Body
TE, CLOSES, KEEPS = b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive"


KEPT = Encodings()


@pytest.fixture(autouse=True)
def fresh_caches():
    for table in (KEPT.fields, KEPT.statuses, KEPT.answers):
        table.clear()


def bare():
    """No Date and no Server."""
    server = ServerFields("")
    server.lines = (b"", b"", b"", b"")
    return server


def framed(status="200 OK", headers=(), method="GET", http11=True, persistent=True, length=None):
    """The field lines, and what `frame` says beside them."""
    head, body, left, goes_on = frame(encode(status, list(headers), KEPT), method, http11, persistent, length, bare())
    first, *lines, empty, nothing = head.split(b"\r\n")
    assert first == b"HTTP/1.1 " + status.encode("latin-1")
    assert (empty, nothing) == (b"", b"")
    return lines, body, left, goes_on


def cl(size):
    return b"Content-Length: %d" % size


L5 = [("Content-Length", "5")]

FRAMES = [
    # what is known: status, headers, method, HTTP/1.1, persistent, length → lines, body, its bytes, goes on
    ("a list", {"length": 11}, [cl(11)], SIZED, 11, True),
    ("an empty list", {"length": 0}, [cl(0)], SIZED, 0, True),
    ("a generator", {}, [TE], CHUNKED, 0, True),
    ("the application's length", {"headers": L5}, [cl(5)], SIZED, 5, True),
    ("its length wins over the list's", {"headers": L5, "length": 11}, [cl(5)], SIZED, 5, True),
    ("its length of 0", {"headers": [("content-length", "0")]}, [cl(0)], SIZED, 0, True),
    ("zeros in front", {"headers": [("Content-Length", "0005")]}, [cl(5)], SIZED, 5, True),
    ("its length twice", {"headers": L5 + L5}, [cl(5)], SIZED, 5, True),
    ("close", {"length": 1, "persistent": False}, [cl(1), CLOSES], SIZED, 1, False),
    ("close, generator", {"persistent": False}, [TE, CLOSES], CHUNKED, 0, False),
    ("205", {"status": "205 Reset", "length": 0}, [cl(0)], SIZED, 0, True),
    ("404", {"status": "404 Not Here", "length": 2}, [cl(2)], SIZED, 2, True),
    ("1.0, list", {"http11": False, "persistent": False, "length": 3}, [cl(3), CLOSES], SIZED, 3, False),
    ("1.0, generator", {"http11": False, "persistent": False}, [CLOSES], CLOSE, 0, False),
    ("1.0, its length", {"http11": False, "persistent": False, "headers": L5}, [cl(5), CLOSES], SIZED, 5, False),
    ("1.0 kept, list", {"http11": False, "length": 3}, [cl(3), KEEPS], SIZED, 3, True),
    ("1.0 kept, its length", {"http11": False, "headers": L5}, [cl(5), KEEPS], SIZED, 5, True),
    ("1.0 kept, generator", {"http11": False}, [CLOSES], CLOSE, 0, False),
    ("1.0 kept, 204", {"http11": False, "status": "204 None"}, [KEEPS], NONE, 0, True),
    ("1.0 kept, HEAD", {"http11": False, "method": "HEAD"}, [KEEPS], NONE, 0, True),
    ("HEAD of a list", {"method": "HEAD", "length": 11}, [cl(11)], NONE, 11, True),
    ("HEAD of nothing", {"method": "HEAD", "length": 0}, [], NONE, 0, True),
    ("HEAD of a generator", {"method": "HEAD"}, [], NONE, 0, True),
    ("HEAD keeps its length", {"method": "HEAD", "headers": L5, "length": 0}, [cl(5)], NONE, 5, True),
    ("HEAD keeps its 0", {"method": "HEAD", "headers": [("Content-Length", "0")]}, [cl(0)], NONE, 0, True),
    ("head is not HEAD", {"method": "head", "length": 3}, [cl(3)], SIZED, 3, True),
    ("204", {"status": "204 No Content", "length": 0}, [], NONE, 0, True),
    ("204 with a body", {"status": "204 No Content", "length": 9}, [], NONE, 0, True),
    ("204, generator", {"status": "204 No Content"}, [], NONE, 0, True),
    ("204 with a length", {"status": "204 No Content", "headers": L5}, [], NONE, 0, True),
    ("204 and close", {"status": "204 No Content", "persistent": False}, [CLOSES], NONE, 0, False),
    ("HEAD and 204", {"status": "204 No Content", "method": "HEAD", "headers": L5}, [], NONE, 0, True),
    ("304", {"status": "304 Not Modified", "length": 0}, [], NONE, 0, True),
    ("304 with a body", {"status": "304 Not Modified", "length": 9}, [], NONE, 0, True),
    ("304, generator", {"status": "304 Not Modified"}, [], NONE, 0, True),
    ("304 keeps its length", {"status": "304 Not Modified", "headers": L5}, [cl(5)], NONE, 5, True),
    ("no reason", {"status": "204 "}, [], NONE, 0, True),
    ("white space around a length", {"headers": [("Content-Length", " \t5 ")]}, [cl(5)], SIZED, 5, True),
]


@pytest.mark.parametrize(("options", "lines", "body", "left", "goes_on"), [row[1:] for row in FRAMES], ids=lambda _: "")
def test_frame(options, lines, body, left, goes_on):
    assert framed(**options) == (lines, body, left, goes_on)


@settings(max_examples=effort(66, 200), deadline=None)
@given(
    st.sampled_from(["200 OK", "204 C", "205 D", "304 E", "404 F", "599 G"]),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(0, 20),
    st.sampled_from([[], L5, [("Content-Length", "0")], [("Transfer-Encoding", "chunked")], [("Connection", "close")]]),
)
def test_a_client_can_always_tell_where_the_body_ends(status, method, http11, persistent, length, headers):
    lines, body, left, goes_on = framed(status, headers, method, http11, persistent, length)
    code = int(status[:3])
    without = code in {204, 304} or method == "HEAD"
    lengths = [line for line in lines if line.startswith(b"Content-Length")]
    assert (body is NONE) is without
    assert len(lengths) <= 1
    assert not (lengths and TE in lines)
    assert (TE in lines) is (body is CHUNKED)
    assert body is not CHUNKED or http11
    assert (CLOSES in lines) is (not goes_on)
    assert (KEEPS in lines) is (goes_on and not http11)
    assert not goes_on or persistent
    if code == 204:
        assert not lengths
    if body is SIZED:
        assert lengths == [cl(left)]
    if body is CLOSE:
        assert not goes_on


@pytest.mark.parametrize("name", [*HOPS, "transfer-encoding", "CONNECTION"])
def test_a_hop_by_hop_field_does_not_frame(name):
    assert framed(headers=[(name, "close")])[:2] == ([TE], CHUNKED)
    assert framed(headers=[(name, "close")])[3] is True


# --- Date and Server ---


def test_date_and_server_are_added():
    server = ServerFields("miniwsgi")
    head = frame(Encoded("200 OK", [], KEPT), "GET", True, True, 0, server)[0]
    assert head.count(b"\r\nServer: miniwsgi\r\n") == 1
    assert head.count(b"\r\nDate: ") == 1


@pytest.mark.parametrize("name", ["Date", "date", "DATE", "Server", "server"])
def test_the_applications_own_wins(name):
    server = ServerFields("miniwsgi")
    head = frame(Encoded("200 OK", [(name, "mine")], KEPT), "GET", True, True, 0, server)[0]
    assert head.lower().count(b"\r\n%b: " % name.lower().encode()) == 1
    assert b"%b: mine\r\n" % name.encode() in head
    other = b"\r\nServer: " if name.lower() == "date" else b"\r\nDate: "
    assert head.count(other) == 1


def test_both_of_its_own():
    head = frame(
        Encoded("200 OK", [("Date", "d"), ("Server", "s")], KEPT), "GET", True, True, 0, ServerFields("miniwsgi")
    )[0]
    assert head == b"HTTP/1.1 200 OK\r\nDate: d\r\nServer: s\r\nContent-Length: 0\r\n\r\n"


def test_no_server_field():
    head = frame(Encoded("200 OK", [], KEPT), "GET", True, True, 0, ServerFields(""))[0]
    assert b"Server" not in head
    assert b"Date" in head


def test_refresh(monkeypatch):
    monkeypatch.setattr(response.time, "time", lambda: 784111777.9)
    server = ServerFields("")
    assert server.lines[1] == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    monkeypatch.setattr(response.time, "time", lambda: 784111778.0)
    server.refresh()
    assert server.lines[1] == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"


@settings(max_examples=effort(33, 100))
@given(st.integers(0, calendar.timegm((2400, 1, 1, 0, 0, 0))))
def test_http_date(seconds):
    assert http_date(seconds) == email.utils.formatdate(seconds, usegmt=True)


def test_http_date_knows_no_locale():
    before = locale.setlocale(locale.LC_TIME)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C"):
        try:
            locale.setlocale(locale.LC_TIME, name)
        except locale.Error:
            continue
        assert http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"
    locale.setlocale(locale.LC_TIME, before)
    now = time.time()
    assert abs(now - email.utils.mktime_tz(email.utils.parsedate_tz(http_date(now)))) < 2


# --- answers that are remembered whole ---

PLAIN = [("Content-Type", "text/plain"), ("X-A", "b")]


def test_an_application_that_repeats_itself_is_remembered():
    first = encode("200 OK", list(PLAIN), KEPT)
    assert encode("200 OK", list(PLAIN), KEPT) is first
    assert encode("200 OK", iter(PLAIN), KEPT).parts == encode("200 OK", tuple(PLAIN), KEPT).parts == first.parts
    for status, headers in [("201 OK", PLAIN), ("200 OK", PLAIN[:1]), ("200 OK", PLAIN[::-1])]:
        assert encode(status, list(headers), KEPT) is not first
    assert encode("200 OK", [list(pair) for pair in PLAIN], KEPT).parts == first.parts


@pytest.mark.parametrize(
    "change",
    [{"method": "HEAD"}, {"http11": False}, {"persistent": False}, {"length": 4}, {"length": None}],
)
def test_what_is_remembered_is_framed_anew_for_another_request(change):
    usual = {"method": "GET", "http11": True, "persistent": True, "length": 3}
    server = bare()
    for wishes in (usual, usual | change, usual, usual | change):
        fresh = frame(Encoded("200 OK", list(PLAIN), KEPT), **wishes, server=server)
        assert frame(encode("200 OK", list(PLAIN), KEPT), **wishes, server=server) == fresh


def test_what_is_remembered_has_the_date_of_its_response(monkeypatch):
    server = ServerFields("miniwsgi")
    for now in (1_000_000_000, 1_000_000_001):
        monkeypatch.setattr(response.time, "time", lambda now=now: now)
        server.refresh()
        assert http_date(now).encode() in frame(encode("200 OK", list(PLAIN), KEPT), "GET", True, True, 3, server)[0]


def test_hop_by_hop_fields_are_named_each_time():
    for _ in range(2):
        assert encode("200 OK", [("Connection", "close")], KEPT).mistakes[0].endswith(": Connection")


@pytest.mark.parametrize(
    "headers",
    [[("Set-Cookie", "a=1")], [("X-A", "b" * 300)], [(f"X-{n}", "b" * 200) for n in range(30)]],
)
def test_answers_that_are_not_remembered(headers):
    assert encode("200 OK", headers, KEPT) is not encode("200 OK", headers, KEPT)


def test_a_thread_does_not_send_the_head_that_another_has_framed_meanwhile():
    class Interrupted(str):
        """The thread loses the interpreter while its wishes are compared, and another one answers."""

        __hash__ = str.__hash__

        def __eq__(self, other):
            frame(encode("200 OK", [], KEPT), "GET", True, True, 20, bare())
            return str.__eq__(self, other)

    frame(encode("200 OK", [], KEPT), "GET", True, True, 10, bare())
    head = frame(encode("200 OK", [], KEPT), Interrupted("GET"), True, True, 10, bare())[0]
    assert b"Content-Length: 10\r\n" in head


def test_answers_that_are_remembered_are_bounded():
    for n in range(2000):
        encode("200 OK", [("ETag", str(n))], KEPT)
        assert len(KEPT.answers) <= response._KEPT_ANSWERS


def test_a_value_of_another_type_is_not_taken_for_a_remembered_one():
    encode("200 OK", [("X-A", "1")], KEPT)
    for other in (1, True, b"1", ["1"]):
        with pytest.raises(BadResponse):
            encode("200 OK", [("X-A", other)], KEPT)


def test_framing_does_not_leak_into_what_is_remembered():
    first = framed(headers=[("X-A", "b")], length=3)
    assert framed(headers=[("X-A", "b")], length=3) == first
    assert framed(headers=[("X-A", "b")]) == ([b"X-A: b", TE], CHUNKED, 0, True)


# --- the server's own responses ---


@pytest.mark.parametrize("status", sorted(REASONS))
def test_refusal(status):
    answer = refusal(status, ServerFields("miniwsgi"))
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    text = f"{status} {REASONS[status]}".encode()
    assert first == b"HTTP/1.1 " + text
    assert body == text + b"\n"
    assert cl(len(body)) in lines
    assert CLOSES in lines
    assert b"Content-Type: text/plain; charset=utf-8" in lines
    assert (b"Retry-After: 1" in lines) is (status == 503)
    assert sum(line.startswith((b"Date: ", b"Server: ")) for line in lines) == 2
    assert refusal(status, ServerFields("miniwsgi"), head_only=True).endswith(b"\r\n\r\n")
    assert cl(len(body)) in refusal(status, ServerFields(""), head_only=True).split(b"\r\n")


def test_a_refusal_that_does_not_close():
    assert b"Connection" not in refusal(500, ServerFields(""), persistent=True)


def test_early_hints():
    links = [("Link", "</a.css>; rel=preload"), ("Link", "</b.js>; rel=preload")]
    wire = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n"
    assert early_hints(links, KEPT) == wire


def test_early_hints_do_not_frame():
    framing = [("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Connection", "close"), ("X-A", "b")]
    assert early_hints(framing, KEPT) == b"HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n"
