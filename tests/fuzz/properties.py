"""What holds for any bytes: each property takes an input and raises AssertionError, or whatever else should not happen.

PROPERTIES are the targets of the coverage-guided fuzzer; the inputs in `corpus/NAME/` are tried on each test run.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

from miniwsgi.daemon.http import head as heads
from miniwsgi.daemon.http import response as responses
from miniwsgi.daemon.http.body import MAX_CHUNK_LINE_BYTES, Chunked, Spool
from miniwsgi.daemon.http.connection import Connection
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Limits
from miniwsgi.daemon.http.response import (
    BadResponse,
    Body,
    Encoded,
    Encodings,
    ServerFields,
    early_hints,
    encode,
    frame,
)

from tests.conformance.case import Stage
from tests.conformance.parser import Outcome, feed, parse

from .mutations import SEEDS
from .proxy_header import PROXY_SEEDS, proxy
from .reference import Reading, read
from .uwsgi import UWSGI_SEEDS, uwsgi

ENCODINGS = Encodings()
SMALL = Limits(request_line_bytes=120, field_bytes=150, fields=8, fields_bytes=400, body_max_bytes=300)
LARGE = Limits(body_max_bytes=100_000)
SEEN_EARLY = frozenset({400, 414, 431})  # before the line that they are in is complete
# What may follow an unfinished message: none of it may make one right that was refused early.
CONTINUATIONS: tuple[bytes, ...] = (
    b"", b"\n", b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\n\r\n", b"/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b": a\r\nHost: a\r\n\r\n", b"\r\nHost: a\r\n\r\n", b"0\r\n\r\n", b"\r\n0\r\n\r\n", b"a\r\n" * 200,
    b"z" * 500 + b"\r\n\r\n",
)  # fmt: skip
BYTEWISE_BYTES = 200
TABLE_ENTRIES = 2048  # the largest
HEAD_BEFORE_CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SERVER = ServerFields("fuzz")


def cut(data: bytes) -> list[bytes]:
    """The data in pieces, which depend on nothing but the data: of one byte (if it is short), or of some."""
    state = zlib.crc32(data)
    largest = (1, 3, 7, 40, 200)[state % 5]
    if largest == 1 and len(data) <= BYTEWISE_BYTES:
        return [data[at : at + 1] for at in range(len(data))]
    pieces, at = [], 0
    while at < len(data):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        size = 1 + (state >> 8) % largest
        pieces.append(data[at : at + size])
        at += size
    return pieces


def either_limits(data: bytes) -> Limits:
    """Narrow ones or wide ones, as the data has it."""
    return LARGE if zlib.crc32(data) & 1 else SMALL


def agree(reading: Reading, data: bytes, outcome: Outcome, limits: Limits) -> None:
    """The connection has come to what the reference has."""
    assert outcome.requests == reading.requests, f"{outcome.requests} instead of {reading.requests}"
    if not outcome.status:
        assert outcome.stage is reading.stage, f"{outcome.stage}, but it ends {reading.stage} {set(reading.faults)}"
    elif reading.stage is Stage.REFUSED:
        assert outcome.status in reading.faults | SEEN_EARLY, f"{outcome.status} instead of {set(reading.faults)}"
    else:
        assert reading.stage in {Stage.HEAD, Stage.BODY}, f"{outcome.status} without a fault"
        for more in CONTINUATIONS:
            later = read(data + more, limits)
            assert len(later.requests) == len(outcome.requests), f"{outcome}, but with {more!r} behind it is a request"


def stream(data: bytes, limits: Limits = SMALL) -> None:
    """However it is cut, and on a connection in use: the requests, the bodies and the end that the reference reads."""
    reading = read(data, limits)
    whole = parse([data], limits)
    pieces = parse(cut(data), limits, late=len(data) % 3 == 0)
    agree(reading, data, whole, limits)
    agree(reading, data, pieces, limits)
    assert pieces.stage is whole.stage, f"{pieces} in pieces, {whole} as a whole"


def head(data: bytes) -> None:
    """A request with that head; and what was learnt from it changes nothing for the next."""
    limits = either_limits(data)
    stream(data, limits)
    used = Connection(limits)
    assert used.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    used.finish(True)
    assert feed(used, [data]) == parse([data], limits)
    used.close()
    the_tables_are_bounded()


def fields(data: bytes) -> None:
    """Those field lines in a request that is right otherwise."""
    start = b"GET / HTTP/1.1\r\nHost: a\r\n" if len(data) % 4 else b"POST / HTTP/1.0\r\n"
    stream(start + data + b"\r\n\r\n", either_limits(data))


def chunks(data: bytes) -> None:
    """That chunked body, cut anyhow; and the reader keeps no more of its framing than a line."""
    stream(HEAD_BEFORE_CHUNKS + data, either_limits(data))
    spool = Spool(1 << 20)
    reader = Chunked(spool, LARGE.body_max_bytes)
    try:
        for piece in cut(data):
            if reader.feed(piece) is not None:
                break
            kept = [value for name in Chunked.__slots__ if isinstance(value := getattr(reader, name), bytes)]
            assert sum(map(len, kept)) <= MAX_CHUNK_LINE_BYTES + 2
    except ProtocolError:
        pass
    finally:
        spool.close()


_HEAD_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 [1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*")


def response(data: bytes) -> None:
    """An application's status and fields: refused, or each exactly one line on the wire and nothing besides."""
    status, *lines = data.decode("latin-1").split("\x1f")
    pairs = [tuple(line.partition(":")[::2]) for line in lines]
    try:
        encoded = Encoded(status, pairs, ENCODINGS)  # type: ignore[arg-type]
        early_hints(pairs, ENCODINGS)  # type: ignore[arg-type]
    except BadResponse:
        return
    http11, wished, length = len(data) % 2 == 0, len(data) % 3 > 0, None if len(data) % 5 else 7
    framed = frame(encoded, "GET", http11, wished, length, SERVER)
    wire, body, size, persistent = framed
    remembered = encode(status, pairs, ENCODINGS)  # type: ignore[arg-type]
    for method in ("HEAD", "GET", "GET"):  # what is kept of one answer changes nothing in the next
        again = frame(remembered, method, http11, wished, length, SERVER)
    assert again == framed
    assert wire.endswith(b"\r\n\r\n")
    first, *rest = wire.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert _STATUS_LINE.fullmatch(first), first
    for line in rest:
        assert _HEAD_LINE.fullmatch(line), line
    names = [line.partition(b":")[0].lower() for line in rest]
    for name in (b"content-length", b"transfer-encoding", b"connection"):
        assert names.count(name) <= 1, names
    assert (b"transfer-encoding" in names) is (body is Body.CHUNKED)
    assert not (b"transfer-encoding" in names and b"content-length" in names)
    assert persistent or b"Connection: close" in rest
    assert size >= 0
    the_tables_are_bounded()


def the_tables_are_bounded() -> None:
    """What the parser and the framing remember of all clients and of the application."""
    for module in (heads, responses):
        for name, table in vars(module).items():
            if isinstance(table, dict | set) and name.startswith("_") and not name.startswith("__"):
                assert len(table) <= TABLE_ENTRIES, f"{name} has {len(table)} entries"


Property = Callable[[bytes], None]
PROPERTIES: dict[str, Property] = {
    "stream": stream,
    "head": head,
    "fields": fields,
    "chunks": chunks,
    "response": response,
    "uwsgi": uwsgi,
    "proxy": proxy,
}


def seeds(name: str) -> Sequence[bytes]:
    """What the inputs of a property may look like."""
    if name == "fields":
        return [seed.partition(b"\r\n\r\n")[0].partition(b"\r\n")[2] for seed in SEEDS]
    if name == "chunks":
        return [seed.partition(b"\r\n\r\n")[2] for seed in SEEDS if b"chunked" in seed]
    if name == "response":
        return [
            b"200 OK", b"200 OK\x1fContent-Type:text/plain\x1fX-A:b", b"204 No Content\x1fContent-Length:0",
            b"304 Not Modified\x1fDate:x\x1fServer:y", b"200 OK\x1fSet-Cookie:a=b\x1fSet-Cookie:c\x1fConnection:close",
            b"101 Switching Protocols\x1fUpgrade:x", b"500 \xe9\x1fContent-Length:5\x1fContent-Length:5",
        ]  # fmt: skip
    return {"uwsgi": UWSGI_SEEDS, "proxy": PROXY_SEEDS}.get(name, SEEDS)
