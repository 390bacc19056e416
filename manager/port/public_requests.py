"""Routes and single requests as the status page shows them: by the labels that /metrics has, too (method and route),
and by numbers. No path, no id, no line of the application's code: for those there is the control API.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from miniwsgi.metrics.charts import clock
from miniwsgi.metrics.route_names import OTHER
from miniwsgi.metrics.scoreboard import METHODS

from .. import messages as ms

SHOWN_ROUTES = 15
SHOWN_REQUESTS = 12
NO_ROUTE = "(no route)"
UNKNOWN_ROUTE = "(route not known)"  # who could tell is gone
_LOSSES = {"crash": "worker crashed", "oom": "out of memory", "wedge": "worker wedged", "timeout": "timed out"}


def route_rows(found: ms.RouteList) -> list[dict[str, Any]]:
    """Those that were asked for most in the last minute; none for an application without any."""
    if all(route.name is None for route in found.routes):
        return []
    return [_route(route) for route in found.routes[:SHOWN_ROUTES]]


def _route(route: ms.RouteFigures) -> dict[str, Any]:
    shown = route.duration.shown
    return {
        "name": NO_ROUTE if route.name is None else "(all others)" if route.name == OTHER else route.name,
        "rate": route.rate,
        "error_share": route.error_share,
        "p50": shown.p50,
        "p95": shown.p95,
        "p99": shown.p99,
        "queue": route.mean_queue_seconds,
        "cpu": route.cpu_percent,
        "requests": route.requests,
        "errors": route.errors,
    }


def request_rows(slow: Iterable[ms.Incident], lost: Iterable[ms.Crash]) -> list[dict[str, Any]]:
    """Slow requests and those that lost workers had in hand, each once, the latest first."""
    found: dict[tuple[object, ...], ms.Incident] = {}
    for one in (*slow, *(request for crash in lost for request in crash.requests)):
        found[one.slot, one.pid, one.thread, one.at] = one  # of one that was slow and then lost: that it was lost
    latest = sorted(found.values(), key=lambda one: one.at, reverse=True)
    failed = [one for one in latest if one.kind != "slow"][
        : SHOWN_REQUESTS // 2
    ]  # how many slow ones there may be since
    others = [one for one in latest if one not in failed][: SHOWN_REQUESTS - len(failed)]
    return [_request(one) for one in sorted(failed + others, key=lambda one: one.at, reverse=True)]


def _request(one: ms.Incident) -> dict[str, Any]:
    method = one.method if one.method in METHODS else OTHER
    failed = one.kind != "slow" or (one.status or 0) >= 500
    return {
        "time": clock(one.at.timestamp()),
        "request": f"{method} {one.route or (NO_ROUTE if one.kind == 'slow' else UNKNOWN_ROUTE)}",
        "what": _LOSSES.get(one.kind, "runs" if one.running else "slow"),
        "level": "bad" if failed else "quiet",
        "seconds": one.age_seconds,
        "queued": one.queued_seconds,
        "cpu": one.cpu_seconds,
        "status": one.status,
        "worker": one.slot,
    }
