"""Requests that took longer than `log.slow_request`: the master is told of each as it ends, but not of a storm.

Of shorter ones that may be slow for their route, which the master knows, it is told of fewer.

It looks at requests while they run, but cannot see their status, nor those that are over between two looks.
"""

from __future__ import annotations

from typing import Any

from ..engine import request_ids
from ..engine.environ import text_of
from ..routes.variables import CPU_NS, CPU_OF, ROUTE
from ..settings import UNUSUAL_SECONDS
from ..traceparent import trace_id_of
from ..unpatched import time
from .context import NANOSECONDS, Context
from .orders import Orders

TOLD_A_SECOND = 10
UNUSUAL_TOLD_A_SECOND = 2


def tell_slow_requests(context: Context, orders: Orders) -> None:
    """From now on, unless log.slow_request is off."""
    if seconds := context.settings.slow_request:
        told = SlowRequests(orders, int(seconds * NANOSECONDS))
        context.site.account.tell_slow(int(min(seconds, UNUSUAL_SECONDS) * NANOSECONDS), told.tell)


class SlowRequests:
    """Told by the account, while the loop is its owner's, or by a monitor."""

    def __init__(self, orders: Orders, slow_ns: int) -> None:
        self._orders = orders
        self._slow_ns = slow_ns
        self._second = 0
        self._told = self._unusual = 0  # in this second
        self._left_out = 0  # since the master was last told

    def __repr__(self) -> str:
        return f"<SlowRequests {self._told}>"

    def tell(self, environ: dict[str, Any], status: str, duration_ns: int, queued_ns: int) -> None:
        """It has ended."""
        second = time.monotonic_ns() // NANOSECONDS
        if second != self._second:
            self._second, self._told, self._unusual = second, 0, 0
        if duration_ns < self._slow_ns:
            self._unusual += 1
            if self._unusual > UNUSUAL_TOLD_A_SECOND:
                return
        elif self._told >= TOLD_A_SECOND:
            self._left_out += 1
            return
        else:
            self._told += 1
        target = text_of(environ, "RAW_URI") or text_of(environ, "PATH_INFO")
        self._orders.tell(
            "slow",
            request_id=text_of(environ, request_ids.VARIABLE),
            method=text_of(environ, "REQUEST_METHOD"),
            path=target.partition("?")[0],
            status=int(status[:3]) if status[:3].isdigit() else 0,
            route=text_of(environ, ROUTE) or None,
            trace_id=trace_id_of(environ),
            seconds=duration_ns / NANOSECONDS,
            queued=queued_ns / NANOSECONDS,
            cpu=_computed(environ),
            left_out=self._left_out,
        )
        self._left_out = 0


def _computed(environ: dict[str, Any]) -> float | None:
    """Seconds, where the application's thread was measured."""
    computed, requests = environ.get(CPU_NS), environ.get(CPU_OF, 1)
    return computed / requests / NANOSECONDS if type(computed) is int and type(requests) is int and requests else None
