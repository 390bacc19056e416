"""Whether a worker should take another connection, or leave it to a worker that has fewer."""

from __future__ import annotations

import errno

from miniwsgi.metrics.scoreboard import (
    CONNECTIONS,
    H_USED,
    HEARTBEAT,
    RUNNING,
    STATE,
    T_START,
    T_STATE,
    THREAD_CELLS,
    THREADS_AT,
    State,
)

from ..logs import ErrorLog
from ..unpatched import time
from .context import NANOSECONDS, Context

LOOK_AGAIN_SECONDS = 0.002
FULL_SECONDS = 0.1  # at the connection limit, or out of descriptors
UNEVEN = 2
BUSY_NS = NANOSECONDS // 50  # a loop that is inside a request for longer does not count
SILENT_NS = 2 * NANOSECONDS  # nor does one that has not turned for this long: idle ones do each second


class Balance:
    """Compares with the other ready workers' connections on the scoreboard."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._board = context.board
        self._limit = settings.connections
        self._lone_thread = settings.pool != "epoll" or settings.threads == 1
        self._threads = range(THREADS_AT, THREADS_AT + (settings.threads + 1) * THREAD_CELLS, THREAD_CELLS)
        self._others: list[memoryview] = []

    def wait(self, mine: int) -> float:
        """Seconds for which to accept nothing, having `mine` connections; 0: accept."""
        if mine >= self._limit:
            return FULL_SECONDS
        if mine < UNEVEN:
            return 0.0
        board, others = self._board, self._others
        for index in range(len(others), board.header[H_USED]):
            others.append(board.slot(index).cells)
        for cells in others:
            if cells[CONNECTIONS] + UNEVEN <= mine and cells[STATE] == State.READY and self._accepts(cells):
                return LOOK_AGAIN_SECONDS
        return 0.0

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


def accept_again_seconds(error: OSError, log: ErrorLog) -> float:
    """How long to wait after accept(2) has failed. Raises the error if the listener itself is broken."""
    if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
        log.limited("accept", "error", f"cannot accept connections: {error.strerror}; raise LimitNOFILE")
        return FULL_SECONDS
    if error.errno in {errno.EBADF, errno.ENOTSOCK}:
        raise error
    return 0.0  # another worker was faster, or the client is gone
