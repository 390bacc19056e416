"""A request in hand as a record: what the scoreboard has of it, its stacks, and who ran it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from miniwsgi.manager import messages as ms
from miniwsgi.metrics.scoreboard import Running

from ...http.head import TEXT_BYTES
from ..running.frames import Frame, where
from ..running.worker_handle import WorkerHandle

NANOSECONDS = 1e9
Date = Callable[[float], datetime]  # of time.monotonic()


def incident(kind: ms.IncidentKind, worker: WorkerHandle, run: Running, now_ns: int, date: Date) -> ms.Incident:
    """A request that runs, as of now; without any stack."""
    return ms.Incident(
        at=date(run.started_ns / NANOSECONDS),
        kind=kind,
        method=run.method,
        path=run.path,
        route=None,
        request_id=run.request_id,
        trace_id=None,
        slot=worker.slot,
        pid=worker.pid,
        generation=worker.settings.generation,
        thread=run.thread,
        age_seconds=seconds(now_ns - run.started_ns),
        running=True,
        queued_seconds=None,
        cpu_seconds=None,
        status=None,
        where="",
        stack=[],
    )


def told_path(method: str, path: str) -> str:
    """A path that a worker tells whole, as much of it as the scoreboard shows of others."""
    return path[: TEXT_BYTES - len(method) - 1]


def show_stack(record: ms.Incident, frames: Sequence[Frame], worker: WorkerHandle, known: str = "") -> None:
    """The last stack that could be had of it, if any could; `known`: which frame its worker took for the innermost."""
    if frames:
        record.stack = [ms.StackFrame(*frame) for frame in frames]
        record.where = where(frames, worker.settings.directory, known)


def seconds(nanoseconds: int) -> float:
    return round(max(0, nanoseconds) / NANOSECONDS, 3)


def name_of(record: ms.Incident) -> str:
    """What it asks for, for people and to find it again: its route, or the path with its numbers left out."""
    return f"{record.method} {record.route or _pattern(record.path)}"


def _pattern(path: str) -> str:
    return "/".join("*" if _is_identifier(part) else part for part in path.split("/"))


def _is_identifier(part: str) -> bool:
    """A number, or a UUID or hash in hexadecimal digits."""
    bare = part.replace("-", "")
    return part.isdigit() or (len(bare) >= 16 and all(digit in "0123456789abcdefABCDEF" for digit in bare))
