"""The one helper thread of a worker whose main thread runs the application itself.

It keeps the heartbeat, so that only a worker whose interpreter is stuck, not one that is busy, counts as wedged, and
it looks after requests that take too long, and after orders that wait for nobody. It runs no application code.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from miniwsgi.metrics.scoreboard import HEARTBEAT

from ..unpatched import Lock, start_thread, time
from .context import Context
from .orders import Orders

PERIOD_SECONDS = 0.25


class Monitor:
    """A context manager: the thread runs inside it. `check` is called each period with the time in ns."""

    def __init__(self, context: Context, orders: Orders, check: Callable[[int], None]) -> None:
        self._cells = context.slot.cells
        self._orders = orders
        self._check = check
        self._end = Lock()  # held while the thread is to run
        self._end.acquire()

    def __enter__(self) -> None:
        start_thread(self._run, "mw-monitor")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.release()

    def _run(self) -> None:
        while not self._end.acquire(timeout=PERIOD_SECONDS):
            now = time.monotonic_ns()
            self._cells[HEARTBEAT] = now
            self._orders.look_beside()
            self._check(now)
