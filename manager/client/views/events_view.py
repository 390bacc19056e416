"""An event as a line: when, what kind, what happened."""

from __future__ import annotations

from ... import messages
from .. import text
from ..options import Session

KIND_COLUMN = 21
BAD = frozenset(
    (
        "worker.failed",
        "worker.killed",
        "worker.lost",
        "worker.wedged",
        "request.timeout",
        "generation.failed",
        "leader.failed",
        "leader.late",
    )
)
ODD = frozenset(("worker.silent", "generation.failing", "request.slow", "events.lost", "worker.stacks"))
GOOD = frozenset(("worker.ready", "generation.serving", "daemon.serving"))


def colour(event: messages.Event) -> str | None:
    """How good or bad it is."""
    bad = event.kind in BAD or event.state == "failed"
    return "red" if bad else "yellow" if event.kind in ODD else "green" if event.kind in GOOD else None


def line(event: messages.Event, session: Session) -> str:
    """What `events` prints of it."""
    when = text.clock(event.at, date=session.wide)
    shade = colour(event)
    kind = session.styled(f"{event.kind:<{KIND_COLUMN}}", fg=shade) if shade else f"{event.kind:<{KIND_COLUMN}}"
    said = text.clean(text.coded(event.code, event.message))
    number = f"{event.id:>6}  " if session.wide else ""
    return f"{number}{session.styled(when, dim=True)}  {kind}  {said}"
