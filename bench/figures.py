"""Arithmetic on what was measured: medians, ratios to a peer of the same run, verdicts. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

NOT_MEASURED = "not measured"  # why a target is void that nobody asked about


class Verdict(StrEnum):
    """Whether a target was met."""

    MET = "met"
    MISSED = "missed"
    NONE = ""  # no target, for information
    VOID = "void"  # errors, or nothing to compare with


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements of one thing."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is held to: at least or at most `bound`, in the unit of the figure (or as a ratio)."""

    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    def verdict(self, value: float | None) -> Verdict:
        """MET or MISSED; VOID without a value."""
        if value is None:
            return Verdict.VOID
        low = self.at_least is None or value >= self.at_least
        high = self.at_most is None or value <= self.at_most
        return Verdict.MET if low and high else Verdict.MISSED

    def __str__(self) -> str:
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {bound:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str  # which measurement
    server: str
    figure: str  # what was measured, for people
    value: float | None  # the median, None when void
    target: str = ""
    ratio: float | None = None  # to `peer`
    peer: str = ""
    theirs: float | None = None  # the peer's median
    verdict: Verdict = Verdict.NONE
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)


def spread(values: Iterable[float]) -> Spread | None:
    """Median, lowest and highest; None of nothing."""
    found = sorted(values)
    return Spread(statistics.median(found), found[0], found[-1], len(found)) if found else None


def median(values: Iterable[float]) -> float | None:
    """The median; None of nothing."""
    found = spread(values)
    return found.median if found else None


def ratio(value: float | None, reference: float | None) -> float | None:
    """value / reference; None when either is missing or the reference is nothing."""
    if value is None or not reference:
        return None
    return value / reference


def ratio_of_rounds(values: Mapping[int, float], references: Mapping[int, float]) -> float | None:
    """The median of the ratios round by round: a machine that slows down between rounds does not count.

    Rounds that only one side has are left out; None when no round is shared.
    """
    shared = values.keys() & references.keys()
    return median(values[number] / references[number] for number in shared if references[number])


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of *sorted* values; `share` in 0…1. None of nothing."""
    if not values:
        return None
    rank = max(1, -int(-share * len(values) // 1))  # ceiling, and at least the first
    return values[min(rank, len(values)) - 1]
