"""The table of workers: slots, workers and generations that the supervisor decides on.

Slots are numbered from 0 and given out lowest first. A slot has one worker from the order to fork until the
exit is reaped. The verbs (fork, drain, kill …) change the table and record the order in `actions` in one
step, so that the two cannot differ.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum

from miniwsgi.codes import Code
from msgspec import Struct

from .actions import (
    Action,
    DrainWorker,
    DumpStacks,
    FinishWorker,
    ForkWorker,
    KillLauncher,
    KillWorker,
    LogLine,
    RetireGeneration,
)
from .events import Plan
from .exits import CRASHES, ExitReason

FIRST_BACKOFF_SECONDS = 0.1
LAST_BACKOFF_SECONDS = 10.0
KEPT_REVISIONS = 100  # of the latest generations
STABLE_AFTER_SECONDS = 5.0  # a worker or launcher that lived so long ends its predecessors' back-off


class WorkerState(Enum):
    FORKING = "forking"  # ordered from the launcher; no process is known yet
    BOOTING = "booting"
    READY = "ready"
    STUCK = "stuck"  # a request exceeded its time: it accepts nothing more and has until its deadline
    DRAINING = "draining"
    KILLED = "killed"  # its exit is not reaped yet


LIVE = frozenset((WorkerState.FORKING, WorkerState.BOOTING, WorkerState.READY))


class GenerationState(Enum):
    PREPARING = "preparing"  # its configuration is being read
    BOOTING = "booting"  # the launcher imports the application
    SERVING = "serving"  # the launcher forks
    RETIRED = "retired"  # the launcher forks no more
    KILLED = "killed"  # the launcher's exit is not reaped yet
    DEAD = "dead"  # the launcher is gone; its workers may serve on


class Deadline:
    """When those that share it are killed. It is only ever extended."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at

    def __repr__(self) -> str:
        return f"<Deadline {self.at:.3f}>"

    def extend(self, at: float) -> None:
        self.at = max(self.at, at)


class Worker(Struct, eq=False):
    """A process that holds a slot, or is about to."""

    slot: int
    generation: int
    forked_at: float  # when the fork was ordered
    state: WorkerState = WorkerState.FORKING
    since: float = 0.0  # when it came into its state
    pid: int = 0
    probe: bool = False  # the first of a generation that is not in force yet
    leaving: str = ""  # why it is to be replaced; "" while it is wanted
    reason: ExitReason | None = None  # the same for the count
    surplus: bool = False  # drained without a replacement
    may_lead: bool = False
    leads: bool = False  # or may still
    asked_to_lead: int = 0  # when: 1 for the first one of the service; 0: never
    only_jobs: bool = False  # it has answered its last request, and waits for threads of the application
    operation: int | None = None  # the restart or scale that waits for its end
    deadline: Deadline | None = None  # killed then
    died_at: float | None = None  # ended, and not reaped by its parent yet
    revision: str | None = None  # of the code that it has imported, from ready on

    def __repr__(self) -> str:
        marks = (" probe" if self.probe else "") + (f" leaving ({self.leaving})" if self.leaving else "")
        return f"<Worker {self.slot} {self.state.value}{marks} pid={self.pid} generation={self.generation}>"

    def leave(self, why: str, reason: ExitReason) -> None:
        """It is to go. What was said first counts."""
        if not self.leaving:
            self.leaving, self.reason = why, reason

    def stay(self) -> None:
        """It is wanted again."""
        self.leaving, self.reason = "", None

    @property
    def name(self) -> str:
        """For log lines."""
        return f"worker {self.slot} (pid {self.pid})" if self.pid else f"worker {self.slot}"

    @property
    def live(self) -> bool:
        """Ready, or to be ready soon."""
        return self.state in LIVE

    @property
    def held_against_others(self) -> bool:
        """It drains, and the drains of others wait for its end."""
        return self.state is WorkerState.DRAINING and not self.surplus and not self.only_jobs

    @property
    def fresh(self) -> bool:
        """Live and meant to stay."""
        return self.state in LIVE and not self.leaving and not self.probe


class WorkerSlot(Struct, eq=False):
    """A place for one worker. While `restart_at` is set it is reserved for the successor of a lost one."""

    index: int
    worker: Worker | None = None
    restart_at: float | None = None
    failures: int = 0  # in a row
    restarts: int = 0  # successors of lost workers that it was given to
    last_exit: str = ""
    last_reason: ExitReason | None = None  # the same for the count

    @property
    def crashed(self) -> bool:
        """Whether that was a crash."""
        return self.last_reason in CRASHES

    def __repr__(self) -> str:
        waits = f" restart_at={self.restart_at:.3f}" if self.restart_at is not None else ""
        return f"<WorkerSlot {self.index} {self.worker}{waits} failures={self.failures}>"

    def reserve(self, now: float, lived: float) -> float:
        """Reserve the slot after a loss; returns the seconds until the next attempt."""
        if lived >= STABLE_AFTER_SECONDS:
            self.failures = 0
        delay = backoff(self.failures)
        self.failures += 1
        self.restarts += 1
        self.restart_at = now + delay
        return delay

    def release(self) -> None:
        """Nobody waits for it any more."""
        self.restart_at = None
        self.failures = 0


class Generation(Struct, eq=False):
    """One launcher: one version of code, environment and configuration."""

    number: int
    born: float
    since: float  # when it came into its state
    state: GenerationState = GenerationState.PREPARING
    plan: Plan | None = None  # from Prepared on
    preloaded: bool = False
    note: str = ""
    revision: str | None = None  # of its code; without preload, of what lay there as it booted
    revision_source: str = ""
    deadline: float | None = None  # for the first worker to be ready
    emptied_at: float = 0.0  # when its last worker was reaped

    def __repr__(self) -> str:
        preloaded = " preloaded" if self.preloaded else ""
        return f"<Generation {self.number} {self.state.value}{preloaded}>"

    @property
    def name(self) -> str:
        """For log lines."""
        return _generation_name(self.number, self.revision)

    @property
    def has_launcher(self) -> bool:
        return self.state not in {GenerationState.PREPARING, GenerationState.DEAD}


class WorkerTable:
    """The table, and the orders that came of changing it."""

    def __init__(self, clock: Callable[[], float], max_slots: int) -> None:
        self.clock = clock
        self.max_slots = max_slots
        self.slots: list[WorkerSlot] = []  # grows as slots come into use
        self.generations: dict[int, Generation] = {}
        self.actions: list[Action] = []
        self.exits = dict.fromkeys(ExitReason, 0)
        self.revisions: dict[int, str] = {}  # by generation, also of those that are gone
        self._number = 0
        self._losses: deque[str] = deque()  # why workers were lost whose successors get another slot

    def __repr__(self) -> str:
        return f"<WorkerTable {list(self.workers())} {list(self.generations.values())}>"

    # --- what there is ---

    def workers(self, *states: WorkerState) -> Iterator[Worker]:
        """By slot; all, or those in one of `states`."""
        for slot in self.slots:
            worker = slot.worker
            if worker is not None and (not states or worker.state in states):
                yield worker

    def worker(self, slot: int) -> Worker | None:
        return self.slots[slot].worker if slot < len(self.slots) else None

    def of(self, generation: int) -> list[Worker]:
        """The generation's workers, whatever their state."""
        return [worker for worker in self.workers() if worker.generation == generation]

    def reserved(self) -> list[WorkerSlot]:
        """Slots that wait for a successor."""
        return [slot for slot in self.slots if slot.restart_at is not None]

    def ready(self, generation: int | None = None) -> int:
        """How many workers are ready, of all generations or of one."""
        workers = self.workers(WorkerState.READY)
        return sum(generation is None or worker.generation == generation for worker in workers)

    def fresh(self) -> int:
        """How many workers are ready or will be, and are to stay."""
        return sum(worker.fresh for worker in self.workers())

    def free_slot(self) -> int | None:
        """The lowest slot without a worker that is not reserved; None when there is none."""
        for slot in self.slots:
            if slot.worker is None and slot.restart_at is None:
                return slot.index
        return len(self.slots) if len(self.slots) < self.max_slots else None

    # --- generations ---

    def new_generation(self) -> Generation:
        self._number += 1
        now = self.clock()
        generation = self.generations[self._number] = Generation(self._number, now, now)
        return generation

    def name_of(self, generation: int) -> str:
        """A generation's, also of one that is gone, for log lines."""
        return _generation_name(generation, self.revisions.get(generation))

    def note_revision(self, generation: Generation, revision: str | None, source: str) -> None:
        """Which code it runs, or that this is unknown after all."""
        if revision == generation.revision:
            return
        generation.revision, generation.revision_source = revision, source
        self.revisions.pop(generation.number, None)
        if revision is not None:
            self.info(f"generation {generation.number}: revision {revision} ({source})")
            self.revisions[generation.number] = revision
            while len(self.revisions) > KEPT_REVISIONS:
                del self.revisions[min(self.revisions)]

    def become(self, generation: Generation, state: GenerationState) -> None:
        generation.state, generation.since = state, self.clock()

    def forget_dead_generations(self, *kept: Generation | None) -> None:
        """Drop those that have neither launcher nor worker."""
        for generation in list(self.generations.values()):
            if generation.state is GenerationState.DEAD and generation not in kept and not self.of(generation.number):
                del self.generations[generation.number]

    # --- verbs: each changes the table and records the order ---

    def info(self, message: str) -> None:
        self.actions.append(LogLine("info", None, message))

    def warning(self, code: Code, message: str, traceback: str = "") -> None:
        self.actions.append(LogLine("warning", code, message, traceback))

    def error(self, code: Code, message: str, traceback: str = "") -> None:
        self.actions.append(LogLine("error", code, message, traceback))

    def enter(self, worker: Worker, state: WorkerState) -> None:
        worker.state, worker.since = state, self.clock()

    def fork(self, generation: Generation, index: int, *, probe: bool = False) -> Worker:
        """Order a worker for slot `index`, which is free."""
        while len(self.slots) <= index:
            self.slots.append(WorkerSlot(len(self.slots)))
        slot, now = self.slots[index], self.clock()
        assert slot.worker is None, slot
        if slot.restart_at is None and not probe and self._losses:
            slot.restarts += 1
            slot.last_exit = self._losses.popleft()
        slot.restart_at = None
        slot.worker = worker = Worker(index, generation.number, now, since=now, probe=probe)
        self.actions.append(ForkWorker(generation.number, index, slot.crashed))
        return worker

    def drain(self, worker: Worker, seconds: float, reason: str, wave: Deadline | None = None) -> None:
        """Have a ready worker finish and exit; with others that share `wave`, or on its own."""
        at = self.clock() + seconds
        if wave is None:
            wave = Deadline(at)
        wave.extend(at)
        worker.deadline = wave
        worker.leave(reason, ExitReason.SCALE)
        self.enter(worker, WorkerState.DRAINING)
        assert worker.reason is not None, worker
        self.actions.append(DrainWorker(worker.slot, seconds, reason, worker.reason))

    def dump_stacks(self, worker: Worker, code: Code, reason: str) -> None:
        self.actions.append(DumpStacks(worker.slot, code, reason))

    def mark_stuck(self, worker: Worker, seconds: float, reason: str) -> None:
        """A ready worker accepts nothing more by its own account: it has `seconds` to finish what it can."""
        worker.deadline = Deadline(self.clock() + seconds)
        worker.leave(reason, ExitReason.TIMEOUT)
        self.enter(worker, WorkerState.STUCK)
        self.actions.append(DrainWorker(worker.slot, seconds, reason, ExitReason.TIMEOUT))

    def note_loss(self, why: str) -> None:
        """A wanted worker is lost whose slot is not free yet: the restart counts where its successor will be."""
        self._losses.append(why)

    def finish(self, worker: Worker, seconds: float) -> None:
        """Have a ready worker empty the accept queues, finish and exit."""
        worker.deadline = Deadline(self.clock() + seconds)
        worker.leaving, worker.reason = "stop", ExitReason.STOP
        self.enter(worker, WorkerState.DRAINING)
        self.actions.append(FinishWorker(worker.slot, seconds))

    def kill(self, worker: Worker, reason: str, why: ExitReason, *, stacks: Code | None = None) -> None:
        """Kill a worker. One whose pid is not known yet is marked, and is killed once it is."""
        worker.leave(reason, why)
        if worker.state in {WorkerState.FORKING, WorkerState.KILLED}:
            return
        self.enter(worker, WorkerState.KILLED)
        worker.deadline = None
        self.actions.append(KillWorker(worker.slot, reason, stacks))

    def kill_launcher(self, generation: Generation, reason: str, *, stacks: Code | None = None) -> None:
        if generation.has_launcher and generation.state is not GenerationState.KILLED:
            self.become(generation, GenerationState.KILLED)
            self.actions.append(KillLauncher(generation.number, reason, stacks))

    def retire(self, generation: Generation) -> None:
        """Have the launcher fork no more and exit with its last worker."""
        if generation.state is GenerationState.SERVING:
            self.become(generation, GenerationState.RETIRED)
            self.actions.append(RetireGeneration(generation.number))

    def remove(self, worker: Worker) -> None:
        """Its exit is reaped, or it was never forked."""
        slot = self.slots[worker.slot]
        assert slot.worker is worker, (slot, worker)
        slot.worker = None
        generation = self.generations.get(worker.generation)
        if generation is not None and not self.of(worker.generation):
            generation.emptied_at = self.clock()


def _generation_name(number: int, revision: str | None) -> str:
    return f"generation {number} ({revision})" if revision else f"generation {number}"


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row before this one."""
    return float(min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(failures, 20)))
