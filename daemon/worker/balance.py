"""Whether a worker should take another connection, or leave it to a worker that has fewer."""

from __future__ import annotations

from miniwsgi.metrics.scoreboard import CONNECTIONS, H_USED, STATE, State

from .context import Context

LOOK_AGAIN_SECONDS = 0.002
FULL_SECONDS = 0.1  # at the connection limit
UNEVEN = 2


class Balance:
    """Compares with the other ready workers' connections on the scoreboard."""

    def __init__(self, context: Context) -> None:
        self._board = context.board
        self._limit = context.settings.connections
        self._others: list[memoryview] = []

    def wait(self, mine: int) -> float:
        """Seconds for which to accept nothing, having `mine` connections; 0: accept."""
        if mine < UNEVEN:
            return 0.0
        if mine >= self._limit:
            return FULL_SECONDS
        board, others = self._board, self._others
        for index in range(len(others), board.header[H_USED]):
            others.append(board.slot(index).cells)
        for cells in others:
            if cells[STATE] == State.READY and cells[CONNECTIONS] + UNEVEN <= mine:
                return LOOK_AGAIN_SECONDS
        return 0.0
