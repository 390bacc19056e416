"""Which bytes are the body (RFC 9112 sections 6 and 7), what is too large, and what follows what."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.http.connection import State

from tests.unit.http_tables import (
    END_CHUNK,
    SMALL,
    Case,
    check,
    chunk,
    chunked,
    early,
    get,
    get10,
    post,
    refused,
    request,
    served,
    small,
    unfinished,
)

BODY = b"12345"
CHUNKS = chunk(BODY) + END_CHUNK
HELLO = chunk(b"hello")
LONG_NAME = b"a" * 1022  # with "5;" in front, a chunk line of 1,024 bytes: the longest


def length(*values: bytes, body: bytes = BODY) -> bytes:
    return get(b"/", *(b"Content-Length: " + value for value in values), method=b"POST", body=body)


def coding(*values: bytes) -> bytes:
    return get(b"/", *(b"Transfer-Encoding: " + value for value in values), method=b"POST", body=CHUNKS)


def size(text: bytes) -> bytes:
    return chunked(text + b"\r\nhello\r\n", END_CHUNK)


def bad_size(text: bytes, status: int = 400) -> Case:
    return refused(f"chunk size {text[:20]!r}", size(text), status)


def extension(text: bytes) -> Case:
    return served(f"extension {text[:20]!r}", chunked(b"5" + text + b"\r\nhello\r\n", END_CHUNK), body=b"hello")


def bad_extension(text: bytes) -> Case:
    return refused(f"extension {text[:20]!r}", chunked(b"5" + text + b"\r\nhello\r\n", END_CHUNK))


def trailer(*lines: bytes) -> bytes:
    return chunked(HELLO, b"0\r\n", *(line + b"\r\n" for line in lines), b"\r\n")


LENGTHS = [
    served("body", post(BODY), body=BODY, CONTENT_LENGTH="5"),
    served("every byte", post(bytes(range(256))), body=bytes(range(256))),
    served("a body that looks like a request", post(get(b"/forged")), body=get(b"/forged")),
    served("a body that looks like chunks", post(CHUNKS), body=CHUNKS),
    served("100 kB", post(b"z" * 100_000), body=b"z" * 100_000),
    served("on GET", get(b"/", b"Content-Length: 5", body=BODY), method="GET", body=BODY),
    served("on HEAD", get(b"/", b"Content-Length: 5", method=b"HEAD", body=BODY), body=BODY),
    served("on OPTIONS *", get(b"*", b"Content-Length: 5", method=b"OPTIONS", body=BODY), body=BODY),
    served("zero", length(b"0", body=b""), body=b"", CONTENT_LENGTH="0"),
    served("zeros", length(b"0" * 50, body=b""), body=b""),
    served("zeros in front", length(b"0005"), body=BODY),
    served("very many zeros in front", length(b"0" * 5000 + b"5"), body=BODY),
    served("white space around", length(b" \t5\t "), body=BODY),
    served("no space", get(b"/", b"Content-Length:5", body=BODY), body=BODY),
    served("none on POST", get(method=b"POST"), body=b"", CONTENT_LENGTH=None),
    served("in capitals", get(b"/", b"CONTENT-LENGTH: 5", body=BODY), body=BODY),
    served("in 1.0", get10(b"/", b"Content-Length: 5", body=BODY), body=BODY, persistent=False),
    *(refused(f"Content-Length {value[:20]!r}", length(value)) for value in (
        b"+5", b"-1", b"-0", b"0_5", b"0x5", b"5.0", b"5e0", b"", b" \t ", b"1 2", b"five", b"5x", b"5;", b'"5"',
        b"5\0",
        b"\x0b5", b"\xa05", b"5\xa0", b"\x855", b"\xef\xbc\x95", b"\xb2", b"5, 6", b"5, 5", b"5,", b",5", b"5,5")),
    *(refused(f"Content-Length {value[:20]!r}", length(value), 413) for value in (
        b"99999999999999999999", b"18446744073709551621", b"4294967301", b"9" * 100, b"9" * 5000, b"104857601",
        b"0" * 30 + b"9" * 19)),
    refused("twice, different", length(b"5", b"6")),
    refused("twice, equal", length(b"5", b"5")),
    refused("twice in different case", get(b"/", b"Content-Length: 5", b"content-length: 5", body=BODY)),
    refused("bad in 1.0", get10(b"/", b"Content-Length: x", body=BODY)),
    unfinished("body cut", post(BODY)[:-1], State.BODY),
    unfinished("body not begun", post(BODY)[:-5], State.BODY),
]  # fmt: skip

CODINGS = [
    *(served(f"Transfer-Encoding {value!r}", coding(value), body=BODY)
      for value in (b"chunked", b"Chunked", b"CHUNKED", b"\t chunked \t")),
    served("chunked on GET", get(b"/", b"Transfer-Encoding: chunked", body=CHUNKS), body=BODY),
    served("name in capitals, no space", get(b"/", b"TRANSFER-ENCODING:chunked", body=CHUNKS), body=BODY),
    *(refused(f"Transfer-Encoding {value!r}", coding(value), 501)
      for value in (b"gzip", b"gzip, chunked", b"xchunked", b"chunkedd", b"identity", b"identity, chunked",
          b"gzip,chunked")),
    refused("gzip and chunked in two fields", coding(b"gzip", b"chunked"), 501),
    *(refused(f"Transfer-Encoding {value!r}", coding(value)) for value in (
        b"chunked, gzip", b"chunked, identity", b"chunked, chunked", b"chunked,chunked", b"", b",", b", chunked",
        b"chunked,", b"chunked;q=1", b'"chunked"', b"chunked x", b": chunked", b"\x0bchunked", b"\0chunked",
        b"chunked\xa0", b"\x85chunked", b"chun\xc5\xbfed", b"chunked\x0c", b"gzip, , chunked")),
    refused("chunked and gzip in two fields", coding(b"chunked", b"gzip")),
    refused("chunked in two fields", coding(b"chunked", b"chunked")),
    refused("chunked and nothing in two fields", coding(b"chunked", b"")),
    refused("in different case", get(b"/", b"Transfer-Encoding: chunked", b"transfer-encoding: chunked", body=CHUNKS)),
    refused("in 1.0", get10(b"/", b"Transfer-Encoding: chunked", body=CHUNKS)),
    refused("in 1.0, kept alive", get10(b"/", b"Transfer-Encoding: chunked", b"Connection: keep-alive", body=CHUNKS)),
    *(refused(f"both, {value!r} first", get(b"/", b"Content-Length: " + value, b"Transfer-Encoding: chunked",
        body=CHUNKS))
      for value in (b"5", b"0", b"%d" % len(CHUNKS), b"x", b"")),
    refused("both, chunked first", get(b"/", b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKS)),
    refused("both with gzip", get(b"/", b"Content-Length: 5", b"Transfer-Encoding: gzip", body=BODY)),
    refused("both in 1.0", get10(b"/", b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNKS)),
]  # fmt: skip

CHUNKED = [
    served("one", chunked(HELLO, END_CHUNK), body=b"hello"),
    served("several", chunked(chunk(b"one"), chunk(b" "), chunk(b"two"), END_CHUNK), body=b"one two"),
    served("none but the last", chunked(END_CHUNK), body=b""),
    served("of one byte each", chunked(*(chunk(b"%d" % (n % 10)) for n in range(30)), END_CHUNK),
        body=b"0123456789" * 3),
    served("data with CRLF", chunked(chunk(b"\r\n0\r\n\r\n"), END_CHUNK), body=b"\r\n0\r\n\r\n"),
    served("every byte", chunked(chunk(bytes(range(256))), END_CHUNK), body=bytes(range(256))),
    served("60 kB in one", chunked(chunk(b"z" * 60_000), END_CHUNK), body=b"z" * 60_000),
    served("small letters", chunked(b"1a\r\n" + b"h" * 26 + b"\r\n", END_CHUNK), body=b"h" * 26),
    served("capitals", chunked(b"1A\r\n" + b"h" * 26 + b"\r\n", END_CHUNK), body=b"h" * 26),
    served("zeros in front of the size", size(b"0005"), body=b"hello"),
    served("zeros for the last size", chunked(HELLO, b"000\r\n\r\n"), body=b"hello"),
    *(bad_size(text) for text in (
        b"", b"+5", b"-5", b"0x5", b"0_5", b" 5", b"\t5", b"5 ", b"5\t", b"5\x0b", b"5\0", b"5h", b"g", b"5.0", b"5 5",
        b"\xef\xbc\x95", b"\xb2", b"10000000000000005", b"f" * 1000, b"f" * 2000, b"0" * 17)),
    bad_size(b"ffffffffffffffff", 413),
    bad_size(b"100000005", 413),
    refused("minus zero as the last size", chunked(HELLO, b"-0\r\n\r\n")),
    refused("0x0 as the last size", chunked(HELLO, b"0x0\r\n\r\n")),
    # line ends
    refused("bare LF behind the size", chunked(b"5\nhello\r\n", END_CHUNK)),
    refused("bare CR behind the size", chunked(b"5\rhello\r\n", END_CHUNK)),
    refused("CR CR LF behind the size", chunked(b"5\r\r\nhello\r\n", END_CHUNK)),
    refused("bare LF behind the data", chunked(b"5\r\nhello\n", END_CHUNK)),
    refused("bare CR behind the data", chunked(b"5\r\nhello\r", END_CHUNK)),
    refused("nothing behind the data", chunked(b"5\r\nhello", END_CHUNK)),
    refused("data longer than its size", chunked(b"5\r\nhello!\r\n", END_CHUNK)),
    refused("data shorter than its size", chunked(b"6\r\nhello\r\n", END_CHUNK)),
    refused("an empty line between chunks", chunked(HELLO, b"\r\n", HELLO, END_CHUNK)),
    refused("bare LF behind the last size", chunked(HELLO, b"0\n\r\n")),
    refused("bare LF at the end", chunked(HELLO, b"0\r\n\n")),
    refused("bare CR at the end", chunked(HELLO, b"0\r\n\rX")),
    # extensions
    *(extension(text) for text in (
        b";a=b", b";a", b";a=b;c;d=e", b';a="b c"', b';a="b;c"', b';a="b\\"c"', b' ; a = "b" ; c', b';a=""',
        b';a="\xe9"',
        b";" + LONG_NAME)),
    served("on the last chunk", chunked(HELLO, b"0;a=b\r\n\r\n"), body=b"hello"),
    *(bad_extension(text) for text in (
        b";a=b\rc", b";a=b\nc", b';a="b\nc"', b';a="b\r\nc"', b";a=\0", b";a=\x7f", b";", b";a=", b";=b", b';a="b',
        b";a b", b";a;;b", b";a=b;", b";;", b" a", b";" + LONG_NAME + b"a", b";" + b"a" * 5000)),
    refused("extensions that outweigh the data", chunked(*(b"1;" + b"a" * 1000 + b"\r\nh\r\n",) * 70, END_CHUNK)),
    # trailers
    served("trailer", trailer(b"X-T: v"), body=b"hello", HTTP_X_T=None),
    served("several trailers", trailer(b"X-T: v", b"X-U:w", b"X-V:"), body=b"hello", HTTP_X_U=None),
    served("a trailer changes nothing", trailer(b"Host: evil", b"Cookie: a=b"), HTTP_HOST="a", HTTP_COOKIE=None),
    served("a trailer frames nothing", trailer(b"Content-Length: 50", b"Transfer-Encoding: gzip"), CONTENT_LENGTH=None),
    *(refused(f"trailer {line[:20]!r}", trailer(line)) for line in (
        b"nonsense", b"X-T : v", b"X T: v", b": v", b"X-T: \0", b" X-T: v", b"\tX-T: v", b"X-T: a\rb", b"X-T: a\nb",
        b"X-T: " + b"v" * 1100)),
    refused("folded trailer", trailer(b"X-T: v", b" w")),
    refused("trailer that ends with a bare LF", chunked(HELLO, b"0\r\nX-T: v\r\n\n")),
    refused("too much of trailers", trailer(*(b"X: " + b"y" * 1000,) * 20), 431),
    unfinished("chunk cut", chunked(HELLO[:-3]), State.BODY),
    unfinished("no last chunk", chunked(HELLO), State.BODY),
    unfinished("half a last chunk", chunked(HELLO, END_CHUNK[:-1]), State.BODY),
    unfinished("trailers cut", chunked(HELLO, b"0\r\nX-T: v\r\n"), State.BODY),
]  # fmt: skip

LIMITS = [
    small("request line at the limit", get(b"/" + b"p" * 86), path="/" + "p" * 86),
    refused("request line beyond it", get(b"/" + b"p" * 87), 414, limits=SMALL),
    early("request line without end", b"GET /" + b"p" * 97, 414),
    early("method without end", b"M" * 102, 414),
    small("request line in bounds is waited for", get(b"/" + b"p" * 86), path="/" + "p" * 86),
    small("field at the limit", get(b"/", b"X-A: " + b"v" * 195), HTTP_X_A="v" * 195),
    refused("field beyond it", get(b"/", b"X-A: " + b"v" * 196), 431, limits=SMALL),
    refused("field name beyond it", get(b"/", b"X" * 201 + b": v"), 431, limits=SMALL),
    refused("the last field beyond it", get(b"/", b"X-A: b", b"X-B:" + b"v" * 200), 431, limits=SMALL),
    small("fields at the limit", get(b"/", *(b"X-%d: v" % n for n in range(9))), HTTP_X_8="v"),
    refused("one field more", get(b"/", *(b"X-%d: v" % n for n in range(10))), 431, limits=SMALL),
    refused("one more of a name", get(b"/", *(b"X-A: v",) * 10), 431, limits=SMALL),
    refused("dropped fields count", get(b"/", *(b"X_A: v",) * 10), 431, limits=SMALL),
    small("all fields at the limit", get(b"/", *(b"X-%d: " % n + b"v" * 190 for n in range(2)), b"X: " + b"v" * 192)),
    refused("all fields beyond it", get(b"/", *(b"X-%d: " % n + b"v" * 190 for n in range(2)), b"X: " + b"v" * 193),
        431,
            limits=SMALL),
    early("fields without end", get(b"/", *(b"X-%d: " % n + b"v" * 190 for n in range(4)))[:-2], 431),
    early("a field without end", get(b"/", b"X-A: " + b"v" * 197)[:-4], 431),
    early("a field beyond it in an unfinished head", get(b"/", b"X-A: " + b"v" * 196, b"X")[:-4], 431),
    unfinished("a field at the limit in an unfinished head", get(b"/", b"X-A: " + b"v" * 195)[:-3], State.HEAD),
    small("body at the limit", post(b"z" * 1000), body=b"z" * 1000),
    refused("body beyond it", post(b"z" * 1001), 413, limits=SMALL),
    early("body beyond it, announced", get(b"/", b"Content-Length: 1001"), 413),
    early("body beyond it, 100-continue", get(b"/", b"Content-Length: 1001", b"Expect: 100-continue"), 413),
    small("chunked body at the limit", chunked(*(chunk(b"z" * 100),) * 10, END_CHUNK), body=b"z" * 1000),
    refused("chunked body beyond it", chunked(*(chunk(b"z" * 100),) * 10, b"1\r\nz\r\n", END_CHUNK), 413, limits=SMALL),
    early("chunk beyond it, announced", chunked(b"3e9\r\n"), 413),
    early("chunk of 4 GB", chunked(b"ffffffff\r\n"), 413),
    early("bare LF in an unfinished head", get(b"/", b"X-A: b\nc")[:-4]),
    early("bare CR in an unfinished head", get(b"/", b"X-A: b\rc")[:-4]),
    early("bad request line of an unfinished head", b"GET / HTTP/1.1 x\r\n"),
    early("version of an unfinished head", b"GET / HTTP/2.0\r\n", 505),
    early("not a token at once", b"\x16"),
    early("a bare CR in the request line at once", b"GET /\ra"),
    early("a chunk line without end", chunked(b"1;" + b"a" * 1100)),
    early("a bare LF in an unfinished chunk line", chunked(b"5\n")),
    early("the second request", get() + get(b"/" + b"p" * 87), 414, {}),
    small("each request has its own limits", get(b"/", *(b"X-%d: v" % n for n in range(9))) * 2, {}, {}),
    small("bodies do not add up", post(b"z" * 900) * 2, {"body": b"z" * 900}, {"body": b"z" * 900}),
    small("chunked bodies do not add up", chunked(chunk(b"z" * 900), END_CHUNK) * 2, {}, {}),
]  # fmt: skip

SEQUENCES = [
    served("five", b"".join(get(b"/%d" % n) for n in range(5)), *({"path": f"/{n}"} for n in range(5))),
    served("different fields each", get(b"/1", b"X-A: b") + get(b"/2", b"X-C: d") + get(b"/3"), {"HTTP_X_A": "b"},
           {"HTTP_X_A": None, "HTTP_X_C": "d"}, {"HTTP_X_C": None}),
    served("bodies between", post(b"abc") + post(b"defg") + get(b"/3"), {"body": b"abc"}, {"body": b"defg"},
        {"body": b""}),
    served("the same body twice", post(b"abc") * 2, {"body": b"abc"}, {"body": b"abc"}),
    served("the same head, another body", post(b"abc") + post(b"def"), {"body": b"abc"}, {"body": b"def"}),
    served("chunked, then sized", chunked(HELLO, END_CHUNK) + post(b"abc"), {"body": b"hello"}, {"body": b"abc"}),
    served("sized, then chunked", post(b"abc") + chunked(HELLO, END_CHUNK), {"body": b"abc"}, {"body": b"hello"}),
    served("trailers between", trailer(b"X-T: v") + get(b"/2", b"X-T: w"), {"HTTP_X_T": None}, {"HTTP_X_T": "w"}),
    served("close behind a body", post(b"abc", b"Connection: close") + get(), {"body": b"abc", "persistent": False}),
    refused("a bad one ends it", get(b"/1") + get(b"/2", b"bad") + get(b"/3"), 400, {"path": "/1"}),
    refused("junk behind a request", get() + b"junk\r\n\r\n", 400, {}),
    refused("junk behind a body", post(b"abc") + b"junk\r\n\r\n", 400, {"body": b"abc"}),
    refused("junk behind chunks", chunked(HELLO, END_CHUNK) + b"junk\r\n\r\n", 400, {"body": b"hello"}),
    refused("a body longer than announced", post(b"abc") + b"defg\r\n\r\n", 400, {"body": b"abc"}),
    refused("a body not announced", get(method=b"POST", body=b"a=b\r\n\r\n"), 400, {"body": b""}),
    refused("nothing follows an error", request(b"GET / HTTP/1.1") + get() + get()),
    unfinished("the next has begun", get() + b"GET /", State.HEAD, {}),
]  # fmt: skip


@pytest.mark.parametrize("case", LENGTHS + CODINGS + CHUNKED, ids=str)
def test_framing(case):
    check(case)


@pytest.mark.parametrize("case", LIMITS + SEQUENCES, ids=str)
def test_limits_and_sequences(case):
    check(case)
