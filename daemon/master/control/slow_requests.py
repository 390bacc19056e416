"""Requests that run for longer than `log.slow_request`: told once, looked at while they run, and kept.

Seen from outside, in the scoreboard, so that also one in a wedged worker is told of. Its stack is taken when it has run
for once, twice and four times the limit; a look at a worker serves all of its requests, and there are so many a second
at most. A worker tells of each that has ended, also of one that was over between two looks. One that takes longer than
its route's p99, where that is below the limit, is looked at and kept, too, and not told.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from miniwsgi.codes import Code
from miniwsgi.manager import messages as ms
from miniwsgi.metrics.scoreboard import Running

from ...channel import Message
from ..running.frames import Frame
from ..running.look import SeenRequest, look
from ..running.master import Master
from ..running.worker_handle import WorkerHandle
from ..supervising.worker_table import WorkerState
from .event_recorder import EventRecorder
from .incident_records import NANOSECONDS, Date, incident, seconds, show_stack, told_path
from .usual_times import UsualTimes

WITH_REQUESTS = (WorkerState.READY, WorkerState.STUCK, WorkerState.DRAINING)
MULTIPLES = (1, 2, 4)  # of the limit, at which a request is looked at
STACKS_A_SECOND = 4  # looks at workers
QUESTIONS_A_SECOND = 1  # the same, for the routes of requests that may be slow for those
SHORTEST_SECONDS, LONGEST_SECONDS = 0.25, 1.0  # between two looks at the scoreboard
LOOKS_A_LIMIT = 4  # of them in the time of the limit, if that is short


class _Key(NamedTuple):
    """Of a request that runs, or has run: no other has all three."""

    slot: int
    thread: int
    started_ns: int


class _Slow:
    """A request that is slow, while it runs and afterwards."""

    __slots__ = ("answered", "clock", "cpu_share", "due", "is_told", "left_out", "record", "run", "worker")

    def __init__(self, record: ms.Incident, run: Running, worker: WorkerHandle) -> None:
        self.record = record
        self.run = run
        self.worker = worker
        self.due = 0  # which of MULTIPLES it is to be looked at next
        self.left_out = False  # a stack was due, and could not be taken
        self.answered = False  # its worker has said so; the application may run on, behind a 504
        self.is_told = False  # as long as it is slow for its route alone
        self.cpu_share: float | None = None  # of one CPU
        self.clock: tuple[int, int] | None = None  # what its thread's showed at the first look, and when

    def has(self, worker: WorkerHandle, request_id: str) -> bool:
        """Whether it may be that request: a client may give several of them one id."""
        return self.worker is worker and self.record.request_id == request_id

    def show(self, seen: SeenRequest, window_ns: int, now: int) -> None:
        """What was seen of it: CPU time is reckoned from what its thread computed since the first look."""
        record = self.record
        self.show_frames(seen.frames, seen.where, now)
        record.route, record.trace_id = seen.route or record.route, seen.trace_id or record.trace_id
        if seen.cpu_ns < 0 or seen.computed_ns < 0:
            return
        if self.clock is None:
            self.clock = seen.cpu_ns, now
            share = seen.computed_ns / max(1, window_ns)
        else:
            share = (seen.cpu_ns - self.clock[0]) / max(1, now - self.clock[1])
        self.cpu_share = min(1.0, max(0.0, share))

    def show_frames(self, frames: Sequence[Frame], known: str, now: int) -> None:
        if frames:
            show_stack(self.record, frames, self.worker, known)
            self.record.looks.append(ms.Look(seconds(now - self.run.started_ns), self.record.stack))

    def grow(self, age_seconds: float) -> None:
        """It has run for so long."""
        self.record.age_seconds = age_seconds
        if self.cpu_share is not None:
            self.record.cpu_seconds = round(self.cpu_share * age_seconds, 3)


class SlowRequests:
    """Tells the error log and the event log, and keeps the last ones. Call `look` each `period_seconds`."""

    def __init__(self, master: Master, recorder: EventRecorder, date: Date) -> None:
        self._master = master
        self._recorder = recorder
        self._date = date
        self._running: dict[_Key, _Slow] = {}
        self._gone: list[_Slow] = []  # that the last look has not found any more, though they be more than are kept
        self._kept: deque[_Slow] = deque(maxlen=ms.MAX_INCIDENTS)  # the latest first
        self._asked: dict[int, asyncio.Task[None]] = {}  # by slot: whose stacks are being taken
        self._stacks = Allowance(STACKS_A_SECOND)
        self._questions = Allowance(QUESTIONS_A_SECOND)
        self._suspects: dict[_Key, float] = {}  # at which age it is asked whether a request is slow for its route
        self.usual = UsualTimes()
        self.count = 0
        self.stacks_left_out = self.ends_left_out = 0

    def __repr__(self) -> str:
        return f"<SlowRequests {list(self._running)}>"

    @property
    def period_seconds(self) -> float:
        """Between two looks."""
        limit = self._master.config.log.slow_request
        return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, limit / LOOKS_A_LIMIT)) if limit else LONGEST_SECONDS

    def list(self, limit: int) -> ms.SlowList:
        """The latest so many."""
        now = time.monotonic_ns()
        for slow in self._running.values():
            if slow.record.running:
                slow.grow(seconds(now - slow.run.started_ns))
        return ms.SlowList(
            requests=[slow.record for slow in islice(self._kept, limit)],
            limit_seconds=self._master.config.log.slow_request,
            stacks_left_out=self.stacks_left_out,
            ends_left_out=self.ends_left_out,
        )

    # --- as time goes by ---

    def look(self) -> None:
        master, limit = self._master, self._master.config.log.slow_request
        if not limit:
            self._running.clear()
            return
        now, seen = time.monotonic_ns(), set()
        self.usual.look(time.monotonic(), limit)
        suspects, least = self._suspects, self.usual.least
        self._suspects = {}
        for worker in master.supervisor.table.workers(*WITH_REQUESTS):
            handle = master.fleet.workers.get(worker.slot)
            if handle is None:
                continue
            for run in master.fleet.board.slot(worker.slot).running():
                age = (now - run.started_ns) / NANOSECONDS
                if age < min(limit, least):
                    continue
                key = _Key(worker.slot, run.thread, run.started_ns)
                slow = self._running.get(key)
                if slow is None and age < limit:
                    self._suspects[key] = suspects.get(key, least)
                    if age >= self._suspects[key]:
                        self._ask(handle, self._questions, self._judge)
                    continue
                seen.add(key)
                slow = slow or self._begin(key, handle, run, now, limit)
                if slow.answered:
                    continue
                slow.grow(round(age, 3))
                if not slow.is_told and age >= limit:
                    slow.is_told = True
                    self._tell(slow.record, handle, f"has been running for {age:.1f} s (log.slow_request)")
                if slow.due < len(MULTIPLES) and age >= slow.record.limit_seconds * MULTIPLES[slow.due]:
                    self._take_stacks(slow)
        self._gone = [self._running.pop(key) for key in self._running.keys() - seen]
        for slow in self._gone:
            self._end(slow)

    def _begin(self, key: _Key, worker: WorkerHandle, run: Running, now: int, limit: float) -> _Slow:
        slow = next((one for one in self._kept if one.has(worker, run.request_id) and one.record.thread is None), None)
        if slow is not None:  # its worker's word has come before
            slow.run, slow.record.thread = run, run.thread
            self._running[key] = slow
            return slow
        record = incident("slow", worker, run, now, self._date)
        record.limit_seconds = limit
        slow = self._running[key] = _Slow(record, run, worker)
        self._kept.appendleft(slow)
        return slow

    def _tell(self, record: ms.Incident, worker: WorkerHandle, what: str) -> None:
        """That it is slow, once."""
        self.count += 1
        self._recorder.slow(record)
        message = f"{worker.name}: {record.method} {record.path} {what}"
        self._master.log.limited("slow-request", "warning", Code.SLOW_REQUEST, message, request_id=record.request_id)

    def _tell_whole(self, record: ms.Incident, worker: WorkerHandle) -> None:
        """That one is over which nobody was told of before."""
        self._tell(record, worker, f"has run for {record.age_seconds:.1f} s (log.slow_request)")

    def _end(self, slow: _Slow) -> None:
        """It runs no more. Until its worker says how long that took in all, it is known to within a look."""
        slow.record.running = False
        if slow.left_out and not slow.record.looks:
            self.stacks_left_out += 1
            key, what = "slow-without-stack", "a slow request has no stack: too many were slow at once"
            self._master.log.limited_info(key, what, request_id=slow.record.request_id)

    def _tell_end(self, slow: _Slow) -> None:
        record = slow.record
        at = f"; it was at {record.where}" if record.where else ""
        took = f"took {record.age_seconds:.1f} s, status {record.status}{at}"
        message = f"{slow.worker.name}: {record.method} {record.path} {took}"
        self._master.log.limited_info("slow-request-ended", message, request_id=record.request_id)

    # --- stacks ---

    def _take_stacks(self, slow: _Slow) -> None:
        """Of its worker, which is the stack of each request there."""
        if not self._ask(slow.worker, self._stacks, self._look_into):
            slow.left_out = True

    def _ask(
        self, worker: WorkerHandle, allowed: Allowance, work: Callable[[WorkerHandle], Coroutine[Any, Any, None]]
    ) -> bool:
        """Look at a worker in the background, unless somebody does; False: too many were asked in this second."""
        slot = worker.slot
        if slot in self._asked:
            return True
        if not allowed.take(time.monotonic()):
            return False
        task = self._asked[slot] = asyncio.get_running_loop().create_task(work(worker))
        task.add_done_callback(lambda _task: self._asked.pop(slot, None))
        return True

    async def _look_into(self, worker: WorkerHandle) -> None:
        """By an order, which a worker that holds the interpreter in C code, or is stopped, does not hear.

        The stack signal would end a system call of its, so nobody is sent one without being asked to.
        """
        seen = await look(worker)
        now = time.monotonic_ns()
        if seen is None:
            return
        found = seen.by_thread()
        for slow in self._due_of(worker, now):
            if (one := found.get((slow.run.ident, slow.run.request_id))) is not None:
                slow.show(one, seen.window_ns, now)

    async def _judge(self, worker: WorkerHandle) -> None:
        """Whether requests of a worker are slow for their routes, which it alone knows."""
        seen = await look(worker)
        now = time.monotonic_ns()
        if seen is None:
            return
        found = seen.by_thread()
        for run in self._master.fleet.board.slot(worker.slot).running():
            key, one = _Key(worker.slot, run.thread, run.started_ns), found.get((run.ident, run.request_id))
            if key not in self._suspects or one is None:
                continue
            usual = self._suspects[key] = self.usual.limit_of(one.route)
            if (now - run.started_ns) / NANOSECONDS >= usual:
                slow = self._begin(key, worker, run, now, usual)
                slow.due = 1
                slow.show(one, seen.window_ns, now)

    def _due_of(self, worker: WorkerHandle, now: int) -> Iterator[_Slow]:
        """Those of a worker that still run, and were to be looked at."""
        current = {(run.thread, run.started_ns) for run in self._master.fleet.board.slot(worker.slot).running()}
        for key, slow in self._running.items():
            if slow.worker is worker and (key.thread, key.started_ns) in current:
                age = (now - key.started_ns) / NANOSECONDS
                passed = sum(multiple * slow.record.limit_seconds <= age for multiple in MULTIPLES)
                if passed > slow.due:
                    slow.due = passed
                    yield slow

    # --- what workers and the record of crashes tell ---

    def ended(self, worker: WorkerHandle, message: Message) -> None:
        """A worker has settled a request that took longer than the limit."""
        self.ends_left_out += message["left_out"]
        slow_seconds = self._master.config.log.slow_request
        is_slow = message["seconds"] >= slow_seconds > 0
        for slow in chain(self._running.values(), self._gone, self._kept):  # its word may come long after the last look
            if slow.has(worker, message["request_id"]) and not slow.answered:
                slow.answered = True
                slow.grow(message["seconds"] - message["queued"])
                _complete(slow.record, message)
                if slow.is_told:
                    self._tell_end(slow)
                elif is_slow:  # it was kept for its route, and has passed the limit since the last look
                    slow.is_told = True
                    self._tell_whole(slow.record, worker)
                return
        usual = self.usual.limit_of(message["route"])
        if not is_slow and message["seconds"] < usual:
            return
        now, took = time.monotonic_ns(), int(message["seconds"] * NANOSECONDS)
        path = told_path(message["method"], message["path"])
        run = Running(0, now - took, message["method"], path, message["request_id"])
        record = incident("slow", worker, run, now, self._date)
        record.thread, record.running = None, False
        record.limit_seconds = min(slow_seconds, usual)
        _complete(record, message)
        slow = _Slow(record, run, worker)
        slow.answered, slow.is_told = True, is_slow
        self._kept.appendleft(slow)
        if is_slow:
            self._tell_whole(record, worker)

    def tell_of(self, slot: int, run: Running, record: ms.Incident) -> None:
        """Put into another record of a request what is known of it here."""
        slow = self._running.get(_Key(slot, run.thread, run.started_ns))
        if slow is not None:
            record.looks = slow.record.looks
            record.stack, record.where = slow.record.stack, slow.record.where
            record.route, record.trace_id = slow.record.route, slow.record.trace_id

    def lost(self, lost: ms.Incident) -> None:
        """A request has ended with its worker, or was answered in the application's place."""
        for record in (slow.record for slow in self._kept):
            if record.request_id == lost.request_id and record.slot == lost.slot and record.status is None:
                record.status = lost.status
                record.age_seconds = lost.age_seconds


class Allowance:
    """So many a second, none saved for later."""

    def __init__(self, a_second: int) -> None:
        self._a_second = a_second
        self._second = 0
        self._taken = 0

    def __repr__(self) -> str:
        return f"<Allowance {self._taken}/{self._a_second}>"

    def take(self, now: float) -> bool:
        """Whether there is one left in this second."""
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        self._taken += 1
        return self._taken <= self._a_second


def _complete(record: ms.Incident, message: Message) -> None:
    """What the worker knows of it at its end."""
    record.running = False
    record.age_seconds = round(message["seconds"], 3)
    record.status = message["status"]
    record.queued_seconds = round(message["queued"], 3)
    if message["cpu"] is not None:
        record.cpu_seconds = round(message["cpu"], 3)
    record.route = message["route"] or record.route
    record.trace_id = message["trace_id"] or record.trace_id
