"""Field lines: syntax, values, repetition (RFC 9112 section 5; RFC 9110 section 5; RFC 3875 section 4.1.18)."""

from __future__ import annotations

import re
from typing import Any

from ..case import Case, get, one_of, post, refused, request, served

START = b"GET / HTTP/1.1\r\nHost: a\r\n"
BARE = "RFC 9112 section 2.2"
BEHIND_THE_NAME = "RFC 9112 section 5.1"


def value(name: str, line: bytes, expected: str) -> Case:
    return served(name, get(b"/", line), environ={"HTTP_X_A": expected})


def dropped(name: str, *lines: bytes, **environ: Any) -> Case:
    """Fields that an environ cannot tell from others are dropped."""
    return served(name, get(b"/", *lines), environ=environ)


GROUPS = {
    "RFC 9112 section 5 Field Syntax": [
        refused("no colon", get(b"/", b"X-A")),
        refused("no colon in the last line", get(b"/", b"X-A: b", b"nonsense")),
        refused("no colon in the first line", request(b"GET / HTTP/1.1", b"nonsense", b"Host: a")),
        refused("request line twice", request(b"GET / HTTP/1.1", b"GET / HTTP/1.1", b"Host: a")),
        served("60 fields", get(b"/", *(b"X-%d: %d" % (n, n) for n in range(60))),
               environ={"HTTP_X_59": "59", "HTTP_X_0": "0"}),
        # line ends
        refused("bare LF between fields", START + b"X-A: b\nX-C: d\r\n\r\n", section=BARE),
        refused("bare LF at the end of the head", START + b"X-A: b\r\n\n", section=BARE),
        refused("bare LF twice at the end of the head", START + b"X-A: b\n\n", section=BARE),
        refused("bare LF in a name", get(b"/", b"X\nA: b"), section=BARE),
        refused("bare LF in a value", get(b"/", b"X-A: b\nc"), section=BARE),
        refused("bare CR in a name", get(b"/", b"X\rA: b"), section=BARE),
        refused("bare CR in a name, behind a hyphen", get(b"/", b"X-\rA: b"), section=BARE),
        refused("bare CR in a value", START + b"X-A: b\rX-C: d\r\n\r\n", section=BARE),
        refused("bare CR in a value without a colon", get(b"/", b"X-A: b\rc"), section=BARE),
        refused("bare CR at the end of a value", START + b"X-A: b\r\r\n\r\n", section=BARE),
        refused("bare CR at the end of the head", START + b"\r\r\n\r\n", section=BARE),
        refused("bare CR and bare LF with a byte between", START + b"X-A: b\rx\n\r\n\r\n", section=BARE),
        refused("bare CR in front of a CRLF, bare LF behind it", START + b"X-A: b\r\r\n\nX-B: c\r\n\r\n", section=BARE),
        refused("LF CR LF between fields", START + b"X-A: b\n\r\nX-C: d\r\n\r\n", section=BARE),
    ],
    "RFC 9112 section 5.1 Field Line Parsing": [
        refused("space before the colon", get(b"/", b"X-A : b")),
        refused("tab before the colon", get(b"/", b"X-A\t: b")),
        refused("space before the colon of Content-Length", get(b"/", b"Content-Length : 5", body=b"12345")),
        refused("space before the colon of Transfer-Encoding", get(b"/", b"Transfer-Encoding : chunked")),
        refused("space before the colon of Transfer-Encoding, and a body",
                get(b"/", b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
        refused("space before the colon of Host", request(b"GET / HTTP/1.1", b"Host : a")),
        refused("space before the colon of a field that is dropped", get(b"/", b"X_A : b")),
        value("no space behind the colon", b"X-A:b", "b"),
        value("two spaces behind the colon", b"X-A:  b", "b"),
        value("tab behind the colon", b"X-A:\tb", "b"),
        value("space behind a value", b"X-A: b ", "b"),
        value("white space around a value", b"X-A: \t b c \t ", "b c"),
        value("empty value", b"X-A:", ""),
        value("a space for a value", b"X-A: ", ""),
        value("value of white space", b"X-A: \t ", ""),
        value("colons in a value", b"X-A: b:c: d", "b:c: d"),
        value("colons in a value, no space before", b"X-A:b:c: d", "b:c: d"),
        value("a colon in a value, no space before", b"X-A:b: c", "b: c"),
        value("a colon in front of a value", b"X-A:: c", ": c"),
        value("a field in a value", b"X-A:Host: c", "Host: c"),
    ],
    "RFC 9112 section 5.2 Obsolete Line Folding": [
        refused("folded with a space", START + b"X-A: b\r\n c\r\n\r\n"),
        refused("folded with a space, and a colon behind", START + b"X-A: b\r\n c: d\r\n\r\n"),
        refused("folded with a tab", START + b"X-A: b\r\n\tc\r\n\r\n"),
        refused("folded in HTTP/1.0", b"GET / HTTP/1.0\r\nX-A: b\r\n c\r\n\r\n"),
        refused("folded Host", b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
        refused("folded Content-Length", START + b"Content-Length:\r\n 5\r\n\r\n12345"),
        refused("folded into nothing", START + b"X-A: b\r\n \r\n\r\n"),
        refused("folded name", START + b"X-A\r\n : b\r\n\r\n", section="RFC 9112 section 5"),
        refused("folded Transfer-Encoding", START + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ],
    "RFC 9110 section 5.1 Field Names": [
        refused("space in a name", get(b"/", b"X A: b")),
        refused("empty name", get(b"/", b": b")),
        refused("empty name, no space", get(b"/", b":b")),
        refused("colon alone", get(b"/", b":")),
        refused("obs-text at the end of a name", get(b"/", b"X-\xe9: b")),
        refused("NUL at the end of a name", get(b"/", b"X-\0: b")),
        refused("DEL at the end of a name", get(b"/", b"X-\x7f: b")),
        *(refused(f"{bytes([c])!r} in a name", get(b"/", b"X%cA: b" % c))
          for c in b'"(),/;<=>?@[\\]{}\0\x7f\xe9\x85'),
        served("every token character in a name", get(b"/", b"!#$%&'*+-.^`|~09azAZ: b"),
               environ={"HTTP_!#$%&'*+_.^`|~09AZAZ": "b"}),
        served("names are case-insensitive", get(b"/", b"x-mixed-CASE: b"), environ={"HTTP_X_MIXED_CASE": "b"}),
        value("small letters in a name", b"x-a: b", "b"),
        value("capitals in a name", b"X-A: b", "b"),
        served("one-letter name", get(b"/", b"X: b"), environ={"HTTP_X": "b"}),
        served("digits in a name", get(b"/", b"X-1: b"), environ={"HTTP_X_1": "b"}),
        served("User-Agent", get(b"/", b"User-Agent: a (b; c)"), environ={"HTTP_USER_AGENT": "a (b; c)"}),
        served("Authorization", get(b"/", b"Authorization: Basic Og=="), environ={"HTTP_AUTHORIZATION": "Basic Og=="}),
    ],
    "RFC 9110 section 5.3 Field Order": [
        served("repeated field", get(b"/", b"X-A: b", b"X-A: c"), environ={"HTTP_X_A": "b, c"}),
        served("repeated thrice, any case", get(b"/", b"X-A: b", b"x-a: c", b"X-a: d"),
               environ={"HTTP_X_A": "b, c, d"}),
        served("repeated with others between", get(b"/", b"X-A: b", b"X-B: z", b"X-A: c"),
               environ={"HTTP_X_A": "b, c", "HTTP_X_B": "z"}),
        served("repeated, one of them empty", get(b"/", b"X-A: b", b"X-A:", b"X-A: c"),
               environ={"HTTP_X_A": re.compile("b, ?(, )?c")}),
        served("repeated, the first of them empty", get(b"/", b"X-A:", b"X-A: c"),
               environ={"HTTP_X_A": ", c"}),
        served("repeated Accept", get(b"/", b"Accept: a/b", b"Accept: c/d"), environ={"HTTP_ACCEPT": "a/b, c/d"}),
        served("repeated X-Forwarded-For", get(b"/", b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-For: 2.2.2.2"),
               environ={"HTTP_X_FORWARDED_FOR": "1.1.1.1, 2.2.2.2"}),
        served("repeated Cookie", get(b"/", b"Cookie: a=1", b"Cookie: b=2"), environ={"HTTP_COOKIE": "a=1; b=2"}),
        served("Cookie thrice", get(b"/", b"Cookie: a=1", b"cookie: b=2; c=3", b"COOKIE: d=4"),
               environ={"HTTP_COOKIE": "a=1; b=2; c=3; d=4"}),
    ],
    "RFC 9110 section 5.5 Field Values": [
        value("tab inside a value", b"X-A: b\tc", "b\tc"),
        value("spaces inside a value", b"X-A: b   c", "b   c"),
        value("obs-text arrives as latin-1", b"X-A: \xe9\xff\x80", "\xe9\xff\x80"),
        value("UTF-8 arrives as latin-1", b"X-A: \xe2\x82\xac", "\xe2\x82\xac"),
        value("a no-break space is not trimmed", b"X-A: \xa0b\xa0", "\xa0b\xa0"),
        value("next line (0x85) in a value", b"X-A: b\x85c", "b\x85c"),
        value("next line (0x85) for a value", b"X-A: \x85", "\x85"),
        value("quotes are kept", b'X-A: "b, c"', '"b, c"'),
        value("percent signs are kept", b"X-A: %41", "%41"),
        value("a long value", b"X-A: " + b"v" * 4000, "v" * 4000),
        *(refused(f"control 0x{c:02x} in a value", get(b"/", b"X-A: b%cc" % c))
          for c in (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)),
        refused("NUL at the end of a value", get(b"/", b"X-A: b\0")),
        refused("NUL for a value", get(b"/", b"X-A: \0")),
        refused("NUL in a value that is dropped", get(b"/", b"X_A: b\0")),
    ],
    "RFC 9110 section 8.3 Content-Type": [
        served("Content-Type", get(b"/", b"Content-Type: text/x-a; charset=b"),
               environ={"CONTENT_TYPE": "text/x-a; charset=b", "HTTP_CONTENT_TYPE": None}),
        served("Content-Type without a parameter", get(b"/", b"Content-Type: a/b"), environ={"CONTENT_TYPE": "a/b"}),
        served("Content-Type in small letters", get(b"/", b"content-type:a/b"), environ={"CONTENT_TYPE": "a/b"}),
        refused("Content-Type twice", get(b"/", b"Content-Type: a/b", b"Content-Type: c/d")),
        refused("Content-Type twice, equal", post(b"abc", b"Content-Type: a/b", b"content-type: a/b")),
        refused("Content-Type twice, equal, another between",
                get(b"/", b"Content-Type: a/b", b"X-A: b", b"CONTENT-TYPE:a/b")),
        refused("Content-Type twice, once empty", get(b"/", b"Content-Type:", b"Content-Type: a/b")),
    ],
    "RFC 3875 section 4.1.18 Protocol-Specific Meta-Variables": [
        dropped("underscore in a name: dropped", b"X_A: b", HTTP_X_A=None),
        dropped("underscore does not shadow the hyphen", b"X-Forwarded-User: real", b"X_Forwarded_User: forged",
                HTTP_X_FORWARDED_USER="real"),
        dropped("underscore in front does not shadow either", b"X_Forwarded_User: forged", b"X-Forwarded-User: real",
                HTTP_X_FORWARDED_USER="real"),
        dropped("underscore does not shadow a short name", b"X-A: real", b"X_A: forged", HTTP_X_A="real"),
        dropped("underscore does not shadow a short name behind", b"X_A: forged", b"X-A: real", HTTP_X_A="real"),
        dropped("underscore beside a hyphen", b"X-Forwarded_For: forged", HTTP_X_FORWARDED_FOR=None),
        served("Content_Length frames nothing", get(b"/", b"Content_Length: 5"), received=b"",
               environ={"CONTENT_LENGTH": one_of("", None)}),
        dropped("Content_Type is dropped", b"Content_Type: a/b", CONTENT_TYPE=one_of("", None), HTTP_CONTENT_TYPE=None),
        served("Transfer_Encoding frames nothing", get(b"/", b"Transfer_Encoding: chunked"), received=b"",
               environ={"HTTP_TRANSFER_ENCODING": None}),
        dropped("underscore alone: dropped", b"_: b", HTTP__=None),
        dropped("underscore and hyphen: dropped", b"X-A_B: c", HTTP_X_A_B=None),
        dropped("Proxy is not HTTP_PROXY", b"Proxy: http://evil/", HTTP_PROXY=None),
        dropped("PROXY in capitals", b"PROXY: http://evil/", HTTP_PROXY=None),
        dropped("Proxy without a space", b"pRoXy:http://evil/", HTTP_PROXY=None),
    ],
}  # fmt: skip
