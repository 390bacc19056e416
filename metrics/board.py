"""The memory of the scoreboard: a header and the slots, written and read as metrics.scoreboard says."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

from .route_names import RouteNames
from .scoreboard import CELL, LAYOUT, MAX_SLOTS, MAX_THREADS, SLOT_BYTES
from .slot import Slot

MAGIC = int.from_bytes(b"miniwsgi", "little")
HEADER_CELLS = 512  # a page
(
    H_MAGIC,
    H_LAYOUT,
    H_SLOTS,
    H_THREADS,
    H_STRIDE,
    H_USED,
    H_WORKERS,  # how many were asked for at run time; 0: as many as are configured. For the next master, if any.
) = range(7)

BOARD_BYTES = HEADER_CELLS * CELL + MAX_SLOTS * SLOT_BYTES


class LayoutError(Exception):
    """The shared memory was laid out by another version of miniwsgi."""


class Board:
    """The whole scoreboard. The master creates it; launchers and workers attach by descriptor."""

    __slots__ = ("_map", "_slots", "_view", "fd", "header", "routes")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, BOARD_BYTES)
        self._view = memoryview(self._map)
        self.header = self._view[: HEADER_CELLS * CELL].cast("Q")
        self._slots: dict[int, Slot] = {}
        self.routes = RouteNames()  # the master's alone

    @classmethod
    def create(cls) -> Board:
        """A new board: sparse, so that only slots in use take memory. Raises OSError."""
        fd = os.memfd_create("miniwsgi-scoreboard", os.MFD_CLOEXEC)
        os.ftruncate(fd, BOARD_BYTES)
        board = cls(fd)
        header = board.header
        header[H_LAYOUT], header[H_SLOTS], header[H_THREADS] = LAYOUT, MAX_SLOTS, MAX_THREADS
        header[H_STRIDE] = SLOT_BYTES
        header[H_MAGIC] = MAGIC
        return board

    @classmethod
    def attach(cls, fd: int) -> Board:
        """Map a board that another process made. Raises LayoutError if it was laid out otherwise."""
        if os.fstat(fd).st_size != BOARD_BYTES:
            raise LayoutError(f"the scoreboard has {os.fstat(fd).st_size} bytes, {BOARD_BYTES} expected")
        board = cls(fd)
        found = tuple(board.header[cell] for cell in (H_MAGIC, H_LAYOUT, H_SLOTS, H_THREADS, H_STRIDE))
        if found != (MAGIC, LAYOUT, MAX_SLOTS, MAX_THREADS, SLOT_BYTES):
            raise LayoutError(f"the scoreboard's layout is {found[1]}, {LAYOUT} expected")
        return board

    def slot(self, index: int) -> Slot:
        """Slot `index` of MAX_SLOTS. Raises IndexError."""
        found = self._slots.get(index)
        if found is None:
            if not 0 <= index < MAX_SLOTS:
                raise IndexError(f"slot {index}: there are {MAX_SLOTS}")
            start = HEADER_CELLS * CELL + index * SLOT_BYTES
            found = self._slots[index] = Slot(index, self._view[start : start + SLOT_BYTES])
        return found

    def claim(self, index: int) -> Slot:
        """Slot `index`, counted among those in use from now on. Called by the master alone."""
        if index >= self.header[H_USED]:
            self.header[H_USED] = index + 1
        return self.slot(index)

    def vacate(self, index: int) -> None:
        """The slot's worker has been reaped. Called by the master alone."""
        slot = self.slot(index)
        slot.vacate()
        self.routes.take_back(slot)

    def take_over(self) -> None:
        """Forget what was momentary about workers that died with their master. Called by the next master."""
        for slot in self.used():
            self.vacate(slot.index)

    def used(self) -> Iterator[Slot]:
        """Every slot that ever had a worker."""
        return (self.slot(index) for index in range(self.header[H_USED]))
