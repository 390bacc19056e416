"""Leadership: which one of the service's workers leads, that is runs `leader_start`, and `leader_stop` when it leaves.

Never two: a worker is asked to lead only when the one before has said that its leader_stop is over, or that its
leader_start failed, or when its process is reaped. What a worker does not say in time is not assumed: one that is late
is replaced as any other, and leads, for all that is known, until its process is gone. Who begins to drain stops leading
by itself; nobody is told to.
"""

from __future__ import annotations

from enum import Enum

from miniwsgi.codes import Code

from . import events as ev
from .actions import LeadWorker
from .exits import ExitReason
from .worker_table import Worker, WorkerState, WorkerTable, backoff

GIVEN_BACK = "it left before"
DIED = "its process ended inside leader_start"


class LeaderPhase(Enum):
    NOBODY = "nobody"
    STARTING = "starting"  # asked to; leader_start may run
    LEADING = "leading"
    STOPPING = "stopping"  # it drains, or is killed; leader_stop may run
    LATE = "late"  # leader_start or leader_stop takes too long: its process has to go


class Leadership:
    """See the module. `step` is called after each event; `worker` is who leads, or may still."""

    def __init__(self, table: WorkerTable) -> None:
        self.table = table
        self.phase = LeaderPhase.NOBODY
        self.worker: Worker | None = None
        self.since = table.clock()  # when it came into its phase
        self.error = ""  # why the latest attempt failed; "" once one leads
        self.retry_at: float | None = None  # when another one is tried
        self._failures = 0  # in a row
        self._failed_in = 0  # the generation of the latest one
        self._traceback = ""  # of the latest one
        self._asked = 0  # how often somebody was

    def __repr__(self) -> str:
        return f"<Leadership {self.phase.value} {self.worker}>"

    @property
    def wanted(self) -> bool:
        """Whether there is a worker that could lead, or one that does."""
        return self.worker is not None or any(map(_eligible, self.table.workers()))

    @property
    def failing(self) -> bool:
        """Whether there should be a leader, and an attempt to have one has failed."""
        return bool(self.error) and self.phase is not LeaderPhase.LEADING and self.wanted

    def wakeup(self) -> float | None:
        """When time alone changes something."""
        return self.retry_at

    # --- what the worker says ---

    def started(self, event: ev.LeaderStarted) -> None:
        worker = self._leader(event.slot)
        if worker is not None and self.phase is LeaderPhase.STARTING:
            self.error, self._traceback, self._failures = "", "", 0
            self._become(LeaderPhase.LEADING)
            self.table.info(f"{worker.name} leads")

    def stopped(self, event: ev.LeaderStopped) -> None:
        worker = self._leader(event.slot)
        if worker is not None:
            self.table.info(f"{worker.name} does not lead any more")
            self._vacate()
            if worker.state is WorkerState.READY and not worker.leaving:
                self._fail(worker, GIVEN_BACK, "")

    def failed(self, event: ev.LeaderFailed) -> None:
        worker = self._leader(event.slot)
        if worker is not None:
            self._vacate()
            self._fail(worker, event.error, event.traceback)

    def late(self, event: ev.LeaderLate) -> None:
        worker = self._leader(event.slot)
        if worker is not None:
            self.error = event.error
            self._become(LeaderPhase.LATE)
            told = f"{worker.name} {event.error}: another one leads when it is gone"
            self.table.error(Code.HOOK_LATE, told, event.traceback)
            if worker.state is WorkerState.READY:
                worker.leave("its leader hook is late (timeouts.hook)", ExitReason.HOOK)

    # --- what follows from the table ---

    def step(self, *, may_ask: bool) -> None:
        """Take note of who is gone or leaves, and ask the next one.

        `may_ask`: not while the daemon stops; nor before its start has a verdict, on which no leader_start must bear,
        whatever it does to its process.
        """
        worker = self.worker
        if worker is not None:
            if self.table.worker(worker.slot) is not worker:  # reaped, and only now
                phase = self.phase
                self._vacate()
                if phase is LeaderPhase.STARTING:
                    self._fail(worker, DIED, "")  # or one worker after the other would be lost at once
                elif phase is not LeaderPhase.STOPPING:
                    self.table.warning(Code.LEADER_LOST, f"{worker.name}, which led, is gone")
            elif worker.state is not WorkerState.READY and self.phase in {LeaderPhase.STARTING, LeaderPhase.LEADING}:
                self._become(LeaderPhase.STOPPING)
        if self.retry_at is not None:
            if any(worker.generation > self._failed_in for worker in self.table.workers() if _eligible(worker)):
                self.retry_at, self._failures = None, 0  # a reload may have mended it
            elif self.retry_at <= self.table.clock() or not self.wanted:
                self.retry_at = None
        if self.worker is None and self.retry_at is None and may_ask:
            self._ask()

    # --- inside ---

    def _ask(self) -> None:
        """The worker that was not asked for longest."""
        able = [worker for worker in self.table.workers() if _eligible(worker)]
        if able:
            self._asked += 1
            worker = self.worker = min(able, key=lambda worker: (worker.asked_to_lead, worker.slot))
            worker.leads, worker.asked_to_lead = True, self._asked
            self._become(LeaderPhase.STARTING)
            self.table.actions.append(LeadWorker(worker.slot))

    def _leader(self, slot: int) -> Worker | None:
        """Who leads, if it is the worker of this slot."""
        worker = self.worker
        return worker if worker is not None and worker.slot == slot else None

    def _vacate(self) -> None:
        assert self.worker is not None, self
        self.worker.leads = False
        self.worker = None
        self._become(LeaderPhase.NOBODY)

    def _fail(self, worker: Worker, error: str, traceback: str) -> None:
        delay = backoff(self._failures)
        self._failures += 1
        self._failed_in = worker.generation
        self.error, self.retry_at = error, self.table.clock() + delay
        shown = traceback if traceback != self._traceback else ""  # the same again and again is shown once
        self._traceback = traceback
        told = f"{worker.name} cannot lead: {error}; another one is tried in {delay:g} s"
        self.table.error(Code.CANNOT_LEAD, told, shown)

    def _become(self, phase: LeaderPhase) -> None:
        self.phase, self.since = phase, self.table.clock()


def _eligible(worker: Worker) -> bool:
    """Ready, and to stay."""
    return worker.may_lead and worker.state is WorkerState.READY and not worker.leaving
