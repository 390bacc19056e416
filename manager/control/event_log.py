"""The event log: what has happened lately, kept in a ring, and read by any number of followers at their own pace.

A follower is a number: how far it has read. It holds nothing else, so one that never reads costs nothing; what the
ring has dropped by the time it reads again is told to it as one event with the count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from miniwsgi.codes import Code

from ..messages import MAX_EVENTS, Event, EventKind, EventList

BATCH = 64  # events that a follower is given at once
MAX_MESSAGE_CHARS = 1000


class EventLog:
    """The last events. Not for threads: everything happens on the master's loop."""

    def __init__(self, kept: int = MAX_EVENTS, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.last_id = 0
        self._kept = kept
        self._now = now
        self._ring: list[Event | None] = [None] * kept
        self._lines: list[bytes | None] = [None] * kept  # encoded when the first follower reads it
        self._waiting: set[asyncio.Future[None]] = set()
        self._encoder = msgspec.json.Encoder()
        self._closed = False
        self.on_event: list[Callable[[Event], None]] = []

    def __repr__(self) -> str:
        return f"<EventLog last_id={self.last_id} waiting={len(self._waiting)}>"

    @property
    def first_id(self) -> int:
        """The oldest event that is kept."""
        return max(1, self.last_id - self._kept + 1)

    def add(self, kind: EventKind, message: str, code: Code | None = None, **fields: Any) -> None:
        """Something has happened, `code` if it is bad. `fields` are those of Event."""
        line = " ".join(message.split())
        if len(line) > MAX_MESSAGE_CHARS:
            line = line[: MAX_MESSAGE_CHARS - 1] + "…"
        self.last_id += 1
        at = self.last_id % self._kept
        shown = "" if code is None else str(code)
        event = self._ring[at] = Event(id=self.last_id, at=self._now(), kind=kind, message=line, code=shown, **fields)
        self._lines[at] = None
        self._wake()
        for tell in self.on_event:
            tell(event)

    def since(self, event_id: int, limit: int = MAX_EVENTS) -> EventList:
        """The latest events after `event_id`, at most `limit` of them."""
        event_id = min(event_id, self.last_id)
        first = max(event_id + 1, self.first_id)
        lost = first - event_id - 1
        first = max(first, self.last_id - limit + 1)
        events = [self._event(number) for number in range(first, self.last_id + 1)]
        return EventList(events=events, last_id=self.last_id, lost=lost)

    async def follow(self, since: int | None, limit: int = 0) -> AsyncIterator[bytes]:
        """Events as they come, one JSON object a line: all after `since`, or the last `limit` and what follows."""
        seen = max(0, self.last_id - limit) if since is None else min(since, self.last_id)
        if since is None:
            seen = max(seen, self.first_id - 1)
        while seen < self.last_id or not self._closed:
            if seen == self.last_id:
                await self._news()
                continue
            lines = []
            if seen + 1 < self.first_id:
                lines.append(self._lost(seen))
                seen = self.first_id - 1
            last = min(self.last_id, seen + BATCH)
            lines += [self._line(number) for number in range(seen + 1, last + 1)]
            seen = last
            yield b"".join(lines)

    def close(self) -> None:
        """No more events: followers come to their end."""
        self._closed = True
        self._wake()

    def _event(self, number: int) -> Event:
        event = self._ring[number % self._kept]
        assert event is not None, number
        return event

    def _line(self, number: int) -> bytes:
        at = number % self._kept
        line = self._lines[at]
        if line is None:
            line = self._lines[at] = self._encoder.encode(self._event(number)) + b"\n"
        return line

    def _lost(self, seen: int) -> bytes:
        lost = self.first_id - 1 - seen
        message = f"{lost} events were lost: they came faster than they were read"
        event = Event(id=self.first_id - 1, at=self._now(), kind="events.lost", message=message, lost=lost)
        return self._encoder.encode(event) + b"\n"

    async def _news(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)
