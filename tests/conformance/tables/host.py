"""Host: required once and valid in HTTP/1.1 (RFC 9110, section 7.2; RFC 9112, section 3.2)."""

from __future__ import annotations

from ..case import get10, last, refused, request, served

TOPIC = "Host"


def host(*values: bytes) -> bytes:
    return request(b"GET / HTTP/1.1", *(b"Host: " + value for value in values))


CASES = [
    served("name", host(b"example.org"), environ={"HTTP_HOST": "example.org"}),
    served("name and port", host(b"example.org:8080"), environ={"HTTP_HOST": "example.org:8080"}),
    served("name and empty port", host(b"example.org:")),
    served("capitals", host(b"EXAMPLE.org")),
    served("trailing dot", host(b"example.org.")),
    served("underscore in a name", host(b"my_service:80"), environ={"HTTP_HOST": "my_service:80"}),
    served("IPv4", host(b"127.0.0.1:80"), environ={"HTTP_HOST": "127.0.0.1:80"}),
    served("IPv6", host(b"[::1]"), environ={"HTTP_HOST": "[::1]"}),
    served("IPv6 and port", host(b"[2001:db8::1]:8080"), environ={"HTTP_HOST": "[2001:db8::1]:8080"}),
    served("white space around it", host(b" \ta\t "), environ={"HTTP_HOST": "a"}),
    served("behind other fields", request(b"GET / HTTP/1.1", b"X-A: b", b"Host: c"), environ={"HTTP_HOST": "c"}),
    served("lower-case name", request(b"GET / HTTP/1.1", b"host: c"), environ={"HTTP_HOST": "c"}),
    refused("missing", request(b"GET / HTTP/1.1")),
    refused("missing, with other fields", request(b"GET / HTTP/1.1", b"X-A: b")),
    refused("missing in HTTP/1.2", request(b"GET / HTTP/1.2")),
    refused("missing with an absolute target", request(b"GET http://a/ HTTP/1.1")),
    refused("missing in a HEAD: no body either", request(b"HEAD / HTTP/1.1"), body=b""),
    refused("twice", host(b"a", b"b")),
    refused("twice the same", host(b"a", b"a")),
    refused("twice in HTTP/1.0", get10(b"/", b"Host: a", b"Host: a")),
    refused("twice in different case", request(b"GET / HTTP/1.1", b"Host: a", b"hOST: a")),
    refused("two in one value", host(b"a, b")),
    refused("space inside", host(b"a b")),
    refused("path", host(b"a/b")),
    refused("query", host(b"a?b")),
    refused("fragment", host(b"a#b")),
    refused("user information", host(b"user@a")),
    refused("scheme", host(b"http://a")),
    refused("backslash", host(b"a\\b")),
    refused("angle brackets", host(b"<a>")),
    refused("quotes", host(b'"a"')),
    refused("control", host(b"a\x01b")),
    refused("port that is no number", host(b"a:b")),
    refused("port with a sign", host(b"a:+80")),
    refused("two ports", host(b"a:80:80")),
    served("empty", host(b""), environ={"HTTP_HOST": ""}),
    refused("obs-text", host(b"\xe9")),
    refused("port of IPv6 that is no number", host(b"[::1]:x")),
    refused("brackets around nothing", host(b"[]")),
    refused("brackets around what is no IPv6 address", host(b"[zz]")),
    refused("twice, once empty", host(b"a", b"")),
    refused("space before a port", host(b"a :80")),
    refused("percent sign that is no escape", host(b"a%zz")),
    refused("unclosed bracket", host(b"[::1")),
    refused("unopened bracket", host(b"::1]")),
    refused("IPv6 without brackets", host(b"2001:db8::1")),
    refused("junk behind the bracket", host(b"[::1]a")),
    served(
        "path from a client of a Unix socket",
        host(b"/run/shop.sock"),
        environ={"HTTP_HOST": "/run/shop.sock"},
        unix=True,
    ),
    refused("space from a client of a Unix socket", host(b"/run/a b"), unix=True),
    refused("twice from a client of a Unix socket", host(b"/a", b"/a"), unix=True),
    refused("invalid in HTTP/1.0", get10(b"/", b"Host: a b")),
    last("none in HTTP/1.0", get10(), environ={"HTTP_HOST": None}),
    last("one in HTTP/1.0", get10(b"/", b"Host: a"), environ={"HTTP_HOST": "a"}),
]
