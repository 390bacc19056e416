"""Host: required once and valid in HTTP/1.1 (RFC 9112 section 3.2; RFC 9110 section 7.2)."""

from __future__ import annotations

from ..case import get10, last, refused, request, served


def host(*values: bytes) -> bytes:
    return request(b"GET / HTTP/1.1", *(b"Host: " + value for value in values))


RIGHT = {
    "name": b"example.org",
    "name and port": b"example.org:8080",
    "name and empty port": b"example.org:",
    "capitals": b"EXAMPLE.org",
    "trailing dot": b"example.org.",
    "underscore in a name": b"my_service:80",
    "name beyond ASCII, in punycode": b"xn--bcher-kva.example",
    "escape": b"a%20b",
    "IPv4": b"127.0.0.1:80",
    "IPv6": b"[::1]",
    "IPv6 and port": b"[2001:db8::1]:8080",
    "IPv6 that maps IPv4": b"[::ffff:192.0.2.1]",
    "empty": b"",
}
WRONG = {
    "two in one value": b"a, b",
    "space inside": b"a b",
    "space before a port": b"a :80",
    "path": b"a/b",
    "query": b"a?b",
    "fragment": b"a#b",
    "user information": b"user@a",
    "scheme": b"http://a",
    "backslash": b"a\\b",
    "angle brackets": b"<a>",
    "quotes": b'"a"',
    "obs-text": b"\xe9",
    "obs-text in a name": b"a\xe4",
    "port that is no number": b"a:b",
    "port with a sign": b"a:+80",
    "port below zero": b"a:-1",
    "superscript digit in a port": b"a:8\xc2\xb2",
    "two ports": b"a:80:80",
    "percent sign that is no escape": b"a%zz",
    "half an escape": b"a%2",
    "IPv6 without brackets": b"2001:db8::1",
    "IPv6 of nine groups": b"[1:2:3:4:5:6:7:8:9]",
    "IPv6 with a zone": b"[::1%25eth0]",
    "IPv4 in brackets": b"[1.2.3.4]",
    "an address of the future": b"[v1.a]",
    "colons in brackets": b"[:::]",
    "brackets around nothing": b"[]",
    "brackets around what is no IPv6 address": b"[zz]",
    "port of IPv6 that is no number": b"[::1]:x",
    "unclosed bracket": b"[::1",
    "unopened bracket": b"::1]",
    "junk behind the bracket": b"[::1]a",
}

GROUPS = {
    "RFC 9112 section 3.2 Request Target: Host": [
        *(served(name, host(value), environ={"HTTP_HOST": value.decode()}) for name, value in RIGHT.items()),
        served("white space around it", host(b" \ta\t "), environ={"HTTP_HOST": "a"}),
        served("behind other fields", request(b"GET / HTTP/1.1", b"X-A: b", b"Host: c"), environ={"HTTP_HOST": "c"}),
        served("lower-case name", request(b"GET / HTTP/1.1", b"host: c"), environ={"HTTP_HOST": "c"}),
        last("none in HTTP/1.0", get10(), environ={"HTTP_HOST": None, "SERVER_PROTOCOL": "HTTP/1.0"}),
        last("one in HTTP/1.0", get10(b"/", b"Host: a"), environ={"HTTP_HOST": "a"}),
        refused("missing", request(b"GET / HTTP/1.1")),
        refused("missing, with other fields", request(b"GET / HTTP/1.1", b"X-A: b")),
        refused("missing in HTTP/1.2", request(b"GET / HTTP/1.2")),
        refused("missing with an absolute target", request(b"GET http://a/ HTTP/1.1")),
        refused("missing in a HEAD: no body either", request(b"HEAD / HTTP/1.1"), body=b""),
        refused("missing in HTTP/1.1 behind HTTP/1.0 without",
                get10(b"/", b"Connection: keep-alive") + request(b"GET / HTTP/1.1", b"Connection: keep-alive"),
                200, 400),
        refused("twice", host(b"a", b"b")),
        refused("twice the same", host(b"a", b"a")),
        refused("twice, once empty", host(b"a", b"")),
        refused("twice in HTTP/1.0", get10(b"/", b"Host: a", b"Host: a")),
        refused("twice in different case", request(b"GET / HTTP/1.1", b"Host: a", b"hOST: a")),
        refused("invalid in HTTP/1.0", get10(b"/", b"Host: a b")),
        *(refused(name, host(value)) for name, value in WRONG.items()),
        refused("control", host(b"a\x01b"), section="RFC 9110 section 5.5"),
        served("path from a client of a Unix socket", host(b"/run/shop.sock"), environ={"HTTP_HOST": "/run/shop.sock"},
               unix=True),
        refused("space from a client of a Unix socket", host(b"/run/a b"), unix=True),
        refused("twice from a client of a Unix socket", host(b"/a", b"/a"), unix=True),
    ],
}  # fmt: skip
