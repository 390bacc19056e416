"""What waits in shared memory: whole entries in order, whoever looks at it when the process is gone."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator

import pytest
from miniwsgi.daemon.log import ring as log_ring
from miniwsgi.daemon.log.ring import (
    HEADER_BYTES,
    LOG_BYTES,
    Left,
    left_behind,
    private_ring,
    shared_memory,
    shared_rings,
)


@pytest.fixture
def memory() -> Iterator[int]:
    fd = shared_memory()
    yield fd
    os.close(fd)


def test_what_is_put_comes_out_in_order_around_the_end() -> None:
    ring = private_ring(HEADER_BYTES + 1000)
    chosen = random.Random(1)
    expected = found = b""
    for number in range(5000):
        line = b"%d %s\n" % (number, b"x" * chosen.randrange(90))
        if ring.append(line) or ring.append_anywhere(line):
            expected += line
        if chosen.random() < 0.5:
            taken = ring.peek(chosen.randrange(1, 400))
            found += taken
            ring.advance(len(taken))
        assert ring.used == len(expected) - len(found)
    found += ring.peek(1000)
    assert found == expected
    assert len(found) > 100_000


def test_what_does_not_fit_is_refused_and_what_fits_exactly_is_not() -> None:
    ring = private_ring(HEADER_BYTES + 100)
    assert ring.append_anywhere(b"a" * 60)
    assert not ring.append_anywhere(b"b" * 41)
    assert ring.append_anywhere(b"b" * 40)
    assert not ring.append(b"c")
    ring.advance(1)
    assert ring.append_anywhere(b"c")
    assert ring.peek(200) == b"a" * 59 + b"b" * 40 + b"c"


def test_another_process_reads_what_a_killed_one_has_left(memory: int) -> None:
    pid = os.fork()
    if not pid:
        try:
            log, access = shared_rings(memory)
            log.append_anywhere(b"out\nhalf ")
            log.append_anywhere(b"a line\n")
            log.advance(6)
            log.note_lost(3)
            log.note_told(1)
            for number in range(100_000):  # more than once around
                line = b"%06d %s\n" % (number, b"x" * 100)
                if not access.append(line) and not access.append_anywhere(line):
                    access.advance(len(line) * 1000)
                    access.append_anywhere(line)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    log, access = left_behind(memory)
    assert log == Left((b"lf a line\n",), 2)
    numbers = [int(line[:6]) for line in b"".join(access.entries).splitlines()]
    assert numbers == list(range(numbers[0], 100_000))
    assert len(numbers) > 8000
    assert all(entry.endswith(b"\n") and len(entry) <= log_ring.PIECE_BYTES for entry in access.entries)


def test_entries_of_the_journal_keep_their_bounds(memory: int) -> None:
    log, _ = shared_rings(memory)
    log.note_framed()
    for entry in (b"A=1\n", b"B\n\0\0"):
        log.append_anywhere(len(entry).to_bytes(8, "little") + entry)
    assert left_behind(memory)[0] == Left((b"A=1\n", b"B\n\0\0"), 0, True)


@pytest.mark.parametrize("damage", ["zeros", "noise", "cut", "empty", "length"])
def test_damaged_memory_is_not_believed(memory: int, damage: str) -> None:
    log, _ = shared_rings(memory)
    log.append_anywhere(b"line\n")
    if damage == "zeros":
        os.pwrite(memory, bytes(LOG_BYTES), 0)
    elif damage == "noise":
        os.pwrite(memory, random.Random(2).randbytes(log_ring.SHARED_BYTES), 0)
    elif damage == "length":
        log.note_framed()
        os.pwrite(memory, b"\xff" * 100, HEADER_BYTES)
    else:
        os.ftruncate(memory, 100 if damage == "cut" else 0)
    found, _ = left_behind(memory)
    assert found.entries in ((), (b"line\n",))


def test_a_line_that_is_not_whole_is_not_written(memory: int) -> None:
    log, _ = shared_rings(memory)
    log.append_anywhere(b"whole\ntorn")
    assert left_behind(memory)[0].entries == (b"whole\n",)
