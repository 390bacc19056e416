"""`routes` as people read it: a table, a row a route."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ... import messages
from .. import text
from ..options import Session

NO_ROUTE = "(none)"
OFF = 'metrics.routes is off: a request has a route only where the application says so (environ["miniwsgi.route"])'
COLUMNS = ("REQ/S", "5XX%", "P50", "P95", "P99", "MEAN", "QUEUE", "CPU", "REQUESTS", "5XX", "SENT")
WIDE_COLUMNS = ("2XX", "3XX", "4XX", "CPU TIME", "QUEUED")
DISPENSABLE = ("SENT", "P50", "QUEUE", "5XX", "MEAN", "REQUESTS", "P99")  # on a narrow screen, the first of it first
NAME_COLUMNS = 20  # that a route's name is to have at least

ORDERS: dict[str, Callable[[messages.RouteFigures], tuple[float, ...]]] = {
    "rate": lambda route: (route.rate, route.requests),
    # Beyond the last bound it is not known, which is more than any that is.
    "p95": lambda route: (_beyond(route.duration) or route.duration.p95 or 0.0, route.mean_seconds or 0.0),
    "errors": lambda route: (route.error_share or 0.0, route.errors),
    "cpu": lambda route: (route.cpu_percent or 0.0, route.cpu_seconds or 0.0),
}


def _beyond(duration: messages.Latency) -> float:
    return float("inf") if duration.count and duration.p95 is None else 0.0


def in_order(routes: Sequence[messages.RouteFigures], by: str) -> list[messages.RouteFigures]:
    """Those first of which there is most, by a key of ORDERS."""
    return sorted(routes, key=ORDERS[by], reverse=True)


def name(route: messages.RouteFigures) -> str:
    return NO_ROUTE if route.name is None else route.name


def figures(route: messages.RouteFigures) -> dict[str, str]:
    """What tables of routes show of one, by column."""
    duration, statuses = route.duration, route.statuses
    return {
        "REQ/S": text.rate(route.rate),
        "5XX%": text.share(route.error_share),
        "P50": _percentile(duration, duration.p50),
        "P95": _percentile(duration, duration.p95),
        "P99": _percentile(duration, duration.p99),
        "MEAN": text.seconds(route.mean_seconds),
        "QUEUE": text.seconds(route.mean_queue_seconds),
        "CPU": text.percent(route.cpu_percent),
        "REQUESTS": str(route.requests),
        "5XX": str(route.errors),
        "SENT": text.size(route.response_bytes),
        "2XX": str(statuses.get("2xx", 0)),
        "3XX": str(statuses.get("3xx", 0)),
        "4XX": str(statuses.get("4xx", 0)),
        "CPU TIME": text.seconds(route.cpu_seconds),
        "QUEUED": text.seconds(route.queue_seconds),
        "ROUTE": name(route),
    }


def _percentile(duration: messages.Latency, value: float | None) -> str:
    if not duration.count:
        return text.NOTHING
    return duration.shown.p99 if value is None else text.seconds(value)


def lines(found: messages.RouteList, session: Session, by: str) -> list[str]:
    """What `routes` prints. A terminal gets the columns that it has room for."""
    said = [] if found.looked_for else [OFF]
    if not found.routes:
        return ["no requests yet", *said]
    rows = [figures(route) for route in in_order(found.routes, by)]
    header = [*COLUMNS, *(WIDE_COLUMNS if session.wide else ()), "ROUTE"]
    width = None if session.wide else session.width()
    if width is not None:
        widths = {column: 2 + max(map(len, (column, *(row[column] for row in rows)))) for column in header[:-1]}
        dropped = text.left_out(widths, DISPENSABLE, width - NAME_COLUMNS)
        header = [column for column in header if column not in dropped]
    table = text.table(
        header,
        [[row[column] for column in header] for row in rows],
        right="".join("." if column == "ROUTE" else "r" for column in header),
        width=width,
        heading=session.heading,
    )
    return [*table, *said]
