"""The status page's content: status.json, and beside it history, events and the other daemons of this host.

What holds for status.json holds here: numbers, states and names that /metrics has, too (routes, the revision); no path
or query of a request, no text of the application's or of an error, nobody's name. Events are therefore told in words
of our own, made of their kind and their numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs

from miniwsgi.metrics.charts import clock
from miniwsgi.metrics.history import LOSSES, Mark, MarkKind, Span, describe
from msgspec import Struct, structs

from .. import messages as ms
from .public_requests import request_rows, route_rows
from .public_status import PublicStatus, as_data

SHOWN_EVENTS = 12
_BAD = LOSSES | {MarkKind.SILENT, MarkKind.FAILING, MarkKind.LEADER}
_NAMES = {Span.QUARTER: "15 minutes", Span.HOUR: "1 hour"}


class Neighbour(Struct, frozen=True):
    """Another daemon of this host, as far as this one may look: `state` "denied" and None else."""

    instance: str
    state: str
    level: str  # of its verdict, or "denied"
    ready: int | None = None
    target: int | None = None
    uptime_seconds: float | None = None
    version: str | None = None


class PublicPage(Struct, frozen=True):
    """What the page has beside `status`. `charts` is markup of `metrics.charts`."""

    status: PublicStatus
    span: Span
    charts: str
    marks: Sequence[Mark] = ()
    epoch: float = 0.0  # what to add to a mark's time to have a date's
    neighbours: Sequence[Neighbour] = ()
    routes: ms.RouteList | None = None
    slow: Sequence[ms.Incident] = ()
    lost: Sequence[ms.Crash] = ()


def asked_span(query: str) -> Span:
    """How far back a request for the page looks; anything else than `span=1h` is a quarter of an hour."""
    try:
        return Span(parse_qs(query, max_num_fields=8).get("span", [""])[0])
    except ValueError:
        return Span.QUARTER


def page_data(page: PublicPage, now: float | None = None) -> dict[str, Any]:
    """What `metrics.status_page` fills in."""
    data = as_data(page.status)
    status = page.status
    events = [_event(mark, page.epoch) for mark in _latest(page.marks)]
    incidents = request_rows(page.slow, page.lost)
    return data | {
        "title": f"{status.verdict.level}: {status.name}{f' · {status.revision}' if status.revision else ''}",
        "application": status.name.removesuffix(f" on {status.host}"),
        "step_seconds": page.span.step_seconds,
        "spans": "".join(_link(span, page.span) for span in Span),
        "charts": page.charts,
        "events": events,
        "no_events": not events,
        "routes": route_rows(page.routes) if page.routes is not None else [],
        "incidents": incidents,
        "no_incidents": not incidents,
        "neighbours": [_row(neighbour) for neighbour in page.neighbours],
        "clock": clock(time.time() if now is None else now),
    }


def _link(span: Span, current: Span) -> str:
    is_current = ' aria-current="page"' if span is current else ""
    return f'<a href="?span={span.value}"{is_current}>{_NAMES[span]}</a>'


def _latest(marks: Iterable[Mark]) -> list[Mark]:
    told = (mark for mark in marks if mark.kind is not MarkKind.SLOW)  # slow requests have a table of their own
    return sorted(told, key=lambda mark: mark.at, reverse=True)[:SHOWN_EVENTS]


def _event(mark: Mark, epoch: float) -> dict[str, str]:
    level = "bad" if mark.failed or mark.kind in _BAD else "quiet"
    return {"time": clock(mark.at + epoch), "what": describe(mark), "level": level}


def _row(neighbour: Neighbour) -> dict[str, Any]:
    counts = None if neighbour.ready is None else f"{neighbour.ready} of {neighbour.target}"
    return {**structs.asdict(neighbour), "workers": counts}
