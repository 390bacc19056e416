"""The event recorder: what the supervisor heard and ordered, as events for people who follow the daemon.

It is called after each event with the orders that came of it, and only writes to the event log. What it says about a
worker that is gone it remembers from its fork.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from miniwsgi.codes import Code
from miniwsgi.manager import messages as ms
from miniwsgi.manager.control.event_log import EventLog

from ..certificates.renewal import Outcome
from ..running.certificate_watch import describe
from ..supervising import actions as act
from ..supervising import events as ev
from ..supervising.exits import ExitReason, describe_recycling
from ..supervising.operations import OperationState
from ..supervising.supervisor import Supervisor

Note = Callable[[Any], None]

# Of exits that nobody asked for. Why a boot fails says `worker.failed`.
EXIT_CODES = {
    ExitReason.CRASH: Code.CRASHED,
    ExitReason.OOM: Code.OUT_OF_MEMORY,
    ExitReason.TIMEOUT: Code.REQUEST_TIMEOUT,
    ExitReason.WEDGE: Code.WEDGED,
    ExitReason.HOOK: Code.HOOK_LATE,
}
LOSS_CODES: dict[ms.LossKind, Code] = {
    "crash": Code.CRASHED, "oom": Code.OUT_OF_MEMORY, "wedge": Code.WEDGED, "timeout": Code.REQUEST_TIMEOUT,
}  # fmt: skip


class EventRecorder:
    """Writes to `event_log` what `supervisor` is about."""

    def __init__(self, event_log: EventLog, supervisor: Supervisor) -> None:
        self.event_log = event_log
        self._supervisor = supervisor
        self._workers: dict[int, dict[str, Any]] = {}  # by slot: the fields that all its events share
        self._on_event: dict[type[ev.Input], Note] = {
            ev.WorkerForked: self._forked,
            ev.ForkFailed: lambda event: self._of_slot(
                "worker.failed", event.slot, f"not forked: {event.error}", code=Code.NOT_FORKED
            ),
            ev.WorkerReady: self._ready,
            ev.WorkerFailed: lambda event: self._of_slot(
                "worker.failed", event.slot, f"did not boot: {event.error}", code=event.code
            ),
            ev.WorkerExited: self._exited,
            ev.LeaderStarted: lambda event: self._of_slot("leader.started", event.slot, "leads"),
            ev.LeaderFailed: lambda event: self._of_slot(
                "leader.failed", event.slot, f"cannot lead: {event.error}", code=Code.CANNOT_LEAD
            ),
            ev.LeaderLate: lambda event: self._of_slot(
                "leader.late", event.slot, f"is late: {event.error}", code=Code.HOOK_LATE
            ),
            ev.LeaderStopped: lambda event: self._of_slot("leader.stopped", event.slot, "does not lead any more"),
            ev.RecycleAsked: lambda event: self._of_slot(
                "worker.recycled", event.slot, describe_recycling(event.reason)
            ),
            ev.RequestTimedOut: self._timed_out,
            ev.Wedged: lambda event: self._of_slot(
                "worker.wedged",
                event.slot,
                f"has not turned its loop for {event.seconds:.0f} s",
                seconds=event.seconds,
                code=Code.WEDGED,
            ),
            ev.RevisionRead: self._revision_read,
            ev.LauncherReady: self._launcher_ready,
            ev.LauncherFailed: lambda event: self._of_generation("failed", event.generation, event.error, event.code),
            ev.PrepareFailed: lambda event: self._of_generation("failed", event.generation, event.error, event.code),
            ev.LauncherExited: lambda event: self._of_generation(
                "exited", event.generation, f"the launcher {event.reason}"
            ),
        }
        self._on_action: dict[type[act.Action], Note] = {
            act.PrepareGeneration: lambda order: self._of_generation(
                "preparing", order.generation, "its configuration is read"
            ),
            act.BootGeneration: lambda order: self._of_generation("booting", order.generation, "its launcher boots"),
            act.CommitGeneration: lambda order: self._of_generation("serving", order.generation, "is in force"),
            act.RetireGeneration: lambda order: self._of_generation("retired", order.generation, "forks no more"),
            act.DrainWorker: self._draining,
            act.FinishWorker: lambda order: self._of_slot("worker.draining", order.slot, "drains: stop"),
            act.KillWorker: lambda order: self._of_slot("worker.killed", order.slot, f"is killed: {order.reason}"),
            act.DumpStacks: lambda order: self._of_slot(
                "worker.stacks", order.slot, f"its stacks are logged: {order.reason}"
            ),
            act.Serving: lambda _order: self.event_log.add("daemon.serving", "the first worker is ready"),
            act.AnnounceStop: lambda order: self.event_log.add(
                "daemon.stopping", f"the daemon stops: {order.delay:g} s of delay, {order.graceful:g} s to finish"
            ),
            act.ChangeAccepted: self._accepted,
            act.OperationEnded: self._verdict,
        }

    def __repr__(self) -> str:
        return f"<EventRecorder {self.event_log}>"

    def note(self, event: ev.Input, actions: list[act.Action]) -> None:
        """Called by the master after each event."""
        if (heard := self._on_event.get(type(event))) is not None:
            heard(event)
        for action in actions:
            if (done := self._on_action.get(type(action))) is not None:
                done(action)

    # --- workers ---

    def _of_slot(self, kind: Any, slot: int, message: str, **fields: Any) -> None:
        known = self._workers.get(slot, {"slot": slot})
        pid = f" (pid {known['pid']})" if "pid" in known else ""
        self.event_log.add(kind, f"worker {slot}{pid} {message}", **known, **fields)

    def _forked(self, event: ev.WorkerForked) -> None:
        worker = self._supervisor.table.worker(event.slot)
        generation = worker.generation if worker is not None else None
        revision = self._supervisor.table.revisions.get(generation or 0)
        self._workers[event.slot] = {
            "slot": event.slot, "pid": event.pid, "generation": generation, "revision": revision,
        }  # fmt: skip
        self._of_slot("worker.started", event.slot, f"of generation {generation} boots")

    def _ready(self, event: ev.WorkerReady) -> None:
        worker = self._supervisor.table.worker(event.slot)
        seconds = worker.since - worker.forked_at if worker is not None else None
        if event.slot in self._workers:
            self._workers[event.slot]["revision"] = event.revision
        self._of_slot("worker.ready", event.slot, "is ready", seconds=seconds)

    def _draining(self, order: act.DrainWorker) -> None:
        worker = self._supervisor.table.worker(order.slot)
        why = worker.leaving if worker is not None else order.reason
        self._of_slot("worker.draining", order.slot, f"drains: {why}")

    def _exited(self, event: ev.WorkerExited) -> None:
        slots = self._supervisor.table.slots
        why, code = "", None
        if event.slot < len(slots):
            why, reason = slots[event.slot].last_exit, slots[event.slot].last_reason
            code = EXIT_CODES.get(reason) if reason is not None else None
        self._of_slot("worker.exited", event.slot, f"has ended: {why}", code=code)
        self._workers.pop(event.slot, None)

    def _timed_out(self, event: ev.RequestTimedOut) -> None:
        message = f"has run {event.request} for {event.seconds:.1f} s (timeouts.request)"
        self._of_slot("request.timeout", event.slot, message, seconds=event.seconds, code=Code.REQUEST_TIMEOUT)

    def slow(self, record: ms.Incident) -> None:
        """A request runs for longer than log.slow_request, or has."""
        how = "has been running" if record.running else "has run"
        message = f"{how} {record.method} {record.path} for {record.age_seconds:.1f} s"
        request = {"request": f"{record.method} {record.route or record.path}", "request_id": record.request_id}
        seconds = record.age_seconds
        self._of_slot("request.slow", record.slot, message, seconds=seconds, code=Code.SLOW_REQUEST, **request)

    def lost(self, record: ms.Crash, message: str) -> None:
        """What a worker had in hand that is lost; its exit is told beside it."""
        first = record.requests[0] if record.requests else None
        known: dict[str, Any] = {"slot": record.slot, "pid": record.pid, "generation": record.generation}
        if first is not None:
            known["request"] = f"{first.method} {first.route or first.path}"
            known["request_id"] = first.request_id
        message = f"worker {record.slot} (pid {record.pid}) {message}"
        self.event_log.add("worker.lost", message, LOSS_CODES[record.kind], crash=record.id, **known)

    def silent(self, slot: int, seconds: float) -> None:
        """A ready worker does not respond."""
        message = f"does not respond: its loop has not turned for {seconds:.0f} s"
        self._of_slot("worker.silent", slot, message, seconds=seconds, code=Code.SILENT)

    def responds(self, slot: int, seconds: float) -> None:
        """It does again."""
        self._of_slot("worker.responds", slot, f"responds again, after {seconds:.0f} s", seconds=seconds)

    # --- certificates ---

    def certificates(self, outcome: Outcome) -> None:
        """Files have changed: others are served, or the old ones stay."""
        if outcome.loaded is None:
            self.event_log.add("certificate.failed", describe(outcome), Code.CERTIFICATE_UNUSABLE)
        else:
            self.event_log.add("certificate.renewed", describe(outcome))

    # --- generations ---

    def failing(self, generation: int, message: str) -> None:
        """Many of its first answers are errors."""
        self._of_generation("failing", generation, message, Code.NEW_CODE_FAILS)

    def _of_generation(self, what: str, generation: int, message: str, code: Code | None = None) -> None:
        kind: Any = f"generation.{what}"
        table = self._supervisor.table
        revision = table.revisions.get(generation)
        told = f"{table.name_of(generation)}: {message}"
        self.event_log.add(kind, told, code, generation=generation, revision=revision)

    def _revision_read(self, event: ev.RevisionRead) -> None:
        known = f"its revision is {event.revision} ({event.source})" if event.revision else "its revision is unknown"
        self.event_log.add(
            "generation.revision",
            f"generation {event.generation}: {known}",
            generation=event.generation,
            revision=event.revision,
        )

    def _launcher_ready(self, event: ev.LauncherReady) -> None:
        how = "the application is imported" if event.preloaded else "each worker imports the application"
        self._of_generation("ready", event.generation, how)

    # --- operations ---

    def _accepted(self, order: act.ChangeAccepted) -> None:
        operation = order.operation
        if not order.joined:
            message = f"{operation.name} is asked for by {operation.change.who}"
            self.event_log.add("operation.started", message, operation=operation.id)

    def _verdict(self, order: act.OperationEnded) -> None:
        operation = order.operation
        seconds = (operation.ended_at or operation.asked_at) - operation.asked_at
        change = f", {operation.revisions}" if operation.revisions else ""
        done = f" after {seconds:.2f} s{change}"
        how = f": {operation.error}" if operation.state is not OperationState.SUCCEEDED else done
        self.event_log.add(
            "operation.ended",
            f"{operation.name} {operation.state.value}{how}",
            operation=operation.id,
            state=operation.state.value,
            generation=operation.generation,
            revision=operation.revision,
            seconds=seconds,
            code=operation.fault.code if operation.state is OperationState.FAILED and operation.fault else None,
        )
