"""The page's charts: what a `Timeline` knows, as SVG that needs neither script nor style of its own.

Each step is drawn for as long as it lasted, so that a line says no more than what was counted; where there is no step
the line is broken. Percentiles lie on the histogram's bounds: "at most". All text here is ours; figures are numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from msgspec import Struct

from .history import LOSSES, Mark, MarkKind, Span, Step, describe
from .percentiles import SHARES, Percentile
from .scoreboard_reading import BOUNDS_SECONDS
from .status_page import age, count, escaped, part, rate, size

WIDTH, HEIGHT = 420.0, 132.0
LEFT, RIGHT, TOP, BOTTOM = 2.0, 82.0, 16.0, 18.0  # margins: of text
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
LABEL_HEIGHT = 12.0
BEYOND = 1.25  # times the last bound
JOINED = 1.5  # seconds between two steps that are still one line
LOWEST_SECONDS = BOUNDS_SECONDS[0]  # of an axis of durations
LEAST_SECONDS = 60.0  # of an axis of time
TICKS_SECONDS = (20, 30, 60, 120, 300, 600, 1200)
TICK_WIDTH = 64.0  # of its text and of what stands at the left edge
MARK_WIDTH = 9.0  # marks that are closer are one

Value = Callable[[Step], float | None]

# What stands above a mark's line, and on which side of quiet it is.
LETTERS = {
    MarkKind.START: "S",
    MarkKind.RELOAD: "R",
    MarkKind.RESTART: "R",
    MarkKind.SCALE: "W",
    MarkKind.DRAIN: "D",
    MarkKind.UNDRAIN: "D",
    **dict.fromkeys(LOSSES, "×"),
}
LEGEND = {"S": "start", "R": "reload or restart", "W": "number of workers", "D": "drain", "×": "lost worker"}


class Line(Struct, frozen=True):
    """A line of a chart. `area`: filled down to the axis."""

    name: str
    shade: str  # of the style sheet
    value: Value
    area: bool = False


class Chart(Struct, frozen=True):
    """What a chart shows, and how its values are written, beside its lines and on its axis. Lines behind come first."""

    title: str
    unit: str
    lines: Sequence[Line]
    write: Callable[[float], str]
    scale: Callable[[float], str]
    decades: bool = False  # the axis is logarithmic
    most: Value | None = None  # what there could be, as a broken line
    least_top: float = 0.0  # an axis is at least so high


# --- the charts -----------------------------------------------------------------------------------------------------


def _answered(*classes: int) -> Value:
    """Answers a second of these classes."""
    return lambda step: sum(step.answers[number] for number in classes) / step.seconds


def _share(number: int) -> Value:
    def share(step: Step) -> float | None:
        total = sum(step.answers)
        return step.answers[number] / total if total else None

    return share


def _known(found: Percentile) -> float | None:
    """Where a percentile is drawn: what is beyond the last bound is somewhat above it."""
    return found.at_most if found.over is None else BEYOND * found.over


def _bound(value: float) -> str:
    last = BOUNDS_SECONDS[-1]
    return (Percentile(at_most=value) if value <= last else Percentile(over=last)).written("seconds")


def _duration(value: float) -> str:
    return _bound(value).partition(" ")[2]


def _count(value: float) -> str:
    """A number of an axis."""
    return count(value) if value >= 1000 else f"{value:g}"


def _percentiles(of: Callable[[Step, float], Percentile]) -> list[Line]:
    def line(percent: float) -> Line:
        name = f"p{100 * percent:.0f}"
        return Line(name, name, lambda step: _known(of(step, percent)))

    return [line(percent) for percent in reversed(SHARES)]


CHARTS = (
    Chart(
        "Requests a second",
        "by class of status",
        [
            Line("2xx, 3xx", "fine", _answered(0, 1, 2, 3, 4, 5), area=True),
            Line("4xx", "client", _answered(4, 5), area=True),
            Line("5xx", "server", _answered(5), area=True),
        ],
        rate,
        _count,
        least_top=1.0,
    ),
    Chart(
        "Errors",
        "share of answers",
        [Line("4xx", "client", _share(4)), Line("5xx", "server", _share(5))],
        part,
        lambda value: f"{100 * value:g} %",
        least_top=0.01,
    ),
    Chart("Duration", "percentiles", _percentiles(Step.percentile), _bound, _duration, decades=True),
    Chart(
        "Queue time",
        "from a complete request to its start",
        _percentiles(Step.queue_percentile),
        _bound,
        _duration,
        decades=True,
    ),
    Chart(
        "Busy threads",
        "average of each step",
        [
            Line("waiting", "client", lambda step: step.average("waiting")),
            Line("busy", "fine", lambda step: step.average("busy")),
        ],
        rate,
        _count,
        most=lambda step: step.average("capacity"),
        least_top=1.0,
    ),
    Chart(
        "Memory",
        "of all workers, PSS",
        [Line("", "fine", lambda step: step.average("memory"), area=True)],
        size,
        lambda value: size(value).replace(".0", ""),
        least_top=float(1 << 20),
    ),
)


# --- drawing --------------------------------------------------------------------------------------------------------


class Frame(Struct, frozen=True):
    """Where moments lie: `now` is the right edge, `seconds` before it the left one."""

    now: float
    seconds: float
    from_start: bool  # the left edge is the beginning of the daemon: of what was before it there is nothing to show

    @classmethod
    def of(cls, span: Span, now: float, began: float) -> Frame:
        lived = now - began
        return cls(now, min(span.seconds, max(LEAST_SECONDS, lived)), LEAST_SECONDS <= lived < span.seconds)

    def x(self, at: float) -> float:
        return LEFT + PLOT_WIDTH * max(0.0, 1.0 - (self.now - at) / self.seconds)

    def ticks(self) -> list[tuple[float, str]]:
        """Where moments are named, and how: three at most before now, as far apart as they are long."""
        step = next(step for step in TICKS_SECONDS if 3 * step >= self.seconds * (1 - 1e-9))
        agos = [ago for ago in (3 * step, 2 * step, step) if ago <= self.seconds * (1 + 1e-9)]
        named = [(self.x(self.now - ago), f"{age(ago)} ago") for ago in agos]
        if self.from_start:
            named = [(LEFT, "start"), *(tick for tick in named if tick[0] > LEFT + TICK_WIDTH)]
        return [*named, (LEFT + PLOT_WIDTH, "now")]


class Axis(Struct, frozen=True):
    """Where values lie."""

    bottom: float
    top: float
    decades: bool

    def y(self, value: float) -> float:
        return TOP + PLOT_HEIGHT * (1.0 - min(1.0, max(0.0, self._share(value))))

    def _share(self, value: float) -> float:
        if not self.decades:
            return (value - self.bottom) / (self.top - self.bottom)
        return math.log(max(value, self.bottom) / self.bottom) / math.log(self.top / self.bottom)

    def lines(self) -> list[float]:
        """Values that have a line across the chart."""
        if not self.decades:
            return [self.bottom, (self.bottom + self.top) / 2, self.top]
        first, last = round(math.log10(self.bottom)), round(math.log10(self.top))
        return [10.0**power for power in range(first, last + 1)]


def draw(
    steps: Sequence[Step],
    marks: Iterable[Mark],
    span: Span,
    now: float,
    epoch: float,
    began: float = -math.inf,
) -> str:
    """All charts, one <figure> each, and what their marks mean. `epoch`: what to add to a time to have a date's;
    `began`: when the daemon did.
    """
    frame = Frame.of(span, now, began)
    shown = [mark for mark in marks if mark.kind in LETTERS and now - mark.at < span.seconds]
    if frame.from_start:  # which stands at the axis
        shown = [mark for mark in shown if mark.kind is not MarkKind.START or mark.failed]
    lines = "".join(_marks(shown, frame, epoch))
    figures = "".join(_figure(chart, steps, frame, lines) for chart in CHARTS)
    letters = dict.fromkeys(LETTERS[mark.kind] for mark in shown)
    told = " · ".join(f"<b>{letter}</b> {LEGEND[letter]}" for letter in letters)
    if any(step.start - before.end > JOINED for before, step in pairwise(steps)):
        told += f"{' · ' if told else ''}gaps: the master could not look"
    return f'<div class="charts">{figures}</div>' + (f'<p class="legend">{told}</p>' if told else "")


def _figure(chart: Chart, steps: Sequence[Step], frame: Frame, marks: str) -> str:
    drawn = [[line.value(step) for step in steps] for line in chart.lines]
    most = [chart.most(step) for step in steps] if chart.most is not None else []
    known = [value for values in (*drawn, most) for value in values if value is not None]
    axis = _axis(chart, known)
    parts = [
        f"<figure><figcaption><b>{chart.title}</b> <span>{chart.unit}</span></figcaption>"
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escaped(_told(chart, drawn))}">'
    ]
    parts += [f'<path class="grid" d="M{LEFT:.0f} {axis.y(value):.1f}h{PLOT_WIDTH:.0f}"/>' for value in axis.lines()]
    if most:  # what could be lies behind what is
        parts.append(f'<path class="most" d="{_path(steps, most, frame, axis)}"/>')
    for line, values in zip(chart.lines, drawn, strict=True):
        path = _path(steps, values, frame, axis, area=line.area)
        if path and any(values):
            parts.append(f'<path class="{"area " if line.area else "line "}{line.shade}" d="{path}"/>')
    parts += [marks, *_scales(chart, axis, frame, empty=not known), *_labels(chart, steps, drawn, axis)]
    parts.append("</svg></figure>")
    return "".join(parts)


def _told(chart: Chart, drawn: Sequence[Sequence[float | None]]) -> str:
    """The chart in a sentence, for those who do not see it."""
    said = []
    for line, values in zip(chart.lines, drawn, strict=True):
        known = [value for value in values if value is not None]
        if known:
            last = chart.write(values[-1]) if values[-1] is not None else "not known"
            said.append(f"{line.name} now {last}, highest {chart.write(max(known))}".strip())
    return f"{chart.title}, {chart.unit}: {'; '.join(said) or 'nothing yet'}"


def _axis(chart: Chart, known: Sequence[float]) -> Axis:
    if chart.decades:
        lowest = max(LOWEST_SECONDS, min(known, default=0.001))
        highest = max(known, default=0.1)
        bottom = 10.0 ** math.floor(math.log10(lowest) + 1e-9)
        return Axis(bottom, max(10.0 ** math.ceil(math.log10(highest) - 1e-9), 10 * bottom), True)
    return Axis(0.0, nice(max([chart.least_top, *known])), False)


def nice(value: float) -> float:
    """A round number that is not below the value: 1, 2, 4, 5, 8 or 10 times a power of ten (sizes: of two)."""
    for unit in (1 << 30, 1 << 20):
        if value >= unit:
            return unit * nice(value / unit)
    power = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value * (1 - 1e-9))


def _scales(chart: Chart, axis: Axis, frame: Frame, *, empty: bool) -> Iterator[str]:
    """The numbers of both axes."""
    for value in axis.lines():
        if value and not empty:
            yield f'<text class="scale" x="{LEFT:.0f}" y="{axis.y(value) - 3:.1f}">{chart.scale(value)}</text>'
    for x, text in frame.ticks():
        anchor = "start" if x < LEFT + 1 else "end" if text == "now" else "middle"
        yield f'<text class="scale" x="{x:.0f}" y="{HEIGHT - 4:.0f}" text-anchor="{anchor}">{text}</text>'
    if empty:
        y = TOP + PLOT_HEIGHT / 2
        yield f'<text class="none" x="{LEFT + PLOT_WIDTH / 2:.0f}" y="{y:.0f}" text-anchor="middle">nothing yet</text>'


def _path(
    steps: Sequence[Step], values: Sequence[float | None], frame: Frame, axis: Axis, *, area: bool = False
) -> str:
    """A staircase, broken where there is no step or no value; areas go down to the axis."""
    floor = axis.y(axis.bottom)
    found: list[str] = []
    end: float | None = None  # of the step before, if there is one in this run
    for step, value in zip(steps, values, strict=True):
        if end is not None and (value is None or step.start - end > JOINED):
            found.append(f"V{floor:.1f}Z" if area else "")
            end = None
        if value is None:
            continue
        if end is None:
            x = frame.x(step.start)
            found.append(f"M{x:.1f} {floor:.1f}" if area else f"M{x:.1f} {axis.y(value):.1f}")
        end = step.end
        found.append(f"V{axis.y(value):.1f}H{frame.x(end):.1f}")
    if end is not None and area:
        found.append(f"V{floor:.1f}Z")
    return "".join(found)


def _labels(chart: Chart, steps: Sequence[Step], drawn: Sequence[Sequence[float | None]], axis: Axis) -> Iterator[str]:
    """What each line is and where it ends, beside its end; apart from each other."""
    if not steps:
        return
    lines = zip(chart.lines, drawn, strict=True)
    ends = [(axis.y(values[-1] or 0.0), line, values[-1]) for line, values in lines if _any_known(values)]
    ends.sort(key=lambda end: end[0])
    x, y = LEFT + PLOT_WIDTH + 5, TOP - LABEL_HEIGHT
    for left, (wanted, line, value) in zip(reversed(range(len(ends))), ends, strict=True):
        y = min(max(wanted + 4, y + LABEL_HEIGHT), HEIGHT - BOTTOM - LABEL_HEIGHT * left)
        written = chart.write(_alone(chart, line, steps[-1], value)) if value is not None else "–"
        name = f"{line.name} " if line.name else ""
        said = f'<tspan class="value">{written}</tspan>'
        yield f'<text class="label {line.shade}" x="{x:.0f}" y="{y:.1f}">{name}{said}</text>'


def _any_known(values: Iterable[float | None]) -> bool:
    return any(value is not None for value in values)


def _alone(chart: Chart, line: Line, step: Step, value: float) -> float:
    """A stacked line's own value: without what it stands on."""
    at = list(chart.lines).index(line)
    if not line.area or at + 1 == len(chart.lines):
        return value
    return value - (chart.lines[at + 1].value(step) or 0.0)


def _marks(marks: Sequence[Mark], frame: Frame, epoch: float) -> Iterator[str]:
    """A line each; those that would lie on each other are one, of the worst."""
    bunches: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda one: one.at):
        if bunches and frame.x(mark.at) - frame.x(bunches[-1][0].at) < MARK_WIDTH:
            bunches[-1].append(mark)
        else:
            bunches.append([mark])
    for bunch in bunches:
        worst = next((mark for mark in bunch if mark.kind in LOSSES or mark.failed), bunch[0])
        x = min(frame.x(worst.at), LEFT + PLOT_WIDTH)
        told = escaped("; ".join(f"{clock(mark.at + epoch)} {describe(mark)}" for mark in bunch[:8]))
        shade = "mark bad" if worst.kind in LOSSES or worst.failed else "mark"
        yield (
            f'<g class="{shade}"><title>{told}</title><path d="M{x:.1f} {TOP - 4:.0f}V{HEIGHT - BOTTOM:.0f}"/>'
            f'<text x="{x:.1f}" y="{TOP - 6:.0f}" text-anchor="middle">{LETTERS[worst.kind]}</text></g>'
        )


def clock(at: float) -> str:
    """A time of the epoch as the host's clocks show it."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S")
