"""Gathers the evidence: the master looks for some seconds, beside all else that it does."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from miniwsgi.manager import messages as ms
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics.accept_queues import accept_queue, dropped
from miniwsgi.metrics.verdict import Verdict
from msgspec import structs

from ...config.machine import available_cpus, cpu_quota, throttled_periods
from ..running.master import Master
from ..sockets.listeners import BoundListener
from ..supervising.worker_table import WorkerState
from ..telemetry.condition import capacity_of
from .counters import NO_ROUTE, HostCounts, RouteCounts, SlotCounts, host_counts, slot_counts, throttled_share
from .evidence import Evidence, PastEvent, PastFigures, PastSlow, QueueEvidence, RouteEvidence
from .looking import WorkerLook
from .source_lines import read_sources

POLL_SECONDS = 0.05
QUEUE_POLLS = 4  # between two looks at queues and states of processes
HOUR = 3600.0
READING_SECONDS = 2.0  # for /proc, or for source files
LATE_SECONDS = 3.5  # for the last stacks: as long as a process may take that does not answer
LOOKED_AT = (WorkerState.READY, WorkerState.STUCK)


class Record(NamedTuple):
    """What the daemon has noted, of the last hour and of before."""

    events: Sequence[ms.Event] = ()  # the oldest first
    steps: Iterable[ms.HistoryStep] = ()  # the same
    repeated: str = ""  # of ms.CrashList
    slow: Iterable[ms.Incident] = ()  # of ms.SlowList


async def gather(
    master: Master,
    threads: DaemonThreads,
    seconds: float,
    judge: Callable[[], Verdict],
    record: Callable[[], Record],
) -> Evidence:
    """Look at `master` for so long. `judge` has the verdict of the moment, `record` what was noted of the hour; both
    are asked at the end. Raises TimeoutError."""
    evidence = await _Look(master, threads, seconds).take(judge)
    known = record()
    return structs.replace(
        evidence,
        events=_of_the_hour(known.events),
        past=_figures(known.steps),
        repeated=known.repeated,
        slow=_slow(known.slow),
    )


class _Before(NamedTuple):
    """What was counted before the look."""

    host: HostCounts | None
    throttled: list[tuple[int, int]]
    usual: tuple[float | None, int]


class _Look:
    """One look."""

    def __init__(self, master: Master, threads: DaemonThreads, seconds: float) -> None:
        self._master = master
        self._threads = threads
        self._seconds = seconds
        fleet, pool = master.fleet, master.config.server.pool
        self._workers = [
            WorkerLook(fleet.workers[worker.slot], fleet, capacity_of(master), pool)
            for worker in master.supervisor.table.workers(*LOOKED_AT)
            if worker.slot in fleet.workers
        ]
        self._listeners: list[BoundListener] = list(master.configurations.in_force.listeners)
        self._queued: dict[str, list[int]] = defaultdict(list)
        self._limits: dict[str, int | None] = {}
        self._dropped = {one.name: dropped(one.socket) for one in self._listeners}

    async def take(self, judge: Callable[[], Verdict]) -> Evidence:
        before = await self._begin()
        begun = time.monotonic()
        sampling = [asyncio.ensure_future(look.sample(self._seconds)) for look in self._workers]
        try:
            await self._poll(begun + self._seconds)
            seconds = time.monotonic() - begun
            late = [task for look, task in zip(self._workers, sampling, strict=True) if not look.stands_still]
            if late:
                await asyncio.wait(late, timeout=LATE_SECONDS)
        finally:
            for task in sampling:
                task.cancel()
        return await self._end(seconds, before, judge())

    async def _begin(self) -> _Before:
        slots = list(self._master.fleet.board.used())

        def read() -> _Before:
            usual = _usual(map(slot_counts, slots))
            for look in self._workers:
                look.begin()
            return _Before(host_counts(), throttled_periods(), usual)

        return await self._threads.run(read, 2 * READING_SECONDS)

    async def _poll(self, end: float) -> None:
        polls = 0
        while time.monotonic() < end:
            for look in self._workers:
                look.poll()
            if polls % QUEUE_POLLS == 0:
                self._look_at_queues()
                await self._threads.run(self._note_states, READING_SECONDS)
            polls += 1
            await asyncio.sleep(POLL_SECONDS)

    def _note_states(self) -> None:
        for look in self._workers:
            look.note_state()

    def _look_at_queues(self) -> None:
        for listener in self._listeners:
            if (queue := accept_queue(listener.socket)) is not None:
                self._queued[listener.name].append(queue[0])
                self._limits[listener.name] = queue[1]

    async def _end(self, seconds: float, before: _Before, verdict: Verdict) -> Evidence:
        app = self._master.config.app

        def read() -> Evidence:
            seen, host = [look.evidence() for look in self._workers], host_counts()
            workers = tuple(structs.replace(one[0], routes=_routes([one])) for one in seen)
            samples = (sample for one in workers for sample in one.samples)
            files = (frame.file for sample in samples for thread in sample for frame in thread.frames)
            return Evidence(
                seconds=seconds,
                pool=self._master.config.server.pool,
                verdict=verdict.level.value,
                reasons=tuple(verdict.reasons),
                target_workers=self._master.supervisor.sizing.target,
                workers=workers,
                queues=self._queues(),
                routes=_routes(seen),
                server_errors=sum(late.server_errors - early.server_errors for _, early, late in seen),
                most_connections=self._master.config.limits.connections,
                cpus=available_cpus(),
                quota=cpu_quota(),
                throttled=throttled_share(before.throttled, throttled_periods()),
                host_busy=_share(before.host, host, "busy"),
                stolen=_share(before.host, host, "stolen"),
                usual_seconds=before.usual[0],
                usual_answers=before.usual[1],
                directory=app.directory,
                package="" if "/" in app.target else app.target.partition(":")[0].partition(".")[0],
                sources=read_sources(files, self._loaded_at()),
            )

        return await self._threads.run(read, 2 * READING_SECONDS)

    def _queues(self) -> tuple[QueueEvidence, ...]:
        found = []
        for listener in self._listeners:
            queued = self._queued[listener.name]
            before, after = self._dropped[listener.name], dropped(listener.socket)
            lost = None if before is None or after is None else after - before
            mean = sum(queued) / len(queued) if queued else 0.0
            found.append(QueueEvidence(listener.name, mean, self._limits.get(listener.name), lost))
        return tuple(found)

    def _loaded_at(self) -> float:
        """When the oldest of the workers was forked, or its launcher was: code that is older is what runs."""
        forked = [worker.forked_at for worker in self._master.supervisor.table.workers(*LOOKED_AT)]
        return time.time() - (time.monotonic() - min(forked)) if forked else 0.0


def _usual(counts: Iterable[SlotCounts]) -> tuple[float | None, int]:
    """Seconds in the application of an answer since the start, and how many answers those were."""
    answered = seconds = 0.0
    for one in counts:
        answered, seconds = answered + one.answered, seconds + one.run_seconds
    return (seconds / answered if answered else None), int(answered)


def _routes(seen: Iterable[tuple[object, SlotCounts, SlotCounts]]) -> tuple[RouteEvidence, ...]:
    sums: dict[str, RouteCounts] = defaultdict(RouteCounts)
    for _, before, after in seen:
        for name, counts in after.routes.items():
            sums[name] = sums[name].plus(counts).plus(before.routes.get(name, RouteCounts()), -1)
    known = {name: counts for name, counts in sums.items() if counts.answered}
    if set(known) == {NO_ROUTE}:
        return ()
    return tuple(RouteEvidence(name, one.answered, one.seconds, one.cpu_seconds or None) for name, one in known.items())


def _of_the_hour(events: Iterable[ms.Event]) -> tuple[PastEvent, ...]:
    now = datetime.now(UTC)
    found = (PastEvent(one.kind, (now - one.at).total_seconds(), one.message) for one in events)
    return tuple(one for one in found if one.seconds_ago <= HOUR)


def _figures(steps: Iterable[ms.HistoryStep]) -> tuple[PastFigures, ...]:
    now = datetime.now(UTC)
    return tuple(
        PastFigures((now - step.at).total_seconds(), step.answers, step.duration.p50, step.server_errors)
        for step in steps
    )


def _slow(incidents: Iterable[ms.Incident]) -> tuple[PastSlow, ...]:
    """Those that are over: what runs is seen."""
    now = datetime.now(UTC)
    return tuple(
        PastSlow(f"{one.method} {one.route or one.path}", one.where)
        for one in incidents
        if not one.running and (now - one.at).total_seconds() <= HOUR
    )


def _share(before: HostCounts | None, after: HostCounts | None, of: str) -> float | None:
    if before is None or after is None or after.total <= before.total:
        return None
    return float((getattr(after, of) - getattr(before, of)) / (after.total - before.total))
