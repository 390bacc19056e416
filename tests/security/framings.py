"""Requests whose end can be read in more than one way, each with a request of the attacker's own hidden in its bytes.

A proxy and the server behind it must not disagree on them: what one takes for a body, the other would take for the next
request of whoever shares the connection. To add one, write a line: a name, the bytes, and `naive=False` where only a
proxy could be at fault that reads what no standard allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.effort import FULL

FORGED_ID = "forged-by-the-client"
FORGED_ADDRESS = "203.0.113.66"

HIDDEN = (
    b"GET /hidden HTTP/1.1\r\nHost: a\r\n"
    + f"X-Request-ID: {FORGED_ID}\r\nX-Forwarded-For: {FORGED_ADDRESS}\r\n\r\n".encode()
)
CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Framing:
    """`naive`: whether even behind a proxy that takes all of `sent` for one request nothing hidden may come out.

    `ends`: whether a proxy comes to its end; it may well wait for gigabytes that were promised.
    """

    name: str
    sent: bytes
    naive: bool = True
    ends: bool = True


def request(*lines: bytes, body: bytes = b"", start: bytes = b"POST /attack HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: a", *lines]) + b"\r\n\r\n" + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- Content-Length and Transfer-Encoding together, in both orders ----------------------------------------------------

CODINGS = [
    ("plain", CHUNKED),
    ("space before the colon", b"Transfer-Encoding : chunked"),
    ("tab before the colon", b"Transfer-Encoding\t: chunked"),
    ("folded on to the line before, space", b" Transfer-Encoding: chunked"),
    ("folded on to the line before, tab", b"\tTransfer-Encoding: chunked"),
    ("no space behind the colon", b"Transfer-Encoding:chunked"),
    ("tab behind the colon", b"Transfer-Encoding:\tchunked"),
    ("vertical tab in front", b"Transfer-Encoding: \x0bchunked"),
    ("form feed in front", b"Transfer-Encoding: \x0cchunked"),
    ("NUL in front", b"Transfer-Encoding: \x00chunked"),
    ("NUL behind", b"Transfer-Encoding: chunked\x00"),
    ("no-break space in front", b"Transfer-Encoding: \xa0chunked"),
    ("xchunked", b"Transfer-Encoding: xchunked"),
    ("identity", b"Transfer-Encoding: identity"),
    ("chunked, identity", b"Transfer-Encoding: chunked, identity"),
    ("identity, chunked", b"Transfer-Encoding: identity, chunked"),
    ("an empty one, chunked", b"Transfer-Encoding: ,chunked"),
    ("chunked, an empty one", b"Transfer-Encoding: chunked,"),
    ("chunked, chunked", b"Transfer-Encoding: chunked, chunked"),
    ("two lines, x last", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
    ("two lines, x first", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked"),
    ("two lines, alike", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("in quotes", b'Transfer-Encoding: "chunked"'),
    ("in single quotes", b"Transfer-Encoding: 'chunked'"),
    ("with a parameter", b"Transfer-Encoding: chunked;q=0.5"),
    ("value on a folded line", b"Transfer-Encoding:\r\n chunked"),
    ("list on a folded line", b"Transfer-Encoding: chunked\r\n , identity"),
    ("behind a bare LF", b"X: y\nTransfer-Encoding: chunked"),
    ("behind a bare CR", b"X: y\rTransfer-Encoding: chunked"),
    ("bare LF behind", b"Transfer-Encoding: chunked\nX: y"),
    ("in capitals", b"TRANSFER-ENCODING: CHUNKED"),
    ("named by Connection", b"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding"),
    ("Content-Length named by Connection", b"Transfer-Encoding: chunked\r\nConnection: Content-Length"),
]


def both_orders(coding: bytes) -> Iterator[tuple[str, bytes]]:
    """Hidden from who counts, behind the last chunk; and hidden from who reads chunks, within one."""
    body = END + HIDDEN
    yield "CL.TE", request(b"Content-Length: %d" % len(body), coding, body=body)
    yield "TE.CL", request(b"Content-Length: 4", coding, body=chunk(HIDDEN) + END)
    if FULL:
        yield "TE.CL, CL last", request(coding, b"Content-Length: 4", body=chunk(HIDDEN) + END)


TWO_LENGTHS = [
    Framing(f"{order}: {name}", sent) for name, coding in CODINGS for order, sent in both_orders(coding)
] + [
    # dropped by the server, because it would shadow the other field: it frames nothing
    Framing("CL.TE: with an underscore",
            request(b"Content-Length: %d" % len(END + HIDDEN), b"Transfer_Encoding: chunked", body=END + HIDDEN)),
    Framing("TE.CL: with an underscore",
            request(b"Content-Length: 4", b"Transfer_Encoding: chunked", body=chunk(HIDDEN) + END), naive=False),
]  # fmt: skip

# --- Content-Length that can be read as several numbers ---------------------------------------------------------------

SIZE = len(HIDDEN)
LENGTHS = [
    ("plus sign", b"Content-Length: +%d" % SIZE),
    ("minus zero", b"Content-Length: -0"),
    ("minus sign", b"Content-Length: -%d" % SIZE),
    ("hexadecimal", b"Content-Length: 0x%x" % SIZE),
    ("decimal point", b"Content-Length: %d.0" % SIZE),
    ("underscore inside", b"Content-Length: %d_%d" % divmod(SIZE, 10)),
    ("space inside", b"Content-Length: %d %d" % divmod(SIZE, 10)),
    ("list, alike", b"Content-Length: %d, %d" % (SIZE, SIZE)),
    ("list, 0 first", b"Content-Length: 0, %d" % SIZE),
    ("list, 0 last", b"Content-Length: %d, 0" % SIZE),
    ("empty", b"Content-Length: "),
    ("trailing semicolon", b"Content-Length: %d;" % SIZE),
    ("trailing vertical tab", b"Content-Length: %d\x0b" % SIZE),
    ("trailing NUL", b"Content-Length: %d\x00" % SIZE),
    ("two lines, alike", b"Content-Length: %d\r\nContent-Length: %d" % (SIZE, SIZE)),
    ("two lines, 0 first", b"Content-Length: 0\r\nContent-Length: %d" % SIZE),
    ("two lines, 0 last", b"Content-Length: %d\r\nContent-Length: 0" % SIZE),
    ("two lines, another case", b"Content-Length: %d\r\ncontent-length: 0" % SIZE),
    ("space before the colon", b"Content-Length : %d" % SIZE),
    ("space before the colon, a good one first", b"Content-Length: 0\r\nContent-Length : %d" % SIZE),
    ("folded on to the line before", b"X: y\r\n Content-Length: %d" % SIZE),
    ("value on a folded line", b"Content-Length:\r\n %d" % SIZE),
    ("behind a bare LF", b"X: y\nContent-Length: %d" % SIZE),
    ("behind a bare CR", b"X: y\rContent-Length: %d" % SIZE),
    ("wraps 64 bits", b"Content-Length: %d" % (2**64 + SIZE)),
    ("full-width digit", b"Content-Length: \xef\xbc\x91"),
]
ODD_LENGTHS = [Framing(f"length: {name}", request(line, body=HIDDEN)) for name, line in LENGTHS] + [
    Framing("length: underscore in the name", request(b"Content_Length: %d" % SIZE, body=HIDDEN), naive=False),
    Framing("length: wraps 32 bits", request(b"Content-Length: %d" % (2**32 + SIZE), body=HIDDEN), ends=False),
    Framing("length: named by Connection", request(b"Content-Length: %d" % SIZE, b"Connection: close, Content-Length",
                                                   body=HIDDEN), naive=False),
    Framing("length: named by Connection, kept alive", request(b"Content-Length: %d" % SIZE,
                                                               b"Connection: keep-alive, Content-Length", body=HIDDEN)),
]  # fmt: skip

# --- chunks that can be read in several ways --------------------------------------------------------------------------

CHUNKS = [
    ("0x", b"0x%x\r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("plus sign", b"+%x\r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("minus sign", b"-%x\r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("space in front", b" %x\r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("space behind", b"%x \r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("tab behind", b"%x\t\r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("underscore inside", b"%x_%x\r\n%b\r\n" % (*divmod(SIZE, 16), HIDDEN) + END),
    ("empty", b"\r\n%b\r\n" % HIDDEN + END),
    ("no digit", b"g\r\n%b\r\n" % HIDDEN + END),
    ("wraps 64 bits", b"1%016x\r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("wraps 64 bits to the end", b"1%016x\r\n\r\n%b" % (0, HIDDEN)),
    ("NUL behind", b"%x\x00\r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("size ended by LF", b"%x\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("size ended by CR", b"%x\r%b\r\n" % (SIZE, HIDDEN) + END),
    ("extension with LF", b"%x;\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("extension with LF hides the size", b"2;\nxx\r\n%x\r\n0\r\n\r\n%b\r\n" % (SIZE + 5, HIDDEN) + END),
    ("extension with CR", b"2;\rx\r\nxx\r\n" + chunk(HIDDEN) + END),
    ("extension quotes CRLF", b'2;a="\r\nxx\r\n0\r\n\r\n' + HIDDEN + b'"\r\n' + END),
    ("extension of 5,000 bytes", b"2;" + b"a" * 5000 + b"\r\nxx\r\n" + chunk(HIDDEN) + END),
    ("data longer than the size", b"2\r\nxxyy\r\n" + chunk(HIDDEN) + END),
    ("data longer by the end", b"2\r\nxx" + END + HIDDEN),
    ("data ended by LF", b"2\r\nxx\n" + chunk(HIDDEN) + END),
    ("data ended by CR", b"2\r\nxx\r" + chunk(HIDDEN) + END),
    ("data ended by two other bytes", b"2\r\nxxZZ" + chunk(HIDDEN) + END),
    ("data not ended", b"2\r\nxx" + chunk(HIDDEN) + END),
    ("end with LF alone", b"0\n\n" + HIDDEN),
    ("end with LF last", b"0\r\n\n" + HIDDEN),
    ("trailer ended by LF", b"0\r\nX: y\n\n" + HIDDEN),
    ("trailer with a space before the colon", b"0\r\nX : y\r\n\r\n" + HIDDEN),
    ("trailer without a colon", b"0\r\nGET /hidden HTTP/1.1\r\n\r\n"),
    ("trailer, folded", b"0\r\nX: y\r\n z\r\n\r\n" + HIDDEN),
]
LEGAL_CHUNKS = [
    ("zeros in front", b"%020x\r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("capital digits", b"%X\r\n%b\r\n" % (SIZE, HIDDEN) + END),
    ("extension", b'%x;a;b=c;d="\\"0\\""\r\n%b\r\n' % (SIZE, HIDDEN) + END),
    ("trailer Content-Length", b"0\r\nContent-Length: %d\r\n\r\n%b" % (SIZE, HIDDEN)),
    ("trailer Transfer-Encoding", b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN),
    ("trailer Host", b"0\r\nHost: b\r\n\r\n" + HIDDEN),
    ("trailer X-Forwarded-For", b"0\r\nX-Forwarded-For: 203.0.113.66\r\nX-Request-ID: forged-by-the-client\r\n\r\n"),
]
ODD_CHUNKS = [Framing(f"chunk: {name}", request(CHUNKED, body=body)) for name, body in CHUNKS] + [
    Framing(f"chunk: {name}", request(CHUNKED, body=body), naive=False) for name, body in LEGAL_CHUNKS
]

# --- heads and methods ------------------------------------------------------------------------------------------------

SIZED = b"Content-Length: %d" % SIZE
ODD_HEADS = [
    Framing("HTTP/1.0 with chunks", request(CHUNKED, body=chunk(HIDDEN) + END, start=b"POST /attack HTTP/1.0")),
    Framing("HTTP/1.0 with chunks, kept alive",
            request(CHUNKED, b"Connection: keep-alive", body=END + HIDDEN, start=b"POST /attack HTTP/1.0")),
    Framing("HTTP/1.0 with both", request(CHUNKED, SIZED, body=HIDDEN, start=b"POST /attack HTTP/1.0")),
    Framing("HTTP/0.9", b"GET /attack\r\n" + HIDDEN),
    Framing("HTTP/1.1 twice", request(SIZED, body=HIDDEN, start=b"POST /attack HTTP/1.1 HTTP/1.1")),
    Framing("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN),
    Framing("head ended by LF", b"POST /attack HTTP/1.1\nHost: a\nContent-Length: %d\n\n" % SIZE + HIDDEN),
    Framing("head ended by CR", b"POST /attack HTTP/1.1\rHost: a\rContent-Length: %d\r\r" % SIZE + HIDDEN),
    Framing("LF within the head", b"GET /attack HTTP/1.1\r\nHost: a\r\n\n" + HIDDEN),
    Framing("white space before the first field",
            b"POST /attack HTTP/1.1\r\n Host: a\r\n" + SIZED + b"\r\n\r\n" + HIDDEN),
    Framing("a name of white space", request(b" : x", SIZED, body=HIDDEN)),
    Framing("an empty name", request(b": x", SIZED, body=HIDDEN)),
    Framing("a line without colon", request(b"Content-Length", SIZED, body=HIDDEN)),
    Framing("a line of white space", request(b"X: y", b" ", SIZED, body=HIDDEN)),
    Framing("NUL in a name", request(b"Content-\x00Length: 0", SIZED, body=HIDDEN)),
    Framing("NUL in a value", request(b"X: \x00", SIZED, body=HIDDEN)),
    Framing("Host with a space before the colon", request(b"Host : b", SIZED, body=HIDDEN)),
    Framing("Host twice", request(b"Host: b", SIZED, body=HIDDEN)),
    Framing("tab in the request line", request(SIZED, body=HIDDEN, start=b"POST\t/attack HTTP/1.1")),
    Framing("two spaces in the request line", request(SIZED, body=HIDDEN, start=b"POST  /attack HTTP/1.1")),
    Framing("space in the target", request(SIZED, body=HIDDEN, start=b"POST /attack HTTP/1.1 GET / HTTP/1.1")),
    Framing("fragment in the target", request(SIZED, body=HIDDEN, start=b"POST /attack#a HTTP/1.1")),
    Framing("NUL in the target", request(SIZED, body=HIDDEN, start=b"POST /attack\x00 HTTP/1.1")),
    Framing("CONNECT", request(start=b"CONNECT a:80 HTTP/1.1") + HIDDEN),
    Framing("CONNECT with a body", request(SIZED, body=HIDDEN, start=b"CONNECT a:80 HTTP/1.1")),
    Framing("an expectation of another kind", request(b"Expect: 100-continues", SIZED, body=HIDDEN)),
    Framing("two expectations", request(b"Expect: y, 100-continue", SIZED, body=HIDDEN)),
    # these are as they should be: whoever reads them otherwise than the other is wrong
    Framing("GET with a body", request(SIZED, body=HIDDEN, start=b"GET /attack HTTP/1.1")),
    Framing("HEAD with a body", request(SIZED, body=HIDDEN, start=b"HEAD /attack HTTP/1.1")),
    Framing("OPTIONS * with a body", request(SIZED, body=HIDDEN, start=b"OPTIONS * HTTP/1.1")),
    Framing("DELETE in chunks", request(CHUNKED, body=chunk(HIDDEN) + END, start=b"DELETE /attack HTTP/1.1")),
    Framing("a method in small letters", request(SIZED, body=HIDDEN, start=b"post /attack HTTP/1.1")),
    Framing("absolute-form", request(SIZED, body=HIDDEN, start=b"POST http://b/attack HTTP/1.1")),
    Framing("upgrade to h2c",
            request(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", SIZED,
                    body=HIDDEN)),
    Framing("upgrade to a websocket",
            request(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", SIZED, body=HIDDEN)),
    Framing("empty lines in front", b"\r\n" + request(SIZED, body=HIDDEN)),
    Framing("an expectation with its body", request(b"Expect: 100-continue", SIZED, body=HIDDEN)),
    Framing("the proxy's own fields named by Connection",
            request(b"Connection: X-Forwarded-For, X-Request-ID, X-Forwarded-Proto", SIZED, body=HIDDEN)),
    Framing("X-Forwarded-For with an underscore",
            request(f"X_Forwarded_For: {FORGED_ADDRESS}".encode(), f"X_Request_ID: {FORGED_ID}".encode(), SIZED,
                    body=HIDDEN)),
    # and these answers have no body, whatever the application gives
    Framing("304 to what has a body", request(SIZED, body=HIDDEN, start=b"POST /not-modified HTTP/1.1")),
    Framing("204 to what has a body", request(SIZED, body=HIDDEN, start=b"POST /no-content HTTP/1.1")),
    Framing("HEAD of a long answer", request(start=b"HEAD /long HTTP/1.1")),
    Framing("a body that the application does not read", request(SIZED, body=HIDDEN, start=b"POST /unread HTTP/1.1")),
]  # fmt: skip

FRAMINGS = [*TWO_LENGTHS, *ODD_LENGTHS, *ODD_CHUNKS, *ODD_HEADS]
