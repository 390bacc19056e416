"""The daemon at a glance."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import field

from .base import ResponseBody
from .change_operations import LogLevelName, Operation, OperationState
from .figures import LastMinute, Latency, Rates
from .worker_status import LeaderState, RunningHook

DaemonState = Literal["starting", "running", "reloading", "draining", "stopping", "stopped"]
VerdictLevel = Literal["healthy", "degraded", "down"]
Role = Literal["read", "operate", "admin"]


class Verdict(ResponseBody):
    """How the daemon does, by `metrics.verdict`."""

    level: VerdictLevel
    reasons: list[str]  # phrases, the weightiest first; a healthy daemon has one, too
    codes: list[str] = field(
        default_factory=list
    )  # of each reason, as docs/errors.md has it; a healthy daemon has none


class WorkerCounts(ResponseBody):
    """How many workers there are and should be."""

    target: int  # how many there should be now: 0 while drained
    configured: int  # as the configuration in force has it
    override: int | None  # as `scale` has it instead
    persisted: bool  # the override outlives a restart of the daemon
    booting: int
    ready: int
    busy: int  # ready ones with a request
    draining: int
    stuck: int  # with a request beyond its time
    not_responding: int  # ready ones whose loop does not turn


class Certificate(ResponseBody):
    """A certificate that is shown to clients."""

    file: str  # as configured
    names: list[str]  # whom it is for
    issuer: str
    not_before: datetime
    not_after: datetime


class ListenerStatus(ResponseBody):
    """A listening socket."""

    address: str  # as configured
    url: str
    unix: bool
    queued: int | None  # connections that wait to be accepted
    queue_limit: int | None
    protocol: str  # "http" or "uwsgi"
    proxy_protocol: bool  # connections begin with a PROXY header
    client: str = "none"  # or "optional", "required": whether TLS clients are asked for certificates
    redirect: str = ""  # "https": requests are redirected
    certificates: list[Certificate] = []  # none: no TLS is spoken


class RequestCounts(ResponseBody):
    """Requests since the start of the daemon, and now."""

    total: int  # answered by the application
    client_errors: int = field(name="4xx")  # answers of 400 to 499, the application's and the server's own
    server_errors: int = field(name="5xx")  # answers of 500 to 599, the same
    last_60s: LastMinute
    rates: Rates
    in_flight: int  # given to the application now
    waiting: int  # complete, and waiting for a thread now
    errors: int  # exceptions from the application
    rejected: int  # protocol errors and limits, answered by the server
    aborted: int  # clients gone before their response was complete
    timed_out: int


class GenerationCounts(ResponseBody):
    """What the workers of one generation have answered since it began."""

    generation: int
    workers: int  # that it has now
    answers: int
    client_errors: int = field(name="4xx")
    server_errors: int = field(name="5xx")
    last_60s: LastMinute
    revision: str | None = None  # of its code; null: unknown


class LastReload(ResponseBody):
    """The last reload that has ended."""

    operation: int
    ended_at: datetime
    seconds: float  # from the asking to the verdict
    result: OperationState
    error: str
    generation: int | None
    who: str
    revision: str | None = None  # of the new code; null: unknown
    previous_revision: str | None = None  # of what was in force before
    code: str = ""  # of the cause, if it has failed


class Leader(ResponseBody):
    """Which worker leads the service: has called leader_start, and not leader_stop."""

    state: LeaderState  # "late": its leader_start or leader_stop takes too long, and it is replaced
    slot: int | None  # null: "nobody"
    pid: int | None
    generation: int | None
    in_state_seconds: float
    error: str  # why the latest attempt to have one failed; "" once one leads
    next_in_seconds: float | None  # until another worker is tried


class Status(ResponseBody):
    """The daemon at a glance."""

    version: str
    pid: int
    started_at: datetime
    uptime_seconds: float
    verdict: Verdict
    state: DaemonState
    generation: int | None  # the one in force; null until the first worker is ready
    preloaded: bool  # the launcher holds the code: workers of this generation run the same, whatever lies on disk
    application: str
    pool: str
    threads: int  # a worker
    engine: str | None  # what the workers of this generation run, as they say themselves; null until one was ready
    engine_note: str  # why it is not one that server.engine = "auto" would rather take; "" if it is
    log_level: LogLevelName
    workers: WorkerCounts
    listeners: list[ListenerStatus]
    connections: int  # open ones of clients
    requests: RequestCounts
    duration: Latency  # over the last minute
    duration_total: Latency  # since the start
    queue_time: Latency  # from a complete request to the application's start, over the last minute
    queue_time_total: Latency
    generations: list[GenerationCounts]  # the oldest first: the latest ones, and those that have workers
    last_reload: LastReload | None
    operations: list[Operation]  # that wait or run
    persist_error: str  # why the state directory cannot be used; "" if it can, or none is needed
    metrics_error: str  # why there are no metrics and health checks although they are not off; "" if there are
    role: Role  # what the asking client may do
    hooks: list[RunningHook] = field(default_factory=list)  # the application's, in all processes
    leader: Leader | None = None  # null: no worker that is there could lead
    sockets: int = 0  # open connections that the application has taken over (WebSockets)
    revision: str | None = None  # of the code in force: `app.revision`, or found as it booted; null: unknown
    revision_source: str = ""  # where that is from, in words
