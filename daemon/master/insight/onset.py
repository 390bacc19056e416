"""Since when: what was changed or happened within the hour, and whether figures before and after it differ."""

from __future__ import annotations

import re
from collections.abc import Sequence

from miniwsgi.manager import messages as ms

from .evidence import Evidence, PastEvent, PastFigures
from .finding import finding
from .wording import ago, seconds

CHANGED = ("generation.serving", "operation.ended", "worker.exited", "worker.wedged", "generation.failed")
FIRST = re.compile(r"generation 1\b")
SLOWER = 2.0
BASE_ANSWERS = 20  # before it
SOME_ANSWERS = 3  # without which a stretch tells nothing
NOT_SLOW_SECONDS = 0.02
NEAR_SECONDS = 60.0  # between a mark and the first stretch that is slow
SHOWN = 3


def onset(evidence: Evidence) -> ms.Finding | None:
    """What stands at the beginning of it; None: nothing has happened."""
    marks = [event for event in evidence.events if _is_mark(event)]
    since = slow_since(evidence.past)
    if since is not None:
        before, seconds_ago = since
        near = [event for event in marks if abs(event.seconds_ago - seconds_ago) <= NEAR_SECONDS]
        mark = min(near, key=lambda event: abs(event.seconds_ago - seconds_ago), default=None)
        if mark is not None and mark.kind == "generation.serving":  # a part of what was asked for
            mark = next((event for event in near if _is_whole_of(event, mark)), mark)
        now = next((one.median_seconds for one in reversed(evidence.past) if one.median_seconds is not None), 0.0)
        figures = f"half of the answers took at most {seconds(before)} before, {seconds(now)} lately"
        if mark is None:
            sentence = f"It began about {ago(seconds_ago)}, with no reload, scale or crash that is known of: {figures}."
            return finding("onset", "note", sentence, [])
        return finding(
            "onset", "warning", f"It began {ago(mark.seconds_ago)}, with this: {mark.message} ({figures}).", []
        )
    if not marks:
        return None
    lines = [f"{ago(event.seconds_ago)}: {event.message}" for event in reversed(marks[-SHOWN:])]
    return finding("onset", "note", "Whether it began with one of the latest changes is not to be seen.", lines)


def slow_since(past: Sequence[PastFigures]) -> tuple[float, float] | None:
    """The median before, and how many seconds ago it became twice as much and stayed so; None: it did not."""
    known = [
        (one, one.median_seconds) for one in past if one.median_seconds is not None and one.answers >= SOME_ANSWERS
    ]
    for at in range(1, len(known)):
        before, after = known[:at], known[at:]
        answers = sum(one.answers for one, _ in before)
        typical = sum(median * one.answers for one, median in before) / answers
        limit = max(NOT_SLOW_SECONDS, SLOWER * typical)
        if answers >= BASE_ANSWERS and all(median >= limit for _, median in after):
            return typical, after[0][0].seconds_ago
    return None


def _is_whole_of(event: PastEvent, part: PastEvent) -> bool:
    """Whether it is the operation that has put a generation in force: that has both revisions."""
    return event.kind == "operation.ended" and 0 <= part.seconds_ago - event.seconds_ago <= NEAR_SECONDS


def _is_mark(event: PastEvent) -> bool:
    if event.kind == "operation.ended":
        changed = any(word in event.message for word in ("reload", "scale", "restart", "drain"))
        return changed and " failed" not in event.message  # which leaves what was
    if event.kind == "worker.exited":
        return "SIG" in event.message or "crash" in event.message or "memory" in event.message
    if FIRST.match(event.message):
        return False  # before the start there was nothing to be otherwise
    return event.kind in CHANGED
