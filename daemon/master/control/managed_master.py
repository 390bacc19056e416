"""The master as the control API wants it: changes go to the supervisor, and what it knows becomes messages.

What takes time (memory of processes, stacks, files) is done beside the loop and shared by all who ask for it at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from miniwsgi.codes import Code
from miniwsgi.manager import changes as ch
from miniwsgi.manager import messages as ms
from miniwsgi.manager.control import managed as mg
from miniwsgi.manager.control.event_log import EventLog
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics.families import Family
from miniwsgi.metrics.history import Span
from miniwsgi.metrics.sampler import Sampler, sample
from msgspec.structs import replace

from ..insight.gathering import Record
from ..running.master import Master
from ..running.shared_work import SharedWork
from ..running.stacks import NO_STACKS
from ..running.worker_handle import WorkerHandle
from ..supervising import actions as act
from ..supervising import events as ev
from ..supervising.operations import Operation, OperationState
from . import config_report
from .event_recorder import EventRecorder
from .examining import Examining, past_steps
from .incidents import Incidents
from .inspections import Inspections
from .kept_scale import REMEDY, KeptScale
from .overview import Overview
from .routes_seen import RoutesSeen

T = TypeVar("T")

SAMPLE_SECONDS = 1.0  # how old a sample of memory and CPU may be
SAMPLING_SECONDS = 1.0  # how long taking one may last: else the former one is shown
CHECK_SECONDS = 15.0
DISK_SECONDS = 10.0


def _no_history(span: Span) -> ms.History:
    return ms.History(span.value, span.step_seconds, [], [])


class ManagedMaster:
    """See `manager.control.managed.Managed`."""

    def __init__(self, master: Master, kept: KeptScale, threads: DaemonThreads) -> None:
        self.event_log = EventLog()
        self.overview = Overview(master, kept)
        self.routes_seen = RoutesSeen(master.fleet.board)
        self.recorder = EventRecorder(self.event_log, master.supervisor)
        self._examining = Examining(master, self.overview, self._record, threads)
        self.metrics: Callable[[], list[Family]] = list  # what is measured, from whoever measures
        self.history: Callable[[Span], ms.History] = _no_history  # the same
        self._master = master
        self._kept = kept
        self._threads = threads
        self._inspections = Inspections(master.fleet, threads)
        self._persisted: dict[int, int | None] = {}  # by operation that is under way: what was kept before it
        self._keeping = asyncio.Lock()
        self._sampler = Sampler()
        self._sampled_at = 0.0
        self._shared = SharedWork()
        self._tasks: set[asyncio.Task[Any]] = set()
        master.on_handled.append(self._handled)
        self.incidents = Incidents(master, self.recorder, self.overview.date)  # told of each event behind the recorder
        self.overview.crashes = self.incidents.crashes.of_late
        self.incidents.slow.usual.figures = self.routes_seen.figures

    def __repr__(self) -> str:
        return f"<ManagedMaster {self._master.supervisor}>"

    # --- what there is to know ---

    def status(self, role: ms.Role) -> ms.Status:
        running = [self.overview.operation(operation) for operation in self._master.supervisor.ledger.open()]
        return self.overview.status(running, role)

    async def workers(self) -> list[ms.Worker]:
        await self._refresh_samples()
        return self.overview.workers(self._sampler.samples())

    def routes(self) -> ms.RouteList:
        found = self.routes_seen.figures()
        found.looked_for = bool(self._master.config.metrics.routes)
        return found

    async def stack(self, slot: int) -> ms.Stack | None:
        worker = self._master.fleet.workers.get(slot)
        if worker is None:
            return None
        return await self._shared.ask(slot, lambda: self._dump(worker))

    async def _dump(self, worker: WorkerHandle) -> ms.Stack:
        running = self.overview.running(worker.slot)
        text = await self._master.fleet.stacks(worker)
        return ms.Stack(worker.slot, worker.pid, datetime.now(UTC), not text.startswith(NO_STACKS), text, running)

    async def why(self, seconds: int) -> ms.Why:
        return await self._examining.why(seconds)

    def _record(self) -> Record:
        slow = self.slow(ms.MAX_INCIDENTS).requests
        return Record(self.event_log.since(0).events, past_steps(self.history), self.crashes(1).repeated, slow)

    async def doctor(self) -> ms.Doctor:
        return await self._examining.doctor()

    def profile(self, request: ms.ProfileRequest) -> AsyncIterator[bytes]:
        return self._inspections.profile(request)

    async def memory(self, slot: int, request: ms.MemoryRequest) -> ms.WorkerMemory:
        return await self._inspections.memory(slot, request)

    def operations(self) -> list[ms.Operation]:
        return [self.overview.operation(operation) for operation in self._master.supervisor.ledger]

    def operation(self, number: int) -> ms.Operation | None:
        found = self._master.supervisor.ledger.get(number)
        return self.overview.operation(found) if found is not None else None

    async def wait(self, number: int, seconds: float) -> None:
        found = self._master.supervisor.ledger.get(number)
        if found is None:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._master.wait(found)
        except TimeoutError:
            pass

    def slow(self, limit: int) -> ms.SlowList:
        return self.incidents.slow.list(limit)

    def crashes(self, limit: int) -> ms.CrashList:
        return self.incidents.crashes.list(limit)

    def log_level(self) -> ms.LogLevel:
        configured = cast("ms.LogLevelName", self._master.config.log.level)
        overridden = self._master.fleet.log_level is not None
        return ms.LogLevel(cast("ms.LogLevelName", self._master.log.level), configured, overridden)

    def config(self) -> ms.ConfigView:
        runtime: dict[str, Any] = {}
        if (workers := self._master.supervisor.sizing.override) is not None:
            runtime["server.workers"] = workers
        if (level := self._master.fleet.log_level) is not None:
            runtime["log.level"] = level
        return config_report.view(self._master.config, runtime)

    async def check_config(self, toml: str | None) -> ms.ConfigReport:
        read, current = self._master.configurations.read_config, self._master.config
        return await self._threads.run(lambda: config_report.check(read, toml, current), CHECK_SECONDS)

    # --- changes ---

    async def ask(self, change: ch.Change) -> ms.Operation:
        if isinstance(change, ch.Scale) and (change.persist or self._drops_kept(change)):
            # A client that leaves must not leave it half done.
            return await asyncio.shield(self._task(self._scale_and_keep(change)))
        return self._ask(change)

    def _ask(self, change: ch.Change) -> ms.Operation:
        supervisor = self._master.supervisor
        if isinstance(change, ch.Stop) and not change.now and supervisor.stopping.operation is not None:
            # For the supervisor a second stop means at once; a client says that when it means it.
            return self.overview.operation(supervisor.stopping.operation, joined=True)
        answer = self._master.ask(change)
        if isinstance(answer, act.ChangeDeclined):
            operation = answer.operation.id if answer.operation is not None else None
            conflict = operation is not None or not isinstance(change, ch.Scale)
            raise mg.ChangeRefused(answer.reason, operation, conflict=conflict)
        return self.overview.operation(answer.operation, joined=answer.joined)

    def _drops_kept(self, change: ch.Scale) -> bool:
        return change.to is None and not change.by and self._kept.value is not None

    async def _scale_and_keep(self, change: ch.Scale) -> ms.Operation:
        """Keep the number first: what cannot be kept is not promised."""
        if not self._kept.path:
            raise mg.ChangeRefused(f"there is nowhere to keep it: {REMEDY}")
        async with self._keeping:
            before = self._kept.value
            to = change.to if not change.by else self._master.supervisor.sizing.configured + change.by
            if to is not None and (refusal := self._master.supervisor.sizing.refusal(to)):
                raise mg.ChangeRefused(refusal, conflict=False)
            try:
                await self._keep(to)
            except (OSError, TimeoutError):
                raise mg.ChangeRefused(f"it cannot be kept: {self._kept.error or 'the disk does not answer'}") from None
            try:
                operation = self._ask(replace(change, to=to, by=0))
            except mg.ChangeRefused:
                await self._keep(before)
                raise
            if not operation.ended:
                self._persisted[operation.id] = before
            return operation

    async def _keep(self, value: int | None) -> None:
        await self._threads.run(lambda: self._kept.write(value), DISK_SECONDS)

    async def _keep_again(self, value: int | None) -> None:
        """A scale has failed, whose number was kept already."""
        async with self._keeping:
            try:
                await self._keep(value)
            except (OSError, TimeoutError):
                told = f"what was kept before cannot be restored: {self._kept.error}"
                self._master.log.error(Code.SCALE_NOT_KEPT, told)

    # --- what happens ---

    def _handled(self, event: ev.Input, actions: list[act.Action]) -> None:
        self.recorder.note(event, actions)
        for action in actions:
            if isinstance(action, act.OperationEnded):
                self._ended(action.operation)

    def _ended(self, operation: Operation) -> None:
        if operation.kind is ch.Reload:
            self.overview.note_reload(operation)
        if operation.id in self._persisted:
            before = self._persisted.pop(operation.id)
            if operation.state is OperationState.FAILED:
                self._task(self._keep_again(before))

    # --- inside ---

    async def _refresh_samples(self) -> None:
        if time.monotonic() - self._sampled_at >= SAMPLE_SECONDS:
            await self._shared.ask("samples", self._take_samples)

    async def _take_samples(self) -> None:
        pids = self.overview.pids()
        try:
            self._sampler.take(await self._threads.run(lambda: sample(pids, pids), SAMPLING_SECONDS))
        except TimeoutError:
            pass
        finally:
            self._sampled_at = time.monotonic()

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
