"""A look at one worker: its scoreboard again and again, and its stacks as often as it gives them.

A worker of several threads that is slow to answer an order for its stacks has an interpreter that lets nobody run;
one that runs requests on its only thread answers between them, which says nothing.
"""

from __future__ import annotations

import asyncio
import time

from miniwsgi.metrics.scoreboard import CONNECTIONS, WAITING
from miniwsgi.metrics.scoreboard_reading import running
from msgspec import DecodeError

from ..running.fleet import Fleet
from ..running.inspection import NotAnswered, results
from ..running.stacks import NO_STACKS
from ..running.worker_handle import WorkerHandle
from .counters import NANOSECONDS, ProcessCounts, SlotCounts, process_counts, slot_counts
from .dumps import threads
from .evidence import ThreadSample, WorkerEvidence
from .inspected import Inspected

RATE = 20  # looks a second of the sampler
ENOUGH_LOOKS = 3
DUMPS = 10  # of a look, if the sampler does not begin
SHORTEST_SECONDS = 0.1  # between two of them: each stops the worker for a moment
PROMPT_SECONDS = 0.1  # within which an interpreter that others can use answers,
STARVED_SECONDS = 0.5  # also where threads wait for a CPU between their turns
STARVED_SHARE = 0.3  # of the time
STILL = {"T", "t", "D"}  # states of proc_pid_stat(5)
NOTHING = SlotCounts(0, 0.0, 0.0, 0, {})
OWN_PROCESSES = "in pool fork each connection has a process of its own, which is not asked for its stacks"


class WorkerLook:
    """`begin` it, `poll` it often, `sample` beside that, then `evidence`."""

    def __init__(self, worker: WorkerHandle, fleet: Fleet, capacity: int, pool: str) -> None:
        self.worker = worker
        self._slot = fleet.board.slot(worker.slot)
        self._capacity = capacity
        self._pool = pool
        self._begun = 0.0
        self._before = NOTHING
        self._process: ProcessCounts | None = None
        self._busy: list[int] = []
        self._waiting: list[int] = []
        self._states: set[str] = set()
        self._delays: dict[int, float] = {}  # by thread, as last seen: those that look end before the look
        self._samples: list[tuple[ThreadSample, ...]] = []
        self._inspected = Inspected()
        self._waits: list[float] = []  # seconds until the worker obeyed
        self._asked_at = 0.0  # since when stacks are waited for; 0: they are not
        self._silent = False
        self._why_none = OWN_PROCESSES if pool == "fork" else ""

    def __repr__(self) -> str:
        return f"<WorkerLook {self.worker} samples={len(self._samples)}>"

    def begin(self) -> None:
        """Read what was counted before. Blocks."""
        self._begun = time.monotonic()
        self._before = slot_counts(self._slot)
        self._process = process_counts(self.worker.pid)

    def poll(self) -> None:
        self._busy.append(running(self._slot))
        self._waiting.append(self._slot.cells[WAITING])

    def note_state(self) -> None:
        """What the process does, as the kernel has it. Reads a file of /proc."""
        if (found := process_counts(self.worker.pid)) is not None:
            self._states.add(found.state)
            self._delays |= found.delays or {}

    async def sample(self, seconds: float) -> None:
        """See what its threads do for so long: by its own sampler, and by dumps of its stacks until that has begun."""
        if self._why_none:
            return
        end = time.monotonic() + seconds
        inspection = asyncio.ensure_future(self._inspect(seconds))
        try:
            await asyncio.wait([inspection], timeout=PROMPT_SECONDS)
            await self._dump_until(end)
            await inspection
        finally:
            inspection.cancel()

    async def _inspect(self, seconds: float) -> None:
        order = {"what": "profile", "rate": RATE, "by_thread": True}
        try:
            async for line in results(self.worker, order, seconds):
                self._inspected.take(line, time.monotonic_ns())
        except (NotAnswered, DecodeError, OSError) as error:
            self._inspected.refused = self._inspected.refused or str(error) or "it did not answer"

    async def _dump_until(self, end: float) -> None:
        """Dumps, while the sampler says nothing."""
        every = max(SHORTEST_SECONDS, (end - time.monotonic()) / DUMPS)
        while (begun := time.monotonic()) < end and not self._inspected.has_begun:
            await self._dump()
            await asyncio.sleep(max(0.0, min(begun + every, end) - time.monotonic()))

    async def _dump(self) -> None:
        requests, asked = self._slot.running(), time.monotonic()
        self._asked_at = self._asked_at or asked
        text = await self.worker.stacks()
        if text.startswith(NO_STACKS):
            self._why_none = text.removeprefix(NO_STACKS)
            return
        self._samples.append(threads(text, requests, int(asked * NANOSECONDS)))
        if self.worker.owes_stacks:
            self._silent = True  # these came by the signal: whoever holds the interpreter still has it
        else:
            self._note_held()

    def _note_held(self) -> None:
        self._waits.append(time.monotonic() - self._asked_at)
        self._asked_at = 0.0

    def evidence(self) -> tuple[WorkerEvidence, SlotCounts, SlotCounts]:
        """What was seen, and the slot's counts before and after. Blocks for as long as /proc takes."""
        seconds, now = time.monotonic() - self._begun, slot_counts(self._slot)
        before, after = self._process, process_counts(self.worker.pid)
        self._delays |= (after.delays if after is not None else None) or {}
        if self._asked_at and after is not None:  # who has ended meanwhile owes no answer
            self._note_held()
        cpu, faults, starved = 0.0, None, None
        if before is not None and after is not None:
            cpu = max(0.0, after.cpu_seconds - before.cpu_seconds)
            faults = max(0, after.major_faults - before.major_faults) / seconds
            starved = after.starved_since(before)
        now_ns, ran = time.monotonic_ns(), self._slot.running()
        looked = self._inspected.looks >= ENOUGH_LOOKS or not self._samples
        samples = self._inspected.moments if looked else tuple(self._samples)
        waits = self._held((starved or 0.0) / seconds)
        delayed = min(self._delayed(), max(0.0, seconds - cpu))  # while one of them computed, it had a CPU
        found = WorkerEvidence(
            slot=self.worker.slot,
            pid=self.worker.pid,
            capacity=self._capacity,
            busy=_mean(self._busy),
            waiting=_mean(self._waiting),
            connections=self._slot.cells[CONNECTIONS],
            oldest=max((now_ns - one.started_ns for one in ran), default=0) / NANOSECONDS,
            requests=tuple(f"{one.method} {one.path}" for one in ran),
            answered=now.answered - self._before.answered,
            run_seconds=max(0.0, now.run_seconds - self._before.run_seconds),
            queue_seconds=max(0.0, now.queue_seconds - self._before.queue_seconds),
            cpu=cpu / seconds,
            starved=None if starved is None else starved / seconds,
            process_state=self._state if self.stands_still else "",
            major_faults=faults,
            held=max(0.0, min(1.0, max(sum(waits), self._late) / seconds) - delayed / seconds),
            longest_held=max([*waits, self._inspected.longest_seconds]),
            silent=self._silent and self._turns,
            samples=samples,
            no_samples="" if samples else self._why_none or self._inspected.refused or "it gave none",
        )
        return found, self._before, now

    @property
    def _turns(self) -> bool:
        """Whether its loop turns while requests run."""
        return self._pool == "epoll" and self._capacity > 1

    def _held(self, starved: float) -> list[float]:
        """The waits that say that others held the interpreter; `starved`: how many threads had no CPU."""
        limit = STARVED_SECONDS if starved > STARVED_SHARE else PROMPT_SECONDS
        return [wait for wait in self._waits if wait > limit] if self._turns else []

    @property
    def _late(self) -> float:
        """Seconds in which the sampler waited for the interpreter, or for a CPU."""
        return self._inspected.late_seconds if self._turns else 0.0

    def _delayed(self) -> float:
        """Seconds that all threads waited for a CPU, also those that look: for so long nobody need have held anything
        that others waited for."""
        if self._process is None or self._process.delays is None:
            return 0.0
        before = self._process.delays
        return sum(max(0.0, delay - before.get(thread, 0.0)) for thread, delay in self._delays.items())

    @property
    def stands_still(self) -> bool:
        """Whether its process was stopped, or inside the kernel, at each look."""
        return self._state in STILL

    @property
    def _state(self) -> str:
        return next(iter(self._states)) if len(self._states) == 1 else ""


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0
