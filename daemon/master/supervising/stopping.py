"""Stopping: from the asking to the daemon's exit.

First the delay, in which workers go on accepting and close each connection; then the backlogs are shrunk
and workers finish what waits and what runs; at the deadline they are killed. A second stop, or one that
says so, kills at once.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from miniwsgi.codes import Code

from .actions import AnnounceStop, Exit, ShrinkBacklogs
from .events import Plan
from .exits import ExitReason
from .fault import Fault
from .operations import Operation, OperationState
from .worker_table import GenerationState, WorkerState, WorkerTable

EXIT_SECONDS = 5.0  # for what was killed to be reaped, and for launchers to exit after their last worker


class StopPhase(Enum):
    NOT_ASKED = "not asked"
    DELAY = "delay"
    FINISHING = "finishing"
    KILLING = "killing"
    OVER = "over"


class Stopping:
    """The end of the daemon. `step` is called after every event once a stop was asked for."""

    def __init__(self, table: WorkerTable, conclude: Callable[[Operation, OperationState, Fault | None], None]) -> None:
        self.table = table
        self.phase = StopPhase.NOT_ASKED
        self.operation: Operation | None = None
        self._conclude = conclude
        self._until = 0.0  # the phase's end
        self._graceful = 0.0
        self._status = 0

    def __repr__(self) -> str:
        return f"<Stopping {self.phase.value}>"

    @property
    def asked(self) -> bool:
        return self.phase is not StopPhase.NOT_ASKED

    @property
    def over(self) -> bool:
        return self.phase is StopPhase.OVER

    def wakeup(self) -> float | None:
        return self._until if self.asked else None

    def begin(self, operation: Operation, plan: Plan, *, at_once: bool, status: int = 0) -> None:
        """`status`: what the daemon exits with once it is over."""
        self._status = status
        now = self.table.clock()
        operation.start(now)
        self.operation, self._graceful = operation, plan.graceful_timeout
        if at_once:
            self.table.actions.append(AnnounceStop(0.0, 0.0))
            self.at_once("stopped at once")
        else:
            self.phase, self._until = StopPhase.DELAY, now + plan.stop_delay
            self.table.actions.append(AnnounceStop(plan.stop_delay, plan.graceful_timeout))

    def at_once(self, reason: str) -> None:
        """Kill what runs."""
        if self.phase in {StopPhase.KILLING, StopPhase.OVER}:
            return
        if self.phase is not StopPhase.FINISHING:
            self.table.actions.append(ShrinkBacklogs())
        self.phase, self._until = StopPhase.KILLING, self.table.clock() + EXIT_SECONDS
        for worker in self.table.workers():
            self.table.kill(worker, reason, ExitReason.STOP)
        self._retire_launchers()

    def step(self) -> None:
        """Go on as far as time and exits allow."""
        table, now = self.table, self.table.clock()
        for worker in table.workers(WorkerState.BOOTING):
            table.kill(worker, "stop", ExitReason.STOP)  # it has nothing to finish
        if self.phase is StopPhase.DELAY and now >= self._until:
            self._finish(now)
        if self.phase is StopPhase.FINISHING and now >= self._until:
            names = ", ".join(worker.name for worker in table.workers())
            told = f"not finished within {self._graceful:g} s (timeouts.graceful), killed: {names}"
            table.warning(Code.STOP_CUT_SHORT, told)
            self.at_once("stop")
        if self.phase is StopPhase.KILLING and now >= self._until:
            self._kill_launchers(now)
        gone = not any(table.workers()) and not any(
            generation.has_launcher for generation in table.generations.values()
        )
        if gone and self.phase in {StopPhase.FINISHING, StopPhase.KILLING}:
            self._end()

    def _finish(self, now: float) -> None:
        table = self.table
        self.phase, self._until = StopPhase.FINISHING, now + self._graceful
        table.actions.append(ShrinkBacklogs())
        for worker in table.workers():
            if worker.state is WorkerState.READY:
                table.finish(worker, self._graceful)
        self._retire_launchers()

    def _retire_launchers(self) -> None:
        for generation in self.table.generations.values():
            self.table.retire(generation)

    def _kill_launchers(self, now: float) -> None:
        """What was killed is still not reaped. Launchers go first; the second time nothing is waited for."""
        self._until = now + EXIT_SECONDS
        generations = [generation for generation in self.table.generations.values() if generation.has_launcher]
        if any(generation.state is not GenerationState.KILLED for generation in generations):
            for generation in generations:
                self.table.kill_launcher(generation, "stop")
            return
        names = [worker.name for worker in self.table.workers()] + [f"the launcher of {g.name}" for g in generations]
        told = f"left behind, for the kernel does not end them: {', '.join(names)}"
        self.table.error(Code.PROCESSES_LEFT, told)
        self._end()

    def _end(self) -> None:
        self.phase = StopPhase.OVER
        assert self.operation is not None, self
        self._conclude(self.operation, OperationState.SUCCEEDED, None)
        self.table.actions.append(Exit(self._status))
