"""The fleet: launchers and workers as the master holds them. Orders go out, and what they say comes back as
events.

A worker is held from the moment it is forked until its exit is reaped, by its launcher or, once that is
gone, by the master itself. An order for one that is gone is void: its exit is on the way.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from miniwsgi.codes import Code
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics.answers import Tally
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import REQUESTS

from ...channel import Message
from ...config import Config, worker_settings
from ...config.machine import oom_kills
from ...log.error_log import ErrorLog
from ...settings import Settings
from ..sockets.listeners import Origin
from ..supervising import actions as act
from ..supervising import events as ev
from ..system.process_ends import from_wait_status
from . import crash_report
from .configurations import Configurations, PreparedConfig
from .last_words import LastWords, in_hand
from .launcher_handle import LauncherHandle
from .leader_lock import LeaderLock
from .reaper import Reaper
from .stacks import with_requests
from .witness import LostWorker, Nobody, Witness
from .worker_handle import EngineInUse, WorkerHandle

FINISH_SECONDS = 3.0  # for stack dumps and last words that are under way when the daemon ends


class Fleet:
    """See the module. `feed` takes events; `in_force` tells the number of the generation in force."""

    def __init__(
        self,
        configurations: Configurations,
        log: ErrorLog,
        threads: DaemonThreads,
        feed: Callable[[ev.SupervisorEvent], None],
        in_force: Callable[[], int],
        board: Board | None = None,
    ) -> None:
        self.board = board if board is not None else Board.create()
        self.tally = Tally(self.board)
        self.reaper = Reaper()
        self.launchers: dict[int, LauncherHandle] = {}
        self.workers: dict[int, WorkerHandle] = {}
        self.engines: dict[int, EngineInUse] = {}  # by generation: what its latest ready worker says that it runs
        self.log_level: str | None = None  # whatever is configured
        # Where a generation of this configuration and environment keeps the application's metrics; "": nowhere.
        self.metrics_directory: Callable[[Config, Mapping[str, str]], str] = lambda _config, _environment: ""
        self._configurations = configurations
        self._log = log
        self._threads = threads
        self._feed = feed
        self._in_force = in_force
        self.last_words = LastWords(log, threads)
        self.leader_lock = LeaderLock(log)
        self.witness: Witness = Nobody()
        self._after_crash: dict[int, bool] = {}  # by slot, of the worker that was ordered last
        self._oom_kills = oom_kills()
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Fleet {list(self.launchers.values())} {list(self.workers.values())}>"

    # --- from outside ---

    @property
    def engine(self) -> EngineInUse | None:
        """What the workers of the generation in force run; None until one was ready."""
        return self.engines.get(self._in_force())

    def reap(self) -> None:
        """Take note of orphans that have ended. Called at each SIGCHLD."""
        for pid, status in self.reaper.reap([worker.pid for worker in self.workers.values()]):
            worker = next((worker for worker in self.workers.values() if worker.pid == pid), None)
            if worker is not None:
                self._exited(worker.slot, pid, status)

    def tell_workers(self, kind: str, **fields: Any) -> None:
        """The same order for all."""
        for worker in self.workers.values():
            worker.send(kind, **fields)

    def tell_of_certificates(self) -> None:
        """They have changed in the memory that launchers and workers read."""
        for launcher in self.launchers.values():
            launcher.tell_of_certificates()
        self.tell_workers("certificates")

    def override_log_level(self, level: str | None, configured: str) -> None:
        """Have all workers, and those to come, log at a level whatever is configured; None: as configured."""
        self.log_level = level
        self.tell_workers("log-level", level=level or configured)

    async def finish(self) -> None:
        """Wait for stack dumps and last words that are under way, but not long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FINISH_SECONDS)
        for task in self._tasks:
            task.cancel()

    def kill_all(self) -> None:
        """The end, whatever led to it."""
        for worker in self.workers.values():
            worker.kill()
        for launcher in self.launchers.values():
            launcher.kill()

    # --- orders about generations ---

    def boot(self, order: act.BootGeneration) -> None:
        prepared = self._configurations.of(order.generation)
        config = prepared.config
        settings = worker_settings(
            config,
            generation=order.generation,
            listeners=prepared.for_workers(),
            scoreboard_fd=self.board.fd,
            journal=self._log.journal and config.log.file == "-",
            app_metrics_directory=self.metrics_directory(config, prepared.environment),
        )
        settings = settings._replace(
            log_level=self.log_level or settings.log_level,
            leader_fd=self.leader_lock.open() if settings.hooks else -1,
        )
        queues = _queues(prepared)
        launcher = self.launchers[order.generation] = LauncherHandle(
            order.generation,
            config,
            settings,
            emit=self._heard_of_launcher,
            on_fork=lambda slot, pid, fds: self._forked(order.generation, slot, pid, fds, queues, settings),
            on_exit=self._exited,
            on_log=partial(self._log.said, source=f"generation {order.generation}"),
        )
        self._task(self._execute(launcher, prepared.environment))

    async def _execute(self, launcher: LauncherHandle, environment: dict[str, str]) -> None:
        with self.reaper.waiting():  # until its pid is known
            await launcher.boot(environment, self._threads)
            if self.launchers.get(launcher.number) is launcher:
                self.reaper.known.add(launcher.pid)
        self.reap()

    def _heard_of_launcher(self, event: ev.SupervisorEvent) -> None:
        if isinstance(event, ev.LauncherExited):
            launcher = self.launchers.pop(event.generation)
            self.reaper.known.discard(launcher.pid)
            asyncio.get_running_loop().call_soon(self.reap)  # it may have stood before orphans in the kernel's queue
        self._feed(event)

    def retire(self, order: act.RetireGeneration) -> None:
        if (launcher := self.launchers.get(order.generation)) is not None:
            launcher.retire()

    def kill_launcher(self, order: act.KillLauncher) -> None:
        launcher = self.launchers.get(order.generation)
        if launcher is not None and order.stacks:
            name = f"the launcher of generation {order.generation}"
            self._task(self._kill_with_stacks(launcher, order.stacks, name, order.reason))
        elif launcher is not None:
            launcher.kill()

    async def _kill_with_stacks(
        self, process: LauncherHandle | WorkerHandle, code: Code, name: str, reason: str
    ) -> None:
        try:
            stacks = await (self.stacks(process) if isinstance(process, WorkerHandle) else process.stacks())
        finally:
            process.kill()
        self._log.error(code, f"{name} is killed ({reason}); it was doing:\n{stacks}")

    # --- orders about workers ---

    def fork(self, order: act.ForkWorker) -> None:
        self.board.claim(order.slot)
        self._after_crash[order.slot] = order.after_crash
        if (launcher := self.launchers.get(order.generation)) is not None:
            launcher.fork(order.slot)

    def _forked(
        self, generation: int, slot: int, pid: int, fds: list[int], queues: dict[int, str], settings: Settings
    ) -> None:
        worker = self.workers[slot] = WorkerHandle(slot, pid, fds, queues, settings, self._heard, self._died)
        worker.requests_before = self.board.slot(slot).cells[REQUESTS]
        self.tally.begin(slot, generation)
        worker.send("begin", after_crash=self._after_crash.get(slot, False))
        if any(listener.tls is not None for listener in settings.listeners):
            worker.send("certificates")  # renewed ones were told to those that we held
        if self._log.level != settings.log_level:  # changed since its launcher was told
            worker.send("log-level", level=self._log.level)
        self._feed(ev.WorkerForked(slot, pid))

    def _heard(self, worker: WorkerHandle, message: Message) -> None:
        slot = worker.slot
        match message["kind"]:
            case "ready":
                self._note_engine(
                    worker.settings.generation, EngineInUse(message["engine"], message["why"], message["python"])
                )
                self._feed(ev.WorkerReady(slot, worker.may_lead, message["revision"]))
                worker.send("serve")
            case "failed":
                self._feed(ev.WorkerFailed(slot, Code(message["code"]), message["error"], message["traceback"]))
            case "hook":
                worker.hooks.hear(message)
            case "leader":
                self._feed(_LEADER_EVENTS[message["state"]](slot, message))
            case "recycle":
                self._feed(ev.RecycleAsked(slot, message["reason"]))
            case "only-jobs":
                self._feed(ev.OnlyJobsLeft(slot))
            case "timeout":
                worker.answered.add(message["thread"])
                self._tell(self.witness.heard, worker, message)
                self._feed(ev.RequestTimedOut(slot, message["seconds"], message["request"]))
            case "slow":
                self._tell(self.witness.heard, worker, message)
            case "child-lost":
                stacks, _received = worker.take_crash()
                if stacks:
                    told = f"{worker.name}: the process of a connection crashed\n{stacks}"
                    self._log.error(Code.CHILD_CRASHED, told, pid=message["pid"])
                oom = message["signal"] == "SIGKILL" and bool(self._killed_for_memory())
                self._tell(self.witness.heard, worker, {**message, "stacks": stacks, "oom": oom})

    def _note_engine(self, generation: int, engine: EngineInUse) -> None:
        """What a worker says that it runs, logged once a generation."""
        if self.engines.get(generation) == engine:
            return
        alive = {*self.launchers, *(worker.settings.generation for worker in self.workers.values())}
        self.engines = {number: known for number, known in self.engines.items() if number in alive}
        self.engines[generation] = engine
        self._log.info(f"generation {generation}: engine {engine}")

    def _died(self, worker: WorkerHandle) -> None:
        self._feed(ev.WorkerDied(worker.slot))

    def _exited(self, slot: int, pid: int, status: int) -> None:
        worker = self.workers.get(slot)
        if worker is None or worker.pid != pid:
            return
        worker.hear_out()
        del self.workers[slot]
        running = self.board.slot(slot).running()
        if (work := self.last_words.write(worker, running)) is not None:
            self._task(work)
        end = from_wait_status(status)
        stacks, received = worker.take_crash() if end.signal else ("", b"")
        engine = self.engines.get(worker.settings.generation)
        inside, crash = crash_report.inside(stacks, engine), stacks
        if inside and engine is not None:
            crash = f"{crash_report.report(stacks, engine, self.board.slot(slot), received)}\n{stacks}"
        worker.close()
        self._tell(self.witness.lost, LostWorker(worker, running, stacks, time.monotonic_ns()))
        self.tally.end(slot)
        self.board.vacate(slot)
        oom = self._killed_for_memory() if end.signal == "SIGKILL" else False
        self._feed(ev.WorkerExited(slot, end, oom, in_hand(running), crash, inside))

    def _tell(self, witness: Callable[..., None], *what: object) -> None:
        """One that fails keeps nothing from the supervisor."""
        try:
            witness(*what)
        except Exception:
            self._log.error(Code.INTERNAL, f"the master could not keep an incident\n{traceback.format_exc()}")

    def _killed_for_memory(self) -> bool | None:
        """Whether the kernel has killed something of ours for want of memory since the last call; None: not known."""
        before, self._oom_kills = self._oom_kills, oom_kills()
        return self._oom_kills > before if self._oom_kills is not None and before is not None else None

    def drain(self, order: act.DrainWorker) -> None:
        if (worker := self.workers.get(order.slot)) is not None:
            kept = _queues(self._configurations.of(self._in_force()))
            gone = [fd for fd, name in worker.queues.items() if kept.get(fd) != name]
            worker.lead(begin=False)
            worker.send("drain", deadline=order.seconds, reason=order.why.value, empty=gone)

    def finish_worker(self, order: act.FinishWorker) -> None:
        if (worker := self.workers.get(order.slot)) is not None:
            worker.lead(begin=False)
            worker.send("finish", deadline=order.seconds, accept=list(worker.queues))

    def kill_worker(self, order: act.KillWorker) -> None:
        worker = self.workers.get(order.slot)
        if worker is not None and order.stacks:
            self._task(self._kill_with_stacks(worker, order.stacks, worker.name, order.reason))
        elif worker is not None:
            worker.kill()

    def lead(self, order: act.LeadWorker) -> None:
        if (worker := self.workers.get(order.slot)) is not None:
            worker.lead(begin=True)

    def dump_stacks(self, order: act.DumpStacks) -> None:
        if (worker := self.workers.get(order.slot)) is not None:
            self._task(self._log_stacks(worker, order.code, order.reason))

    async def stacks(self, worker: WorkerHandle) -> str:
        """What all threads of a worker are doing, and the requests that they were running when it was asked."""
        running, now = self.board.slot(worker.slot).running(), time.monotonic_ns()
        text = await worker.stacks()
        self._tell(self.witness.dumped, worker)
        return with_requests(text, running, now)

    async def _log_stacks(self, worker: WorkerHandle, code: Code, reason: str) -> None:
        stacks = await self.stacks(worker)
        self._log.error(code, f"{worker.name}: {reason}; its threads:\n{stacks}")

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


# What a worker says of its part in leading.
_LEADER_EVENTS: dict[str, Callable[[int, Message], ev.SupervisorEvent]] = {
    "started": lambda slot, _said: ev.LeaderStarted(slot),
    "failed": lambda slot, said: ev.LeaderFailed(slot, said["error"], said["traceback"]),
    "late": lambda slot, said: ev.LeaderLate(slot, said["error"], said["traceback"]),
    "stopped": lambda slot, _said: ev.LeaderStopped(slot),
}


def _queues(prepared: PreparedConfig) -> dict[int, str]:
    """Names by descriptor of the listeners whose accept queues are ours."""
    return {
        listener.fd: listener.for_workers(bind).name
        for listener, bind in prepared.served
        if listener.origin is Origin.OURS
    }
