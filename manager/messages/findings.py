"""What is wrong with a daemon, as far as that is to be seen: of one at work, and of one at rest."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from .base import ResponseBody

MAX_LOOK_SECONDS = 60  # of `?seconds=N`
LOOK_SECONDS = 5

Severity = Literal["note", "warning", "critical"]
Doing = Literal["lock", "others", "waits", "runs"]


class Finding(ResponseBody):
    """A plain sentence, with what it was concluded from."""

    name: str  # stable: docs/insight.md lists them
    severity: Severity
    sentence: str
    evidence: list[str]  # one line each
    remedy: str  # "" if none is known


class ThreadGroup(ResponseBody):
    """Threads that were seen at one place while they ran requests."""

    threads: float  # on average
    file: str
    line: int
    function: str
    call: str  # from there; "" if that is not to be seen
    doing: Doing
    request: str  # that most of them ran


class LookFigures(ResponseBody):
    """What was measured while looking. Means, but where it says otherwise."""

    answers: int
    rate: float  # answers a second
    run_seconds: float | None  # an answer's in the application; null: there was no answer
    queue_seconds: float | None  # a request's before
    busy_threads: float
    threads: int
    waiting: float  # requests that waited for a thread, and connections to be accepted
    cpu: float  # of all workers, in CPUs
    cpus: int  # that the daemon may use
    server_errors: int


class Why(ResponseBody):
    """GET /v1/why: the most telling finding first."""

    at: datetime
    seconds: float  # of looking
    findings: list[Finding]
    figures: LookFigures
    threads: list[ThreadGroup]


class Risk(ResponseBody):
    """Something that may become a problem, in the configuration or on the host."""

    name: str  # stable: docs/insight.md lists them
    severity: Severity
    sentence: str
    remedy: str


class Doctor(ResponseBody):
    """GET /v1/doctor: the gravest first."""

    at: datetime
    risks: list[Risk]
    passed: list[str]  # names of what was looked at, and is well
    unknown: list[str]  # names of what could not be seen
