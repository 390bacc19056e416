"""Usual lines of the access log are the same whichever engine renders them, and unusual ones as well."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.log.access_format import Render, compile_format, iso_timestamp, parse, time_of_second

EVERY_ATOM = (
    '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(m)s "%(U)s" "%(q)s" %(H)s %(s)s %(B)s %(b)s "%(f)s" "%(a)s" %(T)s %(M)s %(D)s '
    '%(L)s "%({x-name}i)s" %(trace_id)s %(span_id)s'
)
FORMATS = [
    "combined", "common", "json", EVERY_ATOM, '%% é "\\ %(m)s\t',
    '%(p)s "%({x}o)s" "%({none}o)s" %({raw_uri}e)s %({Query_String}e)s %({none}e)s', "%({é}o)s",
]  # fmt: skip
HEADERS = [("x", "y"), ("X-Kind", "z")]
NOW = re.compile(rb"\[\d\d/\w{3}/\d{4}:[\d:]{8} [+-]\d{4}\]|\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z")

USUAL: dict[str, Any] = {
    "REMOTE_ADDR": "192.0.2.7",
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/a/b?c=d",
    "PATH_INFO": "/a/b",
    "QUERY_STRING": "c=d",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_REFERER": "https://example.org/",
    "HTTP_USER_AGENT": "curl/8.0",
    "HTTP_X_NAME": "value",
    "HTTP_TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "miniwsgi.request_id": "0123456789abcdef",
}


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


ODD = [
    "", " ", "a b", "é", "\u20ac", '"', "\\", "\n", "\0", "\x7f", "x" * 5000, '":null', "?", "/?", "/?a?b", "-", None,
    7, ["x"], b"bytes", Text("x"), True,
]  # fmt: skip


@pytest.fixture
def pairs(engine: str) -> list[tuple[str, Render, Render]]:
    """Each format as the plain function renders it and as the engine does."""
    return list(made(engine))


def made(engine: str) -> Iterator[tuple[str, Render, Render]]:
    faster = choose(engine).begin.access_lines
    for format in FORMATS:
        plain = compile_format(format)
        yield format, plain, faster(parse(format), plain, time_of_second, iso_timestamp) if faster else plain


def line(render: Render, *request: Any) -> bytes | str:
    try:
        return NOW.sub(b"now", render(*request))
    except Exception as error:
        return type(error).__name__


def agree(pairs: list[tuple[str, Render, Render]], environ: Any, status: str, size: Any, duration: Any) -> None:
    for format, plain, faster in pairs:
        request = (environ, status, HEADERS, size, duration)
        assert line(faster, *request) == line(plain, *request), format


def test_usual_formats_are_rendered_by_the_engine_itself(engine: str) -> None:
    """Else nothing of what follows tests anything."""
    faster = choose(engine).begin.access_lines
    if faster is None:
        return

    def plain(*_request: object) -> bytes:
        raise AssertionError

    for format in FORMATS[:-1]:
        assert faster(parse(format), plain, time_of_second, iso_timestamp)(USUAL, "200 OK", HEADERS, 5, 999)


@pytest.mark.parametrize("key", USUAL)
@pytest.mark.parametrize("missing", [False, True])
def test_each_value_may_be_odd_or_missing(pairs, key: str, missing: bool) -> None:
    for odd in ODD:
        environ = {name: value for name, value in USUAL.items() if name != key or not missing}
        agree(pairs, environ if missing else environ | {key: odd}, "200 OK", 1234, 12_345_678_901)


@pytest.mark.parametrize(
    "status", ["200 OK", "404", "99", "", "2x0 no", "099 low", "999 high", "é00 no", Text("200 OK")]
)
def test_statuses(pairs, status: str) -> None:
    agree(pairs, USUAL, status, 0, 0)


ODD_HEADERS: list[Any] = [
    [], [("X", "")], [("x", "a"), ("X", "b")], [("X", 'a"b')], [("xx", "y"), ("@", "z")], [("x", Text("a"))],
    [("x", None)], [("É", "a")], [("é", "a")], [["x", "y"]], [("x", "y", "z")], [("x",)], (("x", "y"),), [(b"x", "y")],
    [(7, "y")], None,
]  # fmt: skip


@pytest.mark.parametrize("headers", ODD_HEADERS, ids=repr)
def test_fields_of_the_response(pairs, headers: Any) -> None:
    for format, plain, faster in pairs:
        request = (USUAL, "200 OK", headers, 1, 1)
        assert line(faster, *request) == line(plain, *request), format


@pytest.mark.parametrize("size", [0, 1, 9, 10, 2**31, 2**62, -1, 2**70, True])
def test_sizes(pairs, size: int) -> None:
    agree(pairs, USUAL, "200 OK", size, 0)


@pytest.mark.parametrize(
    "duration", [0, 499, 500, 999, 1500, 2500, 4500, 999_499, 999_500, 10**9 - 1, 10**9, 10**18, -1, 2**70]
)
def test_durations(pairs, duration: int) -> None:
    agree(pairs, USUAL, "200 OK", 0, duration)


def test_users_are_left_to_the_plain_function(pairs) -> None:
    for credentials in ("Basic YW5uOnNlY3JldA==", "Bearer x", "", None):
        agree(pairs, USUAL | {"HTTP_AUTHORIZATION": credentials}, "200 OK", 1, 1)


def test_what_is_no_environ_of_a_request(pairs) -> None:
    class Environ(dict[str, Any]):
        pass

    agree(pairs, {}, "400 Bad Request", 15, 0)
    agree(pairs, Environ(USUAL), "200 OK", 15, 0)


@pytest.mark.parametrize("length", [3900, 4000, 4096, 4200])
def test_lines_that_are_long(pairs, length: int) -> None:
    for key in ("RAW_URI", "HTTP_USER_AGENT"):
        agree(pairs, USUAL | {key: "x" * length}, "200 OK", 1, 1)


VALUES = st.one_of(st.text(max_size=20), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))


@given(st.dictionaries(st.sampled_from(sorted(USUAL)), VALUES), st.integers(0, 2**40), st.integers(0, 2**50))
def test_whatever_a_client_sends(engine: str, values: dict[str, str], size: int, duration: int) -> None:
    agree(list(made(engine)), USUAL | values, "200 OK", size, duration)


def test_several_threads_render_at_once(pairs) -> None:
    wrong: list[str] = []

    def run(number: int) -> None:
        environ = USUAL | {"HTTP_USER_AGENT": str(number) * 50}
        for _ in range(300):
            for format, plain, faster in pairs:
                request = (environ, "200 OK", [("x", "y")], number, number)
                if line(faster, *request) != line(plain, *request):
                    wrong.append(format)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
