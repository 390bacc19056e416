"""The routes of the application as the control API tells of them."""

from __future__ import annotations

import time

from miniwsgi.manager import messages as ms
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.route_counts import RouteCounts, RouteHistory

from .overview import latency

NANOSECONDS = 1e9


class RoutesSeen:
    """Look at the board about once a second: `look`."""

    def __init__(self, board: Board) -> None:
        self._history = RouteHistory(board, time.monotonic())

    def __repr__(self) -> str:
        return f"<RoutesSeen {self._history}>"

    def look(self, now: float) -> bool:
        """Whether the board was read. `now` is of time.monotonic()."""
        return self._history.take(now)

    def figures(self) -> ms.RouteList:
        """Those with the most requests of the last minute first."""
        report = self._history.look(time.monotonic())
        found = sorted(report.routes.items(), key=lambda one: (-one[1][1].requests, -one[1][0].requests, one[0]))
        return ms.RouteList(
            window_seconds=round(report.seconds, 3),
            routes=[_figures(name, total, lately, report.seconds) for name, (total, lately) in found],
        )


def _figures(name: str, total: RouteCounts, lately: RouteCounts, seconds: float) -> ms.RouteFigures:
    is_known = bool(name or total.cpu_ns)  # else it is an application whose routes nobody looks for
    requests, errors = lately.requests, lately.errors
    return ms.RouteFigures(
        name=name or None,
        requests=total.requests,
        errors=total.errors,
        statuses={f"{place}xx" if place else "_OTHER": count for place, count in enumerate(total.statuses) if count},
        duration_seconds=_seconds(total.duration_ns),
        queue_seconds=_seconds(total.queued_ns) if is_known else None,
        cpu_seconds=_seconds(total.cpu_ns) if total.cpu_ns else None,
        response_bytes=total.sent_bytes if is_known else None,
        rate=round(requests / seconds, 3) if seconds > 0 else 0.0,
        error_share=round(errors / requests, 4) if requests else None,
        mean_seconds=_seconds(lately.duration_ns / requests) if requests else None,
        mean_queue_seconds=_seconds(lately.queued_ns / requests) if requests and is_known else None,
        cpu_percent=round(lately.cpu_ns / NANOSECONDS / seconds * 100, 1) if total.cpu_ns and seconds > 0 else None,
        duration=latency(lately.buckets, seconds),
    )


def _seconds(ns: float) -> float:
    return round(ns / NANOSECONDS, 6)
