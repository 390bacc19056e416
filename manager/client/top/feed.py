"""The thread that talks to the daemon for `top`, so that the screen never waits: snapshots, orders, their verdicts."""

from __future__ import annotations

import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue

from ... import messages
from ..client import Client, Reply, RequestRefused, TransportError
from ..exit_statuses import complaint
from ..views.operation_view import done, failure, name
from .model import Pane, Snapshot

ANSWER_SECONDS = 3.0
EVENTS = 500  # that are kept
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


@dataclass(frozen=True, slots=True)
class Taken:
    """What a worker's threads were doing."""

    stack: messages.Stack


Update = Snapshot | Lost | Said | Shown | Taken
Order = Callable[[Client], Reply[messages.Operation] | Reply[messages.Stack]]


class Wish(Enum):
    """What the screen wants of the feed, but for orders to the daemon."""

    LOOK = "look"
    STOP = "stop"


class Feed(threading.Thread):
    """Call `order` from the screen; `publish` is called in this thread with each update."""

    def __init__(self, path: str, interval_seconds: float, publish: Callable[[Update], None]) -> None:
        super().__init__(name="feed", daemon=True)
        self._path = path
        self._interval = interval_seconds
        self._publish = publish
        self._orders: SimpleQueue[Order | Wish] = SimpleQueue()
        self._tracked: dict[int, messages.Operation] = {}
        self._events: deque[messages.Event] = deque(maxlen=EVENTS)
        self._last_event = 0
        self.pane = Pane.WORKERS  # that is looked at, set by the screen: what the others show is not asked for

    def order(self, order: Order) -> None:
        """Have something done."""
        self._orders.put(order)

    def stop(self) -> None:
        self._orders.put(Wish.STOP)

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
                if order is Wish.STOP:
                    return
                if not isinstance(order, Wish):
                    self._carry_out(client, order)
                look_due = time.monotonic()

    def _look(self, client: Client, *, sampled: bool) -> None:
        try:
            for number in list(self._tracked):
                self._follow(client.operation(number).value)
            status, workers = client.status().value, client.workers().value.workers
            routes = client.routes().value.routes if self.pane is Pane.ROUTES else []
            events = self._hear(client) if self.pane is Pane.EVENTS else []
            self._publish(Snapshot(status, workers, sampled, routes, events))
        except (TransportError, RequestRefused) as error:
            self._tracked.clear()
            self._events.clear()
            self._last_event = 0  # the next daemon counts anew
            client.close()
            self._publish(Lost(str(complaint(error, self._path))))

    def _hear(self, client: Client) -> list[messages.Event]:
        """What has happened, as far as it is kept."""
        heard = client.events(since=self._last_event, limit=EVENTS).value
        self._last_event = heard.last_id
        self._events.extend(heard.events)
        return list(self._events)

    def look(self) -> None:
        """Have a look at once."""
        self._orders.put(Wish.LOOK)

    def _carry_out(self, client: Client, order: Order) -> None:
        try:
            found = order(client).value
        except (TransportError, RequestRefused) as error:
            self._publish(Said(str(complaint(error, self._path)), bad=True))
            return
        if isinstance(found, messages.Stack):
            self._publish(Taken(found))
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
