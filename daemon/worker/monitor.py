"""The one helper thread of a worker whose main thread runs the application itself.

It keeps the heartbeat, so that only a worker whose interpreter is stuck, not one that is busy, counts as wedged, and
it looks after requests that take too long. It runs no application code.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from miniwsgi.metrics.scoreboard import HEARTBEAT

from .context import Context
from .orders import Orders

PERIOD_SECONDS = 0.25


class Monitor:
    """A context manager: the thread runs inside it. `check` is called each period with the time in ns."""

    def __init__(self, context: Context, orders: Orders, check: Callable[[int], None]) -> None:
        self._cells = context.slot.cells
        self._orders = orders
        self._check = check
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mw-monitor", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(PERIOD_SECONDS):
            now = time.monotonic_ns()
            self._cells[HEARTBEAT] = now
            self._orders.watch_lifeline()
            self._check(now)
