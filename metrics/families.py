"""What a metric family is, and the declaration of every one that miniwsgi has: name, kind, labels, meaning.

The one place for names. `metrics.collector` fills the families, `metrics.exposition` writes them down,
docs/metrics.md is made from `DECLARED`. Names and units are Prometheus' and, for HTTP, OpenTelemetry's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]


class Exemplar(Struct, frozen=True):
    """One of the things that were measured: its labels, what was measured, and when, in seconds since the epoch."""

    labels: Labels
    value: float
    at: float


class Histogram(Struct, frozen=True):
    """`counts` are not cumulative: one for each of `bounds` (inclusive, ascending), and one beyond the last."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar, ...] = ()  # in any order; the last one of a bucket is shown


class Sample(Struct, frozen=True):
    """One time series' value."""

    labels: Labels
    value: float | Histogram


class Family(Struct, frozen=True):
    """A metric with all its series. `name` is as it is exposed: a counter's ends with _total."""

    name: str
    kind: Kind
    help: str
    unit: str  # Prometheus' base unit, which the name then has as suffix; "" for counts and ratios
    samples: list[Sample]


class Declaration(Struct, frozen=True):
    """A family without values. `series` says how many time series it can have at most, for people."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    series: str = "1"
    unit: str = ""

    def family(self, samples: Iterable[Sample]) -> Family:
        """The family with these series."""
        return Family(self.name, self.kind, self.help, self.unit, list(samples))

    def single(self, value: float | Histogram) -> Family:
        """The family with one series that has no labels."""
        return Family(self.name, self.kind, self.help, self.unit, [Sample((), value)])

    def by(self, values: Iterable[tuple[str, float | Histogram]]) -> Family:
        """The family with its only label's values."""
        (label,) = self.labels
        return self.family(Sample(((label, name),), value) for name, value in values)
