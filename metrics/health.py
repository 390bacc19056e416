"""Whether the service is alive, started, ready: what the health endpoints say, as functions of the daemon's state.

No sockets and no clock: whoever supervises gives a `Health`, and gets a status and JSON. *Live* is whoever can still
answer. *Started* is a daemon that has had a ready worker, for ever after. *Ready* is one that should get requests: it
has started, it is neither draining nor stopping, and enough of its workers are ready. A reload changes none of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum

OK, UNAVAILABLE = 200, 503


class Phase(Enum):
    """What the daemon is at. Reloading is serving."""

    STARTING = "starting"  # no worker was ready yet
    SERVING = "serving"
    DRAINING = "draining"  # asked to; also once it is drained
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Health:
    """The daemon's state, as far as its health depends on it."""

    phase: Phase
    started: bool  # a worker was ready once
    ready_workers: int
    target_workers: int
    ready_min: int  # ready workers without which the service is not ready

    @property
    def reason(self) -> str:
        """Why it is not ready; "" if it is."""
        if self.phase is not Phase.SERVING:
            return str(self.phase.value)
        if self.ready_workers < self.ready_min:
            verb = "is" if self.ready_workers == 1 else "are"
            return f"{self.ready_workers} of {self.target_workers} workers {verb} ready, {self.ready_min} needed"
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
        "target": health.target_workers,
        "ready_min": health.ready_min,
    }
    return status, json.dumps(said).encode() + b"\n"
