"""What `top` shows beside its workers: routes, events, and one worker with its threads, requests and stacks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.text import Text

from ... import messages
from .. import text
from ..views import events_view, routes_view, stack_view
from ..views.workers_view import facts, longest_first
from .model import Model

ROUTE_WIDTHS = {
    "REQ/S": 7, "5XX%": 6, "P50": 9, "P95": 9, "P99": 9, "MEAN": 9, "QUEUE": 9, "CPU": 6, "REQUESTS": 9, "5XX": 6,
}  # fmt: skip
ORDER_COLUMNS = {"rate": "REQ/S", "p95": "P95", "errors": "5XX%", "cpu": "CPU"}


def routes(model: Model, lines: int, width: int) -> list[Text]:
    """A table with its heading: `lines` at most."""
    widths = {name: 1 + wide for name, wide in ROUTE_WIDTHS.items()}
    dropped = text.left_out(widths, routes_view.DISPENSABLE, width - routes_view.NAME_COLUMNS)
    columns = {name: wide for name, wide in ROUTE_WIDTHS.items() if name not in dropped}
    order = ORDER_COLUMNS[model.route_order]
    heading = Text(style="bold underline")
    for name, wide in columns.items():
        heading.append(" ").append(name.rjust(wide), "reverse" if name == order else "")
    heading.append(" ROUTE")
    heading.truncate(width, pad=True)
    known = model.routes()
    if not known:
        return [heading, nothing_found(model, width, "no requests yet")]
    found = [heading]
    for route in known[model.first(len(known), lines - 1) :][: lines - 1]:
        cells = routes_view.figures(route)
        said = "".join(f" {cells[name].rjust(wide)}" for name, wide in columns.items())
        line = Text(said + " " + text.clean(routes_view.name(route)), "red" if route.error_share else "")
        line.truncate(width, overflow="ellipsis")
        found.append(line)
    return found


def events(model: Model, lines: int, width: int) -> list[Text]:
    """The latest first."""
    heading = Text(f" {'WHEN':<12}  {'EVENT':<{events_view.KIND_COLUMN}}  WHAT", "bold underline")
    heading.truncate(width, pad=True)
    known = model.events()
    if not known:
        return [heading, nothing_found(model, width, "nothing has happened")]
    said = [line for event in known for line in _event(event, width)]
    first = model.first(len(said), lines - 1)
    return [heading, *said[first : first + lines - 1]]


def _event(event: messages.Event, width: int) -> list[Text]:
    """In whole, on as many lines as it needs: what it is about stands at the end of many."""
    head = f" {text.clock(event.at)}  {event.kind:<{events_view.KIND_COLUMN}}  "
    said = head + text.clean(text.coded(event.code, event.message))
    indent = len(head) if width >= 2 * len(head) - 8 else 8
    broken = textwrap.wrap(said, width, subsequent_indent=" " * indent) if len(said) > width else [said]
    return [Text(line, events_view.colour(event) or "") for line in broken]


def nothing_found(model: Model, width: int, otherwise: str = "") -> Text:
    """In place of rows: that the filter has left none, or what it is otherwise."""
    said = f"nothing has {model.filter!r} in it" if model.filter else otherwise
    return Text(text.cut(f" {said}", width), "dim")


# --- one worker ---------------------------------------------------------------------------------------------------


def worker_title(worker: messages.Worker | None, slot: int) -> str:
    """What stands above the page."""
    if worker is None:
        return f"worker {slot}: gone"
    code = text.generation(worker.generation, worker.revision)
    return f"worker {slot}  pid {worker.pid or text.NOTHING}  generation {code}  {worker.state}"


def worker_lines(worker: messages.Worker | None, stack: messages.Stack | None) -> Iterator[str]:
    """Its threads with what each runs and where; what is known of it; the stacks as they were taken."""
    if worker is not None:
        fresh = stack if stack is not None and stack.pid == worker.pid else None  # else they are its predecessor's
        taken = f" (where: as of {text.clock(fresh.taken_at)})" if fresh is not None else ""
        yield f" {'THREAD':>6} {'RUNNING FOR':>11}  REQUEST{taken}"
        places = stack_view.places(fresh) if fresh is not None else {}
        for request in longest_first(worker):
            asked = f"{request.method} {request.path}"
            place = places.get(asked, [])
            where = f"  at {place.pop(0)}" if place else ""
            yield text.clean(f" {request.thread:>6} {text.seconds(request.age_seconds):>11}  {asked}{where}")
        if not worker.in_flight:
            yield "        nothing runs"
        yield ""
        for name, said in facts(worker):
            yield text.clean(f" {name + ':':<14} {said}")
        yield ""
    if stack is None:
        yield " its stacks are being taken … (d: ask again)"
        return
    yield from "\n".join(stack_view.lines(stack)).splitlines()
