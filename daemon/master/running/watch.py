"""The watch over the scoreboard: who has not turned its loop for too long, and what a lost worker was
doing.

A heartbeat is old only if we ourselves were awake to see it grow old: after a pause of the whole machine or
of the daemon's cgroup everybody gets another round.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from miniwsgi.metrics.board import Board
from miniwsgi.metrics.health import silent_for
from miniwsgi.metrics.scoreboard import HEARTBEAT, WAITING, Running
from miniwsgi.metrics.scoreboard_reading import running

from ...log.access_log import AccessLog

ROUND_SECONDS = 1.0
PAUSE_SECONDS = 2.5  # between two rounds: more, and the round does not count
NANOSECONDS = 1e9
REQUEST_ID = "miniwsgi.request_id"  # in environs and access-log lines


class Watch:
    """Heartbeats. Call `round` about each ROUND_SECONDS."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._last_ns = time.monotonic_ns()
        self._paused = False  # the last round came late
        self.wholly_wedged = False  # there were workers in the last round, and none of them has turned its loop

    def round(self, slots: Iterable[int], wedge_seconds: float, now_ns: int | None = None) -> list[tuple[int, float]]:
        """Each slot whose heartbeat is older than `wedge_seconds` (0: never), with its age in seconds."""
        now = time.monotonic_ns() if now_ns is None else now_ns
        self._paused = self._slept(now)
        self._last_ns = now
        self.wholly_wedged = False
        if self._paused or not wedge_seconds:
            return []
        looked_at, wedged = 0, []
        for slot in slots:
            beat = self.board.slot(slot).cells[HEARTBEAT]
            if beat:
                looked_at += 1
                age = (now - beat) / NANOSECONDS
                if age > wedge_seconds:
                    wedged.append((slot, age))
        self.wholly_wedged = bool(wedged) and len(wedged) == looked_at
        return wedged

    def silent_for(self, slot: int, now_ns: int | None = None) -> float | None:
        """For how many seconds the slot's worker has not responded; see `metrics.health.silent_for`."""
        now = time.monotonic_ns() if now_ns is None else now_ns
        beat = self.board.slot(slot).cells[HEARTBEAT]
        return silent_for((now - beat) / NANOSECONDS if beat and not self._paused and not self._slept(now) else None)

    @property
    def can_tell(self) -> bool:
        """Whether we were awake ourselves to see heartbeats grow old."""
        return not self._paused and not self._slept(time.monotonic_ns())

    def _slept(self, now_ns: int) -> bool:
        return now_ns - self._last_ns > PAUSE_SECONDS * NANOSECONDS


def load(board: Board, slot: int) -> int:
    """How many requests a slot's worker runs or has waiting."""
    found = board.slot(slot)
    return found.cells[WAITING] + running(found)


def log_lost_requests(
    access: AccessLog, requests: Iterable[Running], answered: Collection[int], status: str, now_ns: int
) -> int:
    """Access-log lines for what a worker was running when it died, as far as the scoreboard knows; how many.

    `answered` are threads whose request the worker itself has answered and logged.
    """
    count = 0
    for request in requests:
        if request.thread not in answered:
            environ = {"REQUEST_METHOD": request.method, "RAW_URI": request.path, "PATH_INFO": request.path}
            environ[REQUEST_ID] = request.request_id
            access.log(environ, status, [], 0, now_ns - request.started_ns)
            count += 1
    return count
