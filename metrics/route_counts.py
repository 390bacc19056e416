"""What was counted of each route: since the start, and in the last minute. Read from the scoreboard's series."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from operator import add

from msgspec import Struct

from . import scoreboard as sb
from .answers import CLASSES, EVERY_SECONDS, status_class
from .board import Board
from .scoreboard_reading import LONGEST_SECONDS, series_by_labels

_SUM, _SENT, _QUEUED, _CPU = (cell - sb.S_SUM + CLASSES for cell in (sb.S_SUM, sb.S_SENT, sb.S_QUEUED, sb.S_CPU))
_BUCKETS = sb.S_BUCKETS - sb.S_SUM + CLASSES
_NOTHING = array("Q", bytes(8 * (_BUCKETS + sb.BUCKETS)))


class RouteCounts(Struct, frozen=True):
    """What was counted of one route. Times are ns."""

    statuses: Sequence[int]  # requests by their status' first digit, of CLASSES
    duration_ns: int
    sent_bytes: int
    queued_ns: int
    cpu_ns: int  # 0: not known
    buckets: Sequence[int]  # of durations: scoreboard.BOUNDS_NS

    @property
    def requests(self) -> int:
        return sum(self.statuses)

    @property
    def errors(self) -> int:
        return self.statuses[5]


class RouteReport(Struct, frozen=True):
    """By route ("": requests without one): since the start, and in the last `seconds`."""

    seconds: float
    routes: Mapping[str, tuple[RouteCounts, RouteCounts]]


class RouteHistory:
    """The last minute of each route. `take` is to be called about once a second, by whoever has the clock."""

    def __init__(self, board: Board, now: float) -> None:
        self._board = board
        self._snapshots: deque[tuple[float, dict[str, array[int]]]] = deque([(now, self._rows())])

    def __repr__(self) -> str:
        return f"<RouteHistory snapshots={len(self._snapshots)}>"

    def take(self, now: float) -> bool:
        """A snapshot, if one is due. Whether it was."""
        if now - self._snapshots[-1][0] < EVERY_SECONDS:
            return False
        self._snapshots.append((now, self._rows()))
        while now - self._snapshots[1][0] >= LONGEST_SECONDS:
            self._snapshots.popleft()
        return True

    def look(self, now: float) -> RouteReport:
        """The counts now, and what was added since about a minute ago, or since the first look."""
        began, before = self._snapshots[0]
        found = {}
        for name, row in self._rows().items():
            past = before.get(name, _NOTHING)
            found[name] = _counts(row), _counts([max(0, new - old) for new, old in zip(row, past, strict=True)])
        return RouteReport(now - began, found)

    def _rows(self) -> dict[str, array[int]]:
        rows: dict[str, array[int]] = {}
        for (_method, status, name), part in series_by_labels(self._board, self._board.used()).items():
            row = rows.setdefault(name, _NOTHING[:])
            row[status_class(status)] += sum(part[sb.S_BUCKETS :])
            row[CLASSES:] = array("Q", map(add, row[CLASSES:], part[sb.S_SUM :]))
        return rows


def _counts(row: Sequence[int]) -> RouteCounts:
    return RouteCounts(row[:CLASSES], row[_SUM], row[_SENT], row[_QUEUED], row[_CPU], row[_BUCKETS:])
