"""The benchmark's arithmetic: medians, ratios within rounds, verdicts."""

from __future__ import annotations

import pytest

from bench.figures import Target, Verdict, median, percentile, ratio, ratio_of_rounds, spread


def test_the_spread_is_median_lowest_and_highest() -> None:
    found = spread([3.0, 1.0, 10.0])
    assert found is not None
    assert (found.median, found.low, found.high, found.count) == (3.0, 1.0, 10.0, 3)


def test_nothing_has_no_median() -> None:
    assert spread([]) is None
    assert median([]) is None
    assert percentile([], 0.99) is None


@pytest.mark.parametrize(
    ("value", "reference", "expected"),
    [(65.0, 100.0, 0.65), (None, 1.0, None), (1.0, None, None), (1.0, 0.0, None)],
)
def test_a_ratio_needs_both_sides(value: float | None, reference: float | None, expected: float | None) -> None:
    assert ratio(value, reference) == expected


def test_ratios_are_taken_within_rounds() -> None:
    # the machine slowed down to a third in round 1: medians of each side would say 0.2 or 1.0
    ours = {0: 60.0, 1: 20.0, 2: 60.0}
    theirs = {0: 100.0, 1: 33.3, 2: 100.0}
    found = ratio_of_rounds(ours, theirs)
    assert found == pytest.approx(0.6, abs=0.001)


def test_rounds_that_one_side_lacks_do_not_count() -> None:
    assert ratio_of_rounds({0: 50.0, 1: 1.0}, {0: 100.0, 2: 1.0}) == 0.5
    assert ratio_of_rounds({0: 50.0}, {1: 100.0}) is None


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (Target(at_least=0.65), 0.65, Verdict.MET),
        (Target(at_least=0.65), 0.649, Verdict.MISSED),
        (Target(at_most=5.0, unit="ms"), 5.0, Verdict.MET),
        (Target(at_most=5.0, unit="ms"), 5.1, Verdict.MISSED),
        (Target(at_most=5.0), None, Verdict.VOID),
    ],
)
def test_a_target_gives_a_verdict(target: Target, value: float | None, verdict: Verdict) -> None:
    assert target.verdict(value) is verdict


def test_a_target_reads_as_people_write_it() -> None:
    assert str(Target(at_least=0.65)) == "≥ 0.65"
    assert str(Target(at_most=5.0, unit="ms")) == "≤ 5 ms"


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 0.999) == 100.0
    assert percentile(values, 0.0) == 1.0
    assert percentile([7.0], 0.01) == 7.0
