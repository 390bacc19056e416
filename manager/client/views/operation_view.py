"""An operation in words: what it is called, how it goes on, how it ended."""

from __future__ import annotations

from typing import Protocol

from ... import messages
from .. import text
from ..exit_statuses import Complaint, ExitStatus

AFTERMATH = {"reload": "what ran before goes on", "restart": "what ran before goes on"}


def name(operation: messages.Operation) -> str:
    """ "scale to 8 workers" """
    return text.clean(f"{operation.kind} {operation.detail}".strip())


def done(operation: messages.Operation) -> str:
    generation = f"generation {operation.generation}, " if operation.kind == "reload" and operation.generation else ""
    known = revisions(operation)
    what = f"{generation}{f'{known}, ' if known else ''}operation {operation.id}"
    return f"{name(operation)}: done in {text.seconds(operation.seconds)} ({what})"


class Revised(Protocol):
    """What has put code into force, or has tried to."""

    revision: str | None
    previous_revision: str | None


def revisions(change: Revised) -> str:
    """Which code came after which: "a1b2c3d → e4f5a6b"; "" if none is known."""
    before, now = change.previous_revision, change.revision
    if before is None or now is None:
        return text.clean(now or (f"{before} → an unknown revision" if before else ""))
    return text.clean(f"{before} → {now}" if now != before else f"{now} as before")


def failure(operation: messages.Operation) -> Complaint:
    """An operation that did not succeed: the application's traceback, then the line that sums it up."""
    if operation.state == "superseded":
        later = f": {operation.error}" if operation.error else ": a later change took its place"
        said = f"{name(operation)} is not in force{later} (operation {operation.id})"
        return Complaint(ExitStatus.FAILED, operation.code, said)
    traceback = operation.traceback.rstrip("\n")
    said = f"{name(operation)} failed after {text.seconds(operation.seconds)}: {operation.error.rstrip('.')}"
    aftermath = AFTERMATH.get(operation.kind, "")
    said += f"; {aftermath}" if aftermath else ""
    return Complaint(ExitStatus.FAILED, operation.code, f"{said} (operation {operation.id})", detail=traceback)


def progress(operation: messages.Operation) -> str:
    """An operation that is under way, in a line."""
    known = f"(operation {operation.id}, by {text.clean(operation.who)})"
    if operation.state == "waiting":
        return f"{name(operation)} waits its turn {known}"
    counted = f", {operation.done} of {operation.total}" if operation.total else ""
    return f"{name(operation)}{counted}, for {text.seconds(operation.seconds)} {known}"
