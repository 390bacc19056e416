"""Turnover: how one generation succeeds another, for the first start, a reload, and a launcher that died.

A candidate is prepared (configuration, listeners), boots, and has one worker, the probe. Once that is ready
the candidate is in force, all others are leaving, and rolling replaces them. The operation succeeds when
the new generation has its full set of ready workers. Until then the previous launcher is kept: it is what a
failure goes back to. If that launcher holds the code (preload), workers of the failed generation are
replaced again; if not, those that run stay. A first start has nothing to go back to: when it fails, the daemon ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from miniwsgi.codes import Code
from miniwsgi.manager import changes as ch

from . import events as ev
from .actions import BootGeneration, CommitGeneration, DiscardGeneration, Exit, PrepareGeneration, Serving
from .exits import ExitReason
from .fault import Fault
from .operations import Operation, OperationState, overtaken_by
from .worker_table import (
    STABLE_AFTER_SECONDS,
    Deadline,
    Generation,
    GenerationState,
    Worker,
    WorkerState,
    WorkerTable,
    backoff,
)

BOOT_ATTEMPTS = 3  # of one slot, before the operation that wants it has failed
EXIT_NOT_BOOTED = 3

Conclude = Callable[[Operation, OperationState, Fault | None], None]


class Turnover:
    """The generation in force, the one that is to succeed it, and the operation that wants this."""

    def __init__(self, table: WorkerTable, plan: ev.Plan, conclude: Conclude) -> None:
        self.table = table
        self.plan = plan
        self.conclude = conclude
        self.current: Generation | None = None
        self.candidate: Generation | None = None
        self.previous: Generation | None = None  # in force before the current one, while that is rolled out
        self.operation: Operation | None = None
        self.waiting: deque[Operation] = deque()
        self.wave = Deadline(0.0)  # the drains of one operation end together
        self.recover_at: float | None = None
        self.start_failed = False  # when some served already: they are to drain, and the daemon ends
        self._recover_failures = 0

    def __repr__(self) -> str:
        return f"<Turnover {self.current} candidate={self.candidate} {self.operation}>"

    @property
    def can_fork(self) -> bool:
        return self.current is not None and self.current.state is GenerationState.SERVING

    @property
    def rolling(self) -> bool:
        """The operation's generation is in force and not complete."""
        return self.operation is not None and self.candidate is None

    def is_candidate(self, number: int) -> bool:
        return self.candidate is not None and self.candidate.number == number

    def candidate_is_late(self) -> bool:
        deadline = self.candidate.deadline if self.candidate is not None else None
        return deadline is not None and deadline <= self.table.clock()

    def recovery_is_due(self) -> bool:
        return self.operation is None and self.recover_at is not None and self.recover_at <= self.table.clock()

    def wakeup(self) -> float | None:
        """When time alone changes something."""
        return self.recover_at if self.candidate is None else self.candidate.deadline

    # --- in the order of a turnover ---

    def begin(self, operation: Operation) -> None:
        """Start `operation` now. Nothing else runs."""
        assert self.operation is None, self
        operation.start(self.table.clock())
        generation = self.table.new_generation()
        generation.deadline = generation.born + self.plan.boot_timeout
        operation.generation = generation.number
        operation.previous_revision = self.current.revision if self.current is not None else None
        self.operation, self.candidate = operation, generation
        self.wave = Deadline(0.0)
        self.recover_at = None
        self.table.actions.append(PrepareGeneration(generation.number, reread=operation.kind is ch.Reload))

    def prepared(self, event: ev.Prepared) -> None:
        number, plan, candidate = event.generation, event.plan, self.candidate
        if candidate is None or candidate.number != number or candidate.state is not GenerationState.PREPARING:
            return  # given up meanwhile
        candidate.plan = plan
        self.table.become(candidate, GenerationState.BOOTING)
        candidate.deadline = self.table.clock() + plan.boot_timeout
        self.table.actions.append(BootGeneration(number))

    def revision_read(self, event: ev.RevisionRead) -> None:
        generation = self.table.generations.get(event.generation)
        if generation is None:
            return
        self.table.note_revision(generation, event.revision, event.source)
        if self.operation is not None and self.operation.generation == generation.number:
            self.operation.revision = event.revision

    def launcher_ready(self, event: ev.LauncherReady) -> None:
        generation = self.table.generations.get(event.generation)
        if generation is None or generation.state is not GenerationState.BOOTING:
            return
        self.table.become(generation, GenerationState.SERVING)
        generation.preloaded, generation.note = event.preloaded, event.note
        if event.note:
            self.table.warning(Code.NOT_PRELOADED, f"each worker imports the application by itself: {event.note}")

    def probe(self, room: bool) -> None:
        """Fork the candidate's first worker as soon as there is room for it."""
        candidate = self.candidate
        if candidate is None or candidate.state is not GenerationState.SERVING or self.table.of(candidate.number):
            return
        again = self.table.reserved() if self.current is None else []  # a first start's probe that was lost
        if again and again[0].restart_at is not None and again[0].restart_at > self.table.clock():
            return
        free = again[0].index if again else self.table.free_slot()
        if room and free is not None:
            self.table.fork(candidate, free, probe=True)

    def take_over(self, probe: Worker) -> None:
        """The probe is ready: its generation is in force from now on."""
        table, operation, candidate = self.table, self.operation, self.candidate
        assert operation is not None, self
        assert candidate is not None, self
        assert candidate.plan is not None, self
        self.previous, self.current, self.candidate = self.current, candidate, None
        self.plan = candidate.plan
        probe.probe = False
        reason = _superseded_by(candidate)
        for worker in table.workers():
            if worker.live and worker.generation != candidate.number:
                worker.leave(reason, ExitReason.RELOAD)
        for slot in table.reserved():
            slot.release()  # the new code starts with a clean record
        if operation.kind is ch.Start:
            table.actions.append(Serving())

    def settle(self, target: int) -> None:
        """End the operation if the new generation has its full set of ready workers."""
        operation, current = self.operation, self.current
        if operation is None:
            return
        operation.total = target
        if not self.rolling or current is None:
            return
        operation.done = min(target, self.table.ready(current.number))
        if operation.done >= target:
            self._commit(current)
            self._end(operation, OperationState.SUCCEEDED)

    # --- what goes wrong ---

    def prepare_failed(self, event: ev.PrepareFailed) -> None:
        if self.is_candidate(event.generation):
            self.give_up(Fault(event.code, event.error))

    def launcher_failed(self, event: ev.LauncherFailed) -> None:
        if self.is_candidate(event.generation):
            self.give_up(Fault(event.code, event.error, event.traceback))

    def give_up(self, fault: Fault) -> None:
        """The candidate does not boot. Without any other generation the daemon ends."""
        first = self._starting
        if first:
            self._fail_waiting(fault.after("the first start failed"))
        self._discard(OperationState.FAILED, fault)
        if first:
            self.table.actions.append(Exit(EXIT_NOT_BOOTED))

    def probe_lost(self, worker: Worker, fault: Fault) -> bool:
        """The candidate's first worker is lost. True: its slot is to be tried again, as any other of a first start."""
        operation = self.operation
        if operation is not None and self._starting and operation.count_failure(worker.slot) < BOOT_ATTEMPTS:
            return True
        self.give_up(fault.of(worker.name))
        return False

    def out_of_time(self, worker: Worker) -> None:
        """It took all the time that a boot has. A first start does not try again what hangs: somebody waits for it."""
        if self.operation is not None and self._starting:
            self.operation.failures[worker.slot] = BOOT_ATTEMPTS - 1

    def worker_lost(self, worker: Worker, fault: Fault, target: int) -> None:
        """A worker that was to stay is lost. Too many of the new generation, and the operation has failed."""
        operation, current = self.operation, self.current
        if operation is None or current is None or not self.rolling or worker.generation != current.number:
            return
        if operation.kind is ch.Recover:
            return  # there is nothing to go back to: it goes on trying
        if too_many(operation, worker.slot, target):
            self._fail_roll(fault.of(worker.name))

    def launcher_lost(self, generation: Generation, reason: str) -> None:
        """A launcher has exited that was not told to."""
        if generation is self.candidate:
            self.give_up(Fault(Code.IMPORT_ENDED, f"the launcher {reason} before its first worker was ready"))
            return
        if generation is not self.current:
            return
        table = self.table
        told = f"the launcher of {generation.name} {reason}: its workers serve on, a new one boots"
        table.error(Code.LAUNCHER_LOST, told)
        if table.clock() - generation.born >= STABLE_AFTER_SECONDS:
            self._recover_failures = 0
        if self.rolling:
            self._fail_roll(Fault(Code.LAUNCHER_LOST, f"the launcher of {generation.name} {reason}"))
        self._schedule_recovery()

    def too_late(self) -> None:
        """The candidate's time is over. Called when its deadline has passed."""
        table, candidate = self.table, self.candidate
        assert candidate is not None, self
        workers = table.of(candidate.number)
        if candidate.state is GenerationState.PREPARING:
            why = "its configuration could not be read in time (timeouts.boot): a file or a name server hangs"
            self.give_up(Fault(Code.BOOT_LATE, why))
            return
        reason = f"{candidate.name} had no worker ready in time (timeouts.boot)"
        table.kill_launcher(candidate, reason, stacks=None if workers else Code.BOOT_LATE)
        for worker in workers:
            table.kill(worker, reason, ExitReason.BOOT, stacks=Code.BOOT_LATE)
        self.give_up(Fault(Code.BOOT_LATE, f"{reason}; what it was doing is in the error log"))

    # --- changes of mind ---

    def supersede_recovery(self, operation: Operation) -> None:
        """A reload takes the place of a recovery that is under way."""
        self.waiting.append(operation)
        if self.candidate is not None:
            self._discard(OperationState.SUPERSEDED, overtaken_by(operation))
        else:
            assert self.operation is not None, self
            assert self.current is not None, self
            self._commit(self.current)
            self._end(self.operation, OperationState.SUPERSEDED, overtaken_by(operation))

    def abort(self, fault: Fault) -> None:
        """The daemon stops: nothing is turned over any more."""
        self._fail_waiting(fault)
        if self.candidate is not None:
            self._discard(OperationState.FAILED, fault)
        elif self.operation is not None:
            self._end(self.operation, OperationState.FAILED, fault)
        self.recover_at = None

    # --- inside ---

    @property
    def _starting(self) -> bool:
        return self.operation is not None and self.operation.kind is ch.Start

    def _fail_waiting(self, fault: Fault) -> None:
        while self.waiting:
            self.conclude(self.waiting.popleft(), OperationState.FAILED, fault)

    def _discard(self, state: OperationState, fault: Fault) -> None:
        """Remove the candidate, which never came into force, and end its operation."""
        table, operation, candidate = self.table, self.operation, self.candidate
        assert operation is not None, self
        assert candidate is not None, self
        self.candidate = None
        for worker in table.of(candidate.number):
            table.kill(worker, f"{candidate.name} is given up", ExitReason.RELOAD)
        if candidate.state is GenerationState.PREPARING:
            table.become(candidate, GenerationState.DEAD)
        elif candidate.state is GenerationState.BOOTING:
            table.kill_launcher(candidate, f"{candidate.name} is given up")
        table.retire(candidate)
        table.actions.append(DiscardGeneration(candidate.number))
        self._end(operation, state, fault)

    def _fail_roll(self, fault: Fault) -> None:
        """The generation in force does not become complete: go back to the previous one if that can fork."""
        table, operation, failed, previous = self.table, self.operation, self.current, self.previous
        assert operation is not None, self
        assert failed is not None, self
        if self._starting:
            self.start_failed = True
            self._fail_waiting(fault.after("the first start failed"))
        if previous is None or previous.plan is None or previous.state is not GenerationState.SERVING:
            self._commit(failed)
            self._end(operation, OperationState.FAILED, fault)
            return
        self.current, self.previous, self.plan = previous, None, previous.plan
        superseded = _superseded_by(failed)
        for worker in table.workers():
            if worker.generation == failed.number:
                if worker.live and (previous.preloaded or worker.state is not WorkerState.READY):
                    worker.leave(f"{failed.name} failed", ExitReason.RELOAD)
            elif worker.live and worker.leaving == superseded:
                worker.stay()
        for slot in table.reserved():
            slot.release()
        table.retire(failed)
        table.actions.append(DiscardGeneration(failed.number))
        self._end(operation, OperationState.FAILED, fault)

    def _commit(self, generation: Generation) -> None:
        self.previous = None
        self.table.actions.append(CommitGeneration(generation.number))
        for other in self.table.generations.values():
            if other is not generation:
                self.table.retire(other)

    def _end(self, operation: Operation, state: OperationState, fault: Fault | None = None) -> None:
        self.operation = None
        self.conclude(operation, state, fault)
        if self.waiting:
            self.begin(self.waiting.popleft())
        else:
            self._schedule_recovery()

    def _schedule_recovery(self) -> None:
        """Have another launcher boot, after a back-off, if that of the generation in force is gone."""
        current = self.current
        if current is None or current.state is not GenerationState.DEAD:
            return
        if self.operation is None and self.recover_at is None:
            self.recover_at = self.table.clock() + backoff(self._recover_failures)
            self._recover_failures += 1


def too_many(operation: Operation, slot: int, target: int) -> bool:
    """Count a worker lost in `slot`. True: that was the last one that the operation bears."""
    at_most = BOOT_ATTEMPTS * max(1, target)
    return operation.count_failure(slot) >= BOOT_ATTEMPTS or sum(operation.failures.values()) >= at_most


def _superseded_by(generation: Generation) -> str:
    return f"{generation.name} takes over"
