"""The history of a daemon: its steps are true, its gaps are gaps, its memory has a bound."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import get_args

import pytest
from miniwsgi.manager import messages as ms
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.history import (
    BYTES_AT_MOST,
    GAP_SECONDS,
    MARKS,
    Gauges,
    Mark,
    MarkKind,
    Span,
    Step,
    Timeline,
    merged,
    read_counts,
)
from miniwsgi.metrics.percentiles import Percentile

MILLISECOND = 1_000_000
IDLE = Gauges(ready=2, busy=0, waiting=0, capacity=16)


class World:
    """A board whose first slot answers, and a timeline that looks each second."""

    def __init__(self) -> None:
        self.board = Board.create()
        self.slot = self.board.claim(0)
        self.now = 0.0
        self.timeline = Timeline(lambda: read_counts(self.board), 0.0)

    def go(self, seconds: int, each: Callable[[], object] = bool, gauges: Gauges = IDLE) -> None:
        for _ in range(seconds):
            each()
            self.now += 1.0
            self.timeline.look(self.now, gauges)

    def answer(self, milliseconds: int = 2, status: int = 200) -> None:
        self.slot.record("GET", status, milliseconds * MILLISECOND)

    def steps(self, span: Span = Span.QUARTER) -> list[Step]:
        return self.timeline.steps(span, self.now)


# --- steps -----------------------------------------------------------------------------------------------------------


def test_a_step_counts_what_was_answered_while_it_lasted() -> None:
    world = World()
    world.answer()  # before it began to look, but not before the step
    world.go(5, world.answer)
    world.go(5, lambda: world.answer(status=503))
    first, second = world.steps()
    assert (first.start, first.seconds, first.end) == (0.0, 5.0, 5.0)
    assert (list(first.answers), list(second.answers)) == ([0, 0, 6, 0, 0, 0], [0, 0, 0, 0, 0, 5])


def test_nothing_is_told_before_a_step_is_whole() -> None:
    world = World()
    world.go(4, world.answer)
    assert world.steps() == world.steps(Span.HOUR) == []


def test_refusals_of_the_server_are_answers() -> None:
    world = World()
    world.slot.cells[sb.REJECTED_BY + sb.REJECTED_STATUSES.index(408)] = 3
    world.go(5)
    assert list(world.steps()[0].answers) == [0, 0, 0, 0, 3, 0]


def test_percentiles_of_a_step_and_of_many_are_those_of_their_requests() -> None:
    """The mean of a busy fast step and a quiet slow one would be neither."""
    world = World()
    world.go(5, lambda: [world.answer(5) for _ in range(99)])
    world.go(5, lambda: world.answer(1000))
    fast, slow = world.steps()
    assert (fast.percentile(0.99), slow.percentile(0.5)) == (Percentile(at_most=0.005), Percentile(at_most=1.0))
    both = merged([fast, slow])
    assert (both.percentile(0.95), both.percentile(1.0)) == (Percentile(at_most=0.005), Percentile(at_most=1.0))
    assert both.queue_percentile(0.5) == Percentile()
    (hour,) = world.steps(Span.HOUR)
    assert (hour.start, hour.seconds, hour.counts) == (both.start, both.seconds, both.counts)


def test_gauges_are_averages_and_what_is_not_known_is_not_counted() -> None:
    world = World()
    for busy, memory in ((1, None), (3, 100.0), (8, 200.0), (0, None), (0, 300.0)):
        world.go(1, gauges=Gauges(2, busy, 0, 16, None, memory))
    (step,) = world.steps()
    assert (step.average("busy"), step.average("memory")) == (2.4, 200.0)
    assert (step.average("utilization"), step.average("ready")) == (None, 2.0)


def test_workers_that_come_and_go_take_no_count_with_them() -> None:
    world = World()
    world.go(5, world.answer)
    world.slot.vacate()
    world.board.claim(1).record("GET", 200, MILLISECOND)
    world.go(5)
    assert [sum(step.answers) for step in world.steps()] == [5, 1]


def test_counters_that_were_set_back_are_no_negative_counts() -> None:
    counts = [[7] * (6 + 2 * sb.BUCKETS)]
    timeline = Timeline(lambda: counts[-1], 0.0)
    counts.append([3] * len(counts[0]))
    for second in range(1, 6):
        timeline.look(float(second), IDLE)
    assert set(timeline.steps(Span.QUARTER, 5.0)[0].counts) == {0}


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_while_nobody_could_look_there_is_a_gap() -> None:
    world = World()
    world.go(10, world.answer)
    world.answer()
    world.now += GAP_SECONDS + 60.0  # the machine sleeps
    world.go(10, world.answer)
    spans = [(step.start, step.end) for step in world.steps()]
    assert spans == [(0.0, 5.0), (5.0, 10.0), (76.0, 81.0)]
    assert [sum(step.answers) for step in world.steps()] == [5, 5, 5]
    assert [(step.start, step.end) for step in world.steps(Span.HOUR)] == [(0.0, 10.0), (76.0, 81.0)]


def test_a_look_that_is_somewhat_late_makes_a_longer_step() -> None:
    world = World()
    world.go(4)
    world.now += 2.0
    world.go(1)
    assert [(step.start, step.seconds) for step in world.steps()] == [(0.0, 7.0)]


# --- the hour, and the memory ----------------------------------------------------------------------------------------


def test_the_hour_has_what_the_quarter_had() -> None:
    world = World()
    world.go(100, world.answer)
    hour = world.steps(Span.HOUR)
    assert [step.seconds for step in hour] == [30.0, 30.0, 30.0, 10.0]  # the last one is not whole yet
    assert [sum(step.answers) for step in hour] == [30, 30, 30, 10]
    assert all(after.start == before.end for before, after in pairwise(hour))


def _bytes(timeline: Timeline) -> int:
    """Of all that a timeline's steps consist of."""
    found = 0
    for steps in (*timeline._steps.values(), timeline._recent):
        for step in steps:
            parts = [step, *(getattr(step, name) for name in step.__struct_fields__)]
            found += sum(map(sys.getsizeof, parts)) + 8  # and its place in the deque
    return found


def test_its_memory_has_a_bound_however_long_it_looks() -> None:
    counted = [0]
    timeline = Timeline(lambda: [counted[0] << 40] * (6 + 2 * sb.BUCKETS), 0.0)
    now = 0.0
    for _ in range(2 * 3600 // 5):
        counted[0] += 1
        now += 5.0
        timeline.look(now, Gauges(200, 10**6, 10**6, 10**6, 0.123, 1e12))
        timeline.mark(Mark(now, MarkKind.CRASH))
    assert (len(timeline.steps(Span.QUARTER, now)), len(timeline.steps(Span.HOUR, now))) == (180, 120)
    assert 0.3 * BYTES_AT_MOST < _bytes(timeline) <= BYTES_AT_MOST
    assert BYTES_AT_MOST < 512 << 10
    assert len(timeline.marks) == MARKS
    assert max(timeline.steps(Span.HOUR, now)[0].counts) == (1 << 32) - 1


def test_what_is_frequent_pushes_out_no_mark_that_is_rare() -> None:
    timeline = Timeline(lambda: [0] * (6 + 2 * sb.BUCKETS), 0.0)
    timeline.mark(Mark(1.0, MarkKind.RELOAD, generation=2))
    for number in range(3 * MARKS):
        timeline.mark(Mark(2.0 + number, MarkKind.SLOW, slot=1))
    timeline.mark(Mark(1.5, MarkKind.CRASH, slot=1))
    assert [mark.kind for mark in timeline.marks][:3] == [MarkKind.RELOAD, MarkKind.CRASH, MarkKind.SLOW]
    assert len(timeline.marks) == MARKS + 2


def test_what_is_too_old_is_not_told() -> None:
    world = World()
    world.go(20)
    assert world.timeline.steps(Span.QUARTER, 905.0 + 10.0) == world.steps()[3:]
    assert world.timeline.steps(Span.HOUR, 5000.0) == []


def test_the_control_api_knows_every_span_and_kind_of_mark() -> None:
    assert get_args(ms.HistorySpan) == tuple(span.value for span in Span)
    assert get_args(ms.MarkKind) == tuple(kind.value for kind in MarkKind)


@pytest.mark.parametrize("span", Span)
def test_a_span_is_as_long_as_its_steps(span: Span) -> None:
    assert span.steps * span.step_seconds == span.seconds
