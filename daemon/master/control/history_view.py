"""The daemon's history as the control API tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from miniwsgi.manager import messages as ms
from miniwsgi.metrics.history import Mark, Span, Step
from miniwsgi.metrics.percentiles import SHARES, Percentile

from ..telemetry.history_keeper import HistoryKeeper


def history_of(keeper: HistoryKeeper, span: Span) -> ms.History:
    """Of now."""
    epoch, now = keeper.epoch, time.monotonic()
    return ms.History(
        span=span.value,
        step_seconds=span.step_seconds,
        steps=[_step(step, epoch) for step in keeper.timeline.steps(span, now)],
        marks=[_mark(mark, epoch) for mark in keeper.timeline.marks if now - mark.at < span.seconds],
    )


def _date(at: float, epoch: float) -> datetime:
    return datetime.fromtimestamp(round(at + epoch, 3), UTC)


def _step(step: Step, epoch: float) -> ms.HistoryStep:
    answers = step.answers
    return ms.HistoryStep(
        at=_date(step.start, epoch),
        seconds=round(step.seconds, 3),
        answers=sum(answers),
        successes=answers[2],
        redirects=answers[3],
        client_errors=answers[4],
        server_errors=answers[5],
        duration=_percentiles(step.percentile),
        queue_time=_percentiles(step.queue_percentile),
        ready=step.average("ready"),
        busy=step.average("busy"),
        waiting=step.average("waiting"),
        capacity=step.average("capacity"),
        utilization=step.average("utilization"),
        memory_bytes=step.average("memory"),
    )


def _percentiles(of: Callable[[float], Percentile]) -> ms.StepPercentiles:
    return ms.StepPercentiles(*(of(share).at_most for share in SHARES))


def _mark(mark: Mark, epoch: float) -> ms.HistoryMark:
    return ms.HistoryMark(
        at=_date(mark.at, epoch),
        kind=mark.kind.value,
        failed=mark.failed,
        slot=mark.slot,
        generation=mark.generation,
        revision=mark.revision,
        workers=mark.workers,
        seconds=mark.seconds,
    )
