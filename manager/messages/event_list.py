"""What has happened."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from .base import ResponseBody

EventKind = Literal[
    "worker.started", "worker.ready", "worker.draining", "worker.killed", "worker.exited", "worker.failed",
    "worker.recycled", "worker.silent", "worker.responds", "worker.wedged", "worker.stacks",
    "worker.lost",
    "leader.started", "leader.failed", "leader.late", "leader.stopped",
    "request.slow", "request.timeout",
    "generation.preparing", "generation.booting", "generation.ready", "generation.serving", "generation.failed",
    "generation.failing", "generation.revision", "generation.retired", "generation.exited",
    "operation.started", "operation.ended",
    "certificate.renewed", "certificate.failed",
    "daemon.serving", "daemon.stopping",
    "events.lost",
]  # fmt: skip


class Event(ResponseBody):
    """Something that happened. In a stream, one a line."""

    id: int  # counted from 1 since the start of the daemon
    at: datetime
    kind: EventKind
    message: str  # one line for people
    code: str = ""  # of what has gone wrong, such as "MW3012": see docs/errors.md; "" if nothing has
    slot: int | None = None
    pid: int | None = None
    generation: int | None = None
    operation: int | None = None
    state: str | None = None  # of an operation that has ended
    seconds: float | None = None  # how long it took, or has been going on
    revision: str | None = None  # of the generation's code, or of what the worker has imported
    request: str | None = None  # that it is about: "POST /report", or its route
    request_id: str | None = None
    crash: int | None = None  # worker.lost: its number in GET /v1/crashes
    lost: int = 0  # events.lost: so many were dropped before this one, because the reader was too slow


class EventList(ResponseBody):
    """GET /v1/events without `follow`: the oldest first."""

    events: list[Event]
    last_id: int  # of the latest event ever; ask with `since` for what comes after
    lost: int  # after `since`, but no longer kept
