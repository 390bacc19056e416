"""What was: the last 15 minutes in steps of 5 s, the last hour in steps of 30 s, and what changed meanwhile.

A step has counts (answers by class of status, histograms of durations and queue times), so that percentiles of a step
and of many are those of its requests, and averages of what was looked at each second. While nobody could look there
is no step: a gap. Pure: whoever keeps a `Timeline` has clock and scoreboard. Its memory has a bound, `BYTES_AT_MOST`.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import chain
from operator import attrgetter, sub

from msgspec import Struct

from . import scoreboard as sb
from .answers import CLASSES, counts_by_class, durations_by_class
from .board import Board
from .percentiles import Percentile, percentile
from .scoreboard_reading import BOUNDS_SECONDS, queue_times, unpacked
from .status_page import seconds

STEP_SECONDS = 5.0
SLACK_SECONDS = 0.5  # looks come about each second: a step that wants so little is whole
GAP_SECONDS = STEP_SECONDS  # since the last look: later, and what lies between is not known
MARKS = 50  # of each kind that are kept: what is frequent (slow requests) pushes out nothing that is rare (a reload)

_MOST = (1 << 32) - 1  # of one count in one step
_DURATIONS = slice(CLASSES, CLASSES + sb.BUCKETS)
_QUEUE_TIMES = slice(CLASSES + sb.BUCKETS, CLASSES + 2 * sb.BUCKETS)
_COUNTS = CLASSES + 2 * sb.BUCKETS


class Span(Enum):
    """How far back; the value is how it is asked for."""

    QUARTER = "15m"
    HOUR = "1h"

    @property
    def seconds(self) -> float:
        return 900.0 if self is Span.QUARTER else 3600.0

    @property
    def step_seconds(self) -> float:
        return STEP_SECONDS if self is Span.QUARTER else 6 * STEP_SECONDS

    @property
    def steps(self) -> int:
        """That many are kept."""
        return round(self.seconds / self.step_seconds)


class Gauges(Struct, frozen=True):
    """What there is at a moment, over all ready workers. None: not known."""

    ready: int  # workers
    busy: int  # requests inside the application
    waiting: int  # complete requests that wait for a thread
    capacity: int  # requests that can run at a time
    utilization: float | None = None  # 0 to 1
    memory: float | None = None  # bytes that the workers cost: the sum of their PSS


GAUGES = len(Gauges.__struct_fields__)


class Step(Struct, frozen=True):
    """What was counted from `start` on, in monotonic seconds, for `seconds`; gauges are averages, NaN if not known."""

    start: float
    seconds: float
    counts: array[int]
    averages: array[float]

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def answers(self) -> Sequence[int]:
        """By the first digit of their status; 0: not known."""
        return self.counts[:CLASSES]

    def percentile(self, share: float) -> Percentile:
        """Of durations, in seconds."""
        return percentile(BOUNDS_SECONDS, self.counts[_DURATIONS], share)

    def queue_percentile(self, share: float) -> Percentile:
        return percentile(BOUNDS_SECONDS, self.counts[_QUEUE_TIMES], share)

    def average(self, gauge: str) -> float | None:
        """Of a field of Gauges."""
        found = self.averages[Gauges.__struct_fields__.index(gauge)]
        return None if math.isnan(found) else found


_ARRAY_BYTES = 96  # of an array beside its elements, with the collector's head
_STEP_BYTES = 320  # of a Step with its floats, beside its arrays
BYTES_AT_MOST = sum(
    span.steps * (_STEP_BYTES + 2 * _ARRAY_BYTES + _COUNTS * array("I").itemsize + GAUGES * array("d").itemsize)
    for span in Span
)


class MarkKind(Enum):
    """What changes figures, or tells of trouble. No text of anybody's: whoever may see figures may see these."""

    START = "start"
    RELOAD = "reload"
    RESTART = "restart"
    SCALE = "scale"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    STOP = "stop"
    CRASH = "crash"  # of a worker, by itself
    OOM = "oom"
    TIMEOUT = "timeout"  # a worker lost to a request beyond timeouts.request
    WEDGE = "wedge"
    BOOT = "boot"  # a worker that did not become ready
    HOOK = "hook"
    RECYCLE = "recycle"
    SILENT = "silent"  # a worker that does not respond
    RESPONDS = "responds"
    SLOW = "slow"  # a request beyond log.slow_request
    FAILING = "failing"  # most of what a new generation answers are errors
    LEADER = "leader"  # nobody leads
    CERTIFICATE = "certificate"


LOSSES = frozenset({MarkKind.CRASH, MarkKind.OOM, MarkKind.TIMEOUT, MarkKind.WEDGE, MarkKind.BOOT, MarkKind.HOOK})


class Mark(Struct, frozen=True):
    """Something that happened `at`, of the monotonic clock."""

    at: float
    kind: MarkKind
    failed: bool = False  # what was asked for has not come about
    slot: int | None = None
    generation: int | None = None
    revision: str | None = None  # of its code: also a label of /metrics
    workers: int | None = None  # how many there are to be from now on
    seconds: float | None = None  # how long it took


def read_counts(board: Board) -> array[int]:
    """All counts since the start, in the order of a step's."""
    slots = list(board.used())
    histograms = durations_by_class(slots)
    classes = counts_by_class(slots, histograms)
    return array("Q", (*classes, *unpacked(sum(histograms), sb.BUCKETS), *queue_times(slots)))


class Timeline:
    """Call `look` about each second. `read` gives the counts since the start: see `read_counts`."""

    def __init__(self, read: Callable[[], Sequence[int]], now: float) -> None:
        self._read = read
        self._counts = read()
        self._looks: list[Gauges] = []
        self._start = self._last = now
        self._steps: dict[Span, deque[Step]] = {span: deque(maxlen=span.steps) for span in Span}
        self._recent: list[Step] = []  # that are to become the next one of the hour
        self.began = now
        self._marks: dict[MarkKind, deque[Mark]] = {}

    def __repr__(self) -> str:
        return f"<Timeline {' '.join(f'{span.value}={len(steps)}' for span, steps in self._steps.items())}>"

    @property
    def marks(self) -> list[Mark]:
        """The oldest first."""
        return sorted(chain.from_iterable(self._marks.values()), key=attrgetter("at"))

    def mark(self, mark: Mark) -> None:
        """Something has happened."""
        self._marks.setdefault(mark.kind, deque(maxlen=MARKS)).append(mark)

    def look(self, now: float, gauges: Gauges) -> None:
        """Take a look, which now and then ends a step."""
        late, self._last = now - self._last, now
        if late > GAP_SECONDS:
            self._join()
            self._begin(now, self._read())
            return
        self._looks.append(gauges)
        if now - self._start >= STEP_SECONDS - SLACK_SECONDS:
            self._end_step(now)

    def steps(self, span: Span, now: float) -> list[Step]:
        """The oldest first. Of the hour, the last one may be shorter."""
        found = [*self._steps[span]]
        if span is Span.HOUR and self._recent:
            found.append(merged(self._recent))
        return [step for step in found if step.end > now - span.seconds]

    def _end_step(self, now: float) -> None:
        counts = self._read()
        counted = array("I", (min(_MOST, max(0, more)) for more in map(sub, counts, self._counts)))
        step = Step(self._start, now - self._start, counted, _averages(self._looks))
        self._steps[Span.QUARTER].append(step)
        self._recent.append(step)
        if now - self._recent[0].start >= Span.HOUR.step_seconds - STEP_SECONDS / 2:
            self._join()
        self._begin(now, counts)

    def _begin(self, now: float, counts: Sequence[int]) -> None:
        self._start, self._counts = now, counts
        self._looks = []

    def _join(self) -> None:
        if self._recent:
            self._steps[Span.HOUR].append(merged(self._recent))
            self._recent = []


def merged(steps: Sequence[Step]) -> Step:
    """One step of several that follow each other; not of none."""
    seconds = sum(step.seconds for step in steps)
    counts = array("I", (min(_MOST, sum(column)) for column in zip(*(step.counts for step in steps), strict=True)))
    columns = zip(*(step.averages for step in steps), strict=True)
    averages = array("d", (_weighted(zip(column, (step.seconds for step in steps), strict=True)) for column in columns))
    return Step(steps[0].start, seconds, counts, averages)


def _averages(looks: Sequence[Gauges]) -> array[float]:
    columns = ([getattr(look, name) for look in looks] for name in Gauges.__struct_fields__)
    return array("d", (_weighted((value, 1.0) for value in column if value is not None) for column in columns))


def _weighted(values: Iterable[tuple[float, float]]) -> float:
    """The average of values by their weights; NaN without any that is known."""
    known = [(value, weight) for value, weight in values if not math.isnan(value)]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else math.nan


# --- marks in words -------------------------------------------------------------------------------------------------

_LASTING = frozenset({MarkKind.SILENT, MarkKind.SLOW})
_WORDS = {
    MarkKind.START: "start",
    MarkKind.RELOAD: "reload",
    MarkKind.RESTART: "restart",
    MarkKind.SCALE: "scale",
    MarkKind.DRAIN: "drain",
    MarkKind.UNDRAIN: "end of the drain",
    MarkKind.STOP: "stop",
    MarkKind.CRASH: "ended by itself",
    MarkKind.OOM: "was killed for want of memory",
    MarkKind.TIMEOUT: "was lost to a request beyond its time",
    MarkKind.WEDGE: "was wedged and killed",
    MarkKind.BOOT: "did not become ready",
    MarkKind.HOOK: "was late with a hook",
    MarkKind.RECYCLE: "is recycled",
    MarkKind.SILENT: "does not respond",
    MarkKind.RESPONDS: "responds again",
    MarkKind.SLOW: "runs a slow request",
    MarkKind.FAILING: "answers with errors",
    MarkKind.LEADER: "cannot lead",
    MarkKind.CERTIFICATE: "certificates renewed",
}


def describe(mark: Mark) -> str:
    """What happened, in few words; numbers and nothing of anybody's."""
    words = _WORDS[mark.kind]
    if mark.kind is MarkKind.CERTIFICATE and mark.failed:
        words = "renewed certificates are no good"
    elif mark.failed:
        words += " failed"
    if mark.slot is not None:
        words = f"worker {mark.slot} {words}"
    elif mark.kind is MarkKind.FAILING:
        words = f"generation {mark.generation} {words}"
    elif mark.kind in {MarkKind.RELOAD, MarkKind.START} and mark.generation is not None and not mark.failed:
        words += f": generation {mark.generation}{f' ({mark.revision})' if mark.revision else ''}"
    if mark.workers is not None and mark.kind in {MarkKind.SCALE, MarkKind.UNDRAIN}:
        words += f" to {mark.workers} workers" if mark.workers != 1 else " to 1 worker"
    if mark.seconds is not None:
        words += f" {'for' if mark.kind in _LASTING else 'after'} {seconds(mark.seconds)}"
    return words
