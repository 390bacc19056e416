"""The charts: well-formed, true to the steps, broken at gaps, and with marks that stay apart."""

from __future__ import annotations

import math
import re
from array import array
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from miniwsgi.metrics import charts
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics.charts import LEFT, PLOT_HEIGHT, PLOT_WIDTH, TICK_WIDTH, TOP, Frame, draw, nice
from miniwsgi.metrics.history import GAUGES, Mark, MarkKind, Span, Step, describe

NOW = 900.0
NAMES = [chart.title for chart in charts.CHARTS]


def step(start: float, answers: dict[int, int] | None = None, bucket: int = 2, busy: float = math.nan) -> Step:
    """Of 5 s, with so many answers by class, all in one bucket."""
    counts = array("I", [0] * (6 + 2 * sb.BUCKETS))
    for number, count in (answers or {}).items():
        counts[number] = count
        counts[6 + bucket] += count
    return Step(start, 5.0, counts, array("d", [2.0, busy, 0.0, 16.0, *[math.nan] * (GAUGES - 4)]))


def figures(*steps: Step, marks: tuple[Mark, ...] = (), span: Span = Span.QUARTER) -> dict[str, ET.Element]:
    """The charts by their titles."""
    root = ET.fromstring(f"<div>{draw(steps, marks, span, NOW, 0.0)}</div>")
    return {figure.findtext("figcaption/b") or "": figure for figure in root.iter("figure")}


def path(figure: ET.Element, shade: str) -> list[str]:
    """The runs of a line."""
    found = [one.get("d") or "" for one in figure.iter("path") if shade in (one.get("class") or "").split()]
    return re.findall(r"M[^M]*", "".join(found))


def texts(figure: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in figure.iter("text")]


def test_without_a_past_there_is_a_chart_that_says_so() -> None:
    found = figures()
    assert [*found] == NAMES
    for figure in found.values():
        assert "nothing yet" in texts(figure)
        assert (figure.find("svg") or ET.Element("none")).get("aria-label", "").endswith("nothing yet")


def test_each_step_is_as_long_as_it_lasted_and_as_high_as_it_counted() -> None:
    found = figures(step(890.0, {2: 500}), step(895.0, {2: 250, 5: 250}))["Requests a second"]
    width = PLOT_WIDTH * 5 / 900
    right = LEFT + PLOT_WIDTH
    bottom, top = TOP + PLOT_HEIGHT, TOP
    (fine,) = path(found, "fine")
    assert fine == (
        f"M{right - 2 * width:.1f} {bottom:.1f}V{top:.1f}H{right - width:.1f}V{top:.1f}H{right:.1f}V{bottom:.1f}Z"
    )
    (server,) = path(found, "server")
    assert f"H{right - width:.1f}V{(top + bottom) / 2:.1f}H{right:.1f}" in server
    assert [text for text in texts(found) if text[1:3] == "xx"] == ["2xx, 3xx 50.0", "4xx 0.0", "5xx 50.0"]


def test_where_there_is_no_step_the_line_is_broken() -> None:
    steps = [step(700.0, {2: 5}), step(705.0, {2: 5}), step(895.0, {2: 5})]
    found = figures(*steps)
    for title, shade in (("Requests a second", "fine"), ("Duration", "p95"), ("Errors", "none")):
        assert len(path(found[title], shade)) == (0 if shade == "none" else 2), title
    assert "could not look" in draw(steps, (), Span.QUARTER, NOW, 0.0)
    assert "could not look" not in draw(steps[:2], (), Span.QUARTER, NOW, 0.0)


def test_what_is_not_known_is_no_zero() -> None:
    found = figures(step(890.0, {2: 5}, busy=3.0), step(895.0))
    assert len(path(found["Busy threads"], "busy") or path(found["Busy threads"], "fine")) == 1
    assert "busy –" in texts(found["Busy threads"])
    assert "p95 –" in texts(found["Duration"])
    assert path(found["Memory"], "fine") == []


@pytest.mark.parametrize(("milliseconds", "said"), [(0.5, "≤ 500 µs"), (75, "≤ 75 ms"), (1e9, "> 60 s")])
def test_percentiles_are_bounds_and_say_so(milliseconds: float, said: str) -> None:
    found = figures(step(895.0, {2: 9}, bucket=sb.bucket(int(1e6 * milliseconds))))["Duration"]
    assert {f"p50 {said}", f"p95 {said}", f"p99 {said}"} <= {*texts(found)}


def test_marks_are_lines_with_a_letter_and_a_title_and_those_too_close_are_one() -> None:
    marks = (
        Mark(500.0, MarkKind.RELOAD, generation=3, revision="<a&b>", seconds=1.5),
        Mark(600.0, MarkKind.SCALE, workers=4),
        Mark(601.0, MarkKind.CRASH, slot=2),
        Mark(650.0, MarkKind.SLOW, slot=1, seconds=2.0),  # is told, and changes no figure
        Mark(-5.0, MarkKind.RELOAD),  # too old
    )
    for figure in figures(step(895.0, {2: 1}), marks=marks).values():
        groups = [group for group in figure.iter("g") if "mark" in (group.get("class") or "")]
        assert [(group.get("class"), group.findtext("text")) for group in groups] == [("mark", "R"), ("mark bad", "×")]
        told = (groups[0].findtext("title") or "").replace("\u00a0", " ")
        assert told[9:] == "reload: generation 3 (<a&b>) after 1.5 s"
        assert "worker 2 ended by itself" in (groups[1].findtext("title") or "")
    assert "<b>R</b> reload" in draw([], marks, Span.QUARTER, NOW, 0.0)
    assert "drain" not in draw([], marks, Span.QUARTER, NOW, 0.0)


@pytest.mark.parametrize(
    ("span", "lived", "named"),
    [
        (Span.QUARTER, 5.0, ["1\u00a0min ago", "40\u00a0s ago", "20\u00a0s ago", "now"]),
        (Span.QUARTER, 60.0, ["start", "40\u00a0s ago", "20\u00a0s ago", "now"]),
        (Span.QUARTER, 130.0, ["start", "1\u00a0min ago", "now"]),
        (Span.QUARTER, 899.0, ["start", "10\u00a0min ago", "5\u00a0min ago", "now"]),
        (Span.QUARTER, 901.0, ["15\u00a0min ago", "10\u00a0min ago", "5\u00a0min ago", "now"]),
        (Span.HOUR, 130.0, ["start", "1\u00a0min ago", "now"]),
        (Span.HOUR, 9000.0, ["1\u00a0h ago", "40\u00a0min ago", "20\u00a0min ago", "now"]),
    ],
)
def test_the_axis_of_time_begins_with_a_young_daemon(span: Span, lived: float, named: list[str]) -> None:
    """So that its figures have the whole of the chart; and names on it stand apart."""
    ticks = Frame.of(span, NOW, NOW - lived).ticks()
    assert [text for _x, text in ticks] == named
    assert all(after - before > TICK_WIDTH for (before, _), (after, _) in pairwise(ticks))
    drawn = draw([], [Mark(NOW - lived + 2.0, MarkKind.START, generation=1)], span, NOW, 0.0, NOW - lived)
    assert drawn.count(">start<") == (len(charts.CHARTS) if "start" in named else 0)
    assert (">S<" in drawn) == ("start" not in named and lived - 2.0 < span.seconds)  # not twice


def test_labels_of_lines_do_not_lie_on_each_other() -> None:
    for bucket in (0, 9, sb.BUCKETS - 1):
        for figure in figures(step(895.0, {2: 5, 4: 1, 5: 1}, bucket)).values():
            labels = [text for text in figure.iter("text") if "label" in (text.get("class") or "")]
            heights = sorted(float(text.get("y") or 0) for text in labels)
            assert all(after - before >= 11.9 for before, after in pairwise(heights))
            assert all(TOP - 12 <= y <= TOP + PLOT_HEIGHT + 4 for y in heights)


@pytest.mark.parametrize(
    ("value", "top"),
    [
        (0.01, 0.01),
        (0.011, 0.02),
        (1.0, 1.0),
        (3.0, 4.0),
        (16.0, 20.0),
        (812.0, 1000.0),
        (3 << 20, 4 << 20),
        (3 << 30, 4 << 30),
    ],
)
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    assert nice(value) == pytest.approx(top)


def test_every_kind_of_mark_has_words() -> None:
    for kind in MarkKind:
        for failed in (False, True):
            assert describe(Mark(0.0, kind, failed, slot=1, generation=2, workers=3, seconds=4.0))
