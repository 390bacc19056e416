"""Percentiles say what a histogram knows, and no more."""

from __future__ import annotations

import pytest
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics.percentiles import SHARES, percentile
from miniwsgi.metrics.scoreboard_reading import BOUNDS_SECONDS


def histogram(*milliseconds: float) -> list[int]:
    found = [0] * sb.BUCKETS
    for value in milliseconds:
        found[sb.bucket(int(value * 1e6))] += 1
    return found


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        ([3100], ["≤ 3.5 s"] * 3),  # not what interpolation makes of it
        ([0.3] * 50 + [3] * 45 + [80] * 4 + [4000], ["≤ 300 µs", "≤ 3 ms", "≤ 90 ms"]),
        ([2.5], ["≤ 2.5 ms"] * 3),  # a value on a bound is no higher than it
        ([60_001], ["> 60 s"] * 3),
        ([1] * 98 + [90_000] * 2, ["≤ 1 ms", "≤ 1 ms", "> 60 s"]),
        ([], ["–", "–", "–"]),
    ],
)
def test_a_percentile_is_a_bound_that_so_many_do_not_exceed(milliseconds: list[float], said: list[str]) -> None:
    found = histogram(*milliseconds)
    assert [percentile(BOUNDS_SECONDS, found, share).written("seconds") for share in SHARES] == said


def test_what_is_said_is_so_for_every_share() -> None:
    values = [value / 3 for value in range(1, 40_000, 71)]
    found = histogram(*values)
    for share in range(1, 101):
        known = percentile(BOUNDS_SECONDS, found, share / 100)
        value = sorted(values)[-(-share * len(values) // 100) - 1] / 1000
        assert known.at_most is None or value <= known.at_most, share
        assert known.over is None or value > known.over, share


@pytest.mark.parametrize(
    ("unit", "bounds", "said"),
    [
        ("bytes", [256.0, 1024.0], "≤ 1 KiB"),
        ("bytes", [float(1 << 30)], "≤ 1 GiB"),
        ("seconds", [0.075], "≤ 75 ms"),
        ("", [0.1, 1.0], "≤ 1"),
    ],
)
def test_bounds_are_written_in_their_unit(unit: str, bounds: list[float], said: str) -> None:
    counts = [0] * (len(bounds) - 1) + [1, 0]
    assert percentile(bounds, counts, 0.5).written(unit) == said
