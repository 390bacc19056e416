"""Keeps the daemon's history: looks at it each second, and marks what the event log tells of. See `metrics.history`."""

from __future__ import annotations

import time

from miniwsgi.manager import messages as ms
from miniwsgi.metrics import charts
from miniwsgi.metrics import scoreboard_reading as reading
from miniwsgi.metrics.history import LOSSES, Gauges, Mark, MarkKind, Span, Timeline, read_counts
from miniwsgi.metrics.scoreboard import WAITING

from ..running.master import Master
from ..supervising.worker_table import WorkerState
from .condition import capacity_of
from .measuring import Measuring

# Of events that are marked as they are. Others: see `_mark`.
_KINDS: dict[ms.EventKind, MarkKind] = {
    "worker.silent": MarkKind.SILENT,
    "worker.responds": MarkKind.RESPONDS,
    "worker.recycled": MarkKind.RECYCLE,
    "request.slow": MarkKind.SLOW,
    "generation.failing": MarkKind.FAILING,
    "leader.failed": MarkKind.LEADER,
    "leader.late": MarkKind.LEADER,
    "certificate.renewed": MarkKind.CERTIFICATE,
    "certificate.failed": MarkKind.CERTIFICATE,
    "daemon.stopping": MarkKind.STOP,
}
# Of exits and changes whose names are those of marks; others (a drain's exits, a log level) are none.
_LOST = {kind.value: kind for kind in LOSSES}
_CHANGES = {
    kind.value: kind
    for kind in (
        MarkKind.START, MarkKind.RELOAD, MarkKind.RESTART, MarkKind.SCALE, MarkKind.DRAIN, MarkKind.UNDRAIN,
    )
}  # fmt: skip


class HistoryKeeper:
    """Of `master`. Begins with the daemon and ends with it: nothing of it is written to disk."""

    def __init__(self, master: Master, measuring: Measuring) -> None:
        self._master = master
        self._measuring = measuring
        board = master.fleet.board
        self.timeline = Timeline(lambda: read_counts(board), time.monotonic())
        self._exits = dict(master.supervisor.table.exits)
        self._drawn: dict[Span, tuple[object, str]] = {}
        measuring.on_look.append(self.look)

    def __repr__(self) -> str:
        return f"<HistoryKeeper {self.timeline}>"

    @property
    def epoch(self) -> float:
        """What to add to a time to have a date's, by the clock as it is now."""
        return time.time() - time.monotonic()

    def look(self, now: float) -> None:
        """Each second."""
        self.timeline.look(now, self._gauges())

    def drawn(self, span: Span) -> str:
        """The charts, drawn once for a step."""
        now = time.monotonic()
        steps = self.timeline.steps(span, now)
        marks = self.timeline.marks
        latest = (steps[-1].end if steps else None, marks[-1].at if marks else None)
        found = self._drawn.get(span)
        if found is None or found[0] != latest:
            end = steps[-1].end if steps and now - steps[-1].end < span.step_seconds else now
            found = self._drawn[span] = latest, charts.draw(steps, marks, span, end, self.epoch, self.timeline.began)
        return found[1]

    def _gauges(self) -> Gauges:
        board, table = self._master.fleet.board, self._master.supervisor.table
        workers = list(table.workers(WorkerState.READY))
        slots = [board.slot(worker.slot) for worker in workers]
        samples = self._measuring.samples()
        known = [samples.get(worker.pid) for worker in workers]
        sizes = [sample.pss for sample in known if sample is not None and sample.pss is not None]
        return Gauges(
            ready=len(workers),
            busy=sum(reading.running(slot) for slot in slots),
            waiting=sum(slot.cells[WAITING] for slot in slots),
            capacity=len(workers) * capacity_of(self._master),
            utilization=self._measuring.utilization,
            memory=float(sum(sizes)) if workers and len(sizes) == len(workers) else None,
        )

    # --- what happens ---

    def note(self, event: ms.Event) -> None:
        """Called with each event of the event log."""
        found = self._mark(event)
        if found is not None:
            self.timeline.mark(found)

    def _mark(self, event: ms.Event) -> Mark | None:
        now = time.monotonic()
        if event.kind == "operation.ended":
            return self._ended(event, now)
        if event.kind == "worker.exited":
            kind = _LOST.get(self._exit_reason())
            return Mark(now, kind, slot=event.slot, generation=event.generation) if kind is not None else None
        kind = _KINDS.get(event.kind)
        if kind is None:
            return None
        failed = event.kind == "certificate.failed"
        return Mark(now, kind, failed, event.slot, event.generation, seconds=event.seconds)

    def _ended(self, event: ms.Event, now: float) -> Mark | None:
        operation = self._master.supervisor.ledger.get(event.operation or 0)
        kind = _CHANGES.get(operation.change.name) if operation is not None else None
        if kind is None or event.state == "superseded":
            return None
        target = self._master.supervisor.sizing.target
        failed = event.state != "succeeded"
        return Mark(
            now,
            kind,
            failed,
            generation=event.generation,
            revision=operation.revision if operation is not None else None,
            workers=None if failed else target,
            seconds=event.seconds,
        )

    def _exit_reason(self) -> str:
        """Under which one the exit counts that has just been handled."""
        before, self._exits = self._exits, dict(self._master.supervisor.table.exits)
        return next((reason.value for reason, count in self._exits.items() if count > before[reason]), "")
