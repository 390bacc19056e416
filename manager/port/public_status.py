"""status.json: what the status page shows of the daemon, for whoever may reach the metrics port.

Made of the control API's messages by leaving out: only the fields named here are taken over. Nothing of a request
but how many there are and for how long, of the application its name alone, no names of people, no text from errors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from miniwsgi.metrics.health import Health
from msgspec import field, structs

from .. import messages as ms

HOST = os.uname().nodename  # uname(2)
R = TypeVar("R", bound=ms.ResponseBody)


class PublicWorker(ms.ResponseBody):
    """A worker and its slot; see `messages.Worker`."""

    slot: int
    pid: int | None
    generation: int | None
    state: ms.WorkerState
    age_seconds: float | None
    not_responding_seconds: float | None
    requests: int
    client_errors: int = field(name="4xx")
    server_errors: int = field(name="5xx")
    last_60s: ms.LastMinute
    rate: float | None
    in_flight: int  # requests that run
    oldest_seconds: float | None  # how long the one has run that began first
    waiting: int
    connections: int
    rss_bytes: int | None
    cpu_percent: float | None
    restarts: int
    leader: ms.LeaderState | None


class PublicStatus(ms.ResponseBody):
    """GET /status.json; see `messages.Status`."""

    name: str  # "shop.wsgi:application on web1": which of many this is
    host: str
    revision: str | None  # of the generation in force; null: not known
    version: str
    pid: int
    uptime_seconds: float
    verdict: ms.Verdict
    state: ms.DaemonState
    ready: bool  # what /readyz says
    reason: str  # why it is not
    generation: int | None
    pool: str
    threads: int
    engine: str | None
    engine_note: str
    counts: ms.WorkerCounts
    utilization: float | None  # 0 to 1, over the last 10 s; null: not known
    connections: int
    requests: ms.RequestCounts
    oldest_seconds: float | None  # how long the request has run that began first
    duration: ms.Latency
    queue_time: ms.Latency
    generations: list[ms.GenerationCounts]
    listeners: list[ms.ListenerStatus]
    leader: int | None  # the slot of the worker that leads; null: none does
    workers: list[PublicWorker]


def public_status(
    status: ms.Status, workers: Sequence[ms.Worker], health: Health, utilization: float | None
) -> PublicStatus:
    """What of it anybody may see."""
    shown = [_public_worker(worker) for worker in workers]
    ages = [worker.oldest_seconds for worker in shown if worker.oldest_seconds is not None]
    return _taken(
        PublicStatus,
        status,
        name=f"{status.application} on {HOST}",
        host=HOST,
        ready=health.ready,
        reason=health.reason,
        counts=status.workers,
        utilization=utilization,
        oldest_seconds=max(ages, default=None),
        listeners=[structs.replace(listener, certificates=[]) for listener in status.listeners],  # with their paths
        leader=next((worker.slot for worker in shown if worker.leader == "leading"), None),
        workers=shown,
    )


def _public_worker(worker: ms.Worker) -> PublicWorker:
    return _taken(
        PublicWorker,
        worker,
        in_flight=len(worker.in_flight),
        oldest_seconds=max((request.age_seconds for request in worker.in_flight), default=None),
    )


def _taken(kind: type[R], source: ms.ResponseBody, **own: object) -> R:
    """A message of `kind`: its fields from the `source`, but for its own ones."""
    values = {name: getattr(source, name) for name in kind.__struct_fields__ if name not in own}
    return kind(**values, **own)


def as_data(status: PublicStatus) -> dict[str, object]:
    """As status.json has it, not encoded yet."""
    found: dict[str, object] = msgspec.to_builtins(status)
    return found
