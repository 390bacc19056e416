"""What is read from the scoreboard: totals since the start, rates and histograms over the last seconds.

Reading never waits for a writer. Counters are cumulative over all workers a slot ever had, so sums over the slots only
grow; a figure about the last minute is the difference to a snapshot, which `History` takes as time goes by.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import sub

from . import scoreboard as sb
from .board import Board
from .route_names import Labels
from .slot import Slot

SNAPSHOT_SECONDS = 1.0
HISTOGRAM_EVERY = 5  # snapshots: the whole board is read for it
LONGEST_SECONDS = 60.0
BOUNDS_SECONDS = tuple(bound / 1e9 for bound in sb.BOUNDS_NS)
NO_BUCKETS = (0,) * sb.BUCKETS
_SUMS = sb.SERIES_CELLS - sb.S_SUM  # cells of a series: all but its key
labels = lru_cache(maxsize=4 * sb.SERIES)(sb.series_labels)  # of a series by its key: slots have much the same ones


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all slots: since the start, and (from `connections` on) of now."""

    requests: int = 0
    errors: int = 0
    rejected: int = 0
    aborted: int = 0
    timed_out: int = 0
    connections: int = 0
    waiting: int = 0
    sockets_opened: int = 0
    sockets_closed: int = 0

    @property
    def sockets(self) -> int:
        return self.sockets_opened - self.sockets_closed


_CELLS = (
    sb.REQUESTS, sb.ERRORS, sb.REJECTED, sb.ABORTED, sb.TIMED_OUT, sb.CONNECTIONS, sb.WAITING, sb.SOCKETS_OPENED,
    sb.SOCKETS_CLOSED,
)  # fmt: skip
assert len(_CELLS) == len(fields(Totals))


def totals(board: Board) -> Totals:
    """What the slots have counted."""
    rows = [[slot.cells[cell] for cell in _CELLS] for slot in board.used()]
    return Totals(*map(sum, zip(*rows, strict=True))) if rows else Totals()


def running(slot: Slot) -> int:
    """How many of the slot's threads are inside the application."""
    cells, count = slot.cells, 0
    for thread in range(sb.MAX_THREADS):
        at = slot.thread_cell(thread)
        if not cells[at + sb.T_START]:
            break
        count += cells[at + sb.T_STATE] == sb.RUNNING
    return count


def packed(cells: memoryview[int], start: int, count: int) -> int:
    """So many cells as one number. Sums of such numbers are sums cell by cell, for no cell's sum comes near to 2**64:
    a third of the time that it takes to add up lists, which with hundreds of slots the master's loop would feel.
    """
    return int.from_bytes(cells[start : start + count], sys.byteorder)


def unpacked(number: int, count: int) -> list[int]:
    """The cells of a sum of `packed` ones."""
    return array("Q", number.to_bytes(count * sb.CELL, sys.byteorder)).tolist()


def durations(slots: Iterable[Slot]) -> tuple[int, ...]:
    """The histogram of request durations, all methods and statuses together."""
    found = 0
    for slot in slots:
        for at in series(slot.cells):
            found += packed(slot.cells, at + sb.S_BUCKETS, sb.BUCKETS)
    return tuple(unpacked(found, sb.BUCKETS))


def series(cells: memoryview[int]) -> Iterator[int]:
    """Where a slot's series in use lie: they are taken in order, the overflow series is the last one."""
    for number in range(sb.SERIES - 1):
        at = sb.SERIES_AT + number * sb.SERIES_CELLS
        if not cells[at + sb.S_KEY]:
            break
        yield at
    overflow = sb.SERIES_AT + (sb.SERIES - 1) * sb.SERIES_CELLS
    if cells[overflow + sb.S_KEY]:
        yield overflow


def series_by_labels(board: Board, slots: Iterable[Slot]) -> dict[Labels, list[int]]:
    """The cells of series (but for the key: 0), summed up by method, status and route, whoever has given that back."""
    sums: dict[Labels, int] = {}
    for slot in slots:
        cells = slot.cells
        keys = [(at, cells[at + sb.S_KEY]) for at in series(cells)]
        names = slot.route_names()  # now: a route has its name before a series has its number
        for at, key in keys:
            found = board.routes.labels(key, names)
            sums[found] = sums.get(found, 0) + packed(cells, at + sb.S_SUM, _SUMS)
    return board.routes.with_past({found: [0, *unpacked(number, _SUMS)] for found, number in sums.items()})


def queue_times(slots: Iterable[Slot]) -> tuple[int, ...]:
    """The histogram of times between a complete request and the application's start."""
    found = sum(packed(slot.cells, sb.QUEUE_BUCKETS, sb.BUCKETS) for slot in slots)
    return tuple(unpacked(found, sb.BUCKETS))


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """The counters at a moment. Histograms only in some."""

    at: float
    requests: tuple[int, ...]  # by slot
    durations: tuple[int, ...] | None
    queue_times: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted in the last `seconds`."""

    seconds: float
    durations: tuple[int, ...]
    queue_times: tuple[int, ...]


class History:
    """The last minute, a snapshot a second. `take` is to be called so often, by whoever has the clock."""

    def __init__(self, board: Board, now: float) -> None:
        self._board = board
        self._taken = 0
        self._snapshots: deque[CounterSnapshot] = deque()
        self.take(now)

    def __repr__(self) -> str:
        return f"<History snapshots={len(self._snapshots)}>"

    def take(self, now: float) -> bool:
        """A snapshot, now. Whether the whole board was read for it."""
        slots = list(self._board.used())
        whole = self._taken % HISTOGRAM_EVERY == 0
        self._taken += 1
        self._snapshots.append(
            CounterSnapshot(
                now,
                tuple([slot.cells[sb.REQUESTS] for slot in slots]),
                durations(slots) if whole else None,
                queue_times(slots) if whole else None,
            )
        )
        oldest = now - LONGEST_SECONDS - HISTOGRAM_EVERY * SNAPSHOT_SECONDS
        while self._snapshots[0].at < oldest:
            self._snapshots.popleft()
        return whole

    def rate(self, now: float, seconds: float, slot: int | None = None) -> float | None:
        """Requests a second over about the last `seconds`, of all slots or one; None until there is a past so long."""
        for snapshot in reversed(self._snapshots):
            elapsed = now - snapshot.at
            if elapsed >= seconds * 0.95:
                before = snapshot.requests
                if slot is None:
                    count = sum(found.cells[sb.REQUESTS] for found in self._board.used()) - sum(before)
                else:
                    count = self._board.slot(slot).cells[sb.REQUESTS] - (before[slot] if slot < len(before) else 0)
                return count / elapsed
        return None

    def window(self, now: float, lasted: Sequence[int], waited: Sequence[int]) -> Window:
        """The histograms of about the last minute, or of all there is, by those of now."""
        whole = [snapshot for snapshot in self._snapshots if snapshot.durations is not None]
        old = [snapshot for snapshot in whole if now - snapshot.at >= LONGEST_SECONDS]
        start = old[-1] if old else whole[0]
        return Window(
            now - start.at,
            tuple(map(sub, lasted, start.durations or NO_BUCKETS)),
            tuple(map(sub, waited, start.queue_times or NO_BUCKETS)),
        )
