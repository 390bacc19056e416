"""What is measured."""

from __future__ import annotations

from typing import Literal

from .base import ResponseBody
from .figures import Percentiles

MetricKind = Literal["counter", "gauge", "histogram"]


class MetricHistogram(ResponseBody):
    """Observations by size. `counts` are not cumulative: one for each of `bounds`, and one beyond the last."""

    bounds: list[float]  # ascending, inclusive
    counts: list[int]
    sum: float
    percentiles: Percentiles


class MetricSample(ResponseBody):
    """One time series, now."""

    labels: dict[str, str]
    value: MetricHistogram | float | None


class MetricFamily(ResponseBody):
    """A metric with all its series."""

    name: str
    kind: MetricKind
    help: str
    unit: str  # "seconds", "bytes"; "" for counts and ratios
    samples: list[MetricSample]


class MetricList(ResponseBody):
    """GET /v1/metrics: the families that are meant."""

    families: list[MetricFamily]
