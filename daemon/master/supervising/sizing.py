"""Sizing: what people ask of a running daemon other than a new generation: scale, restart, drain, undrain.

Each is an operation. Of scales the last one wins; a second restart or drain is refused or joined while one
runs. One that has workers leave is done when their exits are reaped. Here is also what they change: the target.
"""

from __future__ import annotations

from collections.abc import Callable

from miniwsgi.codes import Code
from miniwsgi.manager import changes as ch

from .actions import ChangeAccepted, ChangeDeclined
from .exits import ExitReason
from .fault import Fault
from .operations import Ledger, Operation, OperationState, overtaken_by
from .rolling import surge_of
from .turnover import Turnover, too_many
from .worker_table import Worker, WorkerState, WorkerTable


class Sizing:
    """The target, and the operations that move it or have workers replaced."""

    def __init__(
        self,
        table: WorkerTable,
        ledger: Ledger,
        turnover: Turnover,
        conclude: Callable[[Operation, OperationState, Fault | None], None],
    ) -> None:
        self.table = table
        self.ledger = ledger
        self.turnover = turnover
        self.override: int | None = None  # the target that was asked for; outlives reloads
        self.drained = False
        self._before: int | None = None  # the override that a failed scale goes back to
        self._conclude = conclude

    @property
    def configured(self) -> int:
        """The target while nothing is drained."""
        return self.turnover.plan.workers if self.override is None else self.override

    @property
    def target(self) -> int:
        """How many workers there should be."""
        return 0 if self.drained else self.configured

    @property
    def surge(self) -> int:
        return surge_of(self.target, self.turnover.plan.surge)

    # --- asking ---

    def scale(self, change: ch.Scale) -> None:
        if change.to is None and not change.by:
            wanted, override = self.turnover.plan.workers, None
        else:
            wanted = override = self.configured + change.by if change.to is None else change.to
        if refusal := self.refusal(wanted):
            self.table.actions.append(ChangeDeclined(refusal))
            return
        running, before = self.ledger.open(ch.Scale), self.configured
        operation = self._accept(change, f"to {wanted} workers")
        for older in running:
            self._conclude(older, OperationState.SUPERSEDED, overtaken_by(operation))
        if wanted <= before:  # it waits for those that leave already, too
            for worker in self.table.workers():
                if any(worker.operation == older.id for older in running):
                    worker.operation = operation.id
        if not running:
            self._before = self.override
        self.override, operation.total = override, wanted

    def restart(self, change: ch.Restart) -> None:
        if change.now and change.slot is not None:
            self._restart_now(change, change.slot)
            return
        running = [
            operation
            for operation in self.ledger.open(ch.Restart, ch.Reload)
            if operation.kind is ch.Reload or any(worker.live for worker in self._leaving(operation))
        ]
        if running:
            reason = f"operation {running[0].id} ({running[0].change.name}) is replacing workers"
            self.table.actions.append(ChangeDeclined(reason, running[0]))
            return
        workers = [
            worker
            for worker in self.table.workers()
            if worker.fresh and (change.slot is None or worker.slot == change.slot)
        ]
        if change.slot is not None and not workers:
            self.table.actions.append(ChangeDeclined(f"slot {change.slot} has no worker that runs"))
            return
        operation = self._accept(change, "" if change.slot is None else f"of slot {change.slot}")
        operation.total = len(workers)
        for worker in workers:
            worker.leave("restart", ExitReason.RESTART)
            worker.operation = operation.id

    def _restart_now(self, change: ch.Restart, slot: int) -> None:
        """Whatever its worker does. What replaces workers already goes on."""
        worker = self.table.worker(slot)
        if worker is None or worker.probe or worker.state in {WorkerState.FORKING, WorkerState.KILLED}:
            self.table.actions.append(ChangeDeclined(f"slot {slot} has no worker that can be killed"))
            return
        operation = self._accept(change, f"of slot {slot}, at once")
        operation.total = 1
        worker.operation = operation.id
        self.table.kill(worker, f"killed by {change.who}", ExitReason.RESTART, stacks=Code.KILLED_BY_ORDER)

    def drain(self, change: ch.Drain) -> None:
        if not self._join(ch.Drain):
            self._supersede(ch.Undrain, self._accept(change))
            self.drained = True

    def undrain(self, change: ch.Undrain) -> None:
        if not self._join(ch.Undrain):
            self._supersede(ch.Drain, self._accept(change))
            self.drained = False

    # --- how they end ---

    def settle(self) -> None:
        """End what is complete. Called after every change."""
        table, target = self.table, self.target
        for operation in self.ledger.open(ch.Scale, ch.Restart, ch.Drain, ch.Undrain):
            left = len(self._leaving(operation))
            if operation.kind is ch.Restart:
                operation.done = operation.total - left
                complete = not left and table.ready() >= target
            elif operation.kind is ch.Drain:
                complete = not any(table.workers())
            else:
                operation.done, operation.total = min(table.ready(), target), target
                complete = not left and table.ready() >= target and table.fresh() <= target
            if complete:
                self._conclude(operation, OperationState.SUCCEEDED, None)

    def let_go(self, worker: Worker) -> None:
        """A worker is about to be told to leave that nobody replaces: a scale that runs is done when it has."""
        if not worker.leaving and worker.operation is None:
            worker.operation = next((operation.id for operation in self.ledger.open(ch.Scale)), None)

    def worker_lost(self, worker: Worker, fault: Fault) -> None:
        """Count the loss against those that wait for workers."""
        for operation in self.ledger.open(ch.Scale, ch.Restart, ch.Undrain):
            if too_many(operation, worker.slot, self.target):
                self._fail(operation, fault.of(worker.name))

    def cannot_fork(self, fault: Fault) -> None:
        """No launcher boots: those that wait for workers wait in vain."""
        for operation in self.ledger.open(ch.Scale, ch.Restart, ch.Undrain):
            self._fail(operation, fault)

    def cannot_end(self, worker: Worker, error: str) -> None:
        """A worker cannot be killed: those that wait for its end wait in vain."""
        for operation in self.ledger.open(ch.Scale, ch.Restart, ch.Drain):
            if operation.kind is ch.Drain or worker in self._leaving(operation):
                self._fail(operation, Fault(Code.INTERNAL, f"{worker.name} cannot be killed: {error}"))

    def abort(self, fault: Fault) -> None:
        """The daemon stops."""
        for operation in self.ledger.open(ch.Scale, ch.Restart, ch.Drain, ch.Undrain):
            self._conclude(operation, OperationState.FAILED, fault)

    def _fail(self, operation: Operation, fault: Fault) -> None:
        """The workers that run stay: what the operation wanted beyond them is given up."""
        if operation.kind is ch.Scale:
            before = self.turnover.plan.workers if self._before is None else self._before
            running = sum(worker.fresh for worker in self.table.workers(WorkerState.READY))
            # A scale down cannot fail for want of workers, so the target is only ever lowered again here.
            if before < self.configured:
                self.override = self._before if running <= before else min(running, self.configured)
        current = self.turnover.current
        for worker in self._leaving(operation):
            if worker.live:
                worker.operation = None
                if current is None or worker.generation >= current.number:
                    worker.stay()  # those of older code are replaced all the same
        self._conclude(operation, OperationState.FAILED, fault)

    # --- inside ---

    def _leaving(self, operation: Operation) -> list[Worker]:
        """Those whose end the operation waits for."""
        return [worker for worker in self.table.workers() if worker.operation == operation.id]

    def refusal(self, wanted: int) -> str:
        """Why there cannot be so many workers; "" if there can."""
        if wanted < 1:
            return "at least 1 worker is needed; to stop accepting, drain"
        most = self.table.max_slots
        if wanted + surge_of(wanted, self.turnover.plan.surge) > most:
            return f"{wanted} workers and those that a reload adds do not fit into {most} slots"
        return ""

    def _accept(self, change: ch.Change, detail: str = "") -> Operation:
        now = self.table.clock()
        operation = self.ledger.enter(change, now, detail)
        operation.start(now)
        self.table.actions.append(ChangeAccepted(operation))
        return operation

    def _join(self, kind: type[ch.Change]) -> bool:
        running = self.ledger.open(kind)
        if running:
            self.table.actions.append(ChangeAccepted(running[0], joined=True))
        return bool(running)

    def _supersede(self, kind: type[ch.Change], operation: Operation) -> None:
        for older in self.ledger.open(kind):
            self._conclude(older, OperationState.SUPERSEDED, overtaken_by(operation))
