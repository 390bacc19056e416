"""The master: hears of everything, asks the supervisor what to do, and does it. One asyncio loop that never
blocks.

Events come from launchers, workers, signals, time, and later a control API; they are handed over one after
another. What takes time (reading the configuration, stack dumps) is a task, and comes back as an event.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from miniwsgi.metrics.scoreboard import Board

from ..access_log import AccessLog
from ..channel import Message
from ..config import Config, application_environment, worker_settings
from ..logs import ErrorLog
from . import actions as act
from . import events as ev
from .configurations import Configurations, Prepared, PrepareError
from .crew import WorkerState
from .generation import LauncherHandle
from .listeners import Origin
from .operations import Kind, Operation
from .reaper import Reaper
from .supervisor import Supervisor, SupervisorState
from .systemd import Notifier
from .watch import ROUND_SECONDS, Watch, load, log_lost_requests
from .worker_handle import WorkerHandle

WATCHED = (WorkerState.READY, WorkerState.DRAINING, WorkerState.STUCK)
LAST_WORDS_SECONDS = 3.0
STOP_MARGIN_SECONDS = 15.0  # beyond what was asked for: killing, reaping, flushing logs


class Master:
    """See the module. `run` ends with the daemon's exit status."""

    def __init__(
        self,
        configurations: Configurations,
        log: ErrorLog,
        notifier: Notifier,
        environ: dict[str, str],
        *,
        journal: bool = False,
    ) -> None:
        self.configurations = configurations
        self.log = log
        self.notifier = notifier
        self.board = Board.create()
        self.reaper = Reaper()
        self.supervisor = Supervisor(configurations.in_force.plan, time.monotonic, lambda slot: load(self.board, slot))
        self.launchers: dict[int, LauncherHandle] = {}
        self.workers: dict[int, WorkerHandle] = {}
        self.on_commit: list[Callable[[Config], None]] = []  # called when a configuration came into force
        self._environ = environ
        self._journal = journal
        self._watch = Watch(self.board)
        self._access: AccessLog | None = None
        self._events: deque[ev.Event] = deque()
        self._handling = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._verdicts: dict[int, list[asyncio.Future[Operation]]] = {}
        self._over: asyncio.Future[int]
        self._loop: asyncio.AbstractEventLoop
        self._orders: dict[type[act.Action], Callable[[Any], None]] = {
            act.PrepareGeneration: self._prepare,
            act.BootGeneration: self._boot,
            act.CommitGeneration: self._commit,
            act.DiscardGeneration: self._discard,
            act.RetireGeneration: lambda order: self.launchers[order.generation].retire(),
            act.KillLauncher: self._kill_launcher,
            act.ForkWorker: self._fork,
            act.DrainWorker: self._drain,
            act.FinishWorker: self._finish,
            act.KillWorker: self._kill_worker,
            act.DumpStacks: self._dump_stacks,
            act.Serving: self._serving,
            act.AnnounceStop: self._announce_stop,
            act.ShrinkBacklogs: self._shrink_backlogs,
            act.Exit: self._exit,
            act.Log: self._log,
            act.Accepted: self._accepted,
            act.Refused: lambda order: self.log.warning(f"refused: {order.reason}"),
            act.Verdict: self._verdict,
        }

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.configurations.in_force.config

    # --- from outside ---

    async def run(self) -> int:
        """Start, supervise, stop: the exit status."""
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        self._every(ROUND_SECONDS, self._look_round)
        if self.notifier.watchdog_seconds:
            self._every(self.notifier.watchdog_seconds / 3, self.notifier.alive)
        self.notifier.extend_timeout(self.config.timeouts.boot + STOP_MARGIN_SECONDS)
        self.feed(ev.StartAsked(who="the start"))
        try:
            status = await self._over
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=LAST_WORDS_SECONDS)  # stacks of what was killed at the end
            return status
        finally:
            for task in self._tasks:
                task.cancel()

    def close(self) -> None:
        """The end, whatever led to it: what still runs is killed."""
        for worker in self.workers.values():
            worker.kill()
        for launcher in self.launchers.values():
            launcher.kill()

    def ask(self, event: ev.Ask) -> act.Accepted | act.Refused:
        """Ask for a change. Not to be called from inside an order."""
        answer = self._handle(event)[0]
        self._handle_waiting()
        assert isinstance(answer, (act.Accepted, act.Refused)), answer
        return answer

    def wait(self, operation: Operation) -> asyncio.Future[Operation]:
        """Done when the operation has its verdict."""
        future: asyncio.Future[Operation] = self._loop.create_future()
        if operation.ended:
            future.set_result(operation)
        else:
            self._verdicts.setdefault(operation.id, []).append(future)
        return future

    def reopen_logs(self) -> None:
        """After a rotation: SIGUSR1."""
        for writer in {self.log.writer, self._access.writer if self._access is not None else self.log.writer}:
            try:
                writer.reopen()
            except OSError as error:
                self.log.error(f"log file {writer.path} cannot be opened again: {error.strerror}")
        for worker in self.workers.values():
            worker.send("reopen")
        self.log.info("log files were opened again")

    def reap(self) -> None:
        """Orphans that have ended. Called at each SIGCHLD."""
        for pid, status in self.reaper.reap():
            worker = next((worker for worker in self.workers.values() if worker.pid == pid), None)
            if worker is not None:
                self._worker_exited(worker.slot, status)

    # --- events ---

    def feed(self, event: ev.Event) -> None:
        """Hand an event to the supervisor and carry out its orders; in turn, if that is under way."""
        self._events.append(event)
        if not self._handling:
            self._handle_waiting()

    def _handle_waiting(self) -> None:
        while self._events:
            self._handle(self._events.popleft())

    def _handle(self, event: ev.Event) -> list[act.Action]:
        assert not self._handling, event
        self._handling = True
        try:
            actions = self.supervisor.handle(event)
            for action in actions:
                self._orders[type(action)](action)
        finally:
            self._handling = False
        self._set_timer()
        self._show_status()
        return actions

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self.supervisor.next_wakeup()
        if due is not None:
            delay = max(0.0, due - time.monotonic())
            self._timer = self._loop.call_later(delay, self.feed, ev.Tick())

    def _every(self, seconds: float, what: Callable[[], None]) -> None:
        def again() -> None:
            self._loop.call_later(seconds, again)
            what()

        again()

    def _look_round(self) -> None:
        slots = [worker.slot for worker in self.supervisor.crew.workers(*WATCHED)]
        for slot, age in self._watch.round(slots, self.config.timeouts.wedge):
            self.feed(ev.Wedged(slot, age))
        self.reap()
        self.log.sweep()
        self.feed(ev.Tick())

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- orders about generations ---

    def _prepare(self, order: act.PrepareGeneration) -> None:
        if order.reread:
            self._task(self._read_configuration(order.generation))
        else:
            plan = self.configurations.in_force.plan
            self.feed(ev.Prepared(order.generation, plan))

    async def _read_configuration(self, generation: int) -> None:
        try:
            prepared = await asyncio.to_thread(self.configurations.read)
        except PrepareError as error:
            self.feed(ev.PrepareFailed(generation, str(error)))
            return
        self.configurations.hold(generation, prepared)
        if self.supervisor.turnover.is_candidate(generation):
            self.feed(ev.Prepared(generation, prepared.plan))
        else:
            self._discard(act.DiscardGeneration(generation))

    def _boot(self, order: act.BootGeneration) -> None:
        prepared = self.configurations.of(order.generation)
        config, listeners = prepared.config, prepared.listeners
        settings = worker_settings(
            config,
            generation=order.generation,
            listeners=[listener.for_workers() for listener in listeners],
            scoreboard_fd=self.board.fd,
            journal=self._journal,
        )
        queues = _queues(prepared)
        launcher = self.launchers[order.generation] = LauncherHandle(
            order.generation,
            config,
            listeners,
            settings,
            emit=self._heard_of_launcher,
            on_fork=lambda slot, pid, fds: self._forked(slot, pid, fds, queues),
            on_exit=self._worker_exited,
            on_log=lambda level, message: self.log.log(level, message, source=f"generation {order.generation}"),
        )
        launcher.boot(application_environment(config, self._environ))
        if launcher.pid:
            self.reaper.known.add(launcher.pid)

    def _heard_of_launcher(self, event: ev.Event) -> None:
        if isinstance(event, ev.LauncherExited):
            launcher = self.launchers.pop(event.generation)
            self.reaper.known.discard(launcher.pid)
            self._loop.call_soon(self.reap)  # it may have stood before orphans in the kernel's queue
        self.feed(event)

    def _commit(self, order: act.CommitGeneration) -> None:
        old = self.config
        for problem in self.configurations.commit(order.generation):
            self.log.warning(problem)
        new = self.config
        if new.log.level != old.log.level:
            self.log.level = new.log.level
        if new.log.access_log != old.log.access_log or new.log.access_log_format != old.log.access_log_format:
            self._access = None
        for call in self.on_commit:
            call(new)

    def _discard(self, order: act.DiscardGeneration) -> None:
        for problem in self.configurations.discard(order.generation):
            self.log.warning(problem)

    def _kill_launcher(self, order: act.KillLauncher) -> None:
        launcher = self.launchers.get(order.generation)
        if launcher is not None and order.stacks:
            self._task(self._kill_with_stacks(launcher, f"the launcher of generation {order.generation}", order.reason))
        elif launcher is not None:
            launcher.kill()

    async def _kill_with_stacks(self, process: LauncherHandle | WorkerHandle, name: str, reason: str) -> None:
        try:
            stacks = await process.stacks()
        finally:
            process.kill()
        self.log.error(f"{name} is killed ({reason}); it was doing:\n{stacks}")

    # --- orders about workers ---

    def _fork(self, order: act.ForkWorker) -> None:
        self.board.claim(order.slot)
        self.launchers[order.generation].fork(order.slot)

    def _forked(self, slot: int, pid: int, fds: list[int], queues: dict[int, str]) -> None:
        self.workers[slot] = WorkerHandle(slot, pid, fds, queues, self._heard_of_worker, self._worker_died)
        self.feed(ev.WorkerForked(slot, pid))

    def _heard_of_worker(self, worker: WorkerHandle, message: Message) -> None:
        slot = worker.slot
        match message["kind"]:
            case "ready":
                self.feed(ev.WorkerReady(slot))
            case "failed":
                self.feed(ev.WorkerFailed(slot, message["error"], message["traceback"]))
            case "recycle":
                self.feed(ev.RecycleAsked(slot, message["reason"]))
            case "timeout":
                worker.answered.add(message["thread"])
                self.feed(ev.RequestTimedOut(slot, message["seconds"], message["request"]))
            case "log-lost":
                self.log.limited("log-lost", "warning", f"worker {slot} has lost {message['lines']} log lines")

    def _worker_died(self, worker: WorkerHandle) -> None:
        self.feed(ev.WorkerDied(worker.slot))

    def _worker_exited(self, slot: int, status: int) -> None:
        worker = self.workers.get(slot)
        if worker is None:
            return
        worker.hear_out()
        del self.workers[slot]
        worker.close()
        self._log_lost_requests(worker)
        self.board.slot(slot).vacate()
        self.feed(ev.WorkerExited(slot, status))

    def _log_lost_requests(self, worker: WorkerHandle) -> None:
        running = self.board.slot(worker.slot).running()
        log = self.config.log
        if not running or not log.access_log:
            return
        status = "504 Gateway Timeout" if worker.killed else "502 Bad Gateway"
        try:
            if self._access is None:
                self._access = AccessLog(log.access_log, log.access_log_format)
        except (OSError, ValueError) as error:
            self.log.error(f"the access log cannot be opened: {error}")
            return
        log_lost_requests(self._access, running, worker.answered, status, time.monotonic_ns())

    def _drain(self, order: act.DrainWorker) -> None:
        worker = self.workers[order.slot]
        current = self.supervisor.turnover.current
        kept = _queues(self.configurations.of(current.number if current is not None else 0))
        gone = [fd for fd, name in worker.queues.items() if kept.get(fd) != name]
        worker.send("drain", deadline=order.seconds, empty=gone)

    def _finish(self, order: act.FinishWorker) -> None:
        worker = self.workers[order.slot]
        worker.send("finish", deadline=order.seconds, accept=list(worker.queues))

    def _kill_worker(self, order: act.KillWorker) -> None:
        worker = self.workers.get(order.slot)
        if worker is not None and order.stacks:
            self._task(self._kill_with_stacks(worker, worker.name, order.reason))
        elif worker is not None:
            worker.kill()

    def _dump_stacks(self, order: act.DumpStacks) -> None:
        if (worker := self.workers.get(order.slot)) is not None:
            self._task(self._log_stacks(worker, order.reason))

    async def _log_stacks(self, worker: WorkerHandle, reason: str) -> None:
        stacks = await worker.stacks()
        self.log.error(f"{worker.name}: {reason}; its threads:\n{stacks}")

    # --- orders about the daemon ---

    def _serving(self, _order: act.Serving) -> None:
        server = self.config.server
        workers = f"{self.supervisor.target} worker{'' if self.supervisor.target == 1 else 's'}"
        threads = f" × {server.threads} thread{'' if server.threads == 1 else 's'}" if server.pool == "epoll" else ""
        for listener in self.configurations.in_force.listeners:
            how = f"pool {server.pool}, {workers}{threads}, pid {os.getpid()}"
            self.log.info(f"listening on {listener.url} ({how})")
        self.notifier.ready(self._status())

    def _announce_stop(self, order: act.AnnounceStop) -> None:
        self.notifier.stopping(order.delay + order.graceful + STOP_MARGIN_SECONDS)
        if order.delay:
            for worker in self.workers.values():
                worker.send("closing")

    def _shrink_backlogs(self, _order: act.ShrinkBacklogs) -> None:
        for listener in self.configurations.in_force.listeners:
            try:
                listener.shrink_backlog()
            except OSError as error:
                self.log.warning(f"{listener.name}: its backlog cannot be shrunk: {error.strerror}")

    def _exit(self, order: act.Exit) -> None:
        if not self._over.done():
            self._over.set_result(order.status)

    def _log(self, order: act.Log) -> None:
        self.log.log(order.level, f"{order.message}\n{order.traceback}" if order.traceback else order.message)

    # --- operations ---

    def _accepted(self, order: act.Accepted) -> None:
        operation = order.operation
        if operation.kind is not Kind.START:
            joined = f"joins operation {operation.id}" if order.joined else f"operation {operation.id}"
            name = f"{operation.kind.value} {operation.detail}".strip()
            self.log.info(f"{name} is asked for by {operation.who} ({joined})")
        if operation.kind is Kind.RELOAD and not order.joined:
            self.notifier.reloading()

    def _verdict(self, order: act.Verdict) -> None:
        operation = order.operation
        if operation.kind is Kind.RELOAD and not self.supervisor.stopping.asked:
            self.notifier.ready(self._status())
            if self.supervisor.ledger.open(Kind.RELOAD):
                self.notifier.reloading()
        for future in self._verdicts.pop(operation.id, ()):
            if not future.done():
                future.set_result(operation)

    def _status(self) -> str:
        """One line for `systemctl status`."""
        supervisor = self.supervisor
        current = supervisor.turnover.current
        generation = f", {current.name}" if current is not None else ""
        return f"{supervisor.state.value}: {supervisor.crew.ready()} of {supervisor.target} workers ready{generation}"

    def _show_status(self) -> None:
        if self.supervisor.state in {SupervisorState.RUNNING, SupervisorState.DRAINING}:
            self.notifier.status(self._status())


def _queues(prepared: Prepared) -> dict[int, str]:
    """Names by descriptor of the listeners whose accept queues are ours."""
    return {
        listener.fd: listener.for_workers().name for listener in prepared.listeners if listener.origin is Origin.OURS
    }
