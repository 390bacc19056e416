"""Metric families as bytes: Prometheus' text format 0.0.4 and OpenMetrics 1.0, chosen by a request's Accept.

Sources: "Text-based format" in Prometheus' documentation; the OpenMetrics specification, 1.0.0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from enum import Enum

from .escaping import escaped, escaped_help
from .families import Family, Histogram, Labels

END = b"# EOF\n"


class Format(Enum):
    """What can be written; the value is its Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def negotiate(accept: str | None) -> Format:
    """The format for a client's Accept (RFC 9110, section 12.5.1); the text format for whoever says nothing of it."""
    best, found = 0.0, Format.TEXT
    for item in (accept or "").split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        fields = dict(parameter.partition("=")[::2] for parameter in parameters)
        if name == "application/openmetrics-text" and fields.get("version", "1.0.0") == "1.0.0":
            format_ = Format.OPENMETRICS
        elif name == "text/plain" and fields.get("version", "0.0.4") == "0.0.4":
            format_ = Format.TEXT
        else:
            continue
        if (weight := _weight(fields.get("q", "1"))) > best:
            best, found = weight, format_
    return found


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def render(families: Iterable[Family], format_: Format, more: bytes = b"") -> bytes:
    """The families; `more` is text of the same format, without an end, that is put behind them."""
    lines: list[str] = []
    for family in families:
        _render_family(family, format_, lines)
    lines.append("")
    return "\n".join(lines).encode() + more + (END if format_ is Format.OPENMETRICS else b"")


def _render_family(family: Family, format_: Format, lines: list[str]) -> None:
    name, unit = family.name, family.unit
    title = name
    if format_ is Format.OPENMETRICS and family.kind == "counter":
        title = name.removesuffix("_total")
    if format_ is Format.OPENMETRICS:
        lines += (f"# TYPE {title} {family.kind}", f"# HELP {title} {escaped(family.help)}")
        if unit:
            lines.append(f"# UNIT {title} {unit}")
    else:
        lines += (f"# HELP {name} {escaped_help(family.help)}", f"# TYPE {name} {family.kind}")
    for sample in family.samples:
        value = sample.value
        if isinstance(value, Histogram):
            exemplars = _exemplars(value) if format_ is Format.OPENMETRICS and value.exemplars else {}
            _render_histogram(name, _labels(sample.labels), value, exemplars, lines)
        else:
            labels = _labels(sample.labels)
            lines.append(f"{name}{{{labels}}} {_number(value)}" if labels else f"{name} {_number(value)}")


def _exemplars(value: Histogram) -> dict[int, str]:
    """What stands behind the line of a bucket, by the bucket's number: the last one of each (OpenMetrics)."""
    found = {}
    for one in sorted(value.exemplars, key=lambda one: one.at):
        found[bisect_left(value.bounds, one.value)] = f" # {{{_labels(one.labels)}}} {one.value!r} {one.at:.3f}"
    return found


def _render_histogram(name: str, labels: str, value: Histogram, exemplars: Mapping[int, str], lines: list[str]) -> None:
    start = f"{name}_bucket{{{labels},le=" if labels else f"{name}_bucket{{le="
    count = 0
    for number, (bound, inside) in enumerate(zip(value.bounds, value.counts, strict=False)):
        count += inside
        lines.append(f'{start}"{bound}"}} {count}{exemplars.get(number, "")}')
    count += value.counts[-1]
    lines.append(f'{start}"+Inf"}} {count}{exemplars.get(len(value.bounds), "")}')
    labels = f"{{{labels}}}" if labels else ""
    lines.append(f"{name}_sum{labels} {_number(value.sum)}")
    lines.append(f"{name}_count{labels} {count}")


def _labels(labels: Labels) -> str:
    return ",".join([f'{name}="{escaped(value)}"' for name, value in labels])


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(value)
