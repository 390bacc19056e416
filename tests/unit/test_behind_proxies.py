"""What a request's environ says behind proxies, by the settings, on each engine: client, URL, prefix; and refusals."""

from __future__ import annotations

from typing import Any
from wsgiref.util import request_uri

import pytest
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.engine.proxy import Names, Proxy
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.metrics import scoreboard

from tests.conformance.case import get, get10
from tests.unit.conversation_world import NOW, World

PROXY = "10.0.0.1"
TRUSTED = {"trusted": ("10.0.0.0/8",)}
HOST = {"host_field": "X-Forwarded-Host"}
PORT = {"port_field": "X-Forwarded-Port"}
PREFIX = {"prefix_field": "X-Forwarded-Prefix"}
KEPT = {**PREFIX, "prefix_stripped": False}
FORWARDED = {"forwarded": True, "host_field": "Forwarded"}
HTTPS = b"X-Forwarded-Proto: https"
FOR_TWO = b"X-Forwarded-For: 203.0.113.66, 192.0.2.9, 198.51.100.7"

Settings = dict[str, Any]


def seen(engine: str, settings: Settings, *requests: bytes, peer: str = PROXY) -> dict[str, Any]:
    """The environ of the last of these requests of one connection."""
    world = World(engine, peer, **{**TRUSTED, **settings})
    environs: list[dict[str, Any]] = []
    world.during = lambda: environs.append(dict(world.conversation._environ))  # type: ignore[attr-defined]
    for request in requests:
        world.send(request)
        assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE, world._read()
    return environs[-1]


def at(settings: Settings, *lines: bytes, path: bytes = b"/", **expected: str) -> Any:
    """A row of a table: what is seen of a GET with these fields."""
    names = {"client": "REMOTE_ADDR", "scheme": "wsgi.url_scheme"}
    environ = {names.get(name, name): value for name, value in expected.items()}
    shown = b" ".join((path, *lines)).decode()
    return pytest.param(settings, get(path, *lines), environ, id=f"{'+'.join(settings) or 'default'} {shown}")


CLIENT_AND_SCHEME = [
    at({}, FOR_TWO, HTTPS, client="198.51.100.7", scheme="https", HTTPS="on"),
    at({}, scheme="http", HTTPS="absent", client=PROXY),
    at({"hops": 1}, FOR_TWO, client="198.51.100.7"),
    at({"hops": 2}, FOR_TWO, client="192.0.2.9"),
    at({"hops": 3}, FOR_TWO, client="203.0.113.66"),
    at({"hops": 4}, FOR_TWO, client=PROXY),  # it has not come through all of them: nobody knows who said what
    at({"hops": 2}, b"X-Forwarded-For: 192.0.2.9, junk", client="192.0.2.9"),
    at({"hops": 2}, b"X-Forwarded-For: junk, 192.0.2.9", client=PROXY),
    at({"hops": 2}, b"X-Forwarded-For: 10.0.0.8, 10.0.0.9", client="10.0.0.8"),  # counted, and not compared
    at({"trusted": ("*",), "hops": 1}, FOR_TWO, client="198.51.100.7"),
    at({"trusted": ("*",)}, FOR_TWO, client="203.0.113.66"),
    at({"client_field": "CF-Connecting-IP"}, FOR_TWO, b"CF-Connecting-IP: 192.0.2.1", client="192.0.2.1"),
    at({"client_field": ""}, FOR_TWO, client=PROXY),
    at({"scheme_field": ""}, HTTPS, scheme="http"),
    at({"scheme_field": "X-Forwarded-Ssl"}, b"X-Forwarded-Ssl: on", scheme="https", HTTPS="on"),
    at({"scheme_field": "X-Forwarded-Ssl"}, b"X-Forwarded-Ssl: off", HTTPS, scheme="http", HTTPS="absent"),
    at({"scheme_field": "Front-End-Https"}, b"Front-End-Https: On", scheme="https"),
    at({"scheme_field": "X-Forwarded-Scheme"}, b"X-Forwarded-Scheme: https", scheme="https"),
    at({"scheme_field": "X-Forwarded-Protocol"}, b"X-Forwarded-Protocol: ssl", scheme="https"),
    at({"scheme_field": "CloudFront-Forwarded-Proto"}, b"CloudFront-Forwarded-Proto: https", scheme="https"),
    at({}, b"X-Forwarded-Proto: wss", scheme="https"),
    at({}, b"X-Forwarded-Proto: true", scheme="http"),
    at({"hops": 2}, b"X-Forwarded-Proto: http, https, http", scheme="https"),
    at({"hops": 2}, HTTPS, scheme="https"),  # one has set it, the other kept it
    at({"hops": 3}, b"X-Forwarded-Proto: https, https", scheme="http"),
    at({"hops": 2, **FORWARDED}, b"Forwarded: for=1.1.1.1, for=192.0.2.9;proto=https;host=b, for=10.9.9.9;host=c",
       client="192.0.2.9", scheme="https", HTTP_HOST="b"),
]  # fmt: skip
URL = [
    at({}, b"X-Forwarded-Host: evil", b"X-Forwarded-Port: 1", b"X-Forwarded-Prefix: /evil", HTTP_HOST="a",
       SERVER_NAME="x", SERVER_PORT="80", SCRIPT_NAME=""),
    at(HOST, HTTP_HOST="a", SERVER_NAME="x", SERVER_PORT="80"),
    at(HOST, b"X-Forwarded-Host:", HTTP_HOST="a"),
    at(HOST, b"X-Forwarded-Host: shop.example", HTTP_HOST="shop.example", SERVER_NAME="shop.example", SERVER_PORT="80"),
    at(HOST, b"X-Forwarded-Host: shop.example", HTTPS, HTTP_HOST="shop.example", SERVER_PORT="443"),
    at(HOST, b"X-Forwarded-Host: shop.example:443", HTTPS, HTTP_HOST="shop.example", SERVER_PORT="443"),
    at(HOST, b"X-Forwarded-Host: shop.example:8443", HTTPS, HTTP_HOST="shop.example:8443", SERVER_PORT="8443"),
    at(HOST, b"X-Forwarded-Host: [2001:db8::1]:81", HTTP_HOST="[2001:db8::1]:81", SERVER_NAME="[2001:db8::1]",
       SERVER_PORT="81"),
    at(HOST, b"X-Forwarded-Host: [2001:db8::1]", HTTP_HOST="[2001:db8::1]", SERVER_PORT="80"),
    at(HOST, b"X-Forwarded-Host: <script>, good", HTTP_HOST="good"),  # in front of it a client may say what it likes
    at({**HOST, "hops": 2}, b"X-Forwarded-Host: evil, outer, inner", HTTP_HOST="outer"),
    at({**HOST, "hops": 2}, b"X-Forwarded-Host: only", HTTP_HOST="only"),
    at({**HOST, "hops": 3}, b"X-Forwarded-Host: b, c", HTTP_HOST="a"),
    at({"host_field": "X-Original-Host"}, b"X-Original-Host: b", b"X-Forwarded-Host: c", HTTP_HOST="b"),
    at(HOST, b"X-Forwarded-Host: b", path=b"http://other/", HTTP_HOST="b"),
    at(PORT, b"X-Forwarded-Port: 81", path=b"http://other:82/", HTTP_HOST="other:81", SERVER_PORT="81"),
    at(PORT, b"X-Forwarded-Port: 8443", HTTPS, HTTP_HOST="a:8443", SERVER_NAME="x", SERVER_PORT="8443"),
    at(PORT, b"X-Forwarded-Port: 443", HTTPS, HTTP_HOST="a", SERVER_PORT="443"),
    at(PORT, b"X-Forwarded-Port: 00443", HTTPS, HTTP_HOST="a", SERVER_PORT="443"),
    at(PORT, b"X-Forwarded-Port: 443", HTTP_HOST="a:443", SERVER_PORT="443"),
    at({**HOST, **PORT}, b"X-Forwarded-Host: b:81", b"X-Forwarded-Port: 82", HTTP_HOST="b:82", SERVER_PORT="82"),
    at({**HOST, **PORT}, b"X-Forwarded-Host: b:81", HTTP_HOST="b:81", SERVER_PORT="81"),
    at(FORWARDED, b'Forwarded: for=192.0.2.9;host="shop.example:8443";proto=https', HTTP_HOST="shop.example:8443",
       client="192.0.2.9", scheme="https"),
    at(FORWARDED, b"Forwarded: host=evil, for=192.0.2.9", HTTP_HOST="a"),
    at({"forwarded": True}, b"Forwarded: for=192.0.2.9;host=evil", HTTP_HOST="a"),
]  # fmt: skip
MOUNTED = [
    at(PREFIX, b"X-Forwarded-Prefix: /shop", path=b"/cart", SCRIPT_NAME="/shop", PATH_INFO="/cart",
       REQUEST_URI="/cart"),
    at(PREFIX, b"X-Forwarded-Prefix: /shop/", path=b"/", SCRIPT_NAME="/shop", PATH_INFO="/"),
    at(PREFIX, b"X-Forwarded-Prefix: /", path=b"/a", SCRIPT_NAME="", PATH_INFO="/a"),
    at(PREFIX, b"X-Forwarded-Prefix:", path=b"/a", SCRIPT_NAME="", PATH_INFO="/a"),
    at(PREFIX, path=b"/a", SCRIPT_NAME="", PATH_INFO="/a"),
    at(PREFIX, b"X-Forwarded-Prefix: /shop", path=b"/shop/a", SCRIPT_NAME="/shop", PATH_INFO="/shop/a"),
    at(PREFIX, b"X-Forwarded-Prefix: /a%20b/%c3%a9", path=b"/c", SCRIPT_NAME="/a b/\xc3\xa9"),
    at(PREFIX, b"X-Forwarded-Prefix: ../x, /shop", path=b"/a", SCRIPT_NAME="/shop"),
    at({**PREFIX, "hops": 2}, b"X-Forwarded-Prefix: /outer, /inner", SCRIPT_NAME="/outer"),
    at({"prefix_field": "X-Script-Name"}, b"X-Script-Name: /shop", SCRIPT_NAME="/shop"),
    at(KEPT, b"X-Forwarded-Prefix: /shop", path=b"/shop/cart", SCRIPT_NAME="/shop", PATH_INFO="/cart"),
    at(KEPT, b"X-Forwarded-Prefix: /shop", path=b"/shop", SCRIPT_NAME="/shop", PATH_INFO=""),
    at(KEPT, b"X-Forwarded-Prefix: /shop", path=b"/shopping", SCRIPT_NAME="", PATH_INFO="/shopping"),
    at(KEPT, b"X-Forwarded-Prefix: /a%20b", path=b"/a%20b/c", SCRIPT_NAME="/a b", PATH_INFO="/c"),
    at({"script_name": "/app"}, path=b"/app/a", SCRIPT_NAME="/app", PATH_INFO="/a"),
    at({"script_name": "/app", "script_name_stripped": True}, path=b"/a", SCRIPT_NAME="/app", PATH_INFO="/a"),
    at({"script_name": "/app", **PREFIX}, b"X-Forwarded-Prefix: /shop", path=b"/app/a", SCRIPT_NAME="/shop/app",
       PATH_INFO="/a"),
    at({"script_name": "/app", **KEPT}, b"X-Forwarded-Prefix: /shop", path=b"/shop/app/a", SCRIPT_NAME="/shop/app",
       PATH_INFO="/a"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "request_", "expected"), CLIENT_AND_SCHEME + URL + MOUNTED)
@pytest.mark.parametrize("times", [1, 3])
def test_what_the_application_is_told(
    engine: str, settings: Settings, request_: bytes, expected: dict[str, str], times: int
) -> None:
    environ = seen(engine, settings, *[request_] * times)
    assert {name: environ.get(name, "absent") for name in expected} == expected


@pytest.mark.parametrize(("settings", "request_", "expected"), CLIENT_AND_SCHEME[:1] + URL[3:6] + MOUNTED[:2])
def test_a_stranger_is_told_the_same_of_as_without(
    engine: str, settings: Settings, request_: bytes, expected: dict[str, str]
) -> None:
    """And what it has said of itself is still there, for those who look at it."""
    environ = seen(engine, settings, request_, peer="192.0.2.200")
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("192.0.2.200", "http")
    assert (environ["HTTP_HOST"], environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("a", "x", "80")
    assert environ["SCRIPT_NAME"] == ""
    assert "HTTPS" not in environ
    assert any(name.startswith("HTTP_X_FORWARDED") for name in environ)


def test_nothing_of_the_last_request_stays(engine: str) -> None:
    everything = {**HOST, **PORT, **PREFIX, "script_name": "/app"}
    full = get(b"/app/1", HTTPS, FOR_TWO, b"X-Forwarded-Host: b", b"X-Forwarded-Port: 81", b"X-Forwarded-Prefix: /p")
    others = [
        get(b"/2"),
        get(b"/app/3", b"X-Forwarded-Prefix: /q"),
        get(b"/4", b"X-Forwarded-Host: c"),
        get10(b"/5", b"Connection: keep-alive"),
    ]
    for other in others:
        alone = seen(engine, everything, other)
        after = seen(engine, everything, full, full, other)
        for environ in (alone, after):
            for name in ("wsgi.errors", "wsgi.early_hints", "miniwsgi.request_id", "miniwsgi.connected"):
                environ.pop(name, None)
        assert after == alone


def test_a_peer_on_a_unix_socket(engine: str) -> None:
    settings = {"trusted": ("unix",), **HOST, **PREFIX}
    request = get(b"/a", HTTPS, FOR_TWO, b"X-Forwarded-Host: b", b"X-Forwarded-Prefix: /p")
    environ = seen(engine, settings, request, peer="")
    assert (environ["REMOTE_ADDR"], request_uri(environ)) == ("198.51.100.7", "https://b/p/a")


# --- what is refused ---

BAD_HOSTS = [
    b"<script>", b"a b", b"a/b", b"user@b", b"b:x", b"b:99999", b"b:0", b":80", b"[::1", b"[x]", b"b\\c", b"b\x80",
    b"http://b", b"b?c", b"b#c", b"ok, a b",
]  # fmt: skip
BAD_PORTS = [b"x", b"-1", b"0", b"65536", b"8 0", b"80a", b"\xb2", b"+80", b"443, x", b"000080"]
BAD_PREFIXES = [
    b"shop", b"//shop", b"/shop//a", b"/shop//", b"/../shop", b"/shop/..", b"/./shop", b"/%2e%2e/shop", b"/a%2f%2fb",
    b"/shop?x", b"/shop#x", b"/a b", b"/a\\b", b"/%00", b"/%0d%0aSet-Cookie:x", b"/%zz", b"/\xe9", b"http://b/shop",
    b"/ok, shop", b"/%5c", b"/a%2f",
]  # fmt: skip
BAD = [
    *[(HOST, b"X-Forwarded-Host: " + value) for value in BAD_HOSTS],
    *[(PORT, b"X-Forwarded-Port: " + value) for value in BAD_PORTS],
    *[(PREFIX, b"X-Forwarded-Prefix: " + value) for value in BAD_PREFIXES],
    (KEPT, b"X-Forwarded-Prefix: shop"),
    (FORWARDED, b'Forwarded: for=192.0.2.9;host="a b"'),
]


@pytest.mark.parametrize(("settings", "line"), BAD)
@pytest.mark.parametrize("before", [0, 1])
def test_a_url_that_can_be_none_is_refused(engine: str, settings: Settings, line: bytes, before: int) -> None:
    world = World(engine, PROXY, **TRUSTED, **settings)
    for _ in range(before):
        world.send(get(b"/"))
        assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
        world._read()
    world.send(get(b"/", line))
    assert world.conversation.serve(world.thread, NOW) is Outcome.REFUSED
    assert world._read().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert world.calls_made == before
    cells = world.context.slot.cells
    assert (cells[scoreboard.REJECTED], cells[scoreboard.REQUESTS]) == (1, before)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (Names(host="X-Forwarded-Host"), "X-Forwarded-Host of a trusted proxy is no host (RFC 9110 section 7.2)"),
        (Names(port="X-Port"), "X-Port of a trusted proxy is no port (RFC 3986 section 3.2.3)"),
        (Names(prefix="X-Script"), "X-Script of a trusted proxy is no prefix of a path (RFC 3986 section 3.3)"),
    ],
)
def test_the_log_says_what_it_was_and_nothing_of_it(names: Names, told: str) -> None:
    fields = dict.fromkeys(("HTTP_X_FORWARDED_HOST", "HTTP_X_PORT", "HTTP_X_SCRIPT"), "<secret>")
    with pytest.raises(ProtocolError) as caught:
        Proxy(("*",), names=names).check(fields)
    assert str(caught.value) == f"400 Bad Request: {told}"


@pytest.mark.parametrize(("settings", "line"), BAD)
def test_and_says_nothing_where_it_is_not_read(engine: str, settings: Settings, line: bytes) -> None:
    if "forwarded" in settings:
        settings = {"forwarded": True}
    else:
        assert seen(engine, settings, get(b"/", line), peer="192.0.2.200")["HTTP_HOST"] == "a"
        settings = {}
    environ = seen(engine, settings, get(b"/", line))
    assert (environ["HTTP_HOST"], environ["SCRIPT_NAME"], environ["SERVER_PORT"]) == ("a", "", "80")
