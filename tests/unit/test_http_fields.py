"""Field lines, Host, Connection, Expect (RFC 9110 sections 5, 7.2, 7.6.1 and 10.1.1; RFC 9112 section 5)."""

from __future__ import annotations

import pytest

from tests.unit.http_tables import Case, check, get, get10, post, refused, request, served

START = b"GET / HTTP/1.1\r\nHost: a\r\n"


def value(line: bytes, expected: str, name: str = "HTTP_X_A") -> Case:
    return served(f"{line!r}", get(b"/", line), **{name: expected})


def host(*values: bytes) -> bytes:
    return request(b"GET / HTTP/1.1", *(b"Host: " + text for text in values))


def connection(value: bytes, persistent: bool) -> Case:
    lines = [b"Connection:" + part for part in value.split(b"|")]
    return served(f"1.1 Connection:{value!r}", get(b"/", *lines), persistent=persistent)


def connection10(value: bytes, persistent: bool) -> Case:
    return served(f"1.0 Connection:{value!r}", get10(b"/", b"Connection:" + value), persistent=persistent)


FIELDS = [
    # names
    refused("space before the colon", get(b"/", b"X-A : b")),
    refused("tab before the colon", get(b"/", b"X-A\t: b")),
    refused("space before the colon of Content-Length", get(b"/", b"Content-Length : 5", body=b"12345")),
    refused("space before the colon of Transfer-Encoding", get(b"/", b"Transfer-Encoding : chunked")),
    refused("space before the colon of Host", request(b"GET / HTTP/1.1", b"Host : a")),
    refused("space in a name", get(b"/", b"X A: b")),
    refused("empty name", get(b"/", b": b")),
    refused("empty name, no space", get(b"/", b":b")),
    refused("colon alone", get(b"/", b":")),
    refused("no colon", get(b"/", b"X-A")),
    refused("no colon in the first line", request(b"GET / HTTP/1.1", b"nonsense", b"Host: a")),
    refused("request line twice", request(b"GET / HTTP/1.1", b"GET / HTTP/1.1", b"Host: a")),
    *(refused(f"{bytes([c])!r} in a name", get(b"/", b"X%cA: b" % c)) for c in b'"(),/;<=>?@[\\]{}\0\x7f\r\n\xe9\x85'),
    served("every token character", get(b"/", b"!#$%&'*+-.^`|~09azAZ: b"), **{"HTTP_!#$%&'*+_.^`|~09AZAZ": "b"}),
    value(b"x-a: b", "b"),
    value(b"X-A: b", "b"),
    value(b"X: b", "b", "HTTP_X"),
    value(b"X-1: b", "b", "HTTP_X_1"),
    value(b"Content-Type: a/b", "a/b", "CONTENT_TYPE"),
    value(b"content-type:a/b", "a/b", "CONTENT_TYPE"),
    refused("Content-Type twice", get(b"/", b"Content-Type: a/b", b"Content-Type: c/d")),
    refused("Content-Type twice, equal", get(b"/", b"Content-Type: a/b", b"X-A: b", b"CONTENT-TYPE:a/b")),
    refused("Content-Type twice, once empty", get(b"/", b"Content-Type:", b"Content-Type: a/b")),
    # values
    value(b"X-A:b", "b"),
    value(b"X-A: \t b c \t ", "b c"),
    value(b"X-A:  b", "b"),
    value(b"X-A: b ", "b"),
    value(b"X-A:\tb", "b"),
    value(b"X-A: b\tc", "b\tc"),
    value(b"X-A: b   c", "b   c"),
    value(b"X-A: b:c: d", "b:c: d"),
    value(b"X-A:b:c: d", "b:c: d"),
    value(b"X-A:b: c", "b: c"),
    value(b"X-A:: c", ": c"),
    value(b"X-A:Host: c", "Host: c"),
    value(b"X-A:", ""),
    value(b"X-A: ", ""),
    value(b"X-A: \t ", ""),
    value(b"X-A: \xe9\xff\x80", "\xe9\xff\x80"),
    value(b"X-A: \xe2\x82\xac", "\xe2\x82\xac"),
    value(b"X-A: \xa0b\xa0", "\xa0b\xa0"),
    value(b"X-A: b\x85c", "b\x85c"),
    value(b"X-A: \x85", "\x85"),
    value(b'X-A: "b, c"', '"b, c"'),
    value(b"X-A: %41", "%41"),
    value(b"X-A: " + b"v" * 4000, "v" * 4000),
    served("60 fields", get(b"/", *(b"X-%d: %d" % (n, n) for n in range(60))), HTTP_X_59="59", HTTP_X_0="0"),
    *(refused(f"0x{c:02x} in a value", get(b"/", b"X-A: b%cc" % c))
        for c in (*range(9), 10, 11, 12, *range(13, 32), 127)),
    refused("NUL at the end", get(b"/", b"X-A: b\0")),
    refused("NUL alone", get(b"/", b"X-A: \0")),
    # line ends and folding
    refused("bare LF between fields", START + b"X-A: b\nX-C: d\r\n\r\n"),
    refused("bare LF at the end of the head", START + b"X-A: b\r\n\n"),
    refused("two bare LFs at the end of the head", START + b"X-A: b\n\n"),
    refused("bare CR in a value", START + b"X-A: b\rX-C: d\r\n\r\n"),
    refused("CR CR LF", START + b"X-A: b\r\r\n\r\n"),
    refused("LF CR LF", START + b"X-A: b\n\r\nX-C: d\r\n\r\n"),
    refused("CR and LF with a byte between", START + b"X-A: b\rx\n\r\n\r\n"),
    refused("CR CR LF LF", START + b"X-A: b\r\r\n\nX-B: c\r\n\r\n"),
    refused("bare CR at the end of the head", START + b"\r\r\n\r\n"),
    refused("folded with a space", START + b"X-A: b\r\n c\r\n\r\n"),
    refused("folded with a space and a colon", START + b"X-A: b\r\n c: d\r\n\r\n"),
    refused("folded with a tab", START + b"X-A: b\r\n\tc\r\n\r\n"),
    refused("folded into nothing", START + b"X-A: b\r\n \r\n\r\n"),
    refused("folded name", START + b"X-A\r\n : b\r\n\r\n"),
    refused("folded Transfer-Encoding", START + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    refused("first line folded", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    # names that an environ cannot tell apart
    served("underscore: dropped", get(b"/", b"X_A: b"), HTTP_X_A=None),
    served("underscore does not shadow", get(b"/", b"X-A: real", b"X_A: forged"), HTTP_X_A="real"),
    served("underscore in front does not shadow", get(b"/", b"X_A: forged", b"X-A: real"), HTTP_X_A="real"),
    served("partly underscored", get(b"/", b"X-Forwarded_For: forged"), HTTP_X_FORWARDED_FOR=None),
    served("Content_Length frames nothing", get(b"/", b"Content_Length: 5"), body=b"", CONTENT_LENGTH=None),
    served("Transfer_Encoding frames nothing", get(b"/", b"Transfer_Encoding: chunked"), HTTP_TRANSFER_ENCODING=None),
    served("Content_Type is dropped", get(b"/", b"Content_Type: a/b"), CONTENT_TYPE=None, HTTP_CONTENT_TYPE=None),
    served("Proxy is dropped", get(b"/", b"Proxy: http://evil/"), HTTP_PROXY=None),
    served("PROXY is dropped", get(b"/", b"PROXY: http://evil/"), HTTP_PROXY=None),
    served("Proxy without a space", get(b"/", b"pRoXy:http://evil/"), HTTP_PROXY=None),
    refused("a dropped field is checked all the same", get(b"/", b"X_A: b\0")),
    refused("a dropped name with a space", get(b"/", b"X_A : b")),
    # repetition
    served("twice", get(b"/", b"X-A: b", b"X-A: c"), HTTP_X_A="b, c"),
    served("thrice, any case", get(b"/", b"X-A: b", b"x-a: c", b"X-a: d"), HTTP_X_A="b, c, d"),
    served("with others between", get(b"/", b"X-A: b", b"X-B: z", b"X-A: c"), HTTP_X_A="b, c", HTTP_X_B="z"),
    served("empty values", get(b"/", b"X-A:", b"X-A: c"), HTTP_X_A=", c"),
    served("Cookie", get(b"/", b"Cookie: a=1", b"cookie: b=2; c=3", b"COOKIE: d=4"), HTTP_COOKIE="a=1; b=2; c=3; d=4"),
    served("X-Forwarded-For", get(b"/", b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-For: 2.2.2.2"),
           HTTP_X_FORWARDED_FOR="1.1.1.1, 2.2.2.2"),
    served("fields of the last request are gone", get(b"/", b"X-A: b") + get(), {"HTTP_X_A": "b"}, {"HTTP_X_A": None}),
    served("same names, other values", get(b"/", b"X-A: b") + get(b"/", b"X-A: c"), {"HTTP_X_A": "b"},
        {"HTTP_X_A": "c"}),
    served("same head, other line", get(b"/1", b"X-A: b") + get(b"/2", b"X-A: b"), {"path": "/1"}, {"path": "/2"}),
]  # fmt: skip

HOSTS = [
    *(served(f"Host {text!r}", host(text), HTTP_HOST=text.decode()) for text in (
        b"example.org", b"example.org:8080", b"example.org:", b"EXAMPLE.org", b"example.org.", b"my_service:80",
        b"127.0.0.1:80", b"[::1]", b"[2001:db8::1]:8080", b"[::ffff:192.0.2.1]", b"xn--bcher-kva.example", b"a%20b",
        b"")),
    served("white space around it", host(b" \ta\t "), HTTP_HOST="a"),
    served("behind other fields", request(b"GET / HTTP/1.1", b"X-A: b", b"Host: c"), HTTP_HOST="c"),
    served("lower case", request(b"GET / HTTP/1.1", b"host: c"), HTTP_HOST="c"),
    refused("missing", request(b"GET / HTTP/1.1")),
    refused("missing, with other fields", request(b"GET / HTTP/1.1", b"X-A: b")),
    refused("missing in 1.2", request(b"GET / HTTP/1.2")),
    refused("missing with an absolute target", request(b"GET http://a/ HTTP/1.1")),
    refused("twice", host(b"a", b"b")),
    refused("twice the same", host(b"a", b"a")),
    refused("twice in 1.0", get10(b"/", b"Host: a", b"Host: a")),
    refused("twice in different case", request(b"GET / HTTP/1.1", b"Host: a", b"hOST: a")),
    refused("twice, one empty", host(b"a", b"")),
    *(refused(f"Host {text!r}", host(text)) for text in (
        b"a, b", b"a b", b"a/b", b"a?b", b"a#b", b"user@a", b"http://a", b"a\\b", b"<a>", b'"a"', b"a\x01b", b"a:b",
        b"a:+80", b"a:-1", b"a:80:80", b"[::1", b"::1]", b"2001:db8::1", b"[::1]a", b"[]", b"[::1]:x", b"a\xe4", b"a%2",
        b"a%zz", b"[1.2.3.4]", b"[:::]", b"[::1%25eth0]", b"[1:2:3:4:5:6:7:8:9]", b"[v1.a]", b"a:8\xc2\xb2")),
    refused("invalid in 1.0", get10(b"/", b"Host: a b")),
    served("none in 1.0", get10(), HTTP_HOST=None),
    served("one in 1.0", get10(b"/", b"Host: a"), HTTP_HOST="a"),
]  # fmt: skip

CONNECTIONS = [
    served("kept open by default", get(), persistent=True),
    *(connection(text, False) for text in (
        b" close", b"Close", b" CLOSE", b" foo, close", b" close, foo", b" foo,close,bar", b" , ,close,",
        b" keep-alive, close", b" \tclose\t ", b"foo| close", b"close|close", b" foo ,\tclose ")),
    *(connection(text, True) for text in (
        b" keep-alive", b" closed", b" not-close, closer", b" foo", b"", b" ,", b' "close"', b" close;q=0", b" clo se",
        b" \xa0close")),
    served("Proxy-Connection means nothing", get(b"/", b"Proxy-Connection: close"), persistent=True),
    served("Keep-Alive means nothing", get(b"/", b"Keep-Alive: timeout=1, max=1"), persistent=True),
    served("1.0 closes", get10(), persistent=False),
    *(connection10(text, True) for text in (b" keep-alive", b"Keep-Alive", b" foo, keep-alive", b"KEEP-ALIVE,")),
    *(connection10(text, False) for text in (b" close", b" foo", b"", b" keep-alive, close", b" keepalive")),
    served("1.0 kept alive, then 1.1", get10(b"/1", b"Connection: keep-alive") + get(b"/2"), {"path": "/1"},
        {"path": "/2"}),
    served("1.1, then 1.0", get(b"/1") + get10(b"/2") + get(b"/3"), {"path": "/1"}, {"path": "/2"}),
    served("1.1, then 1.0 with the same fields",
           get(b"/1") + request(b"GET /2 HTTP/1.0", b"Host: a") + get(b"/3"), {"persistent": True},
               {"persistent": False}),
    served("1.0, then 1.1 with the same fields, which are not enough",
           get10(b"/", b"Connection: keep-alive") + get10(b"/", b"Connection: keep-alive"), {}, {}),
    refused("1.0 without Host, then 1.1 without",
            get10(b"/", b"Connection: keep-alive") + request(b"GET / HTTP/1.1", b"Connection: keep-alive"), 400, {}),
    served("close ends it", get(b"/1") + get(b"/2", b"Connection: close") + get(b"/3"), {"path": "/1"}, {"path": "/2"}),
    served("Upgrade is ignored", get(b"/", b"Connection: Upgrade", b"Upgrade: websocket"), persistent=True),
]  # fmt: skip

EXPECTATIONS = [
    *(served(f"Expect {text!r}", post(b"hello", b"Expect:" + text), body=b"hello")
      for text in (b" 100-continue", b"100-Continue", b" 100-CONTINUE", b" \t100-continue ", b"", b" ,",
                   b",100-continue, ,", b" 100-continue, 100-Continue", b" \t,\t")),
    served("without a body", get(b"/", b"Expect: 100-continue"), body=b""),
    served("ignored in 1.0", get10(b"/", b"Expect: x", b"Content-Length: 5", body=b"hello"), body=b"hello"),
    *(refused(f"Expect {text!r}", post(b"hello", b"Expect: " + text), 417)
      for text in (b"200-ok", b"x", b"100-continue, x", b"100-continue=1", b"100-continue;a=b", b",x",
                   b"100-continue 100-continue", b'x="100-continue, 100-continue"')),
    refused("in a second field", post(b"hello", b"Expect: 100-continue", b"Expect: x"), 417),
    refused("bad framing comes first", get(b"/", b"Content-Length: x", b"Expect: y")),
]  # fmt: skip


@pytest.mark.parametrize("case", FIELDS + HOSTS + CONNECTIONS + EXPECTATIONS, ids=str)
def test_fields(case):
    check(case)
