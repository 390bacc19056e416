"""`metrics` as people read it: one line a family, or a family's series with a column for each label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ... import messages
from .. import text
from ..options import Session

MOMENTS = ("_timestamp_seconds", "_start_time_seconds")  # seconds since 1970


def summary(families: Sequence[messages.MetricFamily], session: Session) -> list[str]:
    """What `metrics` prints: every family."""
    rows = [
        [family.name, family.kind, str(len(family.samples)), _only(family, session), family.help] for family in families
    ]
    return _table(("NAME", "KIND", "SERIES", "VALUE", "MEANING"), rows, "..rr.", session, cut=not session.wide)


def details(families: Sequence[messages.MetricFamily], session: Session) -> Iterator[str]:
    """What `metrics NAME` prints: the families that are meant, with every series."""
    for number, family in enumerate(families):
        if number:
            yield ""
        unit = f", {family.unit}" if family.unit else ""
        yield f"{session.styled(text.clean(family.name), bold=True)} ({family.kind}{unit})"
        yield text.clean(family.help)
        if not family.samples:
            yield "no series"
            continue
        labels = list(dict.fromkeys(name for sample in family.samples for name in sample.labels))
        values = ("COUNT", "MEAN", "P50", "P95", "P99") if family.kind == "histogram" else ("VALUE",)
        rows = [
            [*(sample.labels.get(name, text.NOTHING) for name in labels), *_values(family, sample, session)]
            for sample in family.samples
        ]
        header = (*(name.upper() for name in labels), *values)
        yield from _table(header, rows, "." * len(labels) + "r" * len(values), session)


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: str, session: Session, *, cut: bool = False
) -> list[str]:
    width = session.width() if cut else None
    return text.table(header, rows, right=right, width=width, heading=session.heading)


def _only(family: messages.MetricFamily, session: Session) -> str:
    """The value of a family that has one series without labels."""
    if len(family.samples) != 1 or family.samples[0].labels or family.kind == "histogram":
        return ""
    return _values(family, family.samples[0], session)[0]


def _values(family: messages.MetricFamily, sample: messages.MetricSample, session: Session) -> list[str]:
    value = sample.value
    if isinstance(value, messages.MetricHistogram):
        count = sum(value.counts)
        mean, known = value.sum / count if count else None, value.percentiles
        return [str(count), _written(family, mean, session), known.p50, known.p95, known.p99]
    return [_written(family, value, session)]


def _written(family: messages.MetricFamily, value: float | None, session: Session) -> str:
    """With its unit for people; with `-o wide` exactly, in the metric's own."""
    if value is None:
        return text.NOTHING
    if session.wide:
        return f"{value:.0f}" if value == int(value) else repr(value)
    if family.name.endswith(MOMENTS) and value:
        return text.clock(datetime.fromtimestamp(value, UTC), date=True)
    if family.unit == "seconds":
        return text.seconds(value) if value else "0 s"
    if family.unit == "bytes":
        return text.size(round(value))
    return f"{value:.0f}" if value == int(value) else f"{value:.4g}"
