"""The thread that talks to the daemon for `top`, so that the screen never waits: snapshots, orders, their verdicts."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ... import messages
from ..client import Client, Reply, RequestRefused, TransportError
from ..exit_statuses import complaint
from ..views import stack_view
from ..views.operation_view import done, failure, name
from .model import Snapshot

ANSWER_SECONDS = 3.0
TRACK_SECONDS = 0.2  # between two looks while a change runs


@dataclass(frozen=True, slots=True)
class Lost:
    """No snapshot, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the bottom."""

    text: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A text to read, on a page of its own."""

    title: str
    text: str


Update = Snapshot | Lost | Said | Shown
Order = Callable[[Client], Reply[messages.Operation] | Reply[messages.Stack]]


class Feed(threading.Thread):
    """Call `order` from the screen; `publish` is called in this thread with each update."""

    def __init__(self, path: str, interval_seconds: float, publish: Callable[[Update], None]) -> None:
        super().__init__(name="feed", daemon=True)
        self._path = path
        self._interval = interval_seconds
        self._publish = publish
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._tracked: dict[int, messages.Operation] = {}

    def order(self, order: Order) -> None:
        """Have something done."""
        self._orders.put(order)

    def stop(self) -> None:
        self._orders.put(None)

    def run(self) -> None:
        with Client(self._path, answer_seconds=ANSWER_SECONDS) as client:
            sample_due = look_due = time.monotonic()
            while True:
                try:
                    order = self._orders.get(timeout=max(0.0, look_due - time.monotonic()))
                except Empty:
                    now = time.monotonic()
                    sampled = now >= sample_due
                    self._look(client, sampled=sampled)
                    if sampled:
                        sample_due = now + self._interval
                    look_due = min(sample_due, now + TRACK_SECONDS) if self._tracked else sample_due
                    continue
                if order is None:
                    return
                self._carry_out(client, order)
                look_due = time.monotonic()

    def _look(self, client: Client, *, sampled: bool) -> None:
        try:
            for number in list(self._tracked):
                self._follow(client.operation(number).value)
            self._publish(Snapshot(client.status().value, client.workers().value.workers, sampled))
        except (TransportError, RequestRefused) as error:
            self._tracked.clear()
            client.close()
            self._publish(Lost(str(complaint(error, self._path))))

    def _carry_out(self, client: Client, order: Order) -> None:
        try:
            found = order(client).value
        except (TransportError, RequestRefused) as error:
            self._publish(Said(str(complaint(error, self._path)), bad=True))
            return
        if isinstance(found, messages.Stack):
            self._publish(Shown(f"worker {found.slot}, pid {found.pid}", "\n".join(stack_view.lines(found)[1:])))
        else:
            self._publish(Said(f"{name(found)} …"))
            self._follow(found)

    def _follow(self, operation: messages.Operation) -> None:
        if not operation.ended:
            self._tracked[operation.id] = operation
            return
        self._tracked.pop(operation.id, None)
        if operation.state == "succeeded":
            self._publish(Said(done(operation)))
            return
        failed = failure(operation)
        self._publish(Said(str(failed), bad=True))
        if operation.state == "failed":
            said = textwrap.fill(str(failed), 78)
            self._publish(Shown(f"{name(operation)} failed", f"{said}\n\n{operation.traceback}"))
