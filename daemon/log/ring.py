"""What waits to be written, in memory that outlives its process: a bounded ring of bytes.

One process appends and takes; when it has died, however that was, another one reads what is left. A cell is eight
bytes, aligned, and one store: HEAD follows the bytes that it tells of, so that an entry is there whole or not at all.

    HEAD TAIL LOST TOLD FRAMED … | bytes …        HEAD, TAIL: bytes since ever, appended and out

Standard library only.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..unpatched import os

(
    HEAD,
    TAIL,
    LOST,  # entries that were dropped
    TOLD,  # of these, those that the reader of the log knows of
    FRAMED,  # 1: each entry follows its length (8 bytes, little-endian); 0: entries are lines
) = range(5)
CELL = 8
HEADER_BYTES = 64

NAME = "miniwsgi-log"  # of the memory, in /proc/PID/fd
LOG_BYTES = 512 * 1024
ACCESS_BYTES = 1024 * 1024  # about 8,000 lines
SHARED_BYTES = LOG_BYTES + ACCESS_BYTES
PRIVATE_BYTES = 1024 * 1024
LOOKS = 16  # in a round, at how full the ring is


class Append:
    """The hot path of a ring: appends an entry that ends at `limit` at most; False: ask `Ring.append_anywhere`.

    An engine may have a faster one. It is told where the memory is, and when to look again, and decides neither.
    """

    __slots__ = ("_data", "_head", "limit")

    def __init__(self, head: memoryview, data: memoryview) -> None:
        """The cell HEAD, and where entries lie."""
        self._head = head
        self._data = data
        self.limit = 0  # in bytes since ever; never beyond the end of the memory

    def __call__(self, entry: bytes) -> bool:
        head = self._head[0]
        end = head + len(entry)
        if end > self.limit:
            return False
        at = head % len(self._data)
        self._data[at : at + len(entry)] = entry
        self._head[0] = end
        return True


class Appends(Protocol):
    """See `Append`."""

    limit: int

    def __call__(self, entry: bytes, /) -> bool: ...


MakeAppend = Callable[[memoryview, memoryview], Appends]


class Ring:
    """`memory` is all zeros. Appending and taking may go on at the same time, each by one thread at a time."""

    __slots__ = ("_cells", "_data", "append", "capacity")

    def __init__(self, memory: memoryview, make_append: MakeAppend = Append) -> None:
        self._cells = memory[:HEADER_BYTES].cast("Q")
        self._data = memory[HEADER_BYTES:]
        self.capacity = len(self._data)
        self.append = make_append(self._cells[HEAD : HEAD + 1], self._data)

    def __repr__(self) -> str:
        return f"<Ring {self.used}/{self.capacity} lost={self.lost}>"

    @property
    def head(self) -> int:
        return self._cells[HEAD]

    @property
    def tail(self) -> int:
        return self._cells[TAIL]

    @property
    def used(self) -> int:
        """Bytes that wait."""
        return self._cells[HEAD] - self._cells[TAIL]

    def pause(self) -> None:
        """The next entry needs `append_anywhere`, whose caller has something to do for it."""
        self.append.limit = 0

    def append_anywhere(self, entry: bytes) -> bool:
        """Append, around the end of the memory if need be; False: there is no room for it."""
        self.append.limit = 0  # a faster one asks for no lock of the caller's
        head, capacity = self._cells[HEAD], self.capacity
        end = head + len(entry)
        if end - self._cells[TAIL] > capacity:
            return False
        at = head % capacity
        first = min(len(entry), capacity - at)
        self._data[at : at + first] = entry[:first]
        self._data[: len(entry) - first] = entry[first:]
        self._cells[HEAD] = end
        turn_of_memory = end - end % capacity + capacity
        self.append.limit = min(turn_of_memory, self._cells[TAIL] + capacity, end + capacity // LOOKS)
        return True

    def peek(self, limit: int) -> bytes:
        """The first bytes that wait, at most `limit`."""
        tail = self._cells[TAIL]
        at = tail % self.capacity
        end = at + min(limit, self._cells[HEAD] - tail)
        if end <= self.capacity:
            return bytes(self._data[at:end])
        return bytes(self._data[at:]) + bytes(self._data[: end - self.capacity])

    def advance(self, count: int) -> None:
        """So many more are out, or given up."""
        self._cells[TAIL] += count

    # --- what was dropped, for whoever is left to tell of it ---

    @property
    def lost(self) -> int:
        return self._cells[LOST]

    @property
    def untold(self) -> int:
        return self._cells[LOST] - self._cells[TOLD]

    def note_lost(self, count: int) -> None:
        self._cells[LOST] += count

    def note_told(self, count: int) -> None:
        self._cells[TOLD] += count

    def note_framed(self) -> None:
        self._cells[FRAMED] = 1


def private_ring(size: int = PRIVATE_BYTES) -> Ring:
    """A ring for this process alone. Only what is used of it takes memory. Raises OSError."""
    return Ring(memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))


def shared_memory() -> int:
    """The descriptor of new memory for a worker's two rings. Raises OSError."""
    fd = os.memfd_create(NAME, os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, SHARED_BYTES)
    except OSError:
        os.close(fd)
        raise
    return fd


def is_shared_memory(fd: int) -> bool:
    """Whether a descriptor is (still) one of such memory."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(f"/memfd:{NAME}")
    except OSError:
        return False


def shared_rings(fd: int, make_append: MakeAppend = Append) -> tuple[Ring, Ring]:
    """A worker's rings in that memory: of its error log, of its access log, which is busy. Raises OSError."""
    view = memoryview(mmap.mmap(fd, SHARED_BYTES))
    return Ring(view[:LOG_BYTES]), Ring(view[LOG_BYTES:], make_append)


class Left(NamedTuple):
    """What a dead process had not written: lines, in pieces, or if it was `framed` entries; and how many were lost
    that nobody was told of."""

    entries: tuple[bytes, ...] = ()
    untold: int = 0
    framed: bool = False


def left_behind(fd: int) -> tuple[Left, Left]:
    """What is left in a worker's rings: of its error log, of its access log. Raises OSError.

    The memory was the application's, too: nothing in it is believed, and it is read rather than mapped, because it may
    have been cut short.
    """
    memory = os.pread(fd, SHARED_BYTES, 0)
    return _left(memory[:LOG_BYTES]), _left(memory[LOG_BYTES:])


PIECE_BYTES = 4096


def _left(memory: bytes) -> Left:
    capacity = len(memory) - HEADER_BYTES
    if capacity <= 0:
        return Left()
    cells = memoryview(memory)[:HEADER_BYTES].cast("Q")
    untold = cells[LOST] - cells[TOLD]
    untold = untold if 0 < untold < 1 << 32 else 0
    used = cells[HEAD] - cells[TAIL]
    framed = cells[FRAMED] == 1
    if not 0 < used <= capacity:
        return Left((), untold, framed)
    at = HEADER_BYTES + cells[TAIL] % capacity
    data = memory[at : at + used]
    data += memory[HEADER_BYTES : HEADER_BYTES + used - len(data)]
    return Left(tuple(_frames(data) if framed else _pieces(data)), untold, framed)


def _frames(data: bytes) -> list[bytes]:
    entries, at = [], 0
    while at + CELL < len(data):
        end = at + CELL + int.from_bytes(data[at : at + CELL], "little")
        if end > len(data):
            break
        entries.append(data[at + CELL : end])
        at = end
    return entries


def _pieces(data: bytes) -> list[bytes]:
    """Lines, several at a time: the master has other things to do."""
    pieces, at = [], 0
    while (end := data.rfind(b"\n", at, at + PIECE_BYTES) + 1 or data.find(b"\n", at) + 1) > at:
        pieces.append(data[at:end])
        at = end
    return pieces
