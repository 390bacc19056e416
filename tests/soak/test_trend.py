"""The slope test: a leak is found under noise, and what merely comes and goes is not taken for one."""

from __future__ import annotations

import math
import random

import pytest

from .trend import spans, trend

MINUTES = 30


def series(
    *, leak: float = 0.0, noise: float = 0.0, saw: float = 0.0, period: float = 47.0, seed: int = 1
) -> list[tuple[float, float]]:
    """Samples once a second: `leak` MiB an hour, noise of that deviation, a saw tooth of that height."""
    chance = random.Random(seed)
    return [
        (
            5000.0 + second,
            40 + leak * second / 3600 + chance.gauss(0, noise) + saw * (second % period) / period,
        )
        for second in range(MINUTES * 60)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_is_found_under_noise_larger_than_itself(seed: int) -> None:
    found = trend(series(leak=6, noise=4, seed=seed), allowed=1.0)
    assert found.grows, found
    assert found.low < 3.0 < found.high, "what has leaked lies in the interval"


@pytest.mark.parametrize("seed", range(5))
def test_a_flat_noisy_series_is_flat(seed: int) -> None:
    found = trend(series(noise=6, seed=seed), allowed=1.0)
    assert not found.grows, found
    assert found.low < 0 < found.high


def test_what_comes_and_goes_is_flat() -> None:
    assert not trend(series(saw=30, noise=1), allowed=1.0).grows
    assert not trend(series(saw=30, noise=1, period=400), allowed=1.0).grows


def test_a_saw_tooth_that_leaks_is_found() -> None:
    assert trend(series(leak=6, saw=10, noise=1), allowed=1.0).grows


def test_a_growth_that_is_sure_but_small_is_allowed() -> None:
    found = trend(series(leak=1, noise=0.01), allowed=1.0)
    assert found.low > 0.4
    assert not found.grows


def test_bursts_do_not_matter() -> None:
    samples = series(noise=0.5)
    for at in range(1500, 1800, 7):
        samples[at] = (samples[at][0], 900.0)
    assert not trend(samples, allowed=1.0).grows


def test_what_shrinks_does_not_grow() -> None:
    found = trend(series(leak=-20, noise=1), allowed=1.0)
    assert found.growth == pytest.approx(-10, abs=0.5)
    assert not found.grows


def test_a_constant_is_flat_to_the_last_digit() -> None:
    found = trend(series(), allowed=0.0)
    assert (found.growth, found.low, found.high) == (0, 0, 0)
    assert not found.grows
    assert str(found).startswith("flat: +0.00")


def test_whole_numbers_that_rise_by_one_in_a_run_are_seen() -> None:
    samples = [(at, float(20 + (at - 5000) // 300)) for at, _ in series()]
    assert trend(samples, allowed=2.0).grows


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        trend(series()[:5], allowed=1.0)
    with pytest.raises(ValueError, match="too few"):
        trend([], allowed=1.0)


def test_spans_are_medians_and_gaps_are_left_out() -> None:
    samples = [(0.0, 1.0), (1.0, 9.0), (2.0, 2.0), (99.0, 5.0), (100.0, 7.0)]
    assert spans(samples, 10) == [(5.0, 2.0), (95.0, 6.0)]
    assert all(math.isfinite(at) for at, _ in spans([(3.0, 1.0), (3.0, 2.0)], 10))
