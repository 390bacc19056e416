"""What `top` knows and what its user has chosen. No drawing, no terminal, no socket."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ... import messages
from ..views.routes_view import ORDERS, in_order, name
from ..views.workers_view import condition
from . import keyboard as keys

HISTORY = 240  # samples, for the sparklines


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The daemon at one moment."""

    status: messages.Status
    workers: list[messages.Worker]
    sampled: bool = True  # at its time; False: between two, because a change runs
    routes: list[messages.RouteFigures] = field(default_factory=list)  # while they are looked at
    events: list[messages.Event] = field(default_factory=list)  # the oldest first


class Pane(Enum):
    """What is below the head of the main page."""

    WORKERS = "workers"
    ROUTES = "routes"
    EVENTS = "events"


PANES = tuple(Pane)


class Page(Enum):
    """What the screen shows."""

    MAIN = "main"
    TEXT = "text"  # stacks, why something failed, or help
    WORKER = "worker"  # the selected one, with its threads


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of workers: the name of its column, and what it goes by."""

    column: str
    key: Callable[[messages.Worker], float]
    falling: bool = True


def longest(worker: messages.Worker) -> float:
    """How long its oldest request has run, in seconds; -1: none does."""
    return max((running.age_seconds for running in worker.in_flight), default=-1.0)


SORTS = (
    Sort("SLOT", lambda worker: worker.slot, falling=False),
    Sort("REQ/S", lambda worker: worker.rate or 0.0),
    Sort("RUN", lambda worker: len(worker.in_flight)),
    Sort("RUNNING", longest),
    Sort("RSS", lambda worker: worker.rss_bytes or 0),
    Sort("CPU", lambda worker: worker.cpu_percent or 0.0),
    Sort("REQUESTS", lambda worker: worker.requests),
)


@dataclass(slots=True)
class Message:
    """The line at the bottom: what was done last."""

    said: str
    bad: bool = False


def slowest(latency: messages.Latency) -> float | None:
    """The 99th percentile for the sparkline: infinite beyond the last bound, None without any request."""
    return latency.p99 if latency.p99 is not None or not latency.count else math.inf


@dataclass(slots=True)
class Model:
    """The state of the screen."""

    snapshot: Snapshot | None = None
    trouble: str = ""  # why there is no newer snapshot
    rates: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))
    slowest: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))  # p99 of durations
    page: Page = Page.MAIN
    title: str = ""  # of the text page
    text: str = ""
    scrolled: int = 0  # lines of the text page above the screen
    selected: int = 0  # a slot
    sort: int = 0
    reversed: bool = False
    pane: Pane = Pane.WORKERS
    offset: int = 0  # rows of routes or events above the screen
    route_order: str = "rate"  # of routes_view.ORDERS
    filter: str = ""  # what rows have in them, in any case of letters
    typing: bool = False  # keys go into the filter
    paused: bool = False
    held: Snapshot | None = None  # the latest one while it is paused
    stack: messages.Stack | None = None  # of the worker whose page it is
    question: str = ""  # "restart worker 3?": until the next key
    message: Message = field(default_factory=lambda: Message(""))

    def see(self, snapshot: Snapshot) -> None:
        """Called with each new snapshot. While it is paused the screen stays as it was, but for the daemon's end."""
        self.trouble = ""
        if snapshot.sampled:
            self.rates.append(snapshot.status.requests.rates.last_1s)
            self.slowest.append(slowest(snapshot.status.duration))
        if self.paused and self.snapshot is not None:
            self.held = snapshot
        else:
            self._show(snapshot)

    def _show(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        slots = [worker.slot for worker in snapshot.workers]
        if slots and self.selected not in slots and self.page is not Page.WORKER:
            self.selected = min(slots, key=lambda slot: (abs(slot - self.selected), slot))

    def lose(self, why: str) -> None:
        """Called when no snapshot could be had."""
        self.trouble = why
        self.rates.append(None)
        self.slowest.append(None)

    def workers(self) -> list[messages.Worker]:
        """In the chosen order."""
        if self.snapshot is None:
            return []
        order = SORTS[self.sort]
        found = [worker for worker in self.snapshot.workers if self._has(_said_of(worker))]
        by_slot = sorted(found, key=lambda worker: worker.slot)
        return sorted(by_slot, key=order.key, reverse=order.falling != self.reversed)

    def worker_of_page(self) -> messages.Worker | None:
        """The one that is looked at, whatever the filter; None: it has gone, and no other takes its place."""
        return _in_slot(self.snapshot, self.selected)

    def pid_now(self, slot: int) -> int | None:
        """Of the worker there, as far as is known: also while the screen is paused."""
        worker = _in_slot(self.held or self.snapshot, slot)
        return None if worker is None else worker.pid

    def target(self) -> int:
        """How many workers there should be."""
        return self.snapshot.status.workers.target if self.snapshot else 0

    def selected_worker(self) -> messages.Worker | None:
        if self.page is Page.WORKER:
            return self.worker_of_page()
        return next((worker for worker in self.workers() if worker.slot == self.selected), None)

    def running(self) -> list[tuple[int, messages.RunningRequest]]:
        """Every request that runs, with its slot, the oldest first."""
        found = [(worker.slot, request) for worker in self.workers() for request in worker.in_flight]
        return sorted(found, key=lambda item: -item[1].age_seconds)

    def routes(self) -> list[messages.RouteFigures]:
        """In the chosen order."""
        known = self.snapshot.routes if self.snapshot is not None else []
        found = [route for route in known if self._has(name(route))]
        return in_order(found, self.route_order)[:: -1 if self.reversed else 1]

    def events(self) -> list[messages.Event]:
        """The latest first."""
        known = self.snapshot.events if self.snapshot is not None else []
        return [event for event in reversed(known) if self._has(f"{event.kind} {event.code} {event.message}")]

    def _has(self, said: str) -> bool:
        return self.filter.casefold() in said.casefold()

    def first(self, rows: int, room: int) -> int:
        """Which of so many rows is the first on the screen, that there is no empty room below the last."""
        self.offset = max(0, min(self.offset, rows - room))
        return self.offset

    def busy(self) -> tuple[int, int]:
        """How many requests run, and how many could: in the workers that are ready."""
        if self.snapshot is None:
            return 0, 0
        status = self.snapshot.status
        return status.requests.in_flight, status.workers.ready * (status.threads if status.pool == "epoll" else 1)

    # --- what keys do ---

    def show_pane(self, pane: Pane) -> None:
        self.pane, self.offset, self.reversed = pane, 0, False

    def next_pane(self, by: int = 1) -> None:
        self.show_pane(PANES[(PANES.index(self.pane) + by) % len(PANES)])

    def pause(self) -> None:
        """Stop the screen, or let it go on."""
        self.paused, held, self.held = not self.paused, self.held, None
        if not self.paused and held is not None:
            self._show(held)

    def type(self, key: str) -> None:
        """A key for the filter, which has its effect at once."""
        if key == keys.ENTER:
            self.typing = False
        elif key == keys.ESCAPE:
            self.typing, self.filter = False, ""
        elif key == keys.BACKSPACE:
            self.filter = self.filter[:-1]
        elif len(key) == 1:
            self.filter += key
        self.offset = 0
        if (workers := self.workers()) and self.selected_worker() is None:
            self.selected = workers[0].slot

    def move(self, by: int) -> None:
        """Select another worker, `by` rows down; of routes and events look at others."""
        if self.pane is not Pane.WORKERS:
            self.offset = max(0, self.offset + by)
            return
        slots = [worker.slot for worker in self.workers()]
        if slots:
            row = slots.index(self.selected) if self.selected in slots else 0
            self.selected = slots[max(0, min(len(slots) - 1, row + by))]

    def next_sort(self) -> None:
        self.reversed = False
        if self.pane is Pane.ROUTES:
            orders = list(ORDERS)
            self.route_order = orders[(orders.index(self.route_order) + 1) % len(orders)]
        else:
            self.sort = (self.sort + 1) % len(SORTS)

    def open_worker(self) -> None:
        """The page of the selected worker, whose stacks are to come."""
        self.page, self.stack, self.scrolled = Page.WORKER, None, 0

    def leave_worker(self) -> None:
        """Back to the main page, where another worker is selected if that one has gone."""
        self.page = Page.MAIN
        if self.snapshot is not None:
            self._show(self.snapshot)

    def open_text(self, title: str, text: str) -> None:
        self.page, self.title, self.text, self.scrolled = Page.TEXT, title, text, 0
        self.typing, self.question = False, ""  # keys are for what is seen

    def scroll(self, by: int, most: int) -> None:
        """The text page, `by` lines down; `most` lines may be above the screen."""
        self.scrolled = max(0, min(most, self.scrolled + by))


def _in_slot(snapshot: Snapshot | None, slot: int) -> messages.Worker | None:
    workers = snapshot.workers if snapshot is not None else []
    return next((worker for worker in workers if worker.slot == slot), None)


def _said_of(worker: messages.Worker) -> str:
    """What a filter looks for in a worker."""
    asked = " ".join(f"{request.method} {request.path}" for request in worker.in_flight)
    return f"{worker.slot} {worker.pid} {condition(worker)} {worker.revision or ''} {asked}"
