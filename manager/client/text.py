"""How numbers, times and tables are written for people. Nothing printed can steer a terminal: see `clean`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

Style = Callable[[str], str]
NOTHING = "-"

_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def clean(text: str, *, lines: bool = False) -> str:
    """What came from a client or an application, with control characters written out: `\\x1b`.

    With `lines`, line ends and tabs stay.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)


def clean_json(document: str) -> str:
    """The same document, in which no character can steer a terminal: JSON's own escapes stand for those that could.

    Whoever writes JSON need not escape DEL, C1 (U+009B begins a control sequence) and the marks that turn the direction
    of writing.
    """
    if document.isprintable():
        return document
    return "".join(c if c.isprintable() or c in "\n\t" else json.dumps(c)[1:-1] for c in document)


def seconds(value: float | None) -> str:
    """A short duration, measured: "850 µs", "1.2 ms", "12.3 s"."""
    if value is None:
        return NOTHING
    if value >= 99.95:
        return age(value)
    value = max(0.0, value)  # in this order: -0.0 becomes 0.0
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        scaled = value * factor
        if scaled >= 0.9995 or unit == "µs":
            return f"{scaled:.0f} {unit}" if scaled >= 99.95 or unit == "µs" else f"{scaled:.1f} {unit}"
    raise AssertionError(value)


def age(value: float | None) -> str:
    """How long something has been, in at most two units: "42s", "3m20s", "5h12m", "12d"."""
    if value is None:
        return NOTHING
    minutes, secs = divmod(max(0, int(value)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (secs, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    first, *others = parts
    return f"{first[0]}{first[1]}" + "".join(f"{number}{unit}" for number, unit in others[:1] if number)


def size(value: int | None) -> str:
    """Bytes: "512 B", "34.2 MiB"."""
    if value is None:
        return NOTHING
    for factor, unit in _SIZES:
        if value >= factor:
            scaled = value / factor
            return f"{scaled:.0f} {unit}" if scaled >= 99.95 else f"{scaled:.1f} {unit}"
    return f"{value} B"


def rate(value: float | None) -> str:
    """Something a second: "0.4", "812"."""
    if value is None:
        return NOTHING
    return f"{value:.0f}" if value >= 99.95 or value == 0 else f"{value:.1f}"


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0f}%"


def share(value: float | None) -> str:
    """A part of a whole, 0 to 1: "12.5%", "<0.1%", "0%"."""
    if value is None:
        return NOTHING
    if 0 < value < 0.001:
        return "<0.1%"
    return f"{100 * value:.0f}%" if value == 0 or value >= 0.9995 else f"{100 * value:.1f}%"


def count(number: int, noun: str, plural: str = "") -> str:
    """ "1 worker", "2 workers"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def coded(code: str, message: str) -> str:
    """With its code before it, if it has one: "MW3012 out of memory"."""
    return f"{code} {message}" if code else message


def generation(number: int | None, revision: str | None) -> str:
    """ "7 (a1b2c3d)", or "7" if it is not known which code that is."""
    known = NOTHING if number is None else str(number)
    return f"{known} ({clean(revision)})" if revision else known


def connections(open_: int, sockets: int) -> str:
    """ "12", "12, and 3 WebSockets"."""
    return f"{open_}, and {count(sockets, 'WebSocket')}" if sockets else str(open_)


def ago(moment: datetime) -> str:
    """How long ago: "3m20s ago"."""
    return f"{age((datetime.now(UTC) - moment).total_seconds())} ago"


def clock(moment: datetime, *, date: bool = False) -> str:
    """A time of the day in the reader's zone, to the millisecond."""
    local = moment.astimezone()
    text = f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"
    return f"{local:%Y-%m-%d} {text}" if date else text


def cut(text: str, width: int) -> str:
    """No longer than `width`; an ellipsis stands for what is missing."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def terminal_width() -> int:
    return shutil.get_terminal_size().columns


def left_out(widths: Mapping[str, int], dispensable: Iterable[str], room: int) -> set[str]:
    """Which columns go so that the others fit into `room`: as many of `dispensable` as it takes, the first of it first.

    `widths`: of each column, with what lies between it and the next.
    """
    found: set[str] = set()
    for name in dispensable:
        if sum(columns for other, columns in widths.items() if other not in found) <= room:
            break
        found.add(name)
    return found


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: str = "",
    width: int | None = None,
    heading: Style = str,
    cell: Callable[[int, str, str], str] = lambda column, text, padded: padded,
) -> list[str]:
    """Lines of aligned columns, two blanks between them; the last is cut so that `width` is kept.

    `right` has an "r" for each column that is aligned to the right. `cell` may colour a padded cell.
    """
    texts = [list(header), *([clean(text) for text in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    if width is not None:
        others = sum(widths[:-1]) + 2 * (len(widths) - 1)
        room = max(len(header[-1]), width - others)
        for row in texts:
            row[-1] = cut(row[-1], room)
    lines = []
    for number, row in enumerate(texts):
        padded = []
        for column, text in enumerate(row):
            to_right = right[column : column + 1] == "r"
            last = column == len(row) - 1
            fitted = text.rjust(widths[column]) if to_right else text if last else text.ljust(widths[column])
            padded.append(fitted if number == 0 else cell(column, text, fitted))
        line = "  ".join(padded).rstrip()
        lines.append(heading(line) if number == 0 else line)
    return lines
