"""How the daemon does: what its health and its verdict depend on, gathered from the supervisor's table, the watch over
heartbeats, the scoreboard and the kernel's queues. Nothing is decided here: see `metrics.health`, `metrics.verdict`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from miniwsgi.manager import changes as ch
from miniwsgi.metrics import scoreboard_reading as reading
from miniwsgi.metrics.accept_queues import accept_queue
from miniwsgi.metrics.answers import Answers
from miniwsgi.metrics.health import Health, ServicePhase
from miniwsgi.metrics.verdict import ServiceCondition

from ..certificates.installed import Installed
from ..running.master import Master
from ..supervising.leadership import LeaderPhase, Leadership
from ..supervising.supervisor import SupervisorState
from ..supervising.worker_table import WorkerState


def health_of(master: Master) -> Health:
    """The daemon's health, now."""
    supervisor = master.supervisor
    if supervisor.stopping.asked:
        phase = ServicePhase.STOPPING
    elif supervisor.state is SupervisorState.STARTING:
        phase = ServicePhase.STARTING
    else:
        phase = ServicePhase.DRAINING if supervisor.sizing.drained else ServicePhase.SERVING
    ages = [master.watch.silent_for(worker.slot) for worker in supervisor.table.workers(WorkerState.READY)]
    return Health(
        phase=phase,
        started=supervisor.turnover.current is not None,
        ready_workers=len(ages),
        target_workers=supervisor.sizing.target,
        ready_min=master.config.metrics.ready_min,
        silent=[age for age in ages if age is not None],
    )


def capacity_of(master: Master) -> int:
    """How many requests a worker can run at a time."""
    server = master.config.server
    return server.threads if server.pool in {"epoll", "fork"} else 1


def condition_of(
    master: Master,
    last_minute: Answers,
    utilization: float | None,
    new_code: str,
    certificates: Iterable[Installed],
    crashes: str = "",
) -> ServiceCondition:
    """All that the verdict depends on, now. `utilization`: 0 to 1, over seconds; `new_code`: see FirstAnswers;
    `certificates`: all that anything here is served with; `crashes`: see Crashes."""
    supervisor, now = master.supervisor, time.monotonic()
    health = health_of(master)
    queues = [accept_queue(listener.socket) for listener in master.configurations.in_force.listeners]
    known = [queue for queue in queues if queue is not None]
    retries = [slot.restart_at - now for slot in supervisor.table.reserved() if slot.restart_at is not None]
    booting = supervisor.table.workers(WorkerState.FORKING, WorkerState.BOOTING)
    return ServiceCondition(
        health=health,
        growing=bool(supervisor.ledger.open(ch.Start, ch.Scale, ch.Undrain)),
        booting=sum(1 for _worker in booting),
        retry_seconds=max(0.0, min(retries)) if retries else None,
        queued=sum(queued for queued, _limit in known),
        queue_share=max((queued / limit for queued, limit in known if limit), default=0.0),
        waiting=reading.totals(master.fleet.board).waiting,
        capacity=health.responding_workers * capacity_of(master),
        utilization=utilization,
        last_minute=last_minute,
        certificates=_refused(certificates),
        leader=_leaderless(supervisor.leadership, now),
        new_code=new_code,
        crashes=crashes,
    )


def _refused(certificates: Iterable[Installed]) -> list[str]:
    """Of each certificate that clients refuse by its time, once; without paths, for anybody may read it."""
    now, found = time.time(), []
    for served in (served for one in certificates for served in one.loaded.verified.served):
        if served.untimely(now):
            what = "has expired" if now > served.not_after else "is not valid yet"
            found.append(f"the certificate of {', '.join(served.names) or 'a listener'} {what}")
    return list(dict.fromkeys(found))


def _leaderless(leadership: Leadership, now: float) -> str:
    """Why no worker leads although one should; without what the application has said, for anybody may read it."""
    if not leadership.failing:
        return ""
    if leadership.phase is LeaderPhase.LATE:
        return "no worker leads: a leader hook is late (timeouts.hook), its worker is replaced"
    left = leadership.retry_at
    tried = (
        f"another worker is tried in {max(0.0, left - now):.0f} s" if left is not None else "another worker is tried"
    )
    return f"no worker leads: leader_start has failed, {tried}"
