"""Which worker has which connections: whether to take another one or leave it to a worker that has fewer, and whether
to end some, so that they can go there.

Those that are kept alive stay where they are: without the latter a worker that is new, after a scale-up or a crash,
would wait for clients that are new, too.
"""

from __future__ import annotations

import errno
from collections.abc import Collection

from miniwsgi.codes import Code
from miniwsgi.metrics.board import H_USED
from miniwsgi.metrics.scoreboard import (
    CONNECTIONS,
    HEARTBEAT,
    RUNNING,
    STATE,
    T_START,
    T_STATE,
    THREAD_CELLS,
    THREADS_AT,
    SlotState,
)

from ..log.error_log import ErrorLog
from ..unpatched import os, time
from .context import NANOSECONDS, Context

LOOK_AGAIN_SECONDS = 0.002
FULL_SECONDS = 0.1  # at the connection limit, or out of descriptors
UNEVEN = 2
UNEVEN_SHARE = 0.25  # above the least loaded one's: below it, moving connections costs more than it brings
PARTED_SHARE = 0.1  # of what is too much, at each look: whoever has to connect again should not do so with all others
BUSY_NS = NANOSECONDS // 50  # a loop that is inside a request for longer does not count
SILENT_NS = 2 * NANOSECONDS  # nor does one that has not turned for this long: idle ones do each second


def surplus(mine: int, others: Collection[int]) -> int:
    """How many of `mine` connections to end now; `others` are those of the workers that would take them.

    Never below a fair share of what all have, and nothing once the least loaded has nearly as many: as a worker takes
    none while another has UNEVEN fewer, what one ends never comes back to it, and two never send each other the same.
    """
    least = min(others, default=mine)
    if mine - least <= UNEVEN or mine <= least * (1 + UNEVEN_SHARE):
        return 0
    too_many = mine - (mine + sum(others)) // (1 + len(others))
    return max(0, min(too_many, max(1, int(too_many * PARTED_SHARE))))


class Balance:
    """Compares with the other ready workers' connections on the scoreboard."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._board = context.board
        self._limit = settings.connections
        self._lone_thread = settings.pool != "epoll" or settings.threads == 1
        self._threads = range(THREADS_AT, THREADS_AT + (settings.threads + 1) * THREAD_CELLS, THREAD_CELLS)
        self._index = context.slot.index
        self._looked = 0  # how many slots are, this worker's among them, in …
        self._others: list[memoryview[int]] = []

    def wait(self, mine: int) -> float:
        """Seconds for which to accept nothing, having `mine` connections; 0: accept."""
        if mine >= self._limit:
            return FULL_SECONDS
        if mine < UNEVEN:
            return 0.0
        if self._looked < self._board.header[H_USED]:
            self._look()
        for cells in self._others:
            if cells[CONNECTIONS] + UNEVEN <= mine and cells[STATE] == SlotState.READY and self._accepts(cells):
                return LOOK_AGAIN_SECONDS
        return 0.0

    def surplus(self, mine: int) -> int:
        """How many of `mine` connections should go to other workers, at this look; some ten are made a second."""
        if mine <= UNEVEN:
            return 0
        if self._looked < self._board.header[H_USED]:
            self._look()
        others = [cells for cells in self._others if cells[STATE] == SlotState.READY]
        return surplus(mine, [cells[CONNECTIONS] for cells in others if self._accepts(cells)])

    def _look(self) -> None:
        """Slots are in use that were not."""
        board, found = self._board, range(self._looked, self._board.header[H_USED])
        self._others += [board.slot(index).cells for index in found if index != self._index]
        self._looked = found.stop

    def _accepts(self, cells: memoryview) -> bool:
        """Whether that worker's loop turns: leaving a connection to one that is stuck would be leaving it to nobody."""
        now, beat = time.monotonic_ns(), cells[HEARTBEAT]
        if now - beat > SILENT_NS:
            return False
        for at in self._threads:
            started = cells[at + T_START]
            if not started:
                break
            # Where the loop goes on beside requests, it has not if it has not turned since this one began.
            if cells[at + T_STATE] == RUNNING and now - started > BUSY_NS and (self._lone_thread or beat <= started):
                return False
        return True


def accept_again_seconds(number: int | None, log: ErrorLog) -> float:
    """How long to wait after accept(2) has failed with this errno. Raises OSError if the listener itself is broken."""
    if number is None or number == errno.EAGAIN:
        return 0.0  # nobody is there any more
    if number in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
        told = f"cannot accept connections: {os.strerror(number)}; raise LimitNOFILE"
        log.limited("accept", "error", Code.NO_DESCRIPTORS, told)
        return FULL_SECONDS
    if number in {errno.EBADF, errno.ENOTSOCK}:
        raise OSError(number, os.strerror(number))
    return 0.0  # the client is gone
