"""The request line, empty lines in front of it, the version (RFC 9112, sections 2.2, 2.3 and 3)."""

from __future__ import annotations

from ..case import either, get, last, refused, request, served

TOPIC = "request line"
NOT_ONE = either(505, 400)  # RFC 9110, section 15.6.6: 505 "or refuses to support"


def line(start: bytes) -> bytes:
    return request(start, b"Host: a")


CASES = [
    served("ordinary", line(b"GET / HTTP/1.1"), environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/"}),
    served("one empty line in front", b"\r\n" + get(), environ={"PATH_INFO": "/"}),
    served("two empty lines in front", b"\r\n\r\n" + get(), environ={"PATH_INFO": "/"}),
    served("two empty lines between requests", get(b"/1") + b"\r\n\r\n" + get(b"/2"), 200, 200, paths=("/1", "/2")),
    refused("three empty lines in front", b"\r\n" * 3 + get()),
    refused("a hundred empty lines in front", b"\r\n" * 100 + get()),
    served("empty line between requests", get(b"/1") + b"\r\n" + get(b"/2"), 200, 200, paths=("/1", "/2")),
    served("empty line behind a body", get(b"/1", b"Content-Length: 2", body=b"ab") + b"\r\n" + get(b"/2"), 200, 200),
    refused("bare LF in front", b"\n" + get()),
    refused("bare CR in front", b"\r" + get()),
    refused("space in front", b" " + get()),
    refused("tab in front", b"\t" + get()),
    refused("blank line that is not empty in front", b" \r\n" + get()),
    # method
    served("lower-case method is another method", line(b"get / HTTP/1.1"), environ={"REQUEST_METHOD": "get"}),
    served("mixed-case method", line(b"Get / HTTP/1.1"), environ={"REQUEST_METHOD": "Get"}),
    served("unknown method", line(b"PURGE / HTTP/1.1"), environ={"REQUEST_METHOD": "PURGE"}),
    served("WebDAV method", line(b"VERSION-CONTROL / HTTP/1.1"), environ={"REQUEST_METHOD": "VERSION-CONTROL"}),
    served("one-letter method", line(b"X / HTTP/1.1"), environ={"REQUEST_METHOD": "X"}),
    served("digits for a method", line(b"123 / HTTP/1.1"), environ={"REQUEST_METHOD": "123"}),
    served(
        "every token character in a method",
        line(b"!#$%&'*+-.^_`|~09azAZ / HTTP/1.1"),
        environ={"REQUEST_METHOD": "!#$%&'*+-.^_`|~09azAZ"},
    ),
    served("TRACE is a method like others", line(b"TRACE / HTTP/1.1"), environ={"REQUEST_METHOD": "TRACE"}),
    refused("empty method", line(b" / HTTP/1.1")),
    refused("NUL in the method", line(b"G\0T / HTTP/1.1")),
    refused("obs-text in the method", line(b"G\xc9T / HTTP/1.1")),
    refused("DEL in the method", line(b"G\x7fT / HTTP/1.1")),
    *(refused(f"{bytes([c])!r} in the method", line(b"G%cT / HTTP/1.1" % c)) for c in b'"(),/:;<=>?@[\\]{}'),
    # separators
    refused("two spaces behind the method", line(b"GET  / HTTP/1.1")),
    refused("two spaces before the version", line(b"GET /  HTTP/1.1")),
    refused("space behind the version", line(b"GET / HTTP/1.1 ")),
    refused("tab behind the version", line(b"GET / HTTP/1.1\t")),
    refused("tab behind the method", line(b"GET\t/ HTTP/1.1")),
    refused("tab before the version", line(b"GET /\tHTTP/1.1")),
    refused("vertical tab as a separator", line(b"GET\x0b/ HTTP/1.1")),
    refused("form feed as a separator", line(b"GET /\x0cHTTP/1.1")),
    refused("bare CR as a separator", line(b"GET\r/ HTTP/1.1")),
    refused("no-break space as a separator", line(b"GET\xa0/ HTTP/1.1")),
    refused("a fourth part", line(b"GET / HTTP/1.1 x")),
    refused("space in the target", line(b"GET /a b HTTP/1.1")),
    refused("bare LF in the target", line(b"GET /a\nb HTTP/1.1")),
    refused("tab in the target", line(b"GET /a\tb HTTP/1.1")),
    refused("three spaces", line(b"GET   /   HTTP/1.1")),
    refused("no target", line(b"GET HTTP/1.1")),
    refused("empty target", line(b"GET  HTTP/1.1")),
    refused("method alone", line(b"GET")),
    refused("method and a space", line(b"GET ")),
    # version
    refused("no version (HTTP/0.9)", b"GET /\r\n\r\n"),
    refused("no version, with fields", line(b"GET /")),
    refused("no version but its space", line(b"GET / ")),
    refused("lower-case HTTP", line(b"GET / http/1.1")),
    refused("mixed-case HTTP", line(b"GET / Http/1.1")),
    refused("no minor version", line(b"GET / HTTP/1")),
    refused("empty minor version", line(b"GET / HTTP/1.")),
    refused("empty major version", line(b"GET / HTTP/.1")),
    refused("two-digit minor version", line(b"GET / HTTP/1.10")),
    refused("two-digit major version", line(b"GET / HTTP/11.1"), NOT_ONE),
    refused("leading zero in the version", line(b"GET / HTTP/01.1"), NOT_ONE),
    refused("comma in the version", line(b"GET / HTTP/1,1")),
    refused("sign in the version", line(b"GET / HTTP/+1.1")),
    refused("space in the version", line(b"GET / HTTP/1. 1")),
    refused("space before the slash of the version", line(b"GET / HTTP /1.1")),
    refused("hexadecimal version", line(b"GET / HTTP/1.a")),
    refused("full-width digit in the version", line(b"GET / HTTP/1.\xef\xbc\x91")),
    refused("superscript digit in the version", line(b"GET / HTTP/1.\xb9")),
    refused("another protocol", line(b"GET / HTTPS/1.1")),
    refused("no protocol name", line(b"GET / 1.1")),
    refused("version 0.9", line(b"GET / HTTP/0.9"), NOT_ONE),
    refused("version 2.0", line(b"GET / HTTP/2.0"), NOT_ONE),
    refused("version 3.1", line(b"GET / HTTP/3.1"), NOT_ONE),
    refused("version 9.9", line(b"GET / HTTP/9.9"), NOT_ONE),
    refused("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NOT_ONE),
    served("version 1.2", line(b"GET / HTTP/1.2"), environ={"PATH_INFO": "/"}),
    served("version 1.2 streams as 1.1 does", line(b"GET /generator HTTP/1.2"), body=b"onetwothree",
           fields={"Transfer-Encoding": "chunked"}),
    served("version 1.2, chunked", request(b"POST / HTTP/1.2", b"Host: a", b"Transfer-Encoding: chunked",
           body=b"2\r\nab\r\n0\r\n\r\n"), received=b"ab"),
    served("version 1.9", line(b"GET / HTTP/1.9"), environ={"PATH_INFO": "/"}),
    served("version 1.1 is told to the application", get(), environ={"SERVER_PROTOCOL": "HTTP/1.1"}),
    last("version 1.0", line(b"GET / HTTP/1.0"), environ={"SERVER_PROTOCOL": "HTTP/1.0"}),
    # line ends
    refused("bare LF behind the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    refused("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n"),
    refused("bare CR behind the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    refused("two CRs behind the request line", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    refused("LF CR behind the request line", b"GET / HTTP/1.1\n\rHost: a\r\n\r\n"),
    refused("NUL behind the request line", b"GET / HTTP/1.1\0\r\nHost: a\r\n\r\n"),
    # not HTTP at all
    refused("TLS client hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(range(32)) + b"\r\n\r\n"),
    refused("zeros", bytes(64) + b"\r\n\r\n"),
    refused("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    refused("a PROXY protocol line", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get()),
    refused("SMTP", b"EHLO example.org\r\n\r\n"),
]  # fmt: skip
