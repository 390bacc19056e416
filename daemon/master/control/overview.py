"""What the control API shows of a running daemon: status and workers, made anew for each who asks.

Reads the supervisor's table, the scoreboard and the kernel's queues; changes nothing and waits for nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from miniwsgi.daemon import __version__
from miniwsgi.manager import messages as ms
from miniwsgi.manager.port.public_status import PublicStatus, public_status
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics import scoreboard_reading as reading
from miniwsgi.metrics.accept_queues import accept_queue
from miniwsgi.metrics.answers import AnswerReport, Answers
from miniwsgi.metrics.percentiles import SHARES, percentile
from miniwsgi.metrics.sampler import ProcessSample
from miniwsgi.metrics.verdict import Level, Verdict, verdict

from ...config.binds import Bind
from ...tls.verification import Served
from ..certificates.installed import Installed
from ..running.launcher_handle import LauncherHandle
from ..running.master import WATCHED, Master
from ..running.watch import load
from ..running.worker_handle import WorkerHandle
from ..sockets.listeners import BoundListener
from ..supervising.operations import Operation
from ..supervising.worker_table import Worker, WorkerSlot, WorkerState
from ..telemetry.condition import condition_of, health_of
from .kept_scale import KeptScale

NANOSECONDS = 1e9
RATE_SECONDS = 10.0  # of one worker


class Overview:
    """Views of `master`. Monotonic times become dates by the clock as it was when the daemon started."""

    def __init__(self, master: Master, kept: KeptScale) -> None:
        self._master = master
        self._kept = kept
        self._started = time.monotonic()
        self._epoch = time.time() - self._started
        self.history = reading.History(master.fleet.board, self._started)
        self.utilization: Callable[[], float | None] = lambda: None  # from whoever measures
        self.metrics_error = ""  # from whoever has opened their port
        self.new_code: Callable[[], str] = str  # what is wrong with it
        self.crashes: Callable[[], str] = str  # what is said of those of late
        self.certificates: Callable[[], Iterable[Installed]] = tuple  # from whoever renews them
        self.last_reload: ms.LastReload | None = None

    def __repr__(self) -> str:
        return f"<Overview {self.history}>"

    def date(self, monotonic: float) -> datetime:
        """A time of the supervisor's clock."""
        return datetime.fromtimestamp(self._epoch + monotonic, UTC)

    # --- the daemon ---

    def status(self, operations: Sequence[ms.Operation], role: ms.Role) -> ms.Status:
        master, now = self._master, time.monotonic()
        config, current = master.config, master.supervisor.turnover.current
        total = reading.totals(master.fleet.board)
        every = reading.durations(master.fleet.board.used())
        waited = reading.queue_times(master.fleet.board.used())
        window = self.history.window(now, every, waited)
        answered = master.fleet.tally.look(now)
        judged = self._verdict(answered)
        engine = master.fleet.engine
        uptime = now - self._started
        return ms.Status(
            version=__version__,
            pid=os.getpid(),
            started_at=self.date(self._started),
            uptime_seconds=round(uptime, 3),
            verdict=ms.Verdict(judged.level.value, list(judged.reasons), list(map(str, judged.codes))),
            state=master.supervisor.state.value,
            generation=current.number if current is not None else None,
            revision=current.revision if current is not None else None,
            revision_source=current.revision_source if current is not None else "",
            preloaded=current is not None and current.preloaded,
            application=config.app.target,
            pool=config.server.pool,
            threads=config.server.threads,
            engine=engine.name if engine is not None else None,
            engine_note=engine.why if engine is not None else "",
            log_level=cast("ms.LogLevelName", master.log.level),
            workers=self._counts(),
            listeners=self._listeners(),
            connections=total.connections,
            sockets=total.sockets,
            requests=self._requests(total, answered, now),
            duration=latency(window.durations, window.seconds),
            duration_total=latency(every, uptime),
            queue_time=latency(window.queue_times, window.seconds),
            queue_time_total=latency(waited, uptime),
            generations=self._generations(answered),
            last_reload=self.last_reload,
            operations=list(operations),
            persist_error=self.persist_error,
            metrics_error=self.metrics_error,
            role=role,
            hooks=self._hooks(),
            leader=self._leader(now),
        )

    def _listeners(self) -> list[ms.ListenerStatus]:
        in_force = self._master.configurations.in_force
        installed = {one.address: one for one in in_force.certificates}
        return [_listener(listener, bind, installed.get(bind.address)) for listener, bind in in_force.served]

    def _leader(self, now: float) -> ms.Leader | None:
        leadership = self._master.supervisor.leadership
        worker, retry_at = leadership.worker, leadership.retry_at
        if not leadership.wanted:
            return None
        return ms.Leader(
            state=leadership.phase.value,
            slot=worker.slot if worker is not None else None,
            pid=worker.pid if worker is not None else None,
            generation=worker.generation if worker is not None else None,
            in_state_seconds=round(now - leadership.since, 3),
            error=leadership.error,
            next_in_seconds=round(max(0.0, retry_at - now), 3) if retry_at is not None else None,
        )

    def _hooks(self) -> list[ms.RunningHook]:
        """Those that launchers and workers are inside."""
        fleet = self._master.fleet
        found = [hook for launcher in fleet.launchers.values() for hook in _running_hooks(launcher)]
        return found + [hook for _, worker in sorted(fleet.workers.items()) for hook in _running_hooks(worker)]

    def _counts(self) -> ms.WorkerCounts:
        sizing, table = self._master.supervisor.sizing, self._master.supervisor.table
        states = [worker.state for worker in table.workers()]
        board = self._master.fleet.board
        return ms.WorkerCounts(
            target=sizing.target,
            configured=sizing.turnover.plan.workers,
            override=sizing.override,
            persisted=self.persisted,
            booting=states.count(WorkerState.FORKING) + states.count(WorkerState.BOOTING),
            ready=states.count(WorkerState.READY),
            busy=sum(load(board, worker.slot) > 0 for worker in table.workers(WorkerState.READY)),
            draining=states.count(WorkerState.DRAINING),
            stuck=states.count(WorkerState.STUCK),
            not_responding=len(health_of(self._master).silent),
        )

    def _generations(self, answered: AnswerReport) -> list[ms.GenerationCounts]:
        table = self._master.supervisor.table
        return [
            ms.GenerationCounts(
                generation=generation,
                revision=table.revisions.get(generation),
                workers=len(table.of(generation)),
                answers=total.total,
                client_errors=total.client_errors,
                server_errors=total.server_errors,
                last_60s=_last_minute(lately),
            )
            for generation, (total, lately) in answered.generations.items()
        ]

    def _requests(self, total: reading.Totals, answered: AnswerReport, now: float) -> ms.RequestCounts:
        board, rate = self._master.fleet.board, self.history.rate
        every, lately = answered.all
        return ms.RequestCounts(
            total=total.requests,
            client_errors=every.client_errors,
            server_errors=every.server_errors,
            last_60s=_last_minute(lately),
            rates=ms.Rates(
                last_1s=_rounded(rate(now, 1)), last_10s=_rounded(rate(now, 10)), last_60s=_rounded(rate(now, 60))
            ),
            in_flight=sum(reading.running(slot) for slot in board.used()),
            waiting=total.waiting,
            errors=total.errors,
            rejected=total.rejected,
            aborted=total.aborted,
            timed_out=total.timed_out,
        )

    def judged(self) -> Verdict:
        """The verdict, now."""
        return self._verdict(self._master.fleet.tally.look(time.monotonic()))

    @property
    def persisted(self) -> bool:
        """Whether the number of workers that was asked for at runtime outlives a restart."""
        override = self._master.supervisor.sizing.override
        return override is not None and override == self._kept.value

    @property
    def persist_error(self) -> str:
        """Why the state directory cannot be used."""
        return self._kept.error

    def in_brief(self) -> str:
        """What is not well, and load, in few words."""
        board, now = self._master.fleet.board, time.monotonic()
        judged = self.judged()
        parts = [] if judged.level is Level.HEALTHY else [str(judged)]
        rate = self.history.rate(now, 10)
        if rate is not None:
            running = sum(reading.running(slot) for slot in board.used()) + reading.totals(board).waiting
            parts.append(f"{rate:.0f} requests/s, {running} in flight")
        return ", ".join(parts)

    def _verdict(self, answered: AnswerReport) -> Verdict:
        known = self.utilization(), self.new_code(), self.certificates(), self.crashes()
        return verdict(condition_of(self._master, answered.all[1], *known))

    def public(self, samples: Mapping[int, ProcessSample]) -> PublicStatus:
        """For the status page, with the latest `samples` of workers by pid: nothing is measured for who looks."""
        status, workers = self.status([], "read"), self.workers(samples)
        return public_status(status, workers, health_of(self._master), self.utilization())

    # --- workers ---

    def workers(self, samples: Mapping[int, ProcessSample]) -> list[ms.Worker]:
        """By slot: those with a worker, and those that wait for the next one."""
        slots = [slot for slot in self._master.supervisor.table.slots if slot.worker or slot.restart_at is not None]
        answered = self._master.fleet.tally.look(time.monotonic())
        return [self._worker(slot, answered, samples) for slot in slots]

    def pids(self) -> dict[int, int]:
        """By slot."""
        return {worker.slot: worker.pid for worker in self._master.supervisor.table.workers() if worker.pid}

    def running(self, slot: int) -> list[ms.RunningRequest]:
        """The requests that a slot's threads are inside."""
        now = time.monotonic_ns()
        return [
            ms.RunningRequest(one.thread, one.method, one.path, round(max(0, now - one.started_ns) / NANOSECONDS, 3))
            for one in self._master.fleet.board.slot(slot).running()
        ]

    def _worker(self, slot: WorkerSlot, answered: AnswerReport, samples: Mapping[int, ProcessSample]) -> ms.Worker:
        now, worker = time.monotonic(), slot.worker
        cells = self._master.fleet.board.slot(slot.index).cells
        handle = self._master.fleet.workers.get(slot.index)
        sample = samples.get(worker.pid) if worker is not None and worker.pid else None
        beat = cells[sb.HEARTBEAT] if handle is not None else 0
        answers, lately = answered.worker(slot.index)
        silent = self._master.watch.silent_for(slot.index) if worker and worker.state in WATCHED else None
        return ms.Worker(
            slot=slot.index,
            pid=worker.pid or None if worker is not None else None,
            generation=worker.generation if worker is not None else None,
            revision=self._revision(worker),
            state=_state(worker),
            reason=worker.leaving if worker is not None else "",
            age_seconds=round(now - worker.forked_at, 3) if worker is not None else None,
            in_state_seconds=round(now - worker.since, 3) if worker is not None else None,
            next_in_seconds=round(max(0.0, slot.restart_at - now), 3) if slot.restart_at is not None else None,
            heartbeat_age_seconds=round(max(0.0, now - beat / NANOSECONDS), 3) if beat else None,
            not_responding_seconds=_rounded(silent),
            client_errors=answers.client_errors,
            server_errors=answers.server_errors,
            last_60s=_last_minute(lately),
            requests=cells[sb.REQUESTS] - handle.requests_before if handle is not None else 0,
            rate=_rounded(self.history.rate(now, RATE_SECONDS, slot.index)),
            in_flight=self.running(slot.index),
            waiting=cells[sb.WAITING],
            connections=cells[sb.CONNECTIONS],
            sockets=sb.open_sockets(cells),
            rss_bytes=sample.rss if sample is not None else None,
            pss_bytes=sample.pss if sample is not None else None,
            uss_bytes=sample.uss if sample is not None else None,
            cpu_percent=sample.cpu_percent if sample is not None else None,
            cpu_seconds=round(sample.cpu_seconds, 2) if sample is not None else None,
            restarts=slot.restarts,
            last_exit=slot.last_exit,
            hooks=_running_hooks(handle) if handle is not None else [],
            leader=self._master.supervisor.leadership.phase.value if worker is not None and worker.leads else None,
        )

    def _revision(self, worker: Worker | None) -> str | None:
        """What it runs by its own account; before it is ready, what its generation runs if that is sure."""
        if worker is None:
            return None
        generation = self._master.supervisor.table.generations.get(worker.generation)
        is_sure = generation is not None and generation.preloaded
        return generation.revision if generation is not None and is_sure else worker.revision

    # --- operations ---

    def operation(self, operation: Operation, *, joined: bool = False) -> ms.Operation:
        """As the API has it; `joined` for who asked for the same as somebody before."""
        change, ended = operation.change, operation.ended_at
        seconds = (time.monotonic() if ended is None else ended) - operation.asked_at
        return ms.Operation(
            id=operation.id,
            kind=cast("ms.OperationKind", change.name),
            detail=operation.detail,
            state=operation.state.value,
            who=change.who,
            uid=change.uid,
            pid=change.pid,
            asked_at=self.date(operation.asked_at),
            started_at=self.date(operation.started_at) if operation.started_at is not None else None,
            ended_at=self.date(ended) if ended is not None else None,
            seconds=round(seconds, 3),
            done=operation.done,
            total=operation.total,
            generation=operation.generation,
            error=operation.error,
            traceback=operation.traceback,
            code=operation.code,
            revision=operation.revision,
            previous_revision=operation.previous_revision,
            joined=joined,
        )

    def note_reload(self, operation: Operation) -> None:
        """A reload has its verdict."""
        assert operation.ended_at is not None
        self.last_reload = ms.LastReload(
            operation=operation.id,
            ended_at=self.date(operation.ended_at),
            seconds=round(operation.ended_at - operation.asked_at, 3),
            result=operation.state.value,
            error=operation.error,
            generation=operation.generation,
            who=operation.change.who,
            code=operation.code,
            revision=operation.revision,
            previous_revision=operation.previous_revision,
        )


def _listener(listener: BoundListener, bind: Bind, installed: Installed | None) -> ms.ListenerStatus:
    queue = accept_queue(listener.socket)
    return ms.ListenerStatus(
        address=listener.name,
        url=listener.url(bind.scheme),
        unix=listener.unix,
        queued=queue[0] if queue is not None else None,
        queue_limit=queue[1] if queue is not None else None,
        protocol=bind.protocol,
        proxy_protocol=bind.proxy_protocol,
        client=bind.client,
        redirect=bind.redirect,
        certificates=[_certificate(one) for one in installed.loaded.verified.served] if installed else [],
    )


def _certificate(served: Served) -> ms.Certificate:
    dates = (datetime.fromtimestamp(seconds, UTC) for seconds in (served.not_before, served.not_after))
    return ms.Certificate(served.file, list(served.names), served.issuer, *dates)


def _running_hooks(process: LauncherHandle | WorkerHandle) -> list[ms.RunningHook]:
    slot, now = process.slot if isinstance(process, WorkerHandle) else None, time.monotonic()
    generation = process.settings.generation
    return [
        ms.RunningHook(name, slot, generation, round(now - since, 3)) for name, since in process.hooks.since.items()
    ]


def _state(worker: Worker | None) -> ms.WorkerState:
    return worker.state.value if worker is not None else "waiting"


def latency(buckets: Sequence[int], seconds: float) -> ms.Latency:
    """Percentiles of a histogram that looks back so far."""
    found = [percentile(reading.BOUNDS_SECONDS, buckets, share) for share in SHARES]
    p50, p95, p99 = (one.at_most for one in found)
    shown = ms.Percentiles(*(one.written("seconds") for one in found))
    return ms.Latency(round(seconds, 3), sum(buckets), p50, p95, p99, shown)


def _last_minute(answers: Answers) -> ms.LastMinute:
    shares = (answers.share(answers.client_errors), answers.share(answers.server_errors))
    return ms.LastMinute(answers.total, *(None if share is None else round(share, 4) for share in shares))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
