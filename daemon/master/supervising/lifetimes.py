"""Lifetimes: what becomes of launchers and workers, from fork to exit, and how long each step may take.

A worker that is lost while it was wanted reserves its slot for a successor, after a back-off, and is
counted by the operations that wait for workers. One that was to leave is merely reaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from miniwsgi.codes import Code

from . import events as ev
from .exits import RECYCLED, ExitReason, describe_recycling
from .fault import Fault
from .turnover import Turnover
from .worker_table import Generation, GenerationState, Worker, WorkerState, WorkerTable

FORK_TIMEOUT_SECONDS = 10.0  # for a launcher to answer an order to fork
REAP_TIMEOUT_SECONDS = 5.0  # for a launcher to reap a worker that has ended, and to exit after its last one

Lost = Callable[[Worker, Fault], None]


class Lifetimes:
    """The events of processes. `lost` is told of each wanted worker that is lost."""

    def __init__(self, table: WorkerTable, turnover: Turnover, lost: Lost, stopping: Callable[[], bool]) -> None:
        self.table = table
        self.turnover = turnover
        self._lost = lost
        self._stopping = stopping

    # --- launchers ---

    def launcher_exited(self, event: ev.LauncherExited) -> None:
        generation = self.table.generations.get(event.generation)
        if generation is None or not generation.has_launcher:
            return
        expected = generation.state is GenerationState.RETIRED
        self.table.become(generation, GenerationState.DEAD)
        lost = [worker for worker in self.table.of(generation.number) if worker.state is WorkerState.FORKING]
        for worker in lost:
            self.table.remove(worker)  # if it was forked after all, it finds its lifeline cut and exits
        if not expected and not self._stopping():
            self.turnover.launcher_lost(generation, event.reason)

    # --- workers ---

    def forked(self, event: ev.WorkerForked) -> None:
        worker = self._in_state(event.slot, WorkerState.FORKING)
        if worker is not None:
            worker.pid = event.pid
            self.table.enter(worker, WorkerState.BOOTING)

    def fork_failed(self, event: ev.ForkFailed) -> None:
        worker = self._in_state(event.slot, WorkerState.FORKING)
        if worker is not None:
            self._lose(worker, Fault(Code.NOT_FORKED, f"could not be forked: {event.error}"), reaped=True)

    def ready(self, event: ev.WorkerReady) -> None:
        worker = self._in_state(event.slot, WorkerState.BOOTING)
        if worker is None:
            return
        self.table.enter(worker, WorkerState.READY)
        worker.may_lead, worker.revision = event.may_lead, event.revision
        self._compare_revision(worker)
        seconds = worker.since - worker.forked_at
        self.table.info(f"{worker.name} of generation {worker.generation} is ready after {seconds:.2f} s")
        if worker.probe and self.turnover.is_candidate(worker.generation):
            self.turnover.take_over(worker)

    def _compare_revision(self, worker: Worker) -> None:
        """Without preload each worker imports what lies on disk, and that may be another revision by now."""
        generation = self.table.generations.get(worker.generation)
        if generation is not None and not generation.preloaded and worker.revision != generation.revision:
            runs, of = (known or "an unknown revision" for known in (worker.revision, generation.revision))
            self.table.warning(
                Code.CODE_MIXED,
                f"{worker.name} runs {runs}, generation {worker.generation} began with {of}: the code on disk has "
                "changed; reload, so that all workers run the same",
            )

    def failed(self, event: ev.WorkerFailed) -> None:
        worker = self._in_state(event.slot, WorkerState.BOOTING, WorkerState.READY)
        if worker is not None:
            what = "did not boot" if worker.state is WorkerState.BOOTING else "has failed"
            self._lose(worker, Fault(event.code, f"{what}: {event.error}", event.traceback))
        elif (worker := self.table.worker(event.slot)) is not None:
            self.table.error(event.code, f"{worker.name} has failed: {event.error}", event.traceback)

    def died(self, event: ev.WorkerDied) -> None:
        worker = self.table.worker(event.slot)
        if worker is not None and worker.died_at is None:
            worker.died_at = self.table.clock()

    def exited(self, event: ev.WorkerExited) -> None:
        worker = self.table.worker(event.slot)
        if worker is None or worker.state is WorkerState.FORKING:
            return
        how = event.end.told(oom=event.oom)
        if event.inside:
            how += f" inside {event.inside}"
        if event.running:
            how += f" while it ran {event.running}"
        slot = self.table.slots[event.slot]
        reason = _reason(worker, event)
        slot.last_reason = reason
        code = Code.OUT_OF_MEMORY if event.oom else Code.CRASHED
        self.table.exits[reason] += 1
        if worker.live:
            slot.last_exit = how
            booting = " while booting" if worker.state is WorkerState.BOOTING else ""
            self._lose(worker, Fault(code, how + booting, event.crash), reaped=True)
            return
        slot.last_exit = worker.leaving
        if worker.state is WorkerState.DRAINING and not event.end.is_clean:
            self.table.warning(code, f"{worker.name} {how} while it drained ({worker.leaving})", event.crash)
        else:
            self.table.info(f"{worker.name} has left: {worker.leaving}")
        self.table.remove(worker)

    def recycle(self, event: ev.RecycleAsked) -> None:
        worker = self._in_state(event.slot, WorkerState.READY)
        if worker is not None and not worker.leaving:
            worker.leave(f"recycled ({event.reason})", RECYCLED[event.reason])
            self.table.info(f"{worker.name} is to be replaced: it {describe_recycling(event.reason)}")

    def only_jobs_left(self, event: ev.OnlyJobsLeft) -> None:
        worker = self._in_state(event.slot, WorkerState.DRAINING)
        if worker is not None:
            worker.only_jobs = True

    def timed_out(self, event: ev.RequestTimedOut) -> None:
        worker = self._in_state(event.slot, WorkerState.READY, WorkerState.DRAINING)
        if worker is None:
            return
        told = f"{event.request} runs for {event.seconds:.1f} s (timeouts.request)"
        self.table.dump_stacks(worker, Code.REQUEST_TIMEOUT, told)
        if worker.state is WorkerState.READY:
            fresh = worker.fresh
            self.table.mark_stuck(worker, self.turnover.plan.graceful_timeout, "timeouts.request")
            if fresh:
                self.table.note_loss(worker.leaving)
                self._lost(worker, Fault(Code.REQUEST_TIMEOUT, "had a request that exceeded timeouts.request"))

    def wedged(self, event: ev.Wedged) -> None:
        worker = self._in_state(event.slot, WorkerState.READY, WorkerState.STUCK, WorkerState.DRAINING)
        if worker is None:
            return
        fresh = worker.fresh
        error = f"is wedged: its loop has not turned for {event.seconds:.0f} s"
        self.table.error(Code.WEDGED, f"{worker.name} {error}; it is killed and replaced")
        self.table.kill(worker, "wedged", ExitReason.WEDGE, stacks=Code.WEDGED)
        if fresh:
            self.table.note_loss(worker.leaving)
            self._lost(worker, Fault(Code.WEDGED, error))

    # --- time ---

    def deadlines(self) -> Iterator[float | None]:
        """When `check` may have something to do."""
        for worker in self.table.workers():
            yield self._boot_deadline(worker)
            yield self._reap_deadline(worker)
            yield worker.deadline.at if worker.deadline is not None else None
        for generation in self.table.generations.values():
            yield self._exit_deadline(generation)

    def check(self) -> None:
        """Act on every deadline that has passed."""
        table, now = self.table, self.table.clock()
        for worker in list(table.workers()):
            if _passed(self._boot_deadline(worker), now):
                self._boots_too_long(worker)
            if _passed(self._reap_deadline(worker), now):
                self._kill_launcher_of(worker, f"has not reaped {worker.name}")
            if worker.deadline is not None and worker.deadline.at <= now:
                told = f"{worker.name} has not finished in time (timeouts.graceful); it is killed"
                table.warning(Code.KILLED_LATE, told)
                table.kill(worker, worker.leaving, ExitReason.TIMEOUT, stacks=Code.KILLED_LATE)
        for generation in table.generations.values():
            if _passed(self._exit_deadline(generation), now):
                table.kill_launcher(generation, "does not exit after its last worker")

    def _boot_deadline(self, worker: Worker) -> float | None:
        if worker.state is WorkerState.FORKING:
            return worker.since + FORK_TIMEOUT_SECONDS
        if worker.state is WorkerState.BOOTING and not worker.probe:
            return worker.since + self.turnover.plan.boot_timeout
        return None  # a probe's deadline is that of its generation

    def _reap_deadline(self, worker: Worker) -> float | None:
        return None if worker.died_at is None else worker.died_at + REAP_TIMEOUT_SECONDS

    def _exit_deadline(self, generation: Generation) -> float | None:
        if generation.state is not GenerationState.RETIRED or self.table.of(generation.number):
            return None
        return max(generation.since, generation.emptied_at) + REAP_TIMEOUT_SECONDS

    def _boots_too_long(self, worker: Worker) -> None:
        if worker.state is WorkerState.FORKING:
            self._kill_launcher_of(worker, "does not answer")
        else:
            seconds = self.turnover.plan.boot_timeout
            self.turnover.out_of_time(worker)
            why = f"was not ready within {seconds:g} s (timeouts.boot)"
            self._lose(worker, Fault(Code.BOOT_LATE, why), stacks=True)

    def _kill_launcher_of(self, worker: Worker, reason: str) -> None:
        generation = self.table.generations[worker.generation]
        if generation.has_launcher and generation.state is not GenerationState.KILLED:
            self.table.error(Code.LAUNCHER_STUCK, f"the launcher of {generation.name} {reason}: it is killed")
            self.table.kill_launcher(generation, reason, stacks=Code.LAUNCHER_STUCK)

    # --- a loss ---

    def _in_state(self, slot: int, *states: WorkerState) -> Worker | None:
        worker = self.table.worker(slot)
        return worker if worker is not None and worker.state in states else None

    def _lose(self, worker: Worker, fault: Fault, *, reaped: bool = False, stacks: bool = False) -> None:
        """A worker that was ready, or was to be, is lost: have it replaced if it was wanted."""
        table, slot, fresh = self.table, self.table.slots[worker.slot], worker.fresh
        crash = fault.traceback if reaped else ""  # each may be another one
        now = table.clock()
        if reaped:
            table.remove(worker)
        else:
            booted = worker.state is WorkerState.READY
            why = ExitReason.CRASH if booted else ExitReason.BOOT
            table.kill(worker, fault.error, why, stacks=fault.code if stacks else None)
        probe = worker.probe and self.turnover.is_candidate(worker.generation)
        if probe and not self.turnover.probe_lost(worker, fault):
            return
        if not probe and (not fresh or self._stopping()):
            table.warning(fault.code, f"{worker.name} {fault}; it was to leave ({worker.leaving or 'stop'})", crash)
            return
        delay = slot.reserve(now, now - worker.forked_at)
        first = slot.failures == 1
        told = f"{worker.name} {fault}; the next one in {delay:g} s"
        table.error(fault.code, told, fault.traceback if first else crash)
        if not probe:
            self._lost(worker, fault)


def _reason(worker: Worker, event: ev.WorkerExited) -> ExitReason:
    """Under what an exit counts. One that was to leave may still have gone before, by itself."""
    as_told = worker.state is WorkerState.KILLED or (not worker.live and event.end.is_clean)
    if as_told and worker.reason is not None:
        return worker.reason
    if event.oom and event.end.signal:
        return ExitReason.OOM
    return ExitReason.BOOT if worker.state is WorkerState.BOOTING else ExitReason.CRASH


def _passed(deadline: float | None, now: float) -> bool:
    return deadline is not None and deadline <= now
