"""Looking into workers: profiles, and what their memory holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, field

from .base import MAX_WORKERS, RequestBody, ResponseBody

MAX_PROFILE_SECONDS = 3600
MAX_PROFILE_RATE = 1000
MAX_PAUSE_SECONDS = 10
MAX_ROUTE = 1000  # characters: an order to a worker is one message, of bounded size

Slot = Annotated[float, Meta(ge=0, lt=MAX_WORKERS, multiple_of=1)]  # to JSON Schema 3.0 is one, too
Seconds = Annotated[float, Meta(ge=0, le=MAX_PROFILE_SECONDS)]


class ProfileRequest(RequestBody):
    """POST /v1/profile."""

    slots: list[Slot] = field(default_factory=list)  # none: every worker that serves
    seconds: Annotated[float, Meta(gt=0, le=MAX_PROFILE_SECONDS)] = 10.0
    rate: Annotated[float, Meta(ge=1, le=MAX_PROFILE_RATE)] = 100.0  # looks a second
    route: Annotated[str, Meta(max_length=MAX_ROUTE)] | None = None  # only threads that run a request of this route


class MemoryRequest(RequestBody):
    """POST /v1/workers/{slot}/memory."""

    seconds: Seconds = 0.0  # how long allocations are traced; 0: one look, at once
    diff: bool = False  # look at the beginning, too, and tell what has grown
    pause_seconds: Annotated[float, Meta(gt=0, le=MAX_PAUSE_SECONDS)] = (
        0.02  # the worker may be held up so long, in a row
    )


class CollectorFigures(ResponseBody):
    """The garbage collector of Python: https://docs.python.org/3/library/gc.html."""

    enabled: bool
    counts: list[int]  # by generation, as gc.get_count()
    thresholds: list[int]
    collections: list[int]  # by generation
    collected: int  # objects, since the process began
    uncollectable: int
    frozen: int  # objects that are shared with other workers, and not looked at


class MemoryKind(ResponseBody):
    """A sum of the kernel's, as proc_pid_smaps(5) has it: Rss, Pss, Pss_Anon, Private_Dirty …"""

    name: str
    bytes: int
    grown_bytes: int | None  # since the beginning; null: it was looked at once


class TypeCount(ResponseBody):
    """Objects of one type that the collector knows."""

    name: str
    count: int
    grown: int | None


class AllocatingLine(ResponseBody):
    """Memory that was allocated there since tracing began, and is still held."""

    file: str
    line: int
    bytes: int
    blocks: int
    grown_bytes: int | None  # in the second half of the time


Tracing = Literal["ours", "application", "none"]


class WorkerMemory(ResponseBody):
    """What a worker's memory holds."""

    slot: int
    pid: int
    taken_at: datetime
    seconds: float  # between the first look and the last
    kinds: list[MemoryKind]  # empty: the kernel does not tell
    collector: CollectorFigures
    objects: int | None  # that the collector knows; null: they were not counted
    objects_grown: int | None
    types: list[TypeCount]  # the most frequent, or with `diff` those that have grown most, first
    not_counted: str  # why objects were not counted; "" if they were
    tracing: Tracing  # who has begun tracemalloc
    lines: list[AllocatingLine]
    not_traced: str  # why there are no lines, though it traces; "" if there are
    traced_bytes: int  # all that is traced and still held
    paused_seconds: float  # how long the worker was held up for this in a row, at most
    cpu_seconds: float  # that this has cost
