"""The reader of responses is as strict as it says: what a conforming server never sends does not pass."""

from __future__ import annotations

import pytest

from tests.conformance.client import Framing, Reader

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 2\r\n\r\nhi"

GOOD: list[tuple[str, bytes, tuple[str, ...], list[tuple[int, bytes, Framing]]]] = [
    ("sized", SIZED, (), [(200, b"hi", Framing.LENGTH)]),
    ("two", SIZED + SIZED, (), [(200, b"hi", Framing.LENGTH)] * 2),
    ("empty", OK + b"Content-Length: 0\r\n\r\n", (), [(200, b"", Framing.LENGTH)]),
    ("chunked", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", (), [(200, b"hi", Framing.CHUNKED)]),
    ("until close", OK + b"\r\nhi", (), [(200, b"hi", Framing.CLOSE)]),
    ("HEAD", OK + b"Content-Length: 2\r\n\r\n" + SIZED, ("HEAD",),
     [(200, b"", Framing.NONE), (200, b"hi", Framing.LENGTH)]),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n" + SIZED, (), [(204, b"", Framing.NONE), (200, b"hi", Framing.LENGTH)]),
    ("304", b"HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n", (), [(304, b"", Framing.NONE)]),
    ("100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, (),
     [(100, b"", Framing.NONE), (200, b"hi", Framing.LENGTH)]),
    ("100 before HEAD", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n", ("HEAD",),
     [(100, b"", Framing.NONE), (200, b"", Framing.NONE)]),
]  # fmt: skip

BAD: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("garbage behind a response", SIZED + b"!", ()),
    ("garbage in front", b"\r\n" + SIZED, ()),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\r\n\r\n", ()),
    ("status of two digits", b"HTTP/1.1 20 OK\r\n\r\n", ()),
    ("no space behind the status", b"HTTP/1.1 200\r\n\r\n", ()),
    ("another version", b"HTTP/1.2 200 OK\r\n\r\n", ()),
    ("space before a colon", OK + b"Server : x\r\n\r\n", ()),
    ("folded field", OK + b"Server: x\r\n y\r\n\r\n", ()),
    ("NUL in a field", OK + b"Server: \0\r\n\r\n", ()),
    ("no colon", OK + b"Server\r\n\r\n", ()),
    ("two lengths", OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", ()),
    ("two dates", OK + b"Date: x\r\nDate: x\r\nContent-Length: 0\r\n\r\n", ()),
    ("length and chunked", OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", ()),
    ("length with a sign", OK + b"Content-Length: +2\r\n\r\nhi", ()),
    ("another coding", OK + b"Transfer-Encoding: gzip\r\n\r\n", ()),
    ("chunk size with an extension", OK + b"Transfer-Encoding: chunked\r\n\r\n2;a\r\nhi\r\n", ()),
    ("chunk longer than its size", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n", ()),
    ("trailer", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", ()),
    ("endless chunk size", OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 30, ()),
    ("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", ()),
    ("204 with a body", b"HTTP/1.1 204 No Content\r\n\r\nhi", ()),
    ("100 with a length", b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", ()),
    ("HEAD with a body", SIZED, ("HEAD",)),
    ("304 with a body", b"HTTP/1.1 304 Not Modified\r\n\r\nhi", ()),
    ("head cut off", OK + b"Content-Le", ()),
]

CUT: list[tuple[str, bytes]] = [
    ("sized", SIZED[:-1]),
    ("no chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    ("no last chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"),
    ("last chunk cut off", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r"),
]


def read(data: bytes, methods: tuple[str, ...], piece: int) -> Reader:
    reader = Reader(methods)
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
    if not reader.violation:
        reader.end()
    return reader


@pytest.mark.parametrize("piece", [1, 7, 10_000])
@pytest.mark.parametrize(("name", "data", "methods", "expected"), GOOD, ids=[row[0] for row in GOOD])
def test_good(
    name: str, data: bytes, methods: tuple[str, ...], expected: list[tuple[int, bytes, Framing]], piece: int
) -> None:
    reader = read(data, methods, piece)
    assert not reader.violation
    assert [(r.status, bytes(r.body), r.framing) for r in reader.responses] == expected
    assert all(response.complete for response in reader.responses)
    assert reader.answered == len(expected)


@pytest.mark.parametrize("piece", [1, 7, 10_000])
@pytest.mark.parametrize(("name", "data", "methods"), BAD, ids=[row[0] for row in BAD])
def test_bad(name: str, data: bytes, methods: tuple[str, ...], piece: int) -> None:
    assert read(data, methods, piece).violation


@pytest.mark.parametrize("piece", [1, 7, 10_000])
@pytest.mark.parametrize(("name", "data"), CUT, ids=[row[0] for row in CUT])
def test_cut_off(name: str, data: bytes, piece: int) -> None:
    reader = read(data, (), piece)
    assert not reader.violation
    assert not reader.responses[-1].complete
