"""Bodies as they are decoded and kept: every split of chunks, limits, in memory or on disk, a disk that is full."""

from __future__ import annotations

import io
import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniwsgi.daemon.http import body as body_module
from miniwsgi.daemon.http.body import (
    MAX_CHUNK_LINE_BYTES,
    MAX_EXTENSION_BYTES,
    MAX_TRAILER_BYTES,
    Chunked,
    Sized,
    Spool,
)
from miniwsgi.daemon.http.connection import Connection, Parsing
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Limits

from tests.conformance.case import END_CHUNK, chunk, chunked, post
from tests.conformance.parser import feed
from tests.support.effort import effort

LONG = b"a" * (MAX_CHUNK_LINE_BYTES - 2)  # makes a line of the largest size behind "1;"


def decode(pieces, max_bytes=10_000):
    """The decoded body and what follows it; None while it is unfinished."""
    spool = Spool(max_bytes)
    reader = Chunked(spool, max_bytes)
    rest = None
    for piece in pieces:
        if rest is not None:
            rest += piece
        else:
            rest = reader.feed(piece)
    return spool.file().read(), rest


def outcome(pieces, **options):
    try:
        return decode(pieces, **options)
    except ProtocolError as error:
        return error.status


# --- chunked ---

BODIES = [
    (END_CHUNK, b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"5;a=b\r\nhello\r\n1\r\n!\r\n0;c\r\n\r\n", b"hello!"),
    (b"2\r\n\r\n\r\n0\r\nX-T: v\r\nY: w\r\n\r\n", b"\r\n"),
    (b'00a ; a = "\\"\r\n0123456789\r\n000\r\n\r\n'.replace(b'\\"', b'\\"x"'), b"0123456789"),
]


@pytest.mark.parametrize(("data", "body"), BODIES)
def test_chunks_in_every_three_pieces(data, body):
    data += b"next"
    for first, second in itertools.combinations_with_replacement(range(len(data) + 1), 2):
        assert decode([data[:first], data[first:second], data[second:]]) == (body, b"next")
    assert decode([data[i : i + 1] for i in range(len(data))]) == (body, b"next")


@pytest.mark.parametrize(("data", "body"), BODIES)
def test_chunks_are_complete_with_their_last_byte_and_not_before(data, body):
    for end in range(len(data)):
        assert decode([data[:end]])[1] is None
        assert decode([data[i : i + 1] for i in range(end)])[1] is None
    assert decode([data]) == (body, b"")


@settings(max_examples=effort(33, 100), deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=30), max_size=6), st.lists(st.integers(1, 9), min_size=1), st.binary())
def test_what_is_sent_in_chunks_arrives(parts, sizes, behind):
    data = b"".join(map(chunk, parts)) + END_CHUNK + behind
    pieces, sizes = [], itertools.cycle(sizes)
    while data:
        size = next(sizes)
        pieces.append(data[:size])
        data = data[size:]
    assert decode(pieces) == (b"".join(parts), behind)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"1;" + LONG + b"\r\nh\r\n" + END_CHUNK, (b"h", b"")),
        (b"1;" + LONG + b"a\r\nh\r\n" + END_CHUNK, 400),
        (b"0\r\nX:" + LONG + b"\r\n\r\n", (b"", b"")),
        (b"0\r\nX:" + LONG + b"a\r\n\r\n", 400),
        ((b"1;" + LONG + b"\r\nh\r\n") * (MAX_EXTENSION_BYTES // 1023) + END_CHUNK, (b"h" * 64, b"")),
        ((b"1;" + LONG + b"\r\nh\r\n") * (MAX_EXTENSION_BYTES // 1023 + 1) + END_CHUNK, 400),
        (b"0\r\n" + (b"X:" + LONG + b"\r\n") * (MAX_TRAILER_BYTES // 1024) + b"\r\n", (b"", b"")),
        (b"0\r\n" + (b"X:" + LONG + b"\r\n") * (MAX_TRAILER_BYTES // 1024 + 1) + b"\r\n", 431),
        (chunk(b"z" * 10_000) + END_CHUNK, (b"z" * 10_000, b"")),
        (chunk(b"z" * 10_001) + END_CHUNK, 413),
        (chunk(b"z" * 10_000) + chunk(b"z") + END_CHUNK, 413),
        (b"f" * 16, 0),
        (b"f" * 16 + b"\r\n", 413),
        (b"f" * 17 + b"\r\n", 400),
    ],
)
def test_limits_of_chunks(data, expected):
    lines = {at + i for at in (data.find(b"\r\n"), data.rfind(b"\r\n")) for i in range(3)}
    cuts = [i for i in lines if 0 < i < len(data)]
    for pieces in ([data], *([data[:i], data[i:]] for i in cuts), [data[i : i + 7] for i in range(0, len(data), 7)]):
        result = outcome(pieces)
        if expected == 0:
            assert result[1] is None
        else:
            assert result == expected


def test_a_chunk_too_large_is_refused_before_it_comes():
    assert outcome([b"2711\r\n"]) == 413
    assert outcome([b"2710\r\n"]) == (b"", None)


# --- sized ---


@pytest.mark.parametrize("size", [1, 2, 7])
def test_sized_bodies_in_every_three_pieces(size):
    data = b"0123456789"
    for first, second in itertools.combinations_with_replacement(range(len(data) + 1), 2):
        spool = Spool(100)
        reader = Sized(spool, size)
        rest = None
        for piece in (data[:first], data[first:second], data[second:]):
            if rest is None:
                rest = reader.feed(piece)
            else:
                rest += piece
        assert spool.file().read() == data[:size]
        assert spool.size == size
        assert rest == data[size:]


# --- where it is kept ---


@pytest.mark.parametrize(
    "pieces", [[b"a" * 10], [b"a" * 5, b"b" * 5], [b"a"] * 10, [b"a" * 600, b"b", b"c", b"d" * 600]]
)
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_body_goes_to_disk_above_the_threshold(tmp_path, pieces, more):
    data = b"".join(pieces)
    spool = Spool(len(data) - more, str(tmp_path))
    for piece in pieces:
        spool.write(piece)
    spool.complete()
    file = spool.file()
    assert isinstance(file, io.BytesIO) is (more <= 0)
    assert spool.size == len(data)
    assert file.read() == data
    assert spool.file().readline() == data
    assert os.listdir(tmp_path) == []  # it has no name
    spool.close()


def test_a_spooled_body_can_be_read_like_any_other(tmp_path):
    connection = Connection(Limits(), body_memory_bytes=10, spool_directory=str(tmp_path))
    for byte in post(b"one\ntwo\n" * 100):
        connection.receive(bytes([byte]))
    assert connection.state is Parsing.ANSWERING
    file = connection.body.file()
    assert (file.readline(), file.read(2), next(file)) == (b"one\n", b"tw", b"o\n")
    assert len(file.readlines()) == 198
    assert file.read() == b""
    descriptor = file.fileno()
    connection.finish(True)
    assert file.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_body_is_closed_with_its_connection(tmp_path):
    connection = Connection(Limits(), body_memory_bytes=2, spool_directory=str(tmp_path))
    connection.receive(post(b"abcdef")[:-1])
    file = connection.body.file()
    connection.close()
    assert file.closed
    assert connection.body is None


def test_finishing_twice_over_a_body_that_the_application_closed():
    connection = Connection(Limits(), body_memory_bytes=2)
    connection.receive(post(b"abcdef"))
    connection.body.file().close()
    connection.finish(True)
    assert connection.receive(post(b"ghi"))
    assert connection.body.file().read() == b"ghi"


class FullDisk(io.RawIOBase):
    """As much room as said."""

    def __init__(self, room):
        self.room = room

    def writable(self):
        return True

    readable = seekable = writable

    def seek(self, offset, whence=0):
        return offset

    def tell(self):
        return 0

    def readinto(self, buffer):
        return 0

    def write(self, data):
        if len(data) > self.room:
            raise OSError(28, "No space left on device")
        self.room -= len(data)
        return len(data)


@pytest.mark.parametrize("room", [0, 20_000])
@pytest.mark.parametrize("sent", [post(b"z" * 50_000), chunked(chunk(b"z" * 50_000), END_CHUNK), post(b"z" * 11)])
def test_a_full_disk_is_known_before_the_application_runs(monkeypatch, room, sent):
    if room > len(sent):
        room = 5
    monkeypatch.setattr(body_module, "unnamed_file", lambda _directory: io.BufferedRandom(FullDisk(room)))
    connection = Connection(Limits(), body_memory_bytes=10)
    with pytest.raises(OSError, match="No space left"):
        feed(connection, (sent[i : i + 1000] for i in range(0, len(sent), 1000)))
    assert connection.state is Parsing.CLOSED
    assert connection.body is None
    connection.close()


def test_a_directory_that_is_not_there():
    connection = Connection(Limits(), body_memory_bytes=2, spool_directory="/nonexistent")
    with pytest.raises(OSError, match="No such file"):
        connection.receive(post(b"abcdef"))
    assert connection.state is Parsing.CLOSED
