"""What `top` knows and what its user has chosen. No drawing, no terminal, no socket."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ... import messages

HISTORY = 240  # samples, for the sparklines


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The daemon at one moment."""

    status: messages.Status
    workers: list[messages.Worker]
    sampled: bool = True  # at its time; False: between two, because a change runs


class Page(Enum):
    """What the screen shows."""

    MAIN = "main"
    HELP = "help"
    TEXT = "text"  # stacks, or why something failed


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
    question: str = ""  # "restart worker 3?": until the next key
    message: Message = field(default_factory=lambda: Message(""))

    def see(self, snapshot: Snapshot) -> None:
        """Called with each new snapshot."""
        self.snapshot, self.trouble = snapshot, ""
        if snapshot.sampled:
            self.rates.append(snapshot.status.requests.rates.last_1s)
            self.slowest.append(slowest(snapshot.status.duration))
        slots = [worker.slot for worker in snapshot.workers]
        if slots and self.selected not in slots:
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
        by_slot = sorted(self.snapshot.workers, key=lambda worker: worker.slot)
        return sorted(by_slot, key=order.key, reverse=order.falling != self.reversed)

    def target(self) -> int:
        """How many workers there should be."""
        return self.snapshot.status.workers.target if self.snapshot else 0

    def selected_worker(self) -> messages.Worker | None:
        return next((worker for worker in self.workers() if worker.slot == self.selected), None)

    def running(self) -> list[tuple[int, messages.RunningRequest]]:
        """Every request that runs, with its slot, the oldest first."""
        found = [(worker.slot, request) for worker in self.workers() for request in worker.in_flight]
        return sorted(found, key=lambda item: -item[1].age_seconds)

    # --- what keys do ---

    def move(self, by: int) -> None:
        """Select another worker, `by` rows down."""
        slots = [worker.slot for worker in self.workers()]
        if slots:
            row = slots.index(self.selected) if self.selected in slots else 0
            self.selected = slots[max(0, min(len(slots) - 1, row + by))]

    def next_sort(self) -> None:
        self.sort, self.reversed = (self.sort + 1) % len(SORTS), False

    def open_text(self, title: str, text: str) -> None:
        self.page, self.title, self.text, self.scrolled = Page.TEXT, title, text, 0

    def scroll(self, by: int, most: int) -> None:
        """The text page, `by` lines down; `most` lines may be above the screen."""
        self.scrolled = max(0, min(most, self.scrolled + by))
