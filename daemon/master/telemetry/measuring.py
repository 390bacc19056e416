"""Measuring: what the daemon knows of itself beside the scoreboard, kept ready for whoever asks for metrics.

Once a second it looks at how busy workers are and how late the loop was; processes are sampled in a thread, memory
maps more seldom. A scrape then only reads. Without a metrics port only the cheap part is done.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections import Counter, deque
from collections.abc import Callable, Collection

from miniwsgi.daemon import __version__
from miniwsgi.manager import changes as ch
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics.accept_queues import accept_queue, dropped
from miniwsgi.metrics.facts import CertificateFacts, DaemonFacts, ListenerFacts, WorkerFacts
from miniwsgi.metrics.sampler import ProcessSample, Sampler, cpu_of_ended, master_usage, sample
from miniwsgi.metrics.utilisation import Utilisation

from ...config.machine import memory_limit
from ..running.certificate_watch import CertificateWatch
from ..running.master import Master
from ..running.watch import load
from ..sockets.listeners import BoundListener
from ..supervising import actions as act
from ..supervising import events as ev
from ..supervising.leadership import LeaderPhase
from ..supervising.operations import OperationState
from ..supervising.worker_table import WorkerState
from .condition import capacity_of, health_of
from .merging import AppMetrics

LOOK_SECONDS = 1.0
SAMPLE_LOOKS = 5  # between two samples of the processes
MAPS_SAMPLES = 6  # between two looks at their memory maps
SAMPLING_SECONDS = 30.0
STATES = {
    WorkerState.FORKING: "booting",
    WorkerState.BOOTING: "booting",
    WorkerState.READY: "ready",
    WorkerState.STUCK: "draining",
    WorkerState.DRAINING: "draining",
    WorkerState.KILLED: "stopping",
}


class Measuring:
    """Watches `master`. `slow_requests`, `control_calls` and `certificates` are asked at each scrape."""

    def __init__(
        self,
        master: Master,
        threads: DaemonThreads,
        app_metrics: AppMetrics,
        *,
        slow_requests: Callable[[], int],
        control_calls: Callable[[], Counter[tuple[str, str]]],
        certificates: CertificateWatch,
        sampled: bool,
    ) -> None:
        self._master = master
        self._threads = threads
        self._slow_requests = slow_requests
        self._control_calls = control_calls
        self._app_metrics = app_metrics
        self._certificates = certificates
        self._sampled = sampled
        self._sampler = Sampler()
        self._utilisation = Utilisation()
        self._boots: dict[int, float] = {}
        self._reloads = {"success": 0, "failure": 0}
        self._reloaded_at: float | None = None
        self._reload_seconds = 0.0
        self._lags: deque[float] = deque(maxlen=10)
        self._looks = 0
        self._due = 0.0
        self._sampling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.on_look: list[Callable[[float], None]] = []  # called with the time, each second
        master.on_handled.append(self._handled)

    def __repr__(self) -> str:
        return f"<Measuring {self._sampler}>"

    def start(self) -> None:
        """To be called in the loop."""
        self._due = asyncio.get_running_loop().time()
        self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sampling is not None:
            self._sampling.cancel()

    @property
    def utilization(self) -> float | None:
        """0 to 1, over the last 10 s; None while nobody is ready."""
        return self._utilisation.ratio(self._sampler.shares)

    def samples(self) -> dict[int, ProcessSample]:
        """The latest ones of workers, by pid."""
        return self._sampler.samples()

    def facts(self) -> DaemonFacts:
        """Everything at this moment."""
        master, now = self._master, time.monotonic()
        config, supervisor = master.config, master.supervisor
        turnover, table, health = supervisor.turnover, supervisor.table, health_of(master)
        workers = list(table.workers())
        engine = master.fleet.engine
        leadership, leader = supervisor.leadership, supervisor.leadership.worker
        return DaemonFacts(
            version=__version__,
            python_version=platform.python_version(),
            pool=config.server.pool,
            engine=engine.name if engine is not None else "",
            engine_note=engine.why if engine is not None else "",
            threads=capacity_of(self._master),
            workers=[WorkerFacts(one.slot, STATES[one.state], max(0.0, now - one.forked_at)) for one in workers],
            target=supervisor.sizing.target,
            not_responding=len(health.silent),
            boot_seconds=self._boots,
            usage=self._sampler.by_slot({worker.slot: worker.pid for worker in workers}),
            leader=leader.slot if leader is not None and leadership.phase is LeaderPhase.LEADING else None,
            may_lead=leadership.wanted,
            exits={reason.value: count for reason, count in table.exits.items()},
            utilization=self.utilization,
            generation=turnover.current.number if turnover.current is not None else 0,
            revisions={number: generation.revision or "" for number, generation in table.generations.items()},
            reloads=self._reloads,
            reloaded_at=self._reloaded_at,
            reload_seconds=self._reload_seconds,
            draining=supervisor.sizing.drained or supervisor.stopping.asked,
            ready=health.ready,
            listeners=[_listener(one) for one in master.configurations.in_force.listeners],
            slow_requests=self._slow_requests(),
            logged=master.log.counts,
            log_lost=master.log.writer.lost,
            control_calls=self._control_calls(),
            loop_lag=max(self._lags, default=0.0),
            master=master_usage(),
            worker_memory_limit=config.recycle.max_rss or None,
            memory_limit=memory_limit(),
            certificates=[
                CertificateFacts(one.address, shown.file, shown.not_after)
                for one in self._certificates.served
                for shown in one.loaded.verified.served
            ],
            renewals=self._certificates.results,
            application_errors=self._app_metrics.errors,
            application_seconds=self._app_metrics.merge_seconds,
        )

    # --- as time goes by ---

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._lags.append(max(0.0, now - self._due))
        self._due = now + LOOK_SECONDS
        self._timer = loop.call_at(self._due, self._look)
        table, board = self._master.supervisor.table, self._master.fleet.board
        loads = [(worker.slot, load(board, worker.slot)) for worker in table.workers(WorkerState.READY)]
        self._utilisation.look(loads, capacity_of(self._master))
        if self._sampled and (self._sampling is None or self._sampling.done()):
            self._start_sampling(loop)
        self._looks += 1
        for look in self.on_look:
            look(now)

    def _start_sampling(self, loop: asyncio.AbstractEventLoop) -> None:
        """Every few seconds, and at once for new workers."""
        pids = {worker.slot: worker.pid for worker in self._master.supervisor.table.workers() if worker.pid}
        new = self._sampler.unknown(pids)
        if new or self._looks % SAMPLE_LOOKS == 0:
            maps = pids if self._looks % (SAMPLE_LOOKS * MAPS_SAMPLES) == 0 else new
            self._sampling = loop.create_task(self._sample(pids, maps))

    async def _sample(self, pids: dict[int, int], maps: Collection[int]) -> None:
        try:
            samples = await self._threads.run(lambda: sample(pids, maps), SAMPLING_SECONDS)
        except TimeoutError:
            return
        self._sampler.take(samples)

    # --- what happens ---

    def _handled(self, event: ev.Input, actions: list[act.Action]) -> None:
        """Called by the master after each event."""
        table = self._master.supervisor.table
        if isinstance(event, ev.WorkerReady) and (worker := table.worker(event.slot)) is not None:
            self._boots[event.slot] = max(0.0, worker.since - worker.forked_at)
        elif isinstance(event, ev.WorkerDied) and self._sampled and (worker := table.worker(event.slot)) is not None:
            seconds = cpu_of_ended(worker.pid)
            if seconds is not None:
                self._sampler.count_cpu(worker.slot, worker.pid, seconds)
        for action in actions:
            if isinstance(action, act.OperationEnded) and action.operation.kind in {ch.Reload, ch.Start}:
                self._concluded(action)

    def _concluded(self, order: act.OperationEnded) -> None:
        operation = order.operation
        succeeded = operation.state is OperationState.SUCCEEDED
        if succeeded:
            self._reloaded_at = time.time()
        if operation.kind is ch.Reload:
            if operation.state is not OperationState.SUPERSEDED:
                self._reloads["success" if succeeded else "failure"] += 1
            self._reload_seconds = (operation.ended_at or operation.asked_at) - operation.asked_at


def _listener(listener: BoundListener) -> ListenerFacts:
    queued, limit = accept_queue(listener.socket) or (None, None)
    return ListenerFacts(listener.name, queued, limit, dropped(listener.socket))
