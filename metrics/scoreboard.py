"""The scoreboard: what every worker is doing and has done, in shared memory (a memfd).

Written by workers without locks, read by the master at any time. A cell is eight bytes, aligned, and is written only
through `memoryview.cast("Q")`, which is one store (struct.pack_into is not: it tears). Each cell has one writer at a
time: a slot's counters belong to whoever holds the worker's loop, a thread's cells to that thread. Counters are
cumulative over the workers that held the slot and are never set back. Times are `time.monotonic_ns()`.

    header | slot 0 | slot 1 | …            slot = counters | labelled series | thread 0 | thread 1 | …
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

MAGIC = int.from_bytes(b"miniwsgi", "little")
LAYOUT = 1  # raise it with every change of what a cell means or where it lies

MAX_SLOTS = 512
MAX_THREADS = 257  # 256 that run the application and the one that keeps the loop

CELL = 8
HEADER_CELLS = 512  # a page
H_MAGIC, H_LAYOUT, H_SLOTS, H_THREADS, H_STRIDE, H_USED = range(6)


class State(IntEnum):
    """A slot's state. Written by the worker that holds it, by the master only while it is vacant."""

    VACANT = 0
    BOOTING = 1
    READY = 2
    DRAINING = 3
    STOPPED = 4  # about to exit


# --- a slot's cells, from its start ----------------------------------------------------------------------------------
(
    STATE,
    PID,
    GENERATION,
    STARTED,  # when the worker was forked
    HEARTBEAT,  # when the loop last turned
    CONNECTIONS,  # open now
    WAITING,  # complete requests that wait for a thread, now
    BUSY_THREADS,  # threads given a request, now (what is run by the loop's own thread is in its sub-slot)
    REQUESTS,  # answered by the application
    ACCEPTED,  # connections
    CLOSED,
    REUSED,  # requests that were not the first of their connection
    INLINE,  # requests run by the thread that held the loop, to their end
    HANDED_OVER,  # requests given to another thread before the call
    TAKEN_OVER,  # calls during which another thread took the loop
    REJECTED,  # protocol errors and limits answered by the server
    ABORTED,  # clients gone before their response was complete
    TIMED_OUT,  # requests beyond request_timeout
    ERRORS,  # exceptions from the application
    BYTES_IN,  # request bodies
    BYTES_OUT,  # response bodies
    LOG_LOST,  # log lines dropped because nobody read them
    SERIES_LOST,  # requests counted under an overflow series
    QUEUE_SUM,  # ns between a complete request and the application's start
) = range(24)
QUEUE_BUCKETS = 24

# Upper bounds in ns: OpenTelemetry's for http.server.request.duration, and three finer ones below 5 ms.
BOUNDS_NS = tuple(
    int(seconds * 1e9)
    for seconds in (
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075,
        0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    )
)  # fmt: skip
BUCKETS = len(BOUNDS_NS) + 1

# --- labelled series: request durations by method and status (and route), allocated on first use --------------------
SERIES = 128
SERIES_AT = 512  # the slot's second page
S_KEY, S_SUM, S_BUCKETS = 0, 1, 2
SERIES_CELLS = S_BUCKETS + BUCKETS
METHODS = (
    "_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
)  # fmt: skip
_METHOD_NUMBER = {name: number for number, name in enumerate(METHODS)}
_IN_USE = 1 << 63

# --- one sub-slot a thread: what it is running -----------------------------------------------------------------------
THREADS_AT = SERIES_AT + ((SERIES * SERIES_CELLS + 511) // 512) * 512
T_STATE, T_START, T_TEXT = 0, 1, 2  # idle or running; since when; the request's first bytes as received
THREAD_CELLS = 32
TEXT_BYTES = (THREAD_CELLS - T_TEXT) * CELL
IDLE, RUNNING = 0, 1

SLOT_CELLS = THREADS_AT + ((MAX_THREADS * THREAD_CELLS + 511) // 512) * 512
SLOT_BYTES = SLOT_CELLS * CELL
BOARD_BYTES = HEADER_CELLS * CELL + MAX_SLOTS * SLOT_BYTES


class LayoutError(Exception):
    """The shared memory was laid out by another version of miniwsgi."""


@dataclass(frozen=True, slots=True)
class Running:
    """A request that a thread is running now."""

    thread: int
    started_ns: int
    method: str
    path: str  # without its query: that may carry secrets


class Slot:
    """One worker's part of the board. `cells` is indexed by the constants above; hot code uses it directly."""

    __slots__ = ("_series", "cells", "index", "memory")

    def __init__(self, index: int, memory: memoryview) -> None:
        self.index = index
        self.memory = memory  # bytes
        self.cells = memory.cast("Q")
        self._series: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<Slot {self.index} {self.state.name} pid={self.cells[PID]} requests={self.cells[REQUESTS]}>"

    @property
    def state(self) -> State:
        return State(self.cells[STATE])

    @state.setter
    def state(self, state: State) -> None:
        self.cells[STATE] = state

    def vacate(self) -> None:
        """Forget what was momentary about a worker that has been reaped. Called by the master alone."""
        cells = self.cells
        for cell in (STATE, PID, GENERATION, STARTED, HEARTBEAT, CONNECTIONS, WAITING, BUSY_THREADS):
            cells[cell] = 0
        for thread in range(MAX_THREADS):
            at = THREADS_AT + thread * THREAD_CELLS
            if not cells[at + T_START]:
                break  # threads are numbered from 0 in the order of their first request
            cells[at + T_STATE] = IDLE

    def thread_cell(self, thread: int) -> int:
        """The index in `cells` of a thread's sub-slot."""
        return THREADS_AT + thread * THREAD_CELLS

    def series(self, method: str, status: int, route: int = 0) -> int:
        """The index in `cells` of a labelled series, allocated on first use.

        When all are taken the request counts under method _OTHER, status 0, for which one is kept.
        """
        key = _IN_USE | route << 32 | status << 8 | _METHOD_NUMBER.get(method, 0)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = self._allocate(key)
        return found

    def _allocate(self, key: int) -> int:
        cells = self.cells
        for number in range(SERIES - 1):
            at = SERIES_AT + number * SERIES_CELLS
            if cells[at + S_KEY] == key:
                return at
            if not cells[at + S_KEY]:
                cells[at + S_KEY] = key
                return at
        at = SERIES_AT + (SERIES - 1) * SERIES_CELLS
        cells[at + S_KEY] = _IN_USE
        cells[SERIES_LOST] += 1
        return at

    def record(self, method: str, status: int, duration_ns: int) -> None:
        """Count one answered request. Called by whoever holds the worker's loop."""
        cells = self.cells
        at = self.series(method, status)
        cells[at + S_SUM] += duration_ns
        cells[at + S_BUCKETS + bucket(duration_ns)] += 1
        cells[REQUESTS] += 1

    def fold(self, other: Slot, seen: dict[int, int]) -> None:
        """Add what `other` has counted since the last time; `seen` remembers it (empty at first).

        For counters that another process writes, and for slots that are given up.
        """
        cells = self.cells
        for cell in (*range(REQUESTS, QUEUE_BUCKETS + BUCKETS),):
            value = other.cells[cell]
            cells[cell] += value - seen.get(cell, 0)
            seen[cell] = value
        for number in range(SERIES):
            at = SERIES_AT + number * SERIES_CELLS
            key = other.cells[at + S_KEY]
            if not key:
                break
            mine = self._series.get(key) or self._series.setdefault(key, self._allocate(key))
            for offset in range(S_SUM, SERIES_CELLS):
                value = other.cells[at + offset]
                cells[mine + offset] += value - seen.get(at + offset, 0)
                seen[at + offset] = value

    def running(self) -> list[Running]:
        """The requests that the slot's threads are inside, in the order of threads."""
        found = []
        cells = self.cells
        for thread in range(MAX_THREADS):
            at = THREADS_AT + thread * THREAD_CELLS
            started = cells[at + T_START]
            if not started:
                break
            if cells[at + T_STATE] == RUNNING:
                method, path = _request_line(bytes(self.memory[(at + T_TEXT) * CELL :][:TEXT_BYTES]))
                found.append(Running(thread, started, method, path))
        return found


class Board:
    """The whole scoreboard. The master creates it; launchers and workers attach by descriptor."""

    __slots__ = ("_map", "_slots", "_view", "fd", "header")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, BOARD_BYTES)
        self._view = memoryview(self._map)
        self.header = self._view[: HEADER_CELLS * CELL].cast("Q")
        self._slots: dict[int, Slot] = {}

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

    def used(self) -> Iterator[Slot]:
        """Every slot that ever had a worker."""
        return (self.slot(index) for index in range(self.header[H_USED]))


def bucket(duration_ns: int) -> int:
    """The histogram bucket of a duration: the first bound that is not below it (Prometheus' `le`)."""
    for number, bound in enumerate(BOUNDS_NS):
        if duration_ns <= bound:
            return number
    return BUCKETS - 1


def _request_line(text: bytes) -> tuple[str, str]:
    parts = text.split(b"\r", 1)[0].split(b"\0", 1)[0].split(b" ")
    method = parts[0].decode("latin-1")
    path = parts[1].split(b"?", 1)[0].decode("latin-1") if len(parts) > 1 else ""
    return method, path
