"""Metric families as the control API tells them: found by name, and as messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from miniwsgi.metrics.families import Family, Histogram
from miniwsgi.metrics.percentiles import SHARES, percentile

from .. import messages as ms
from ..http.exchange import HttpRefusal

NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,199}")  # "Metric names and labels" in Prometheus' data model
NEAR = 3  # names that are proposed


def metric_name(text: str) -> str:
    """A metric's name, or the beginning of one. Raises ValueError."""
    if not NAME.fullmatch(text):
        raise ValueError(text)
    return text


def find(families: Sequence[Family], name: str) -> list[Family]:
    """The family of that name (also as one of a histogram's series), else those whose names begin so; "": all.

    Raises HttpRefusal (404) that names what comes near.
    """
    names = {name, re.sub(r"_(bucket|sum|count)$", "", name)}
    found = [family for family in families if family.name in names]
    found = found or [family for family in families if family.name.startswith(name)]
    if found or not name:
        return found
    raise HttpRefusal(404, f"there is no metric {name}{_near(families, name)}")


def _near(families: Sequence[Family], name: str) -> str:
    from difflib import get_close_matches  # rare; the standard library is the same after an upgrade of miniwsgi

    known = [family.name for family in families]
    close = get_close_matches(name, known, NEAR, 0.7)
    close += [other for other in known if name in other and other not in close][: NEAR - len(close)]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def as_message(family: Family) -> ms.MetricFamily:
    """As the control API says it."""
    samples = [ms.MetricSample(dict(sample.labels), _value(sample.value, family.unit)) for sample in family.samples]
    return ms.MetricFamily(family.name, family.kind, family.help, family.unit, samples)


def _value(value: float | Histogram, unit: str) -> float | ms.MetricHistogram:
    if isinstance(value, Histogram):
        shown = (percentile(value.bounds, value.counts, share).written(unit) for share in SHARES)
        return ms.MetricHistogram(list(value.bounds), list(value.counts), value.sum, ms.Percentiles(*shown))
    return float(value)
