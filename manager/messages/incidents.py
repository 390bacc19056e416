"""Requests that were slow, and what was in hand when a worker was lost."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import field

from .base import ResponseBody

LossKind = Literal["crash", "oom", "wedge", "timeout"]
IncidentKind = Literal["slow", "crash", "oom", "wedge", "timeout"]
MAX_INCIDENTS = 200  # of each kind of list that are kept


class StackFrame(ResponseBody):
    """A line of Python that a thread was in."""

    file: str
    line: int
    function: str


class Look(ResponseBody):
    """The stack of a request's thread, taken while it ran."""

    age_seconds: float  # of the request, at that moment
    stack: list[StackFrame]  # the innermost frame first


class Incident(ResponseBody):
    """A request in hand: a slow one, or one that a lost worker was running."""

    at: datetime  # when the application was called
    kind: IncidentKind
    method: str
    path: str  # without its query
    route: str | None
    request_id: str
    trace_id: str | None  # of the client's traceparent
    slot: int
    pid: int
    generation: int
    thread: int | None  # of its worker; null: it was over before anybody looked
    age_seconds: float  # so far, or until it ended or its worker was lost
    running: bool
    queued_seconds: float | None  # complete, and waiting for a thread
    cpu_seconds: float | None  # of its thread, reckoned from two looks or more
    status: int | None  # it was answered with; 502 and 504: nobody has answered it, so the access log says
    where: str  # the innermost frame of the application in its last stack: "shop/db.py:38 in load"; "" not known
    stack: list[StackFrame]  # the last that could be had, the innermost frame first; [] none, or not yours to see
    looks: list[Look] = field(default_factory=list)  # all of them, the first first
    limit_seconds: float = 0.0  # that made it slow; 0: it is not in the list for that


class SlowList(ResponseBody):
    """GET /v1/slow: the latest first, those that still run among them."""

    requests: list[Incident]
    limit_seconds: float  # log.slow_request; 0: off
    stacks_left_out: int  # since the start of the daemon: so many could not be taken, for there were too many at once
    ends_left_out: int  # the same for what workers tell of a request at its end; it may be here all the same


class Crash(ResponseBody):
    """A worker that was lost, or a request that was answered in its place."""

    id: int  # counted from 1 since the start of the daemon
    at: datetime
    kind: LossKind
    what: str  # "was killed by SIGSEGV"
    slot: int
    pid: int
    generation: int
    requests: list[Incident]  # that it had in hand; the culprit first, if it is known
    culprit_known: bool
    stacks: str  # of all its threads, the last that could be had; "" none, or not yours to see
    stacks_age_seconds: float | None  # how old they were then; null: there are none
    repeated: str  # "3 of the last 4 crashes: POST /report", as of this one; "" it is not
    elsewhere: str = ""  # where the thread that crashed was, if it ran none of them: "shop/mail.py:12 in send"


class CrashList(ResponseBody):
    """GET /v1/crashes: the latest first."""

    crashes: list[Crash]
    total: int  # since the start of the daemon
    repeated: str  # of the latest one
