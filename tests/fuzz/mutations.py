"""Streams to try: the conformance tables' bytes, mutated; the same for the same seed.

Placeholders `@TOKEN@` that survive are for the caller to replace, each by a token of its own (as many bytes).
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Sequence

from miniwsgi.daemon.http.head import Limits

from tests.conformance.case import Stage
from tests.conformance.tables import CASES

from .reference import read

MAX_SEED_BYTES = 2500  # what is longer is about limits, and mutates slowly
MAX_STREAM_BYTES = 20_000
PLACEHOLDER = b"@TOKEN@"

SEEDS: tuple[bytes, ...] = tuple(
    sorted({case.sent for case in CASES if case.bytes_alone and 0 < len(case.sent) <= MAX_SEED_BYTES})
)
RIGHT: tuple[bytes, ...] = tuple(seed for seed in SEEDS if read(seed, Limits()).stage is Stage.IDLE)

# What a parser trips over, to be put anywhere.
PIECES: tuple[bytes, ...] = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\0", b"\x0b", b"\x85", b"\xa0", b"\xff", b":", b": ",
    b",", b";", b'"', b"\\", b"#", b"%", b"%00", b"%zz", b"?", b"*", b"@", b"/", b"//", b"http://b", b"_", b"-", b"+",
    b"0x", b"0", b"1", b"00", b"ffffffffffffffff", b"10000000000000000", b"99999999999999999999", b"4294967301",
    b"0\r\n\r\n", b"1\r\nz\r\n", b"0\r\nX-T: v\r\n\r\n", b";a=b", b';a="b;c"', b" ;a",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Length: +3\r\n", b"Content-Length : 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding:\tchunked\r\n",
    b"Transfer_Encoding: chunked\r\n", b"Host: c\r\n", b"Host: c:80:80\r\n", b"Expect: 100-continue\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: x, Close\r\n", b"Upgrade: h2c\r\n",
    b"Cookie: a=1\r\n", b"Proxy: x\r\n", b" folded\r\n", b"\tfolded\r\n", b": nameless\r\n", b"X-A:\r\n",
    b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HEAD", b"POST", b"OPTIONS", b"CONNECT",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"GET /\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"v" * 300, b"X-B: c\r\n" * 25,
)  # fmt: skip
NUMBERS: tuple[bytes, ...] = (
    b"0", b"1", b"2", b"7", b"9", b"10", b"15", b"16", b"255", b"256", b"4095", b"65536", b"2147483647", b"4294967296",
    b"18446744073709551616", b"-1", b"+1", b"01", b"1.0", b"a", b"F", b"1e1", b"",
)  # fmt: skip

_NUMBER = re.compile(rb"[0-9]+")
_START_LINE = re.compile(rb"( HTTP/1\.[01]\r\n)")

Random = random.Random


def identified(seed: bytes) -> bytes:
    """The seed with a field for a token behind each request line, in bodies too (which breaks their framing)."""
    return _START_LINE.sub(rb"\1X-Id: " + PLACEHOLDER + b"\r\n", seed)


def mutated(chance: Random, seeds: Sequence[bytes] = SEEDS, right: Sequence[bytes] = ()) -> bytes:
    """A stream of some seeds, mostly of the `right` ones if there are any, with some mutations or none."""
    data = b"".join(
        chance.choice(right if right and chance.random() < 0.7 else seeds)
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3)))
    )
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 2, 3, 6))):
        data = chance.choice(_MUTATIONS)(chance, data, seeds)[:MAX_STREAM_BYTES]
    return data


def pieces(chance: Random, data: bytes) -> list[bytes]:
    """The data as it is sent: whole, in bytes, in a few pieces, or cut where lines end."""
    match chance.randrange(6):
        case 0 | 1:
            cuts: list[int] = []
        case 2:
            cuts = list(range(1, min(len(data), 400)))
        case 3:
            ends = [match.end() for match in re.finditer(rb"\r\n?|\n", data)]
            cuts = chance.sample(ends, min(len(ends), chance.randrange(1, 6)))
        case _:
            cuts = [chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 8))]
    bounds = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds) if end > start]


def _flip_bit(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    at = chance.randrange(max(1, len(data)))
    return data[:at] + bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]


def _set_byte(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    at = chance.randrange(max(1, len(data)))
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _insert(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(PIECES) + data[at + chance.choice((0, 0, 1, 2, 8)) :]


def _insert_line(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """A piece where a line begins: where most of them mean something."""
    starts = [0, *(match.end() for match in re.finditer(rb"\r\n", data))]
    at = chance.choice(starts)
    return data[:at] + chance.choice(PIECES) + data[at:]


def _remove(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.choice((1, 1, 2, 4, 20)) :]


def _truncate(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _splice(chance: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = chance.choice(seeds)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other)) :]


def _lines(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """One line duplicated, removed, moved, or ended otherwise."""
    lines = data.split(b"\r\n")
    at = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            lines.insert(at, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines.insert(chance.randrange(len(lines)), lines.pop(at))
        case _:
            return b"\r\n".join(lines[:at]) + chance.choice((b"\n", b"\r", b"\r\r\n", b"")) + b"\r\n".join(lines[at:])
    return b"\r\n".join(lines)


def _number(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Another number: a length, a chunk's size, a version."""
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    match = chance.choice(found)
    if chance.random() < 0.4:
        value = b"%d" % max(0, int(match[0][:18]) + chance.choice((-2, -1, 1, 2)))
    else:
        value = chance.choice(NUMBERS)
    return data[: match.start()] + value + data[match.end() :]


def _case(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at : at + 12].swapcase() + data[at + 12 :]


def _repeat(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at : at + chance.randrange(1, 60)] * chance.randrange(2, 6) + data[at:]


_MUTATIONS: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip_bit, _set_byte, _insert, _insert, _insert_line, _insert_line, _remove, _truncate, _splice, _lines, _lines,
    _number, _number, _case, _repeat,
)  # fmt: skip
