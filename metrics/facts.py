"""What the collector is told about the daemon, as the scoreboard does not know it. Filled by whoever supervises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field


class WorkerFacts(Struct, frozen=True):
    """A worker that has a process, or is about to."""

    slot: int
    state: str  # one of WORKER_STATES
    uptime_seconds: float


WORKER_STATES = ("booting", "ready", "draining", "stopping")


class ListenerFacts(Struct, frozen=True):
    """A listening socket. None: the kernel does not tell."""

    name: str
    queued: int | None
    limit: int | None
    dropped: int | None


class CertificateFacts(Struct, frozen=True):
    """A certificate that is shown to clients."""

    listener: str
    file: str
    not_after: int  # since the epoch


class SlotUsage(Struct, frozen=True):
    """What a slot's process takes. Bytes; None: there is none, or the kernel does not tell."""

    cpu_seconds: float  # of all processes that the slot ever had
    rss: int | None = None
    pss: int | None = None
    fds: int | None = None


class MasterUsage(Struct, frozen=True):
    """What the master itself takes. Its start is seconds since the epoch."""

    cpu_seconds: float
    rss: int
    fds: int
    max_fds: int
    started_at: float


class DaemonFacts(Struct, frozen=True):
    """The daemon at a moment. Times in seconds."""

    version: str
    python_version: str
    pool: str
    engine: str  # what the workers of the generation in force run; "" until one was ready
    engine_note: str  # why it is not a faster one; "" if it is the fastest
    threads: int
    workers: Sequence[WorkerFacts]
    target: int
    not_responding: int  # ready workers that do not
    boot_seconds: Mapping[int, float]  # by slot
    usage: Mapping[int, SlotUsage]  # by slot
    exits: Mapping[str, int]  # by reason
    utilization: float | None
    generation: int
    reloads: Mapping[str, int]  # by result
    reloaded_at: float | None  # since the epoch
    reload_seconds: float
    draining: bool
    ready: bool
    listeners: Sequence[ListenerFacts]
    slow_requests: int
    logged: Mapping[str, int]  # by level: the master's own
    log_lost: int  # the same
    control_calls: Mapping[tuple[str, str], int]  # by endpoint and status
    loop_lag: float
    master: MasterUsage
    worker_memory_limit: int | None = None
    memory_limit: int | None = None
    leader: int | None = None  # the slot of the worker that leads
    may_lead: bool = False  # one of the workers could, or does
    application_errors: Mapping[str, int] = field(default_factory=dict)  # by reason
    application_seconds: float | None = None
    certificates: Sequence[CertificateFacts] = ()
    renewals: Mapping[str, int] = field(default_factory=dict)  # of certificates, by result
    revisions: Mapping[int, str] = field(default_factory=dict)  # of the generations that there are; "": unknown
