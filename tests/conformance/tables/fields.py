"""Field lines: syntax, values, repetition (RFC 9110, section 5; RFC 9112, section 5; RFC 3875, section 4.1.18)."""

from __future__ import annotations

import re

from ..case import get, post, refused, request, served

TOPIC = "fields"
START = b"GET / HTTP/1.1\r\nHost: a\r\n"

CASES = [
    # names
    refused("space before the colon", get(b"/", b"X-A : b")),
    refused("tab before the colon", get(b"/", b"X-A\t: b")),
    refused("space before the colon of Content-Length", get(b"/", b"Content-Length : 5", body=b"12345")),
    refused("space before the colon of Transfer-Encoding",
            get(b"/", b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    refused("space before the colon of Host", request(b"GET / HTTP/1.1", b"Host : a")),
    refused("space in a name", get(b"/", b"X A: b")),
    refused("empty name", get(b"/", b": b")),
    refused("colon alone", get(b"/", b":")),
    refused("no colon", get(b"/", b"X-A")),
    refused("no colon in the last line", get(b"/", b"X-A: b", b"nonsense")),
    refused("no colon in the first line", request(b"GET / HTTP/1.1", b"nonsense", b"Host: a")),
    refused("request line twice", request(b"GET / HTTP/1.1", b"GET / HTTP/1.1", b"Host: a")),
    refused("obs-text in a name", get(b"/", b"X-\xe9: b")),
    refused("NUL in a name", get(b"/", b"X-\0: b")),
    refused("DEL in a name", get(b"/", b"X-\x7f: b")),
    refused("CR in a name", get(b"/", b"X-\rA: b")),
    *(refused(f"{bytes([c])!r} in a name", get(b"/", b"X%cA: b" % c)) for c in b'"(),/;<=>?@[\\]{}'),
    served("every token character in a name", get(b"/", b"!#$%&'*+-.^`|~09azAZ: b")),
    served("names are case-insensitive", get(b"/", b"x-mixed-CASE: b"), environ={"HTTP_X_MIXED_CASE": "b"}),
    served("one-letter name", get(b"/", b"X: b"), environ={"HTTP_X": "b"}),
    served("digits in a name", get(b"/", b"X-1: b"), environ={"HTTP_X_1": "b"}),
    # values
    served("no space behind the colon", get(b"/", b"X-A:b"), environ={"HTTP_X_A": "b"}),
    served("white space around a value", get(b"/", b"X-A: \t b c \t "), environ={"HTTP_X_A": "b c"}),
    served("tab inside a value", get(b"/", b"X-A: b\tc"), environ={"HTTP_X_A": "b\tc"}),
    served("spaces inside a value", get(b"/", b"X-A: b   c"), environ={"HTTP_X_A": "b   c"}),
    served("colons in a value", get(b"/", b"X-A: b:c: d"), environ={"HTTP_X_A": "b:c: d"}),
    served("empty value", get(b"/", b"X-A:"), environ={"HTTP_X_A": ""}),
    served("value of white space", get(b"/", b"X-A: \t "), environ={"HTTP_X_A": ""}),
    served("obs-text arrives as latin-1", get(b"/", b"X-A: \xe9\xff\x80"), environ={"HTTP_X_A": "\xe9\xff\x80"}),
    served("UTF-8 arrives as latin-1", get(b"/", b"X-A: \xe2\x82\xac"), environ={"HTTP_X_A": "\xe2\x82\xac"}),
    served("a no-break space is not trimmed", get(b"/", b"X-A: \xa0b\xa0"), environ={"HTTP_X_A": "\xa0b\xa0"}),
    served("next line (0x85) in a value", get(b"/", b"X-A: b\x85c"), environ={"HTTP_X_A": "b\x85c"}),
    served("quotes are kept", get(b"/", b'X-A: "b, c"'), environ={"HTTP_X_A": '"b, c"'}),
    served("percent signs are kept", get(b"/", b"X-A: %41"), environ={"HTTP_X_A": "%41"}),
    served("a long value", get(b"/", b"X-A: " + b"v" * 4000), environ={"HTTP_X_A": "v" * 4000}),
    served("60 fields", get(b"/", *(b"X-%d: %d" % (n, n) for n in range(60))), environ={"HTTP_X_59": "59"}),
    *(
        refused(f"control 0x{c:02x} in a value", get(b"/", b"X-A: b%cc" % c))
        for c in (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)
    ),
    refused("NUL at the end of a value", get(b"/", b"X-A: b\0")),
    refused("NUL for a value", get(b"/", b"X-A: \0")),
    # line ends and folding
    refused("bare LF between fields", START + b"X-A: b\nX-C: d\r\n\r\n"),
    refused("bare LF at the end of the head", START + b"X-A: b\r\n\n"),
    refused("bare LF twice at the end of the head", START + b"X-A: b\n\n"),
    refused("bare CR in a value", START + b"X-A: b\rX-C: d\r\n\r\n"),
    refused("bare CR at the end of a value", START + b"X-A: b\r\r\n\r\n"),
    refused("LF CR LF between fields", START + b"X-A: b\n\r\nX-C: d\r\n\r\n"),
    refused("bare CR at the end of the head", START + b"\r\r\n\r\n"),
    refused("folded with a space", START + b"X-A: b\r\n c\r\n\r\n"),
    refused("folded with a tab", START + b"X-A: b\r\n\tc\r\n\r\n"),
    refused("folded in HTTP/1.0", b"GET / HTTP/1.0\r\nX-A: b\r\n c\r\n\r\n"),
    refused("folded Host", b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    refused("folded Content-Length", START + b"Content-Length:\r\n 5\r\n\r\n12345"),
    refused("folded into nothing", START + b"X-A: b\r\n \r\n\r\n"),
    refused("folded name", START + b"X-A\r\n : b\r\n\r\n"),
    refused("folded Transfer-Encoding", START + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    refused("first line folded", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    refused("space in front of the first field", b"GET / HTTP/1.1\r\n X-A: b\r\nHost: a\r\n\r\n"),
    # names that the environ cannot tell apart
    served("underscore in a name: dropped", get(b"/", b"X_A: b"), environ={"HTTP_X_A": None}),
    served(
        "underscore does not shadow the hyphen",
        get(b"/", b"X-Forwarded-User: real", b"X_Forwarded_User: forged"),
        environ={"HTTP_X_FORWARDED_USER": "real"},
    ),
    served(
        "underscore in front does not shadow either",
        get(b"/", b"X_Forwarded_User: forged", b"X-Forwarded-User: real"),
        environ={"HTTP_X_FORWARDED_USER": "real"},
    ),
    served("Content_Length frames nothing", get(b"/", b"Content_Length: 5"), received=b""),
    served("Content_Type is dropped", get(b"/", b"Content_Type: a/b"), environ={"HTTP_CONTENT_TYPE": None}),
    served(
        "Transfer_Encoding frames nothing",
        get(b"/", b"Transfer_Encoding: chunked"),
        environ={"HTTP_TRANSFER_ENCODING": None},
        received=b"",
    ),
    served("underscore alone: dropped", get(b"/", b"_: b"), environ={"HTTP__": None}),
    served("underscore and hyphen: dropped", get(b"/", b"X-A_B: c"), environ={"HTTP_X_A_B": None}),
    # repetition
    served("repeated field", get(b"/", b"X-A: b", b"X-A: c"), environ={"HTTP_X_A": "b, c"}),
    served("repeated thrice, any case", get(b"/", b"X-A: b", b"x-a: c", b"X-a: d"), environ={"HTTP_X_A": "b, c, d"}),
    served("repeated with others between", get(b"/", b"X-A: b", b"X-B: z", b"X-A: c"), environ={"HTTP_X_A": "b, c"}),
    served("repeated, one of them empty", get(b"/", b"X-A: b", b"X-A:", b"X-A: c"),
           environ={"HTTP_X_A": re.compile("b, ?(, )?c")}),
    served("repeated Accept", get(b"/", b"Accept: a/b", b"Accept: c/d"), environ={"HTTP_ACCEPT": "a/b, c/d"}),
    served(
        "repeated X-Forwarded-For",
        get(b"/", b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-For: 2.2.2.2"),
        environ={"HTTP_X_FORWARDED_FOR": "1.1.1.1, 2.2.2.2"},
    ),
    served("repeated Cookie", get(b"/", b"Cookie: a=1", b"Cookie: b=2"), environ={"HTTP_COOKIE": "a=1; b=2"}),
    served("Cookie thrice", get(b"/", b"Cookie: a=1", b"cookie: b=2; c=3", b"COOKIE: d=4"),
           environ={"HTTP_COOKIE": "a=1; b=2; c=3; d=4"}),
    # names with a meaning in CGI
    served("Proxy is not HTTP_PROXY", get(b"/", b"Proxy: http://evil/"), environ={"HTTP_PROXY": None}),
    served("PROXY in capitals", get(b"/", b"PROXY: http://evil/"), environ={"HTTP_PROXY": None}),
    served(
        "Content-Type",
        get(b"/", b"Content-Type: text/x-a; charset=b"),
        environ={"CONTENT_TYPE": "text/x-a; charset=b", "HTTP_CONTENT_TYPE": None},
    ),
    refused("Content-Type twice", get(b"/", b"Content-Type: a/b", b"Content-Type: c/d")),
    refused("Content-Type twice, equal", post(b"abc", b"Content-Type: a/b", b"content-type: a/b")),
    served("User-Agent", get(b"/", b"User-Agent: a (b; c)"), environ={"HTTP_USER_AGENT": "a (b; c)"}),
    served("Authorization", get(b"/", b"Authorization: Basic Og=="), environ={"HTTP_AUTHORIZATION": "Basic Og=="}),
]  # fmt: skip
