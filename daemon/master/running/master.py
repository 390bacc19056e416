"""The master: hears of everything, asks the supervisor what to do, and does it. One asyncio loop that never
blocks.

Events come from launchers, workers, signals, time, and the control API; they are handed over one after
another. What takes time (reading the configuration, stack dumps) is a task, and comes back as an event.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from miniwsgi.codes import Code
from miniwsgi.manager import changes as ch
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import MAX_SLOTS

from ...config import Config
from ...log.error_log import ErrorLog
from ..supervising import actions as act
from ..supervising import events as ev
from ..supervising.fault import Fault
from ..supervising.operations import Operation
from ..supervising.supervisor import Supervisor
from ..supervising.worker_table import WorkerState
from ..system.systemd import Notifier
from .announcer import Announcer
from .configurations import Configurations, PreparedConfig, PrepareError
from .fleet import Fleet
from .open_logs import OpenLogs
from .watch import ROUND_SECONDS, Watch, load

CLOSING_SECONDS = 2.0  # for old sockets, whose files may lie on a dead disk
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
WATCHED = (WorkerState.READY, WorkerState.DRAINING, WorkerState.STUCK)


class Master:
    """See the module. `run` ends with the daemon's exit status."""

    def __init__(
        self,
        configurations: Configurations,
        log: ErrorLog,
        notifier: Notifier,
        board: Board | None = None,
    ) -> None:
        self.configurations = configurations
        self.log = log
        self.notifier = notifier
        self._threads = DaemonThreads()
        self.fleet = Fleet(configurations, log, self._threads, self.feed, self._in_force, board)
        self.supervisor = Supervisor(configurations.in_force.plan, time.monotonic, MAX_SLOTS, self._load, self._silent)
        self.on_commit: list[Callable[[Config], None]] = []  # called when a configuration came into force
        self.on_handled: list[Callable[[ev.Input, list[act.Action]], None]] = []  # called after each event
        self.logs = OpenLogs(log, self.fleet.last_words, self._threads)
        self.watch = Watch(self.fleet.board)
        self.announcer = Announcer(notifier, self.supervisor, self.watch)
        self.on_handled.append(self.announcer.handled)
        self._events: deque[ev.Input] = deque()
        self._handling = False
        self._reading: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()  # of those
        self._sockets = asyncio.Lock()  # held while listeners are opened or closed
        self._timer: asyncio.TimerHandle | None = None
        self._verdicts: dict[int, list[asyncio.Future[Operation]]] = {}
        self._over: asyncio.Future[int]
        self._loop: asyncio.AbstractEventLoop
        self._orders: dict[type[act.Action], Callable[[Any], None]] = {
            act.PrepareGeneration: self._prepare,
            act.BootGeneration: self.fleet.boot,
            act.CommitGeneration: self._commit,
            act.DiscardGeneration: self._discard,
            act.RetireGeneration: self.fleet.retire,
            act.KillLauncher: self.fleet.kill_launcher,
            act.ForkWorker: self.fleet.fork,
            act.DrainWorker: self.fleet.drain,
            act.FinishWorker: self.fleet.finish_worker,
            act.KillWorker: self.fleet.kill_worker,
            act.LeadWorker: self.fleet.lead,
            act.DumpStacks: self.fleet.dump_stacks,
            act.Serving: self._serving,
            act.OverrideLogLevel: self._set_log_level,
            act.AnnounceStop: self._announce_stop,
            act.ShrinkBacklogs: self._shrink_backlogs,
            act.Exit: self._exit,
            act.LogLine: self._log,
            act.ChangeAccepted: self._accepted,
            act.ChangeDeclined: lambda order: self.log.warning(Code.CHANGE_REFUSED, f"refused: {order.reason}"),
            act.OperationEnded: self._verdict,
        }

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.configurations.in_force.config

    # --- from outside ---

    async def run(self) -> int:
        """Start, supervise, stop: the exit status."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._log_exception)
        self._over = self._loop.create_future()
        self._every(ROUND_SECONDS, self._look_round)
        if self.notifier.watchdog_seconds:
            self._every(self.notifier.watchdog_seconds / 3, self.announcer.alive)
        self.announcer.starting(self.config.timeouts.boot)
        self.feed(ch.Start(who="the start"))
        try:
            status = await self._over
            await self.fleet.finish()
            if self._closing:
                await asyncio.wait(self._closing, timeout=CLOSING_SECONDS)
            return status
        finally:
            for task in self._reading:
                task.cancel()
            self.fleet.kill_all()

    def ask(self, change: ch.Change) -> act.ChangeAccepted | act.ChangeDeclined:
        """Ask for a change. Not to be called from inside an order."""
        answer = self._handle(change)[0]
        self._handle_waiting()
        assert isinstance(answer, (act.ChangeAccepted, act.ChangeDeclined)), answer
        return answer

    def wait(self, operation: Operation) -> asyncio.Future[Operation]:
        """Done when the operation has its verdict."""
        future: asyncio.Future[Operation] = self._loop.create_future()
        if operation.ended:
            future.set_result(operation)
        else:
            waiting = [other for other in self._verdicts.get(operation.id, ()) if not other.done()]
            self._verdicts[operation.id] = [*waiting, future]
        return future

    def reopen_logs(self) -> None:
        """After a rotation: SIGUSR1."""
        self._beside(self._reopen_logs())

    async def _reopen_logs(self) -> None:
        reopened = await self.logs.reopen()
        self.fleet.tell_workers("reopen")  # they say themselves what they cannot open
        if reopened:
            self.log.info("log files were opened again; workers open theirs, and say what they cannot")

    def _beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Something that takes time, beside the events."""
        task = self._loop.create_task(work)
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
        return task

    # --- events ---

    def feed(self, event: ev.Input) -> None:
        """Hand an event to the supervisor and carry out its orders; in turn, if that is under way."""
        self._events.append(event)
        if not self._handling:
            self._handle_waiting()

    def _handle_waiting(self) -> None:
        while self._events:
            self._handle(self._events.popleft())

    def _handle(self, event: ev.Input) -> list[act.Action]:
        assert not self._handling, event
        self._handling = True
        try:
            actions = self.supervisor.handle(event)
            self._carry_out(actions)
        finally:
            self._handling = False
        self._set_timer()
        for call in self.on_handled:
            self._tell(call, event, actions)
        return actions

    def _carry_out(self, actions: list[act.Action]) -> None:
        """One order that fails keeps no other from being carried out, and fails the operation that it is part of."""
        failed = ""
        for action in actions:
            if failed and isinstance(action, act.OperationEnded):
                self._revoke(action.operation, Fault(Code.INTERNAL, failed))
            try:
                self._orders[type(action)](action)
            except Exception as error:
                failed = f"the master could not do {type(action).__name__}: {error!r}"
                self.log.error(Code.INTERNAL, f"the master could not do {action}\n{traceback.format_exc()}")
                self._events.append(ev.OrderFailed(action, failed))

    def _revoke(self, operation: Operation, fault: Fault) -> None:
        """Its success stands beside an order that failed. A first start has one outcome: its workers serve."""
        if operation.succeeded and operation.kind is not ch.Start:
            operation.revoke(fault)
            self.log.error(Code.OPERATION_REVOKED, f"{operation.change.name} failed after all: {fault}")

    def _tell(self, observer: Callable[..., None], *what: object) -> None:
        """One that fails keeps nothing from the others."""
        try:
            observer(*what)
        except Exception:
            self.log.error(Code.INTERNAL, f"the master could not tell {observer}\n{traceback.format_exc()}")

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
        slots = [worker.slot for worker in self.supervisor.table.workers(*WATCHED)]
        for slot, age in self.watch.round(slots, self.config.timeouts.wedge):
            self.feed(ev.Wedged(slot, age))
        self.fleet.reap()
        self.announcer.round()
        self.log.sweep()
        self.feed(ev.Tick())

    def _log_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What nobody expected in a callback: it must not end the daemon."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            # asyncio tells of each connection that it cannot accept, many in a turn; it tries again after a second.
            what = f"{context.get('message', 'an error')}: {error.strerror}; raise LimitNOFILE"
            self.log.limited("exhausted", "error", Code.NO_DESCRIPTORS, f"the master: {what}")
            return
        text = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
        self.log.error(Code.INTERNAL, f"the master: {context.get('message', 'an error')}\n{text}")

    def _in_force(self) -> int:
        current = self.supervisor.turnover.current
        return current.number if current is not None else 0

    def _load(self, slot: int) -> int:
        return load(self.fleet.board, slot)

    def _silent(self, slot: int) -> float | None:
        return self.watch.silent_for(slot)

    # --- orders about configurations ---

    def _prepare(self, order: act.PrepareGeneration) -> None:
        if order.reread:
            self._beside(self._read_configuration(order.generation))
        else:
            plan = self.configurations.in_force.plan
            self.feed(ev.Prepared(order.generation, plan))

    async def _read_configuration(self, generation: int) -> None:
        try:
            async with self._sockets:
                prepared = await self._threads.run(self._read)
        except PrepareError as error:
            self.feed(ev.PrepareFailed(generation, error.code, str(error)))
            return
        except OSError as error:
            told = f"the configuration cannot be read: {error.strerror}"
            self.feed(ev.PrepareFailed(generation, Code.CONFIG_FILE, told))
            return
        except Exception as error:
            told = f"the configuration cannot be read: {error!r}"
            self.feed(ev.PrepareFailed(generation, Code.INTERNAL, told))
            return
        known = self.configurations.in_force
        for note in prepared.config.notes:
            if note not in known.config.notes:
                self.log.warning(note.code, note.text)
        for doubt in prepared.certificates.warnings:
            if doubt not in known.certificates.warnings:
                self.log.warning(Code.CERTIFICATE_DOUBTFUL, doubt)
        self.configurations.hold(generation, prepared)
        if self.supervisor.turnover.is_candidate(generation):
            self.feed(ev.Prepared(generation, prepared.plan))
        else:
            self._discard(act.DiscardGeneration(generation))

    def _read(self) -> PreparedConfig:
        """In a thread, with all else of a boot that may block."""
        prepared = self.configurations.read()
        self.fleet.metrics_directory(prepared.config, prepared.environment)
        return prepared

    def _commit(self, order: act.CommitGeneration) -> None:
        old = self.config
        self._settle(self.configurations.commit(order.generation))
        new = self.config
        self.log.level, self.log.format = self.fleet.log_level or new.log.level, new.log.format
        self._beside(self.logs.change(old, new))
        for call in self.on_commit:
            self._tell(call, new)

    def _discard(self, order: act.DiscardGeneration) -> None:
        self._settle(self.configurations.discard(order.generation))

    def _settle(self, close: Callable[[], list[str]]) -> None:
        """Close sockets that are not needed any more, and remove their files: a thread does it."""
        task = self._beside(self._close(close))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, close: Callable[[], list[str]]) -> None:
        async with self._sockets:
            try:
                problems = await self._threads.run(close)
            except OSError as error:
                problems = [f"sockets that are not needed any more stay open: {error.strerror}"]
        for problem in problems:
            self.log.warning(Code.FILE_LEFT, problem)

    # --- orders about the daemon ---

    def _serving(self, _order: act.Serving) -> None:
        server = self.config.server
        workers = f"{self.supervisor.sizing.target} worker{'' if self.supervisor.sizing.target == 1 else 's'}"
        threads = f" × {server.threads} thread{'' if server.threads == 1 else 's'}" if server.pool == "epoll" else ""
        for listener, bind in self.configurations.in_force.served:
            how = f"pool {server.pool}, {workers}{threads}, pid {os.getpid()}"
            self.log.info(f"listening on {listener.url(bind.scheme)} ({how})")

    def _set_log_level(self, order: act.OverrideLogLevel) -> None:
        configured = self.config.log.level
        self.log.level = order.level or configured
        self.fleet.override_log_level(order.level, configured)

    def _announce_stop(self, order: act.AnnounceStop) -> None:
        self.announcer.stopping(order)
        if order.delay:
            self.fleet.tell_workers("closing")

    def _shrink_backlogs(self, _order: act.ShrinkBacklogs) -> None:
        at_once = self.config.server.pool == "epoll"  # empties a queue in one go, however fast it fills
        for listener in self.configurations.in_force.listeners:
            if listener.outlives and listener.unix and at_once:
                continue  # a proxy would be refused (connect(2), EAGAIN) that the next master could answer
            try:
                listener.shrink_backlog()
            except OSError as error:
                self.log.warning(Code.LISTENER_KEPT, f"{listener.name}: its backlog cannot be shrunk: {error.strerror}")

    def _exit(self, order: act.Exit) -> None:
        if not self._over.done():
            self._over.set_result(order.status)

    def _log(self, order: act.LogLine) -> None:
        message = f"{order.message}\n{order.traceback}" if order.traceback else order.message
        self.log.said(order.level, message, order.code)

    # --- operations ---

    def _accepted(self, order: act.ChangeAccepted) -> None:
        operation = order.operation
        if operation.kind is not ch.Start:
            joined = f"joins operation {operation.id}" if order.joined else f"operation {operation.id}"
            self.log.info(f"{operation.name} is asked for by {operation.change.who} ({joined})")
        if not order.joined:
            self.announcer.accepted(operation)

    def _verdict(self, order: act.OperationEnded) -> None:
        if self._closing:
            self._beside(self._conclude_later(order.operation, set(self._closing)))
        else:
            self._conclude(order.operation)

    async def _conclude_later(self, operation: Operation, closing: set[asyncio.Task[None]]) -> None:
        """Whoever waits for a reload finds the old sockets gone, unless that takes its time."""
        await asyncio.wait(closing, timeout=CLOSING_SECONDS)
        self._conclude(operation)

    def _conclude(self, operation: Operation) -> None:
        for future in self._verdicts.pop(operation.id, ()):
            if not future.done():
                future.set_result(operation)
        self.announcer.concluded(operation)
