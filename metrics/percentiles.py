"""Percentiles of histograms, as far as they are known: a histogram tells between which two of its bounds a value lies,
and no more. The one place where they are worked out and written, for every screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from msgspec import Struct

SHARES = (0.50, 0.95, 0.99)
NOTHING = "–"
UNITS = {
    "seconds": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
}


class Percentile(Struct, frozen=True):
    """What a share of all values does not exceed: `at_most` a bound, or it lies `over` the last one. None: unknown."""

    at_most: float | None = None
    over: float | None = None

    def written(self, unit: str) -> str:
        """ "≤ 5 s", "> 10 s", "–" without any value. `unit`: "seconds", "bytes", or another that is not written."""
        if self.at_most is not None:
            return f"≤ {_written(self.at_most, unit)}"
        return NOTHING if self.over is None else f"> {_written(self.over, unit)}"


def percentile(bounds: Sequence[float], counts: Sequence[int], share: float) -> Percentile:
    """What `share` (0 to 1) of all do not exceed. `counts` is one longer than `bounds`: the last counts what is beyond.

    A value on a bound counts below it (Prometheus' `le`).
    """
    total = sum(counts)
    if not total or not bounds:
        return Percentile()
    rank = share * total
    for bound, until in zip(bounds, accumulate(counts), strict=False):
        if until and until >= rank:
            return Percentile(at_most=bound)
    return Percentile(over=bounds[-1])


def _written(value: float, unit: str) -> str:
    for factor, name in UNITS.get(unit, ()):
        if value >= factor:
            return f"{value / factor:.4g} {name}"
    return f"{value:.4g}"
