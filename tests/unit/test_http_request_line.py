"""Request line, empty lines in front of it, version, target (RFC 9112 sections 2.2, 2.3 and 3)."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.http.connection import State

from tests.unit.http_tables import Case, check, get, get10, refused, request, served, unfinished


def line(start: bytes) -> bytes:
    return request(start, b"Host: a")


def path(target: bytes, expected: str, query: str = "") -> Case:
    raw = target.decode("latin-1")
    return served(f"path {raw}", get(target), path=expected, query=query, target=raw, authority=None)


def absolute(target: bytes, authority: str, path: str = "/", query: str = "") -> Case:
    raw = target.decode()
    return served(f"absolute {raw}", get(target), authority=authority, path=path, query=query, target=raw)


def bad(target: bytes, method: bytes = b"GET", status: int = 400) -> Case:
    return refused(f"target {method.decode()} {target!r}", get(target, method=method), status)


CASES = [
    # empty lines in front
    served("ordinary", get(), method="GET", path="/", query="", target="/", http11=True, persistent=True),
    served("one empty line in front", b"\r\n" + get(), path="/"),
    served("two empty lines in front", b"\r\n\r\n" + get(), path="/"),
    served("empty line between requests", get(b"/1") + b"\r\n" + get(b"/2"), {"path": "/1"}, {"path": "/2"}),
    served("two between", get(b"/1") + b"\r\n\r\n" + get(b"/2"), {"path": "/1"}, {"path": "/2"}),
    served("two between, twice", (get() + b"\r\n\r\n") * 2 + get(b"/2"), {}, {}, {"path": "/2"}),
    refused("three empty lines", b"\r\n\r\n\r\n" + get()),
    refused("three between requests", get() + b"\r\n\r\n\r\n" + get(), 400, {}),
    refused("bare LF in front", b"\n" + get()),
    refused("bare CR in front", b"\r" + get()),
    refused("CR CR LF in front", b"\r\r\n" + get()),
    refused("space in front", b" " + get()),
    refused("a blank line that is not empty", b" \r\n" + get()),
    unfinished("nothing but an empty line", b"\r\n", State.IDLE),
    unfinished("half an empty line", b"\r", State.HEAD),
    unfinished("an empty line and a half", b"\r\n\r", State.HEAD),
    unfinished("an empty line behind a request", get() + b"\r\n", State.IDLE, {}),
    # method
    *(
        served(f"method {method}", line(method.encode() + b" / HTTP/1.1"), method=method)
        for method in ("get", "Get", "HEAD", "PURGE", "VERSION-CONTROL", "X", "123", "TRACE", "!#$%&'*+-.^_`|~09azAZ")
    ),
    refused("empty method", line(b" / HTTP/1.1")),
    *(refused(f"{bytes([c])!r} in the method", line(b"G%cT / HTTP/1.1" % c))
        for c in b'\0\x0b\x7f\xc9"(),/:;<=>?@[\\]{}'),
    # separators
    refused("two spaces behind the method", line(b"GET  / HTTP/1.1")),
    refused("two spaces before the version", line(b"GET /  HTTP/1.1")),
    refused("space behind the version", line(b"GET / HTTP/1.1 ")),
    refused("tab behind the version", line(b"GET / HTTP/1.1\t")),
    refused("tab behind the method", line(b"GET\t/ HTTP/1.1")),
    refused("tab before the version", line(b"GET /\tHTTP/1.1")),
    refused("vertical tab", line(b"GET\x0b/ HTTP/1.1")),
    refused("form feed", line(b"GET /\x0cHTTP/1.1")),
    refused("bare CR as a separator", line(b"GET\r/ HTTP/1.1")),
    refused("no-break space", line(b"GET\xa0/ HTTP/1.1")),
    refused("a fourth part", line(b"GET / HTTP/1.1 x")),
    refused("space in the target", line(b"GET /a b HTTP/1.1")),
    refused("no target", line(b"GET HTTP/1.1")),
    refused("empty target", line(b"GET  HTTP/1.1")),
    refused("method alone", line(b"GET")),
    refused("method and a space", line(b"GET ")),
    # version
    served("1.0", get10(), http11=False, persistent=False),
    served("1.2 as 1.1", line(b"GET / HTTP/1.2"), http11=True, persistent=True),
    served("1.9 as 1.1", line(b"GET / HTTP/1.9"), http11=True),
    *(refused(f"version {version}", line(b"GET / HTTP/" + version.encode()), 505)
      for version in ("0.9", "0.0", "2.0", "2.1", "3.1", "9.9")),
    *(refused(f"version {version!r}", line(b"GET / HTTP/" + version))
      for version in (b"1", b"1.", b".1", b"1.10", b"11.1", b"01.1", b"1,1", b"+1.1", b"1. 1", b"1.a", b"-1.1",
                      b"1.\xef\xbc\x91", b"1.\xb9", b"")),
    refused("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    refused("no version", b"GET /\r\n\r\n"),
    refused("no version, with fields", line(b"GET /")),
    refused("no version but its space", line(b"GET / ")),
    refused("lower-case http", line(b"GET / http/1.1")),
    refused("mixed-case Http", line(b"GET / Http/1.1")),
    refused("space before the slash", line(b"GET / HTTP /1.1")),
    refused("another protocol", line(b"GET / HTTPS/1.1")),
    refused("no protocol name", line(b"GET / 1.1")),
    # line ends
    refused("bare LF behind it", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    refused("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n"),
    refused("bare CR behind it", b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    refused("two CRs behind it", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    refused("LF CR behind it", b"GET / HTTP/1.1\n\rHost: a\r\n\r\n"),
    refused("NUL behind it", b"GET / HTTP/1.1\0\r\nHost: a\r\n\r\n"),
    # not HTTP
    refused("TLS client hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(range(32)) + b"\r\n\r\n"),
    refused("zeros", bytes(64) + b"\r\n\r\n"),
    refused("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    refused("PROXY protocol", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get()),
    refused("SMTP", b"EHLO example.org\r\n\r\n"),
    # target: origin-form
    path(b"/", "/"),
    path(b"/a/b.c", "/a/b.c"),
    path(b"/a%20b", "/a b"),
    path(b"/a+b", "/a+b"),
    path(b"/a%2Fb%2fc", "/a/b/c"),
    path(b"/a%252Fb", "/a%2Fb"),
    path(b"/%41%42", "/AB"),
    path(b"/a%3Fb%23c", "/a?b#c"),
    path(b"/%E4", "/\xe4"),
    path(b"/\xe4", "/\xe4"),
    path(b"/\xe4%41", "/\xe4A"),
    path(b"/%C3%A4", "/\xc3\xa4"),
    path(b"/%ff%fe", "/\xff\xfe"),
    path(b"//a//b", "//a//b"),
    path(b"/a/./b/../c", "/a/./b/../c"),
    path(b"/%2e%2e/a", "/../a"),
    path(b"/a;b=c", "/a;b=c"),
    path(b"/!$&'()*,:=@-._~", "/!$&'()*,:=@-._~"),
    path(b"//example.org/a", "//example.org/a"),
    path(b"/http://b/c", "/http://b/c"),
    path(b"/" + b"p" * 4000, "/" + "p" * 4000),
    path(b"/a?b", "/a", "b"),
    path(b"/a?", "/a"),
    path(b"/?a=b&c=d", "/", "a=b&c=d"),
    path(b"/?a?b", "/", "a?b"),
    path(b"/?a%20b+c%2F%zz", "/", "a%20b+c%2F%zz"),
    path(b"/?\xe4", "/", "\xe4"),
    path(b"/%3f?%3f", "/?", "%3f"),
    *(path(b"/a" + escape + b"x", "/a" + escape.decode() + "x")
      for escape in (b"%", b"%z", b"%zz", b"%4", b"%4z", b"%+1", b"%u0041", b"%%")),
    # target: absolute-form
    absolute(b"http://b.example/c?d", "b.example", "/c", "d"),
    absolute(b"https://b.example/c", "b.example", "/c"),
    absolute(b"http://b.example:8080/c", "b.example:8080", "/c"),
    absolute(b"http://b.example", "b.example"),
    absolute(b"http://b.example?d", "b.example", "/", "d"),
    absolute(b"http://b.example/?", "b.example"),
    absolute(b"HTTP://B.example/c", "B.example", "/c"),
    absolute(b"http://[::1]:80/c", "[::1]:80", "/c"),
    absolute(b"http://b.example/c%20d", "b.example", "/c d"),
    absolute(b"http://b.example//c", "b.example", "//c"),
    served("absolute-form in 1.0", get10(b"http://b.example/c"), path="/c", authority="b.example", HTTP_HOST=None),
    *(bad(target) for target in (
        b"http:///a", b"http://", b"http://b:c/", b"http:/a", b"http://b.example/c#d", b"http://u@b/", b"http://u:p@b/",
        b"http://b\\c/", b"ftp://b/c", b"http://:80/", b"http://b:80:80/", b"http://[::1/", b"http://b\xe4/",
    )),
    # target: the other forms
    served("OPTIONS *", get(b"*", method=b"OPTIONS"), path="/", query="", target="*"),
    served("OPTIONS with a path", get(b"/a", method=b"OPTIONS"), path="/a"),
    *(bad(target) for target in (b"*", b"a:443", b"a/b", b"?a", b".", b"\\a", b"mailto:a@b", b"/a#b", b"/a?b#c", b"/#",
                                 b"#", b"/a\0b", b"/a\x01b", b"/a\x7fb", b"/a?\x1f")),
    bad(b"*", b"POST"),
    bad(b"*", b"options"),
    bad(b"**", b"OPTIONS"),
    bad(b"*?a", b"OPTIONS"),
    bad(b"a:443", b"CONNECT", 501),
    bad(b"/", b"CONNECT", 501),
    refused("CONNECT in 1.0", request(b"CONNECT a:443 HTTP/1.0"), 501),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_request_line(case):
    check(case)
