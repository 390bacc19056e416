"""Fields parsed in one sweep and parsed closely are the same; what a head says; request lines that are remembered."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from miniwsgi.daemon.http import head as head_module
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Head, Known, Limits, parse_fields, parse_request_line

from tests.support.effort import effort

LIMITS = Limits()
KNOWN = Known()
TOKEN = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters
NAMES = st.sampled_from(["Host", "Accept", "accept", "Cookie", "COOKIE", "X-A", "x-a", "X_A", "Proxy", "Content-Type"])
VALUE_CHARACTERS = [chr(c) for c in (9, *range(0x20, 0x7F), *range(0x80, 0x100))]


def closely(block):
    return head_module._parse_fields_closely(block.decode("latin-1").split("\r\n"), {})


def outcome(parse, *arguments):
    try:
        return list(parse(*arguments).items())
    except ProtocolError as error:
        return error.status


@st.composite
def line(draw):
    name = draw(NAMES | st.text(TOKEN, min_size=1, max_size=8))
    colon = draw(st.sampled_from([": ", ": ", ": ", ": ", ":", ":  ", ":\t", " :", ""]))
    value = draw(st.text(VALUE_CHARACTERS, max_size=12) | st.sampled_from(["b", "", "a: b", ": ", ":", " c ", "\xa0"]))
    return name + colon + value


@settings(max_examples=effort(100, 300), deadline=None)
@given(st.lists(line(), min_size=1, max_size=6))
@example(["X-A:b: c"])
@example(["X-A: b", "X-A: c", "Cookie: a", "cookie: b"])
@example(["X-A: b", "X_A: c", "Proxy: d", "Host: e"])
@example(["X-A: b\x85"])
@example(["Host: a", "Host: a"])
@example(["Content-Length: 1", "content-length: 1"])
def test_both_ways_to_parse_fields_agree(lines):
    block = "\r\n".join(lines).encode("latin-1")
    expected = outcome(closely, block)
    assert outcome(parse_fields, block, LIMITS, KNOWN) == expected
    assert outcome(parse_fields, block, LIMITS, KNOWN) == expected  # names are known now


@settings(max_examples=effort(66, 200), deadline=None)
@given(st.lists(st.tuples(st.text(TOKEN, min_size=1, max_size=10), st.text(VALUE_CHARACTERS, max_size=20)), max_size=6))
def test_valid_fields_are_what_was_sent(pairs):
    expected: dict[str, str] = {}
    for name, value in pairs:
        if "_" in name or name.lower() in {"proxy", "content-length", "host"}:
            continue
        key = name.upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else "HTTP_" + key
        glue = "; " if key == "HTTP_COOKIE" else ", "
        expected[key] = glue.join([expected[key], value.strip(" \t")] if key in expected else [value.strip(" \t")])
    lines = [f"{name}: {value}" for name, value in pairs if name.lower() not in {"content-length", "host"}]
    assert parse_fields("\r\n".join(lines).encode("latin-1"), LIMITS, KNOWN) == expected


@settings(max_examples=effort(66, 200), deadline=None)
@given(st.binary(max_size=60))
def test_fields_of_any_bytes_raise_nothing_else(block):
    result = outcome(parse_fields, block, LIMITS, KNOWN)
    if isinstance(result, list):
        assert b"\n" not in block.replace(b"\r\n", b"")
        assert all(key.startswith("HTTP_") or key in {"CONTENT_TYPE", "CONTENT_LENGTH"} for key, _ in result)
        assert "HTTP_PROXY" not in dict(result)


def test_no_fields_at_all():
    assert parse_fields(b"", LIMITS, KNOWN) == {}


def test_each_parse_gives_a_dict_of_its_own():
    first = parse_fields(b"X-A: b", LIMITS, KNOWN)
    first["HTTP_X_A"] = "changed"
    assert parse_fields(b"X-A: b", LIMITS, KNOWN) == {"HTTP_X_A": "b"}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", ["X-A", "X_A", "Proxy", "X A", "", "X\xe4", "X:"])
def test_names_are_judged_the_same_when_they_are_known(name, known):
    block = f"{name}: b\r\nX-Other: c".encode("latin-1")
    if known:
        outcome(parse_fields, block, LIMITS, KNOWN)
    assert outcome(parse_fields, block, LIMITS, KNOWN) == outcome(closely, block)


def test_invalid_names_are_not_remembered():
    for block in (b"X A: b", b"X_B: b", b"Proxy: b"):
        outcome(parse_fields, block, LIMITS, KNOWN)
    assert not {"X A:", "X_B:", "Proxy:"} & set(KNOWN.names)
    parse_fields(b"X-C: b", LIMITS, KNOWN)
    assert KNOWN.names["X-C:"] == "HTTP_X_C"


def test_a_known_line_is_the_same_object():
    assert parse_request_line(b"GET /known HTTP/1.1", KNOWN) is parse_request_line(b"GET /known HTTP/1.1", KNOWN)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            parse_request_line(b"GET /#known HTTP/1.1", KNOWN)
    assert b"GET /#known HTTP/1.1" not in KNOWN.lines


def test_the_text_for_watchers_is_short_and_ends():
    line = parse_request_line(b"GET /" + b"p" * 1000 + b" HTTP/1.1", KNOWN)
    assert len(line.text) == 201
    assert line.text.endswith(b"\r")
    assert parse_request_line(b"GET / HTTP/1.1", KNOWN).text == b"GET / HTTP/1.1\r"


@pytest.mark.parametrize(
    ("fields", "http11", "expected"),
    [
        ({}, False, (0, False, False, False)),
        ({"HTTP_HOST": "a"}, True, (0, False, True, False)),
        ({"HTTP_HOST": "a", "CONTENT_LENGTH": "5"}, True, (5, False, True, False)),
        ({"HTTP_HOST": "a", "CONTENT_LENGTH": "5"}, False, (5, False, False, False)),
        ({"HTTP_HOST": "a", "HTTP_TRANSFER_ENCODING": "Chunked"}, True, (0, True, True, False)),
        ({"HTTP_HOST": "a", "HTTP_CONNECTION": "a, Close"}, True, (0, False, False, False)),
        ({"HTTP_CONNECTION": "Keep-Alive"}, False, (0, False, True, False)),
        ({"HTTP_HOST": "a", "HTTP_EXPECT": "100-Continue"}, True, (0, False, True, True)),
        ({"HTTP_EXPECT": "100-continue"}, False, (0, False, False, False)),
        ({}, True, 400),
        ({"HTTP_HOST": "a b"}, False, 400),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, False, 400),
        ({"HTTP_HOST": "a", "HTTP_EXPECT": "x"}, True, 417),
        ({"HTTP_HOST": "a", "CONTENT_LENGTH": "9" * 19}, True, 413),
        ({"HTTP_HOST": "a", "HTTP_TRANSFER_ENCODING": "br"}, True, 501),
    ],
)
def test_what_a_head_says(fields, http11, expected):
    try:
        head = Head(b"", fields, http11, LIMITS, KNOWN)
        said = head.length, head.chunked, head.persistent, head.expects_continue
    except ProtocolError as error:
        said = error.status
    assert said == expected


@pytest.mark.parametrize(
    ("host", "anybody", "unix"),
    [
        ("/run/shop.sock", False, True), ("a/b", False, True), ("/", False, True), ("", True, True),
        ("a:80", True, True), ("/run/a b", False, False), ("/a?b", False, False), ("/a#b", False, False),
        ("u@/a", False, False), ("/a\\b", False, False), ("/%zz", False, False),
    ],
)  # fmt: skip
def test_a_client_of_a_unix_socket_may_name_a_path_as_its_host(host, anybody, unix):
    for limits, right in ((LIMITS, anybody), (LIMITS._replace(host_is_path=True), unix), (LIMITS, anybody)):
        if right:
            assert Head(b"", {"HTTP_HOST": host}, True, limits, KNOWN).fields["HTTP_HOST"] == host
        else:
            with pytest.raises(ProtocolError, match="invalid Host"):
                Head(b"", {"HTTP_HOST": host}, True, limits, KNOWN)
