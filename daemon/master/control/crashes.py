"""What was in hand when a worker was lost: crashes, kills for want of memory, wedges, requests that ran out of time.

The fleet tells of a worker as its exit is reaped, the supervisor decides what that was, and both together are a record.
Records are kept in the master's memory: they survive a reload, and end with the daemon; its log has the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection

from miniwsgi.codes import Code
from miniwsgi.manager import messages as ms
from miniwsgi.metrics.scoreboard import Running

from ...channel import Message
from ..running.frames import StackDump, parse, where
from ..running.master import Master
from ..running.stacks import SENT
from ..running.witness import LostWorker
from ..running.worker_handle import WorkerHandle
from ..supervising import events as ev
from ..supervising.exits import ExitReason
from .event_recorder import EventRecorder
from .incident_records import Date, incident, name_of, seconds, show_stack
from .repetition import repeated
from .slow_requests import SlowRequests

KINDS: dict[ExitReason, ms.LossKind] = {
    ExitReason.CRASH: "crash",
    ExitReason.BOOT: "crash",
    ExitReason.OOM: "oom",
    ExitReason.WEDGE: "wedge",
}
ALWAYS = frozenset((ExitReason.CRASH, ExitReason.OOM, ExitReason.WEDGE))
LATELY_SECONDS, MANY = 60.0, 3  # so many are more than an accident
BAD_GATEWAY, GATEWAY_TIMEOUT = 502, 504
UNKNOWN = StackDump({})


class Crashes:
    """Keeps the last ones. `slow` knows what requests were doing when they were last looked at."""

    def __init__(self, master: Master, recorder: EventRecorder, slow: SlowRequests, date: Date) -> None:
        self._master = master
        self._recorder = recorder
        self._slow = slow
        self._date = date
        self._kept: deque[ms.Crash] = deque(maxlen=ms.MAX_INCIDENTS)  # the latest first
        self._reaped: dict[int, LostWorker] = {}  # by slot, until the supervisor has heard of it
        self._wedged: dict[int, float] = {}  # by slot: for how many seconds its loop had not turned
        self.total = 0

    def __repr__(self) -> str:
        return f"<Crashes {self.total}>"

    def list(self, limit: int) -> ms.CrashList:
        """The latest so many."""
        latest = self._kept[0].repeated if self._kept else ""
        return ms.CrashList(crashes=list(self._kept)[:limit], total=self.total, repeated=latest)

    def of_late(self) -> str:
        """What the verdict says of them, of three a minute or more; without paths, for anybody may read it."""
        since = self._date(time.monotonic() - LATELY_SECONDS)
        lost = [one for one in self._kept if one.at >= since and one.kind != "timeout"]
        if len(lost) < MANY:
            return ""
        alike = ", most of them in the same request" if lost[0].repeated else ""
        return f"{len(lost)} workers were lost within a minute{alike} (miniwsgictl crashes)"

    # --- what is told ---

    def lost(self, found: LostWorker) -> None:
        """A worker is gone; why, the supervisor says next."""
        self._reaped[found.handle.slot] = found

    def handled(self, event: ev.Input) -> None:
        """To be called after each event of the supervisor."""
        if isinstance(event, ev.Wedged):
            self._wedged[event.slot] = event.seconds
        elif isinstance(event, ev.WorkerExited):
            found, wedged = self._reaped.pop(event.slot, None), self._wedged.pop(event.slot, 0.0)
            if found is not None:
                self._conclude(found, event, wedged)

    def timed_out(self, worker: WorkerHandle, message: Message) -> None:
        """A worker has answered a request with 504 in the application's place, which still runs it."""
        now, thread = time.monotonic_ns(), message["thread"]
        runs = [run for run in self._master.fleet.board.slot(worker.slot).running() if run.thread == thread]
        record = self._record("timeout", "a request exceeded timeouts.request", worker, now)
        for run in runs:
            one = self._in_hand("timeout", worker, run, now, UNKNOWN, 0)
            one.status = GATEWAY_TIMEOUT
            record.requests.append(one)
        record.culprit_known = bool(runs)
        self._keep(record)

    def dumped(self, worker: WorkerHandle) -> None:
        """The stacks of a worker were taken: those of a request that has run out of time are waited for."""
        taken = worker.latest_stacks
        for record in self._kept:
            if record.kind != "timeout" or record.pid != worker.pid or record.stacks or taken is None:
                continue
            dump = parse(taken.text)
            record.stacks, record.stacks_age_seconds = taken.text, 0.0
            for run in self._master.fleet.board.slot(worker.slot).running():
                for one in record.requests:
                    if one.thread == run.thread and one.request_id == run.request_id:
                        show_stack(one, dump.of(run.ident), worker)

    def child_lost(self, worker: WorkerHandle, message: Message) -> None:
        """The process of a connection, in pool fork."""
        now, runs = time.monotonic_ns(), [Running(*fields) for fields in message["running"]]
        kind: ms.LossKind = "oom" if message["oom"] else "timeout" if message["timeout"] else "crash"
        what = f"the process of a connection {message['how']}"
        record = self._record(kind, what, worker, now)
        record.pid = message["pid"]
        if message["stacks"]:
            record.stacks, record.stacks_age_seconds = message["stacks"], 0.0
        self._put_in_hand(record, worker, runs, now, parse(record.stacks), 0)
        for one in record.requests:
            one.pid = message["pid"]
            one.status = GATEWAY_TIMEOUT if message["timeout"] else BAD_GATEWAY
        self._keep(record)

    # --- a record ---

    def _conclude(self, found: LostWorker, event: ev.WorkerExited, wedged: float) -> None:
        handle = found.handle
        reason = self._master.supervisor.table.slots[event.slot].last_reason
        cut_off = [run for run in found.running if run.thread not in handle.answered]
        if reason is None or reason is ExitReason.STOP:
            return
        boots = reason is ExitReason.BOOT and bool(event.end.signal) and not handle.killed
        if reason not in ALWAYS and not boots and not cut_off:
            return
        kind = KINDS.get(reason, "timeout")
        record = self._record(kind, _what(reason, event, handle, wedged), handle, found.ended_ns)
        text, age_ns = found.crash, 0
        if not text and handle.latest_stacks is not None:
            text, age_ns = handle.latest_stacks.text, found.ended_ns - handle.latest_stacks.taken_ns
        if text:
            record.stacks, record.stacks_age_seconds = text, seconds(age_ns)
        runs = cut_off if kind == "timeout" else found.running
        self._put_in_hand(record, handle, runs, found.ended_ns, parse(text), found.ended_ns - age_ns if text else 0)
        for one in record.requests:
            is_answered = one.thread in handle.answered or handle.killed
            one.status = GATEWAY_TIMEOUT if is_answered else BAD_GATEWAY
        self._keep(record)

    def _record(self, kind: ms.LossKind, what: str, worker: WorkerHandle, now_ns: int) -> ms.Crash:
        self.total += 1
        return ms.Crash(
            id=self.total,
            at=self._date(now_ns / 1e9),
            kind=kind,
            what=what,
            slot=worker.slot,
            pid=worker.pid,
            generation=worker.settings.generation,
            requests=[],
            culprit_known=False,
            stacks="",
            stacks_age_seconds=None,
            repeated="",
        )

    def _put_in_hand(
        self,
        record: ms.Crash,
        worker: WorkerHandle,
        runs: Collection[Running],
        now: int,
        dump: StackDump,
        taken_ns: int,
    ) -> None:
        """The requests: that of the thread that crashed first, then those that have run for longest.

        Of a request alone that is to blame, unless it is known to be another thread.
        """
        crashed = dump.current != 0 and _crashed_itself(record.stacks)
        order = sorted(runs, key=lambda run: (not (crashed and dump.marks(run.ident)), run.started_ns))
        if crashed and not any(dump.marks(run.ident) for run in runs):
            frames = dump.of(dump.current)
            directory = worker.settings.directory
            at = where(frames, directory) or (frames[0].shown(directory) if frames else "")
            record.elsewhere = at or "a thread that runs no Python"
        record.culprit_known = not record.elsewhere and (crashed or len(runs) == 1)
        record.requests = [self._in_hand(record.kind, worker, run, now, dump, taken_ns) for run in order]

    def _in_hand(
        self, kind: ms.LossKind, worker: WorkerHandle, run: Running, now: int, dump: StackDump, taken_ns: int
    ) -> ms.Incident:
        """`taken_ns`: when the dump was; 0: at its end."""
        one = incident(kind, worker, run, now, self._date)
        one.running = False
        self._slow.tell_of(worker.slot, run, one)
        if not taken_ns or taken_ns >= run.started_ns:
            show_stack(one, dump.of(run.ident), worker)
        return one

    def _keep(self, record: ms.Crash) -> None:
        self._kept.appendleft(record)
        record.repeated = repeated(self._kept)
        for one in record.requests:
            self._slow.lost(one)
        self._recorder.lost(record, _told(record))
        if record.repeated:
            told = f"{record.repeated} (miniwsgictl crashes -v)"
            self._master.log.limited("repeated-crashes", "warning", Code.CRASHES_REPEATED, told)


def _told(record: ms.Crash) -> str:
    """A record as the end of a sentence that begins with its worker."""
    first = record.requests[0] if record.requests else None
    said = f"{record.what} in a thread without a request, at {record.elsewhere}" if record.elsewhere else record.what
    if first is not None:
        others = len(record.requests) - 1
        more = f" and {others} other{'' if others == 1 else 's'}" if others else ""
        said += f": it ran {name_of(first)} for {first.age_seconds:.1f} s{f' at {first.where}' if first.where else ''}"
        said += f" (request id {first.request_id}){more}"
    return f"{said}; {record.repeated}" if record.repeated else said


def _what(reason: ExitReason, event: ev.WorkerExited, handle: WorkerHandle, wedged: float) -> str:
    if reason is ExitReason.WEDGE:
        return f"was wedged, and killed: its loop had not turned for {wedged:.0f} s"
    if handle.killed:
        return "was killed with requests in hand: it had not finished in time"
    return event.end.told(oom=event.oom) + (f" inside {event.inside}" if event.inside else "")


def _crashed_itself(stacks: str) -> bool:
    """Whether the marked thread is the one that crashed: not if another process has sent the signal."""
    return bool(stacks) and "Fatal Python error" in stacks and not stacks.startswith(SENT.decode())
