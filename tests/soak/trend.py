"""Whether a series of samples grows: Theil and Sen's slope, with the interval in which it lies.

The samples of equal spans of time are put together by their median, which takes bursts away; the slope is the median
of the slopes of all pairs of these, so that outliers do not move it. A series grows if the *lower* end of the interval
(99 %, by Kendall's statistic; Sen 1968) exceeds what is allowed over the whole time: noise alone does not fail a run,
however large it is, and neither does a growth that is sure but smaller than anything that matters.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

SPANS = 40
SURE = 2.576  # standard deviations: 99 %, two-sided
ENOUGH = 8  # samples that are told apart; with fewer nothing can be said


@dataclass(frozen=True, slots=True)
class Trend:
    """By how much a series has grown from begin to end of its time, in its own unit."""

    growth: float
    low: float  # it has grown at least so much
    high: float  # and at most so much
    allowed: float
    median: float

    @property
    def grows(self) -> bool:
        return self.low > self.allowed

    def __str__(self) -> str:
        verdict = "GROWS" if self.grows else "flat"
        return f"{verdict}: {self.growth:+.2f} ({self.low:+.2f} to {self.high:+.2f}, allowed {self.allowed:g})"


def trend(samples: Sequence[tuple[float, float]], allowed: float) -> Trend:
    """The growth of (seconds, value) pairs, in time order. Raises ValueError if they are too few."""
    points = spans(samples)
    if len(points) < ENOUGH:
        raise ValueError(f"{len(points)} samples are too few to tell a growth")
    slopes = sorted((later[1] - sooner[1]) / (later[0] - sooner[0]) for sooner, later in combinations(points, 2))
    count = len(points)
    spread = SURE * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    lower = max(0, int((len(slopes) - spread) / 2))
    upper = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    seconds = samples[-1][0] - samples[0][0]
    return Trend(
        statistics.median(slopes) * seconds,
        slopes[lower] * seconds,
        slopes[upper] * seconds,
        allowed,
        statistics.median(value for _, value in points),
    )


def spans(
    samples: Sequence[tuple[float, float]],
    count: int = SPANS,
    of: Callable[[Sequence[float]], float] = statistics.median,
) -> list[tuple[float, float]]:
    """The medians of equal spans of time, at the middle of each; spans without samples are left out."""
    if not samples:
        return []
    begin, end = samples[0][0], samples[-1][0]
    width = (end - begin) / count or 1.0
    held: dict[int, list[float]] = {}
    for at, value in samples:
        held.setdefault(min(count - 1, int((at - begin) / width)), []).append(value)
    return [(begin + (number + 0.5) * width, of(values)) for number, values in sorted(held.items())]
