"""How figures are written in sentences."""

from __future__ import annotations


def seconds(value: float) -> str:
    """ "850 µs", "1.2 ms", "350 ms", "12.3 s"."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        scaled = value * factor
        if scaled >= 0.9995 or unit == "µs":
            return f"{scaled:.0f} {unit}" if scaled >= 99.95 or unit == "µs" else f"{scaled:.1f} {unit}"
    raise AssertionError(value)


def ago(value: float) -> str:
    """ "40 s ago", "12 min ago"."""
    return f"{value:.0f} s ago" if value < 100 else f"{value / 60:.0f} min ago"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def number(value: float) -> str:
    """A mean: "6", "6.3", "0.2"."""
    return f"{value:.0f}" if value >= 9.95 or abs(value - round(value)) < 0.05 else f"{value:.1f}"


def rate(value: float) -> str:
    """ "0.4 requests/s", "812 requests/s"."""
    return f"{number(value)} requests/s"


def inside(request: str) -> str:
    """ ", in GET /orders"; "" without a request."""
    return f", in {request}" if request else ""


def count(value: float, noun: str) -> str:
    """ "1 thread", "6.3 threads"."""
    said = number(value)
    return f"{said} {noun}{'' if said == '1' else 's'}"
