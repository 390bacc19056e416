"""What the control API says and understands: every body of a request or response, as a msgspec Struct.

Shared by the daemon and `miniwsgictl`, and the source of openapi.json. Times are RFC 3339 in UTC (`*_at`), durations
seconds, sizes bytes; null is "not known" or "there is none". Fields are only ever added within /v1: clients ignore
those that they do not know, while a request with an unknown field is refused. Importing it costs msgspec alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

API = "/v1"
JSON_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"
EVENTS_TYPE = "application/x-ndjson"
MAX_WAIT_SECONDS = 300  # of `?wait=N`
MAX_EVENTS = 1000  # that are kept
MAX_WORKERS = 200  # of a pool, as server.workers allows
CHANGE = r"^[+-]0{0,2}[1-9][0-9]{0,2}$"  # of it; by nothing is none

DaemonState = Literal["starting", "running", "reloading", "draining", "stopping", "stopped"]
VerdictLevel = Literal["healthy", "degraded", "down"]
WorkerState = Literal["waiting", "forking", "booting", "ready", "stuck", "draining", "killed"]
OperationKind = Literal[
    "start", "reload", "recover", "restart", "scale", "drain", "undrain", "stop", "log-level"
]  # fmt: skip
OperationState = Literal["waiting", "running", "succeeded", "failed", "superseded"]
Origin = Literal["default", "file", "environment", "flag", "runtime"]
LogLevelName = Literal["debug", "info", "warning", "error"]
StopMode = Literal["graceful", "now"]
Role = Literal["read", "operate", "admin"]
MetricKind = Literal["counter", "gauge", "histogram"]
EventKind = Literal[
    "worker.started", "worker.ready", "worker.draining", "worker.killed", "worker.exited", "worker.failed",
    "worker.recycled", "worker.silent", "worker.responds", "worker.wedged", "worker.stacks",
    "request.slow", "request.timeout",
    "generation.preparing", "generation.booting", "generation.ready", "generation.serving", "generation.failed",
    "generation.failing", "generation.retired", "generation.exited",
    "operation.started", "operation.ended",
    "daemon.serving", "daemon.stopping",
    "events.lost",
]  # fmt: skip


class ResponseBody(Struct):
    """What the daemon sends. Every field is always there."""


class RequestBody(Struct, forbid_unknown_fields=True):
    """What a client sends. Every field has a default; an unknown one is refused (422)."""


# --- errors --------------------------------------------------------------------------------------------------------


class Problem(ResponseBody):
    """An error, as RFC 9457 has it (application/problem+json)."""

    status: int
    title: str  # the status in words
    detail: str = ""  # what is wrong with this very request, and the remedy
    type: str = "about:blank"
    instance: str = ""  # the path that was asked for
    operation: int | None = None  # 409: the operation that is in the way
    problems: list[ConfigProblem] = []  # 422 of a configuration: each mistake


# --- status --------------------------------------------------------------------------------------------------------


class Verdict(ResponseBody):
    """How the daemon does, by `metrics.verdict`."""

    level: VerdictLevel
    reasons: list[str]  # phrases, the weightiest first; a healthy daemon has one, too


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


class ListenerStatus(ResponseBody):
    """A listening socket."""

    address: str  # as configured
    url: str
    unix: bool
    queued: int | None  # connections that wait to be accepted
    queue_limit: int | None


class Rates(ResponseBody):
    """Requests a second over the last seconds; null until the daemon is so old."""

    last_1s: float | None
    last_10s: float | None
    last_60s: float | None


class LastMinute(ResponseBody):
    """Answers of about the last minute, and which share of them was an error, 0 to 1; null without any."""

    answers: int
    client_errors: float | None = field(name="4xx")
    server_errors: float | None = field(name="5xx")


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


class Percentiles(ResponseBody):
    """Percentiles of a histogram in words, as far as it knows them: "≤ 5 s", "> 10 s" beyond its last bound, "–"."""

    p50: str
    p95: str
    p99: str


class Latency(ResponseBody):
    """Percentiles of a histogram of seconds: the bounds that so many do not exceed; null beyond the last one."""

    window_seconds: float  # how far back it looks
    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    shown: Percentiles  # the same in words


class GenerationCounts(ResponseBody):
    """What the workers of one generation have answered since it began."""

    generation: int
    workers: int  # that it has now
    answers: int
    client_errors: int = field(name="4xx")
    server_errors: int = field(name="5xx")
    last_60s: LastMinute


class LastReload(ResponseBody):
    """The last reload that has ended."""

    operation: int
    ended_at: datetime
    seconds: float  # from the asking to the verdict
    result: OperationState
    error: str
    generation: int | None
    who: str


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


# --- workers -------------------------------------------------------------------------------------------------------


class RunningRequest(ResponseBody):
    """A request that a thread of a worker is inside."""

    thread: int
    method: str
    path: str  # without its query
    age_seconds: float


class Worker(ResponseBody):
    """A worker and its slot."""

    slot: int
    pid: int | None  # null while there is no process
    generation: int | None
    state: WorkerState  # "waiting": its predecessor was lost, the next one is due in `next_in_seconds`
    reason: str  # why it is to leave; "" while it is wanted
    age_seconds: float | None  # since its fork was ordered
    in_state_seconds: float | None
    next_in_seconds: float | None
    heartbeat_age_seconds: float | None  # since its loop last turned
    not_responding_seconds: float | None  # for how long it has not responded; null: it does, or is not to yet
    requests: int  # by this worker
    client_errors: int = field(name="4xx")  # answers of this worker
    server_errors: int = field(name="5xx")
    last_60s: LastMinute
    rate: float | None  # a second, over the last 10 s
    in_flight: list[RunningRequest]
    waiting: int  # complete requests that wait for a thread
    connections: int
    rss_bytes: int | None
    pss_bytes: int | None  # its fair share of what it shares with others
    uss_bytes: int | None  # what would be free without it
    cpu_percent: float | None  # of one CPU, since the last sample (a second or more ago)
    cpu_seconds: float | None
    restarts: int  # successors of lost workers in this slot, whatever slot those had: crashed, wedged, out of time …
    last_exit: str  # why the last one of them, or of this slot, ended


class WorkerList(ResponseBody):
    """GET /v1/workers: by slot."""

    workers: list[Worker]


class Stack(ResponseBody):
    """What every thread of a worker is doing, also in C code."""

    slot: int
    pid: int
    taken_at: datetime
    answered: bool  # false: the process is stopped or inside the kernel; `text` says so
    text: str  # as faulthandler writes it, most recent call first; below a thread's heading the request that it runs
    in_flight: list[RunningRequest]


# --- changes -------------------------------------------------------------------------------------------------------


class Operation(ResponseBody):
    """A change that someone asked for, from the asking to the verdict."""

    id: int
    kind: OperationKind
    detail: str  # "to 8 workers", "of slot 3"
    state: OperationState
    who: str  # for people: "alice (uid 1000, pid 712)", "SIGHUP"
    uid: int | None  # of a client of the control API
    pid: int | None
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float  # from the asking to the verdict, or until now
    done: int  # of `total` workers
    total: int
    generation: int | None
    error: str
    traceback: str
    joined: bool = False  # in the answer to a POST: it had been asked for before, and this request joins it

    @property
    def ended(self) -> bool:
        return self.state in {"succeeded", "failed", "superseded"}


class OperationList(ResponseBody):
    """GET /v1/operations: the latest first; those that have ended are kept for a while."""

    operations: list[Operation]


class ScaleRequest(RequestBody):
    """POST /v1/scale: either `workers` or `reset`."""

    workers: (
        Annotated[int, Meta(ge=1, le=MAX_WORKERS, description="so many")]
        | Annotated[
            str, Meta(pattern=r"^[+-]0{0,2}[1-9][0-9]{0,2}$", description='"+2" or "-1": more or fewer than now')
        ]
        | None
    ) = None
    persist: bool = False  # also across a restart of the daemon
    reset: bool = False  # as configured again


class ReloadRequest(RequestBody):
    """POST /v1/reload: nothing to say. No body says the same."""


class RestartRequest(RequestBody):
    """POST /v1/restart and /v1/workers/{slot}/restart: nothing to say."""


class DrainRequest(RequestBody):
    """POST /v1/drain and /v1/undrain: nothing to say."""


class StopRequest(RequestBody):
    """POST /v1/stop."""

    mode: StopMode = "graceful"


class LogLevelRequest(RequestBody):
    """PUT /v1/log-level: either `level` or `reset`."""

    level: LogLevelName | None = None
    reset: bool = False  # as configured again


class LogLevel(ResponseBody):
    """GET and PUT /v1/log-level."""

    level: LogLevelName  # in force, in the master and its workers
    configured: LogLevelName
    overridden: bool
    operation: int | None = None  # PUT: the operation that changed it


# --- configuration -------------------------------------------------------------------------------------------------


class ConfigValue(ResponseBody):
    """One key of the configuration."""

    key: str  # "server.workers"
    value: Any  # secrets are masked
    text: str  # as a configuration file has it
    origin: Origin
    configured: Any = None  # where origin is "runtime": the value that `reset` goes back to


class ConfigView(ResponseBody):
    """GET /v1/config: what is in force, and where each value comes from."""

    path: str | None
    values: list[ConfigValue]
    file_variables: list[str]  # names of environment variables from app.env_files
    notes: list[str]


class ConfigProblem(ResponseBody):
    """One mistake in a configuration."""

    key: str
    value: str  # as it was found; "" if there was none, or it may be a secret
    expected: str
    source: str  # "file /etc/…", "flag --workers"
    message: str  # all of it in one line


class ConfigChange(ResponseBody):
    """A key whose value would be another one."""

    key: str
    old: str  # as a configuration file has it
    new: str


class ConfigCheckRequest(RequestBody):
    """POST /v1/config/check."""

    toml: str | None = None  # a whole configuration file; null: the one on disk


class ConfigReport(ResponseBody):
    """What a configuration is worth: validated, compared with the one in force, and nothing of it executed."""

    valid: bool
    problems: list[ConfigProblem]
    changes: list[ConfigChange]  # that a reload would bring into force
    restart: list[ConfigChange]  # that only a restart would: a reload refuses them
    notes: list[str]


# --- events --------------------------------------------------------------------------------------------------------


class Event(ResponseBody):
    """Something that happened. In a stream, one a line."""

    id: int  # counted from 1 since the start of the daemon
    at: datetime
    kind: EventKind
    message: str  # one line for people
    slot: int | None = None
    pid: int | None = None
    generation: int | None = None
    operation: int | None = None
    state: str | None = None  # of an operation that has ended
    seconds: float | None = None  # how long it took, or has been going on
    lost: int = 0  # events.lost: so many were dropped before this one, because the reader was too slow


class EventList(ResponseBody):
    """GET /v1/events without `follow`: the oldest first."""

    events: list[Event]
    last_id: int  # of the latest event ever; ask with `since` for what comes after
    lost: int  # after `since`, but no longer kept


# --- metrics -------------------------------------------------------------------------------------------------------


class MetricHistogram(ResponseBody):
    """Observations by size. `counts` are not cumulative: one for each of `bounds`, and one beyond the last."""

    bounds: list[float]  # ascending, inclusive
    counts: list[int]
    sum: float
    percentiles: Percentiles


class MetricSample(ResponseBody):
    """One time series, now."""

    labels: dict[str, str]
    value: MetricHistogram | float | None


class MetricFamily(ResponseBody):
    """A metric with all its series."""

    name: str
    kind: MetricKind
    help: str
    unit: str  # "seconds", "bytes"; "" for counts and ratios
    samples: list[MetricSample]


class MetricList(ResponseBody):
    """GET /v1/metrics: the families that are meant."""

    families: list[MetricFamily]


# --- what the API is -----------------------------------------------------------------------------------------------

REQUESTS = (
    ScaleRequest, ReloadRequest, RestartRequest, DrainRequest, StopRequest, LogLevelRequest, ConfigCheckRequest,
)  # fmt: skip
RESPONSES = (
    Problem, Status, Worker, WorkerList, Stack, Operation, OperationList, LogLevel, ConfigView, ConfigReport, Event,
    EventList, MetricList,
)  # fmt: skip
