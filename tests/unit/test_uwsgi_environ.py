"""The environ of a request in uwsgi beside that of the same in HTTP: docs/uwsgi.md has the table of what differs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.engine.environ import request_environ
from miniwsgi.daemon.engine.mount import Mount
from miniwsgi.daemon.engine.proxy import Proxy, UwsgiPeer
from miniwsgi.daemon.engine.uwsgi.connection import UwsgiConnection
from miniwsgi.daemon.http.connection import Connection
from miniwsgi.daemon.http.head import Limits

from tests.conformance.case import request
from tests.support.uwsgi import packet, post
from tests.unit.test_environ import BASE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "uwsgi.md"


def uwsgi(data: bytes, mount: Mount | None = None) -> dict[str, Any]:
    connection = UwsgiConnection(Limits(), base=BASE)
    connection.stranger = ""
    assert connection.receive(data)
    return request_environ(connection, mount or Mount(), UwsgiPeer(()))


def http(data: bytes, proxy: Proxy | None = None) -> dict[str, Any]:
    connection = Connection(Limits(), base=BASE)
    assert connection.receive(data)
    return request_environ(connection, Mount(), proxy)


def told_variables() -> set[str]:
    """The first column of the page's table."""
    section = PAGE.read_text("utf-8").partition("\n## What the application sees\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    missing = object()
    names = {name for name in one.keys() | other.keys() if one.get(name, missing) != other.get(name, missing)}
    if {one["wsgi.input"].read(), other["wsgi.input"].read()} != {b"hello"}:
        names.add("the body")
    return names - {"wsgi.input"}


def test_what_differs_from_http_is_what_the_table_says() -> None:
    """A request to nginx over HTTP/2 and TLS, as nginx passes it on by proxy_pass and by uwsgi_pass."""
    fields = {
        "Host": "shop.example", "Content-Type": "text/plain", "Content-Length": "5", "Accept": "*/*",
        "Cookie": "a=b; c=d", "X-Forwarded-Host": "evil.example", "X-Request-ID": "r-1", "User-Agent": "\xfc",
    }  # fmt: skip
    over_http = http(
        request(
            b"POST /shop//a%20b%2fc?q=%20 HTTP/1.1",
            *(f"{name}: {value}".encode("latin-1") for name, value in fields.items()),
            b"X-Forwarded-For: 192.0.2.1",
            body=b"hello",
        ),
        Proxy(("192.0.2.1",)),
    )  # fmt: skip
    as_nginx = {"HTTP_" + name.upper().replace("-", "_"): value.encode("latin-1") for name, value in fields.items()}
    over_uwsgi = uwsgi(
        post(
            b"hello", b"/shop//a%20b%2fc?q=%20", (b"SCRIPT_NAME", b"/shop"),
            PATH_INFO=b"/shop/a b/c", QUERY_STRING=b"q=%20&rewritten", CONTENT_TYPE=b"text/plain",
            SERVER_PROTOCOL=b"HTTP/2.0", REQUEST_SCHEME=b"https", HTTPS=b"on", SERVER_PORT=b"443",
            REMOTE_ADDR=b"192.0.2.9", HTTP_CONNECTION=b"close", **as_nginx,
        )
    )  # fmt: skip
    as_passed_on = {"HTTP_X_FORWARDED_FOR"}  # by nginx's configuration, not by the protocol
    assert differing(over_http, over_uwsgi) - as_passed_on == told_variables()


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ({}, ("http", None)),
        ({"HTTPS": b"on"}, ("https", "on")),
        ({"HTTPS": b"1", "REQUEST_SCHEME": b"http"}, ("https", "on")),
        ({"HTTPS": b"off"}, ("http", None)),
        ({"REQUEST_SCHEME": b"https"}, ("https", "on")),
        ({"REQUEST_SCHEME": b"gopher"}, ("http", None)),
        ({"UWSGI_SCHEME": b"https"}, ("https", "on")),
        ({"UWSGI_SCHEME": b"http", "HTTPS": b"on"}, ("http", None)),
        ({"HTTP_X_FORWARDED_PROTO": b"https"}, ("http", None)),
    ],
)
def test_the_scheme_is_what_the_packet_says(sent: dict[str, bytes], seen: tuple[str, str | None]) -> None:
    environ = uwsgi(packet(**sent))
    assert (environ["wsgi.url_scheme"], environ.get("HTTPS")) == seen


@pytest.mark.parametrize(
    ("script_name", "path", "own", "seen"),
    [
        (None, b"/a", "", ("", "/a")),
        (b"", b"/a", "", ("", "/a")),
        (b"/", b"/a", "", ("", "/a")),
        (b"/shop", b"/shop/a", "", ("/shop", "/a")),
        (b"/shop/", b"/shop/a", "", ("/shop", "/a")),
        (b"/shop", b"/shop", "", ("/shop", "")),
        (b"/shop", b"", "", ("/shop", "")),
        (b"/shop", b"/a", "", ("/shop", "/a")),
        (b"/shop", b"/shopping", "", ("/shop", "/shopping")),
        (None, b"/shop/a", "/shop", ("/shop", "/a")),
        (None, b"/a", "/shop", ("", "/a")),
        (b"/site", b"/site/shop/a", "/shop", ("/site/shop", "/a")),
        (b"/shop", b"/shop/a", "/shop", ("/shop", "/a")),
    ],
)
def test_script_name(script_name: bytes | None, path: bytes, own: str, seen: tuple[str, str]) -> None:
    """As the packet says, with or without it in PATH_INFO, and with `server.script_name`."""
    environ = uwsgi(packet(PATH_INFO=path, SCRIPT_NAME=script_name), Mount(own))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == seen


@pytest.mark.parametrize(
    ("sent", "name", "seen"),
    [
        ({"REMOTE_ADDR": b"::ffff:192.0.2.7"}, "REMOTE_ADDR", "192.0.2.7"),
        ({"REMOTE_ADDR": b"2001:db8::7"}, "REMOTE_ADDR", "2001:db8::7"),
        ({"REMOTE_ADDR": b"unix:", "REMOTE_PORT": b""}, "REMOTE_ADDR", ""),
        ({"REMOTE_ADDR": None}, "REMOTE_ADDR", ""),  # never the proxy's own
        ({"SERVER_NAME": b"_"}, "SERVER_NAME", "_"),
        ({"SERVER_NAME": b"~^(?<shop>.+)\\.example$"}, "SERVER_NAME", "example.org"),
        ({"SERVER_PORT": b""}, "SERVER_PORT", "8000"),
        ({"SERVER_SOFTWARE": b"nginx"}, "SERVER_SOFTWARE", "s/1"),
        ({"RAW_URI": b"/forged"}, "RAW_URI", "/"),
        ({"CONTENT_TYPE": b""}, "CONTENT_TYPE", None),
        ({"CONTENT_LENGTH": b""}, "CONTENT_LENGTH", None),
        ({"CONTENT_LENGTH": b"0"}, "CONTENT_LENGTH", "0"),
        ({"HTTP_CONTENT_LENGTH": b"7"}, "HTTP_CONTENT_LENGTH", None),
        ({"HTTP_PROXY": b"evil"}, "HTTP_PROXY", None),
        ({"HTTP_TRANSFER_ENCODING": b"chunked"}, "HTTP_TRANSFER_ENCODING", None),
        ({"HTTP_X_EMPTY": b""}, "HTTP_X_EMPTY", ""),
        ({"REMOTE_USER": b"ann"}, "REMOTE_USER", "ann"),
        ({"X-Real-IP": b"1.2.3.4"}, "X-Real-IP", "1.2.3.4"),
        ({"REQUEST_URI": None, "PATH_INFO": b"/a b\xff?", "QUERY_STRING": b"c"}, "REQUEST_URI", "/a%20b%FF%3F?c"),
        ({"SERVER_PROTOCOL": None}, "SERVER_PROTOCOL", "HTTP/1.0"),
        ({"SERVER_PROTOCOL": b"HTTP/3.0"}, "SERVER_PROTOCOL", "HTTP/3.0"),
    ],
)
def test_a_variable(sent: dict[str, bytes | None], name: str, seen: str | None) -> None:
    assert uwsgi(packet(**sent)).get(name) == seen


def test_what_comes_again() -> None:
    environ = uwsgi(
        packet(
            b"GET", b"/", (b"HTTP_A", b"1"), (b"HTTP_A", b"2"), (b"HTTP_COOKIE", b"a=b"), (b"HTTP_COOKIE", b"c=d"),
            (b"HTTP_HOST", b"last.example"), (b"SHOP", b"1"), (b"SHOP", b"2"),
        )
    )  # fmt: skip
    assert (environ["HTTP_A"], environ["HTTP_COOKIE"]) == ("1, 2", "a=b; c=d")
    assert (environ["HTTP_HOST"], environ["SHOP"]) == ("last.example", "2")


@pytest.mark.parametrize("name", sorted(BASE))
def test_no_packet_says_what_the_server_tells(name: str) -> None:
    """Whatever is in the environ before: what it may change is in the table, all else is refused or ours."""
    told = {"REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME", "SERVER_SOFTWARE"}
    if name in told:
        return
    assert "." in name
    connection = UwsgiConnection(Limits(), base=BASE)
    connection.stranger = ""
    with pytest.raises(Exception, match="a name with a dot is the server's"):
        connection.receive(packet(**{name: b"forged"}))
