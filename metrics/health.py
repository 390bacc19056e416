"""Whether the service is alive, started, ready: what the health endpoints say, as functions of the daemon's state.

No sockets and no clock: whoever supervises gives a `Health`, and gets a status and JSON. *Live* is whoever can still
answer. *Started* is a daemon that has had a ready worker, for ever after. *Ready* is one that should get requests: its
first start has succeeded, it is neither draining nor stopping, and enough of its workers are ready and respond. A
reload changes none of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

OK, UNAVAILABLE = 200, 503
NOT_RESPONDING_SECONDS = 3.0  # a loop that can turn does so each second


def silent_for(heartbeat_age_seconds: float | None) -> float | None:
    """For how many seconds a worker has not responded; None: it responds, or (its age being None) nobody can tell.

    Said of its loop: a call that takes long leaves that turning, or the monitor beside it, unless it holds the
    interpreter. It is no state of the worker's life: nothing is done about it before timeouts.wedge.
    """
    if heartbeat_age_seconds is None or heartbeat_age_seconds < NOT_RESPONDING_SECONDS:
        return None
    return heartbeat_age_seconds


class ServicePhase(Enum):
    """What the daemon is at. Reloading is serving."""

    STARTING = "starting"  # until the first start has its verdict
    SERVING = "serving"
    DRAINING = "draining"  # asked to; also once it is drained
    STOPPING = "stopping"


class Health(Struct, frozen=True):
    """The daemon's state, as far as its health depends on it."""

    phase: ServicePhase
    started: bool  # a worker was ready once
    ready_workers: int
    target_workers: int
    ready_min: int  # ready workers that respond, without which the service is not ready
    silent: Sequence[float] = ()  # of each ready worker that does not respond: for how many seconds

    @property
    def responding_workers(self) -> int:
        """Of the ready ones."""
        return self.ready_workers - len(self.silent)

    @property
    def reason(self) -> str:
        """Why it is not ready; "" if it is."""
        if self.phase is not ServicePhase.SERVING:
            return str(self.phase.value)
        if self.ready_workers < self.ready_min:
            verb = "is" if self.ready_workers == 1 else "are"
            return f"{self.ready_workers} of {self.target_workers} workers {verb} ready, {self.ready_min} needed"
        if self.responding_workers < self.ready_min:
            verb = "responds" if self.responding_workers == 1 else "respond"
            return f"{self.responding_workers} of {self.ready_workers} ready workers {verb}, {self.ready_min} needed"
        return ""

    @property
    def ready(self) -> bool:
        return not self.reason


def livez(health: Health) -> tuple[int, bytes]:
    """Who can answer is alive: 200."""
    return _said(OK, "live", health)


def startupz(health: Health) -> tuple[int, bytes]:
    """503 until the first worker is ready, then 200 for ever."""
    if health.started:
        return _said(OK, "started", health)
    return _said(UNAVAILABLE, "not started", health, "no worker was ready yet")


def readyz(health: Health) -> tuple[int, bytes]:
    """503 while requests should go elsewhere; `reason` says why."""
    if health.ready:
        return _said(OK, "ready", health)
    return _said(UNAVAILABLE, "not ready", health, health.reason)


def _said(status: int, verdict: str, health: Health, reason: str = "") -> tuple[int, bytes]:
    said: dict[str, object] = {"status": verdict}
    if reason:
        said["reason"] = reason
    said["phase"] = health.phase.value
    said["workers"] = {
        "ready": health.ready_workers,
        "responding": health.responding_workers,
        "target": health.target_workers,
        "ready_min": health.ready_min,
    }
    return status, json.dumps(said).encode() + b"\n"
