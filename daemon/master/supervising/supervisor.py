"""The supervisor: which workers should exist, and what to do about it. Events in, actions out.

It decides on one table of workers and does nothing itself: no processes, no clock of its own, no asyncio,
so that histories can be replayed. `handle` is not re-entrant. What it promises: booting and ready workers
never exceed target + surge; rolling never has fewer workers ready than before; every operation ends with
one verdict; a slot has one worker until that one's exit is reaped.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from miniwsgi.codes import Code
from miniwsgi.manager import changes as ch

from . import events as ev
from .actions import (
    Action,
    BootGeneration,
    ChangeAccepted,
    ChangeDeclined,
    ForkWorker,
    KillWorker,
    OperationEnded,
    OverrideLogLevel,
    PrepareGeneration,
)
from .exits import ExitReason
from .fault import Fault
from .leadership import Leadership
from .lifetimes import Lifetimes
from .operations import Ledger, Operation, OperationState
from .rolling import DrainStep, ForkStep, KillStep, next_step
from .sizing import Sizing
from .stopping import Stopping
from .turnover import EXIT_NOT_BOOTED, Turnover
from .worker_table import Worker, WorkerTable


class SupervisorState(Enum):
    STARTING = "starting"  # until the first start has its verdict
    RUNNING = "running"
    RELOADING = "reloading"
    DRAINING = "draining"  # asked to; also once it is drained
    STOPPING = "stopping"
    STOPPED = "stopped"


class Supervisor:
    """See the module. `clock`: monotonic seconds; `max_slots`: how many workers fit at all; of a slot, `load`: how many
    requests it has in flight, `silent`: for how many seconds its worker has not responded (None: it does).
    """

    def __init__(
        self,
        plan: ev.Plan,
        clock: Callable[[], float],
        max_slots: int,
        load: Callable[[int], int] = lambda _slot: 0,
        silent: Callable[[int], float | None] = lambda _slot: None,
    ) -> None:
        self.ledger = Ledger()
        self.table = WorkerTable(clock, max_slots)
        self.turnover = Turnover(self.table, plan, self._conclude)
        self.sizing = Sizing(self.table, self.ledger, self.turnover, self._conclude)
        self.stopping = Stopping(self.table, self._conclude)
        self.leadership = Leadership(self.table)
        self._load, self._silent = load, silent
        self._now = clock()
        self._traceback = ""  # of the last recovery that failed
        lives = self._lives = Lifetimes(self.table, self.turnover, self._lost, lambda: self.stopping.asked)
        self._handlers: dict[type[ev.Input], Callable[[Any], None]] = {
            ev.Prepared: self.turnover.prepared,
            ev.PrepareFailed: self.turnover.prepare_failed,
            ev.RevisionRead: self.turnover.revision_read,
            ev.LauncherReady: self.turnover.launcher_ready,
            ev.LauncherFailed: self.turnover.launcher_failed,
            ev.LauncherExited: lives.launcher_exited,
            ev.WorkerForked: lives.forked,
            ev.ForkFailed: lives.fork_failed,
            ev.WorkerReady: lives.ready,
            ev.WorkerFailed: lives.failed,
            ev.WorkerDied: lives.died,
            ev.WorkerExited: lives.exited,
            ev.LeaderStarted: self.leadership.started,
            ev.LeaderFailed: self.leadership.failed,
            ev.LeaderStopped: self.leadership.stopped,
            ev.LeaderLate: self.leadership.late,
            ev.RecycleAsked: lives.recycle,
            ev.OnlyJobsLeft: lives.only_jobs_left,
            ev.RequestTimedOut: lives.timed_out,
            ev.Wedged: lives.wedged,
            ev.OrderFailed: self._order_failed,
            ch.Start: self._start,
            ch.Reload: self._reload,
            ch.Scale: self.sizing.scale,
            ch.Restart: self.sizing.restart,
            ch.Drain: self.sizing.drain,
            ch.Undrain: self.sizing.undrain,
            ch.SetLogLevel: self._set_log_level,
            ch.Stop: self._stop,
            ev.Tick: lambda _event: None,
        }

    def __repr__(self) -> str:
        return f"<Supervisor {self.state.value} target={self.sizing.target} {self.table}>"

    # --- what others may know ---

    @property
    def state(self) -> SupervisorState:
        if self.stopping.asked:
            return SupervisorState.STOPPED if self.stopping.over else SupervisorState.STOPPING
        if self.turnover.current is None or self.ledger.open(ch.Start):
            return SupervisorState.STARTING
        if self.ledger.open(ch.Reload):
            return SupervisorState.RELOADING
        return SupervisorState.DRAINING if self.sizing.drained else SupervisorState.RUNNING

    def next_wakeup(self) -> float | None:
        """When the next Tick is due, in the clock's seconds; None if nothing waits for time."""
        times = [*self._lives.deadlines(), self.turnover.wakeup(), self.stopping.wakeup(), self.leadership.wakeup()]
        times += [slot.restart_at for slot in self.table.reserved()]
        # What is past has been dealt with, or waits for something else than time.
        return min((time for time in times if time is not None and time > self._now), default=None)

    # --- the one way in ---

    def handle(self, event: ev.Input) -> list[Action]:
        """What to do about `event`, and about the time that has passed."""
        self._now = self.table.clock()
        if isinstance(event, ch.Change) and self.stopping.asked and not isinstance(event, ch.Stop):
            self.table.actions.append(ChangeDeclined("the daemon is stopping", self.stopping.operation))
        else:
            self._handlers[type(event)](event)
        self._lives.check()
        if self.turnover.start_failed and not self.stopping.asked:
            self._end_failed_start()
        if self.stopping.asked:
            self.stopping.step()
        else:
            self._turn_over()
            self._roll()
            self.turnover.settle(self.sizing.target)
            self.sizing.settle()
        self.leadership.step(may_ask=not self.stopping.asked and self.state is not SupervisorState.STARTING)
        self.table.forget_dead_generations(self.turnover.current, self.turnover.candidate)
        actions, self.table.actions = self.table.actions, []
        return actions

    # --- changes that are not of size ---

    def _start(self, change: ch.Start) -> None:
        operation = self._enter(change)
        self.turnover.begin(operation)

    def _reload(self, change: ch.Reload) -> None:
        turnover = self.turnover
        if turnover.waiting:
            self.table.actions.append(ChangeAccepted(turnover.waiting[0], joined=True))
            return
        operation = self._enter(change)
        if turnover.operation is None:
            turnover.begin(operation)
        elif turnover.operation.kind is ch.Recover:
            turnover.supersede_recovery(operation)
        else:
            turnover.waiting.append(operation)

    def _set_log_level(self, change: ch.SetLogLevel) -> None:
        operation = self._enter(change, change.level or "as configured")
        operation.start(self._now)
        self.table.actions.append(OverrideLogLevel(change.level))
        self._conclude(operation, OperationState.SUCCEEDED, None)

    def _stop(self, change: ch.Stop) -> None:
        stopping = self.stopping
        if stopping.asked:
            assert stopping.operation is not None
            self.table.actions.append(ChangeAccepted(stopping.operation, joined=True))
            stopping.at_once(f"a second stop ({change.who})")
            return
        operation = self._enter(change, "at once" if change.now else "")
        fault = Fault(Code.OVERTAKEN, "the daemon is stopping")
        self.turnover.abort(fault)
        self.sizing.abort(fault)
        stopping.begin(operation, self.turnover.plan, at_once=change.now)

    def _end_failed_start(self) -> None:
        """A first start has one outcome: it has failed, so those that serve already drain."""
        told = f"the workers that serve drain, then the daemon ends with status {EXIT_NOT_BOOTED}"
        self.table.error(Code.FIRST_START_FAILED, told)
        operation = self._enter(ch.Stop(who="the start that failed"))
        fault = Fault(Code.FIRST_START_FAILED, "the first start failed")
        self.turnover.abort(fault)
        self.sizing.abort(fault)
        self.stopping.begin(operation, self.turnover.plan, at_once=False, status=EXIT_NOT_BOOTED)

    def _enter(self, change: ch.Change, detail: str = "") -> Operation:
        operation = self.ledger.enter(change, self._now, detail)
        self.table.actions.append(ChangeAccepted(operation))
        return operation

    # --- what could not be done ---

    def _order_failed(self, event: ev.OrderFailed) -> None:
        """Whoever waits for what would have come of an order hears that it will not. The rest time sees to."""
        order, error = event.order, event.error
        if isinstance(order, PrepareGeneration):
            self.turnover.prepare_failed(ev.PrepareFailed(order.generation, Code.INTERNAL, error))
        elif isinstance(order, BootGeneration):
            self.turnover.launcher_failed(ev.LauncherFailed(order.generation, Code.INTERNAL, error))
        elif isinstance(order, ForkWorker):
            self._lives.fork_failed(ev.ForkFailed(order.slot, error))
        elif isinstance(order, KillWorker) and (worker := self.table.worker(order.slot)) is not None:
            self.sizing.cannot_end(worker, error)

    # --- what follows from the table ---

    def _turn_over(self) -> None:
        turnover = self.turnover
        if turnover.candidate_is_late():
            turnover.too_late()
        if turnover.recovery_is_due():
            turnover.begin(self.ledger.enter(ch.Recover(who="the supervisor"), self._now))
        self._probe()

    def _probe(self) -> None:
        live = sum(worker.live for worker in self.table.workers())
        self.turnover.probe(room=live < self.sizing.target + self.sizing.surge)

    def _roll(self) -> None:
        """Approach the target, step by step."""
        table, turnover = self.table, self.turnover
        current = turnover.current
        if current is None:
            return
        while step := next_step(
            table,
            target=self.sizing.target,
            surge=self.sizing.surge,
            current=current.number,
            can_fork=turnover.can_fork,
            load=self._load,
            now=self._now,
        ):
            if isinstance(step, ForkStep):
                table.fork(current, step.slot)
            elif isinstance(step, KillStep):
                self.sizing.let_go(step.worker)
                table.kill(step.worker, "scaled down", ExitReason.SCALE)
            elif isinstance(step, DrainStep):
                self._drain(step)
                self._probe()  # before anything else takes the place
            else:
                table.slots[step.slot].release()

    def _drain(self, step: DrainStep) -> None:
        worker, turnover = step.worker, self.turnover
        seconds = self._silent(worker.slot)
        if seconds is not None and worker.reason is ExitReason.RESTART:
            what = f"has not responded for {seconds:.0f} s; its successor is ready, so it is killed"
            self.table.warning(Code.SILENT, f"{worker.name} {what}")
            self.table.kill(worker, worker.leaving, ExitReason.RESTART, stacks=Code.SILENT)
            return
        if step.surplus:
            self.sizing.let_go(worker)
        worker.surplus = step.surplus
        wave = turnover.wave if turnover.rolling and not step.surplus and worker.operation is None else None
        self.table.drain(worker, turnover.plan.graceful_timeout, "scaled down", wave)

    def _lost(self, worker: Worker, fault: Fault) -> None:
        self.sizing.worker_lost(worker, fault)
        self.turnover.worker_lost(worker, fault, self.sizing.target)

    def _conclude(self, operation: Operation, state: OperationState, fault: Fault | None) -> None:
        """The one place where operations end."""
        operation.end(self._now, state, fault)
        self.ledger.close(operation)
        name, who = operation.name, operation.change.who
        if state is OperationState.SUCCEEDED:
            seconds = max(0.0, self._now - operation.asked_at)
            change = f", {operation.revisions}" if operation.revisions else ""
            self.table.info(f"{name}: done after {seconds:.2f} s{change} (operation {operation.id}, by {who})")
        elif state is OperationState.FAILED and fault is not None:
            traceback = fault.traceback
            # A launcher that does not boot is tried again and again: its traceback is logged once.
            if operation.kind is ch.Recover:
                traceback, self._traceback = "" if traceback == self._traceback else traceback, traceback
            told = f"{name} failed: {fault} (operation {operation.id}, by {who})"
            self.table.error(fault.code, told, traceback)
        self.table.actions.append(OperationEnded(operation))
        if operation.kind is ch.Recover and state is OperationState.FAILED and fault is not None:
            self.sizing.cannot_fork(fault.after("no launcher boots"))
        elif operation.kind is ch.Start and self.turnover.current is None and fault is not None:
            self.sizing.abort(fault.after("the first start failed"))
