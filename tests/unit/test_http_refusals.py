"""What a refusal says: to the log what was wrong and by which section, to the client nothing of it.

Each place of the parser that refuses has a case in the conformance tables, which says the section that it must name.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from miniwsgi.daemon.engine.proxy import Names, Proxy
from miniwsgi.daemon.engine.uwsgi.packet import PROTOCOL
from miniwsgi.daemon.http import errors
from miniwsgi.daemon.http.connection import Connection
from miniwsgi.daemon.http.errors import ProtocolError

from tests.conformance.case import chunked, get, request
from tests.conformance.parser import SMALL, feed, parse
from tests.unit.test_http_tables import PARSED, feeding
from tests.unit.test_uwsgi_packet import REFUSED, WHOLE, fed, refusal_of

DAEMON = Path(errors.__file__).resolve().parents[1]
SECTION = re.compile(r"RFC \d{4} section \d+(\.\d+)*")

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))
PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(range(12))


# --- the section ---


def refusals() -> list[tuple[str, ast.Call]]:
    """Where the daemon makes a ProtocolError."""
    return [
        (f"{path.relative_to(DAEMON)}:{node.lineno}", node)
        for path in sorted(DAEMON.rglob("*.py"))
        if "ProtocolError(" in (text := path.read_text("utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ProtocolError"
    ]


def as_pattern(argument: ast.expr) -> str:
    """What a literal says, its fields left open; anything where it is no literal."""
    if isinstance(argument, ast.Constant):
        return re.escape(str(argument.value))
    if isinstance(argument, ast.JoinedStr):
        return "".join(map(as_pattern, argument.values))
    return ".+"


@pytest.fixture(scope="module")
def refused() -> list[ProtocolError]:
    """What the cases of the tables are refused for; their sections are checked in test_http_tables.py."""
    outcomes = [feeding(case, "plain")([case.sent]) for case in PARSED if case.refusal]
    outcomes += [feeding(case, "plain")([case.sent], ended=True) for case in PARSED if case.stage is not None]
    by_the_clock = [errors.head_too_late(), errors.body_too_slow()]  # no parser knows them
    return [outcome.refusal for outcome in outcomes if outcome.refusal] + by_the_clock + by_proxies() + by_uwsgi()


def by_proxies() -> list[ProtocolError]:
    """What a trusted proxy may not say; all of it is in test_behind_proxies.py."""
    found = []
    for names in (Names(host="X"), Names(port="X"), Names(prefix="X")):
        with pytest.raises(ProtocolError) as caught:
            Proxy(("*",), names=names).check({"HTTP_X": "a b"})
        found.append(caught.value)
    return found


def by_uwsgi() -> list[ProtocolError]:
    """What is refused on a socket that speaks uwsgi; all of it is in test_uwsgi_packet.py."""
    found = [refusal_of(fed(), [data]) for data, _status, _told in REFUSED.values()]
    found.append(refusal_of(fed(stranger="192.0.2.1"), [WHOLE]))
    with pytest.raises(ProtocolError) as caught:
        fed(WHOLE[:-1]).end_of_input()
    return [refusal for refusal in found if refusal is not None] + [caught.value]


@pytest.mark.parametrize(("where", "call"), refusals(), ids=[where for where, _ in refusals()])
def test_each_place_that_refuses_has_a_case_and_a_section(where, call, refused):
    status, detail, section = map(as_pattern, call.args[:3])
    assert any(
        re.fullmatch(status, str(error.status))
        and re.fullmatch(detail, error.detail)
        and re.fullmatch(section, error.section)
        for error in refused
    ), f"{where}: no case is refused with {status} {detail} ({section})"


def test_a_section_is_named_as_the_tables_name_it(refused):
    assert {error.section for error in refused if not SECTION.fullmatch(error.section)} == {PROTOCOL}


# --- the words ---


@pytest.mark.parametrize(
    "data",
    [
        request(b"HEAD / HTTP/1.1"),
        get(b"/", b"bad", method=b"HEAD"),
        get(b"/", b"Content-Length: 2000", method=b"HEAD"),
        get(b"/", b"X: " + b"v" * 700, method=b"HEAD"),
        get(b"/", b"X: a\nb", method=b"HEAD")[:-2],
        get(b"/", b"X: " + b"v" * 300, method=b"HEAD")[:-4],
        get(b"/", b"Transfer-Encoding: chunked", method=b"HEAD", body=b"x\r\n"),
    ],
)
def test_the_method_of_a_refused_request_is_known(data):
    """A refusal of HEAD has no body."""
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        connection = Connection(SMALL)
        assert feed(connection, pieces).status
        assert connection.line.method == "HEAD"


def test_the_last_request_is_not_taken_for_the_refused_one():
    connection = Connection(SMALL)
    connection.receive(get(b"/", method=b"HEAD"))
    connection.finish(True)
    with pytest.raises(ProtocolError):
        connection.receive(b"GET /\r\n\r\n")
    assert connection.line is None


def test_an_error_says_what_but_not_to_the_client():
    refusal = parse([request(b"GET / HTTP/1.1")]).refusal
    assert (refusal.status, refusal.detail, refusal.section) == (400, "HTTP/1.1 without Host", "RFC 9112 section 3.2")
    assert str(refusal) == "400 Bad Request: HTTP/1.1 without Host (RFC 9112 section 3.2)"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (HELLO, "these bytes are TLS"),
        (HELLO + b"\r\n\r\n", "these bytes are TLS"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get(), "PROXY protocol header (version 1)"),
        (b"PROXY TCP6 ::1 ::1 1 2\r\n", "PROXY protocol header (version 1)"),
        (b"PROXY UNKNOWN\r\n" + get(), "PROXY protocol header (version 1)"),
        (PROXY_2 + get(), "PROXY protocol header (version 2)"),
        (PROXY_2, "PROXY protocol header (version 2)"),
    ],
)
def test_what_speaks_another_protocol_is_told_so(data, what):
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        refusal = parse(pieces).refusal
        assert what in refusal.detail
        assert refusal.section == "RFC 9112 section 3"


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0", b"\r\n\0\r\nQUIT\n", get(b"/", b"x y", method=b"PROXY"), b"PROXY TCP5 a b c d\r\n", b"\x15\x03\x01"],
)
def test_what_is_nothing_known_is_not_told_to_be(data):
    assert "these bytes are" not in parse([data]).refusal.detail


@pytest.mark.parametrize(
    ("data", "limit"),
    [
        (get(b"/" + b"p" * 100), "request_line_bytes"),
        (b"GET /" + b"p" * 200, "request_line_bytes"),
        (get(b"/", b"A: " + b"b" * 200), "field_bytes"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 300, "field_bytes"),
        (get(b"/", *(b"A: b",) * 10), "fields"),
        (get(b"/", *(b"A: " + b"b" * 150,) * 5), "fields_bytes"),
        (b"GET / HTTP/1.1\r\n" + (b"A: " + b"b" * 150 + b"\r\n") * 5, "fields_bytes"),
        (get(b"/", b"Content-Length: 1001"), "body_max_bytes"),
        (get(b"/", b"Content-Length: " + b"9" * 50), "body_max_bytes"),
        (chunked(b"3e9\r\n"), "body_max_bytes"),
        (get(b"/", b"A b"), ""),
    ],
)
def test_a_refusal_names_the_limit(data, limit):
    assert parse([data], SMALL).refusal.limit == limit
