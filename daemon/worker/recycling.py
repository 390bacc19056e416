"""When a worker has lived long enough. It asks the master, which starts the replacement first."""

from __future__ import annotations

import gc

from miniwsgi.metrics.scoreboard import REQUESTS

from ..unpatched import os, time
from .context import NANOSECONDS, Context, Duty
from .orders import Orders

LOOK_NS = NANOSECONDS  # memory and age change slowly: once a second is enough


class Recycling:
    """Looks at `max_requests`, `max_lifetime` and `max_rss`; asks once."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._context = context
        self._served_before = context.slot.cells[REQUESTS]
        self._max_requests = settings.max_requests
        if settings.max_requests:
            self._max_requests += int.from_bytes(os.urandom(4)) % (settings.max_requests_jitter + 1)
        self._born_ns = time.monotonic_ns()
        self._looked_ns = 0
        self._asked = False

    def look(self, orders: Orders, now: int) -> None:
        """Ask to be replaced if it is time; cheap enough to be called after each request."""
        if now - self._looked_ns < LOOK_NS and not self._max_requests:
            return
        self._looked_ns = now
        if self._asked or self._context.duty in {Duty.EMPTY, Duty.DRAIN}:
            return
        reason = self._reason(now)
        if reason:
            self._asked = True
            orders.tell("recycle", reason=reason)

    def _reason(self, now: int) -> str:
        settings = self._context.settings
        if self._max_requests and self._context.slot.cells[REQUESTS] - self._served_before >= self._max_requests:
            return "requests"
        if settings.max_lifetime and now - self._born_ns > settings.max_lifetime * NANOSECONDS:
            return "lifetime"
        if settings.max_rss_bytes and memory_bytes() > settings.max_rss_bytes:
            gc.collect()  # garbage in cycles is no reason
            if memory_bytes() > settings.max_rss_bytes:
                return "rss"
        return ""


def memory_bytes() -> int:
    """Resident set size of this process, from /proc/self/statm (proc(5))."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
