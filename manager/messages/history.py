"""What was: the last 15 minutes or the last hour, in steps."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import field

from .base import ResponseBody

HistorySpan = Literal["15m", "1h"]
MarkKind = Literal[
    "start", "reload", "restart", "scale", "drain", "undrain", "stop",
    "crash", "oom", "timeout", "wedge", "boot", "hook",
    "recycle", "silent", "responds", "slow", "failing", "leader", "certificate",
]  # fmt: skip


class StepPercentiles(ResponseBody):
    """Bounds in seconds that so many of a step's requests do not exceed; null: there were none, or beyond the last."""

    p50: float | None
    p95: float | None
    p99: float | None


class HistoryStep(ResponseBody):
    """What was counted from `at` on for `seconds`, and averages of what was looked at each second (null: not known)."""

    at: datetime
    seconds: float
    answers: int
    successes: int = field(name="2xx")
    redirects: int = field(name="3xx")
    client_errors: int = field(name="4xx")
    server_errors: int = field(name="5xx")
    duration: StepPercentiles
    queue_time: StepPercentiles
    ready: float | None  # workers
    busy: float | None  # requests inside the application
    waiting: float | None  # complete requests that wait for a thread
    capacity: float | None  # requests that the ready workers can run at a time
    utilization: float | None  # 0 to 1
    memory_bytes: float | None  # of the ready workers, PSS; null without a metrics port


class HistoryMark(ResponseBody):
    """Something that changes figures, or tells of trouble."""

    at: datetime
    kind: MarkKind
    failed: bool  # what was asked for has not come about
    slot: int | None
    generation: int | None
    revision: str | None
    workers: int | None  # how many there are to be from now on
    seconds: float | None  # how long it took, or has been going on


class History(ResponseBody):
    """GET /v1/history: the oldest first. Where two steps do not meet nobody could look."""

    span: HistorySpan
    step_seconds: float
    steps: list[HistoryStep]
    marks: list[HistoryMark]
