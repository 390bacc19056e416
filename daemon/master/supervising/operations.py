"""Operations: every change that someone asked for, from the asking to the verdict.

An operation has one verdict, reached once. The ledger keeps the latest ones, so that whoever asked can look
it up later by its number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum

from miniwsgi.codes import Code
from miniwsgi.manager.changes import Change
from msgspec import Struct, field

from .fault import Fault

KEPT = 200  # operations that have ended


class OperationState(Enum):
    """An operation's one state."""

    WAITING = "waiting"  # for another one to end
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"  # a later one of its kind took its place


ENDED = frozenset((OperationState.SUCCEEDED, OperationState.FAILED, OperationState.SUPERSEDED))


class Operation(Struct, eq=False):
    """One change on its way. Times are of the supervisor's clock."""

    id: int
    change: Change
    asked_at: float
    detail: str = ""  # "8 workers", "slot 3"
    state: OperationState = OperationState.WAITING
    started_at: float | None = None
    ended_at: float | None = None
    done: int = 0  # of `total` workers where the operation wants them
    total: int = 0
    generation: int | None = None
    fault: Fault | None = None  # why it has not succeeded
    revision: str | None = None  # of its generation's code, as far as it is known
    previous_revision: str | None = None  # of the one that was in force before
    failures: dict[int, int] = field(default_factory=dict)  # workers lost meanwhile, by slot

    def __repr__(self) -> str:
        end = f": {self.fault}" if self.fault else ""
        return f"<Operation {self.id} {self.name} {self.state.value} {self.done}/{self.total}{end}>"

    @property
    def kind(self) -> type[Change]:
        return type(self.change)

    @property
    def name(self) -> str:
        """For log lines: "scale to 8 workers"."""
        return f"{self.change.name} {self.detail}".strip()

    @property
    def revisions(self) -> str:
        """For log lines: "a1b2c3d → e4f5a6b"; "" if none is known."""
        before, now = self.previous_revision, self.revision
        if before is None or now is None:
            return now or (f"{before} → an unknown revision" if before else "")
        return f"{before} → {now}" if now != before else f"{now} as before"

    @property
    def code(self) -> str:
        return str(self.fault.code) if self.fault is not None else ""

    @property
    def error(self) -> str:
        return self.fault.error if self.fault is not None else ""

    @property
    def traceback(self) -> str:
        return self.fault.traceback if self.fault is not None else ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def succeeded(self) -> bool:
        return self.state is OperationState.SUCCEEDED

    def start(self, now: float) -> None:
        assert self.state is OperationState.WAITING, self
        self.state, self.started_at = OperationState.RUNNING, now

    def end(self, now: float, state: OperationState, fault: Fault | None = None) -> None:
        assert state in ENDED, state
        assert not self.ended, self
        self.state, self.fault = state, fault
        self.ended_at = max(now, self.asked_at)

    def revoke(self, fault: Fault) -> None:
        """What its success has ordered could not be done: it has failed after all. Called before anybody is told."""
        assert self.succeeded, self
        self.state, self.fault = OperationState.FAILED, fault

    def count_failure(self, slot: int) -> int:
        """One more worker lost in `slot`: how many now."""
        self.failures[slot] = count = self.failures.get(slot, 0) + 1
        return count


def overtaken_by(operation: Operation) -> Fault:
    """Why an older one is not carried out any more."""
    return Fault(Code.OVERTAKEN, f"operation {operation.id} takes its place")


class Ledger:
    """Those that wait or run, and the last ones that have ended."""

    def __init__(self) -> None:
        self._number = 0
        self._open: dict[int, Operation] = {}
        self._ended: deque[Operation] = deque(maxlen=KEPT)

    def __iter__(self) -> Iterator[Operation]:
        """The latest first."""
        return iter(sorted((*self._ended, *self._open.values()), key=lambda operation: -operation.id))

    def enter(self, change: Change, now: float, detail: str = "") -> Operation:
        """A new operation, waiting."""
        self._number += 1
        operation = self._open[self._number] = Operation(self._number, change, now, detail)
        return operation

    def close(self, operation: Operation) -> None:
        """Called once it has ended."""
        self._ended.append(self._open.pop(operation.id))

    def get(self, number: int) -> Operation | None:
        """By its number; None if there was none or it is forgotten."""
        return next((operation for operation in self if operation.id == number), None)

    def open(self, *kinds: type[Change]) -> list[Operation]:
        """Those that wait or run, the oldest first."""
        return [operation for operation in self._open.values() if not kinds or operation.kind in kinds]
