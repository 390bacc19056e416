"""What `why` has seen in its seconds of looking: plain values, from which everything is deduced.

`gathering` fills it; nothing here reads anything. Means are over the time of looking; what could not be seen is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct, field


class Frame(NamedTuple):
    """One call of a stack."""

    file: str
    line: int
    function: str  # qualified, as the interpreter has it


class Request(NamedTuple):
    """What a thread runs."""

    method: str
    path: str  # without its query
    route: str | None = None
    seconds: float = 0.0  # that it has run for

    @property
    def name(self) -> str:
        """As people call it: "GET /orders/<id>"."""
        return f"{self.method} {self.route or self.path}" if self.route is None or " " not in self.route else self.route


class ThreadSample(Struct, frozen=True):
    """One thread at one moment, or one that was at the same place for a part of a second."""

    ident: int
    frames: tuple[Frame, ...]  # the innermost first
    request: Request | None = None  # None: a thread of the application's own, or of the server's
    cpu: float | None = None  # of one CPU, while it was there
    weight: float = 1.0  # for which share of the time it was there


class RouteEvidence(NamedTuple):
    """A route's answers meanwhile."""

    name: str
    answered: int
    seconds: float  # in the application, in sum
    cpu_seconds: float | None = None  # sampled; None: not known


class WorkerEvidence(Struct, frozen=True, kw_only=True):
    """One worker that takes requests, or should."""

    slot: int
    pid: int
    capacity: int  # requests that it can run at a time
    busy: float = 0.0  # threads inside the application
    waiting: float = 0.0  # complete requests that wait for a thread
    connections: int = 0  # of clients, at the end
    oldest: float = 0.0  # seconds that the oldest request has run for, at the end
    answered: int = 0
    run_seconds: float = 0.0  # of those answered, in sum: from the application's start to the end of the answer
    queue_seconds: float = 0.0  # of those answered, in sum: from the complete request to the application's start
    cpu: float = 0.0  # of one CPU, with its children
    starved: float | None = None  # how many of its threads were ready to run and had no CPU
    process_state: str = ""  # proc_pid_stat(5): R, S, D, T, …, if it was so at each look
    major_faults: float | None = None  # a second: memory that had to be read from a disk
    held: float = 0.0  # share of the time in which its interpreter let nobody else run, and not for want of a CPU
    longest_held: float = 0.0  # seconds
    silent: bool = False  # it did not answer by itself: its stacks came by the signal
    requests: tuple[str, ...] = ()  # that it ran at the end: "GET /orders"
    routes: tuple[RouteEvidence, ...] = ()  # none: they are not known
    samples: tuple[tuple[ThreadSample, ...], ...] = ()
    no_samples: str = ""  # why there are none


class QueueEvidence(NamedTuple):
    """A listening socket's accept queue."""

    name: str
    queued: float  # connections
    limit: int | None
    dropped: int | None  # attempts to connect, by the kernel, meanwhile


class PastEvent(NamedTuple):
    """Something that happened within the last hour."""

    kind: str  # of messages.EventKind
    seconds_ago: float
    message: str


class PastSlow(NamedTuple):
    """A request that was slow within the last hour, as `miniwsgictl slow` has it."""

    name: str  # "GET /orders/<id>"
    where: str  # "shop/db.py:38 in load"; "" if nobody knows


class PastFigures(NamedTuple):
    """A stretch of time before; the oldest comes first."""

    seconds_ago: float  # when it began
    answers: int
    median_seconds: float | None  # that half of the answers took at most; None: there were none
    server_errors: int = 0


class Evidence(Struct, frozen=True, kw_only=True):
    """All of it."""

    seconds: float  # of looking
    pool: str = "epoll"
    verdict: str = "healthy"  # metrics.verdict
    reasons: tuple[str, ...] = ()
    target_workers: int = 1
    workers: tuple[WorkerEvidence, ...] = ()  # ready ones, and those that do not get rid of a request
    queues: tuple[QueueEvidence, ...] = ()
    routes: tuple[RouteEvidence, ...] = ()  # none: they are not known
    server_errors: int = 0
    most_connections: int = 10000  # limits.connections
    cpus: int = 1  # that the daemon may use: by affinity and quota
    quota: float | None = None  # in CPUs, of its cgroups
    throttled: float | None = None  # share of the time in which the quota was used up, 0 to 1
    host_busy: float | None = None  # share of all CPUs of the host, 0 to 1
    stolen: float | None = None  # share of them that the hypervisor gave to others, 0 to 1
    usual_seconds: float | None = None  # what an answer took on average before, since the start
    usual_answers: int = 0  # and how many those were
    events: tuple[PastEvent, ...] = ()  # the oldest first
    past: tuple[PastFigures, ...] = ()
    repeated: str = ""  # "3 of the last 4 crashes: POST /report"; "" if crashes do not repeat
    slow: tuple[PastSlow, ...] = ()  # the latest first
    directory: str = ""  # app.directory
    package: str = ""  # that the application is of, by its target
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # lines of files that frames are of
