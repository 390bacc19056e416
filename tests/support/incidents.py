"""Incidents for tests of those who show or serve them: of the API's own types, with every field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from miniwsgi.manager import messages as ms

T0 = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
STACK = [ms.StackFrame("/srv/shop/db.py", 38, "load"), ms.StackFrame("/srv/shop/views.py", 12, "report")]


def incident(path: str = "/report", **changed: Any) -> ms.Incident:
    """A slow request that has ended."""
    found = ms.Incident(
        at=T0,
        kind="slow",
        method="POST",
        path=path,
        route=None,
        request_id="1f-3",
        trace_id=None,
        slot=0,
        pid=4700,
        generation=7,
        thread=1,
        age_seconds=12.3,
        running=False,
        queued_seconds=0.1,
        cpu_seconds=0.2,
        status=200,
        where="shop/db.py:38 in load",
        stack=STACK,
        looks=[ms.Look(5.1, STACK)],
        limit_seconds=5.0,
    )
    return msgspec.structs.replace(found, **changed)


def crash(number: int = 1, *requests: ms.Incident, **changed: Any) -> ms.Crash:
    """A worker that crashed with one request in hand, or with those that are given."""
    found = ms.Crash(
        id=number,
        at=T0,
        kind="crash",
        what="was killed by SIGSEGV",
        slot=0,
        pid=4700,
        generation=7,
        requests=list(requests) or [incident(kind="crash", status=502, looks=[])],
        culprit_known=True,
        stacks="Fatal Python error: Segmentation fault",
        stacks_age_seconds=0.0,
        repeated="",
    )
    return msgspec.structs.replace(found, **changed)


def slow_list(*requests: ms.Incident, **changed: Any) -> ms.SlowList:
    found = ms.SlowList(list(requests), limit_seconds=5.0, stacks_left_out=0, ends_left_out=0)
    return msgspec.structs.replace(found, **changed)


def crash_list(*crashes: ms.Crash) -> ms.CrashList:
    return ms.CrashList(list(crashes), total=len(crashes), repeated=crashes[0].repeated if crashes else "")
