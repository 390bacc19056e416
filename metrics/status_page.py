"""The status page: one HTML file, filled with what the daemon knows, so that it can be read without JavaScript.

`status.html` says where each value goes: `data-v="path|format"` is its text, `data-mark="path"` an attribute for its
colour, `data-if="path"` hides what there is no value for, `data-rows="name"` takes the <template> of that id for each
item of a list, `data-html="name"` is markup of our own (charts). What is filled in is escaped; the page loads nothing,
and its Content-Security-Policy allows its own style and script by their hashes and nothing else. The script only asks
for the page again and puts what has changed into place: whatever is shown is written here.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

NOTHING = "–"
CONTENT_TYPE = "text/html; charset=utf-8"

# The module html brings a table of 2,200 entities, which the master has no use for: 320 KiB.
_REFERENCES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
_TAG = re.compile(r'<\w+\b[^>]*\bdata-(?:v|mark|if|rows|html)="[^>]*>')
_ATTRIBUTE = re.compile(r'\s*\bdata-(v|mark|if|rows|html)="([^"]*)"')
_TEMPLATE = re.compile(r'<template id="(\w+)">(.*?)</template>\n?', re.DOTALL)


# --- how values are written -----------------------------------------------------------------------------------------


def count(value: float) -> str:
    """ "1 234 567", with narrow no-break spaces."""
    return f"{round(value):,}".replace(",", "\u202f")


def rate(value: float) -> str:
    return count(value) if value >= 99.95 else f"{value:.1f}"


def _fixed(value: float, unit: str) -> str:
    return f"{value:.0f}\u00a0{unit}" if value >= 99.95 else f"{value:.1f}\u00a0{unit}"


def seconds(value: float) -> str:
    """A duration that was measured: "850 µs", "1.2 ms", "12.3 s"."""
    if value >= 99.95:
        return age(value)
    if value >= 0.9995:
        return _fixed(value, "s")
    return _fixed(1e3 * value, "ms") if value >= 0.0009995 else f"{1e6 * value:.0f}\u00a0µs"


def age(value: float) -> str:
    """How long something has been, in at most two units."""
    minutes, secs = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (secs, "s"))
    first = next((number for number, part in enumerate(parts) if part[0]), len(parts) - 1)
    shown = [part for place, part in enumerate(parts[first : first + 2]) if part[0] or not place]
    return " ".join(f"{number}\u00a0{unit}" for number, unit in shown)


def size(value: float) -> str:
    return _fixed(value / (1 << 30), "GiB") if value >= 1 << 30 else _fixed(value / (1 << 20), "MiB")


def part(value: float) -> str:
    """A share of few: "12.5 %", "<0.1 %", "0 %"."""
    if 0 < value < 0.001:
        return "<0.1\u00a0%"
    return f"{100 * value:.0f}\u00a0%" if value == 0 or value >= 0.9995 else f"{100 * value:.1f}\u00a0%"


FORMATS: Mapping[str, Callable[[Any], str]] = {
    "text": str,
    "count": count,
    "rate": rate,
    "percent": lambda value: f"{value:.0f}\u00a0%",
    "share": lambda value: f"{100 * value:.0f}\u00a0%",
    "part": part,
    "list": "; ".join,
    "seconds": seconds,
    "age": age,
    "window": lambda value: f"{value:.0f}\u00a0s",
    "size": size,
}


# --- the template ---------------------------------------------------------------------------------------------------


def _at(data: Any, path: str) -> Any:
    for name in path.split("."):
        data = data[name]
    return data


def _is_nothing(value: object) -> bool:
    """What hides its place; a 0 does not."""
    return value is None or value is False or value in ("", [])


def escaped(text: str) -> str:
    """For elements and for attributes in quotes (HTML Living Standard, "Restrictions on the contents …")."""
    return text.translate(_REFERENCES)


class _Tag(Struct, frozen=True):
    """A tag with places for values. The paths are "" where there is none."""

    opening: str  # without its ">"
    value: str
    format: str
    mark: str
    condition: str
    rows: str
    html: str

    def fill(self, data: Any, rows: Mapping[str, _Filled]) -> str:
        found = [self.opening]
        if self.mark:
            found.append(f' data-is="{escaped(str(_at(data, self.mark)))}"')
        if self.condition and _is_nothing(_at(data, self.condition)):
            found.append(" hidden")
        found.append(">")
        if self.value:
            value = _at(data, self.value)
            found.append(NOTHING if value is None else escaped(FORMATS[self.format](value)))
        if self.rows:
            items: Sequence[Any] = data[self.rows]
            found += [rows[self.rows].fill(item, {}) for item in items]
        if self.html:
            found.append(data[self.html])
        return "".join(found)


class _Filled:
    """A piece of HTML, in parts: as they are, or to be filled."""

    def __init__(self, text: str) -> None:
        self.parts: list[str | _Tag] = []
        end = 0
        for match in _TAG.finditer(text):
            named = dict(_ATTRIBUTE.findall(match[0]))
            path, _, format_ = named.get("v", "").partition("|")
            self.parts += [
                text[end : match.start()],
                _Tag(
                    _ATTRIBUTE.sub("", match[0][:-1]),
                    path,
                    format_ or "text",
                    named.get("mark", ""),
                    named.get("if", ""),
                    named.get("rows", ""),
                    named.get("html", ""),
                ),
            ]
            end = match.end()
        self.parts.append(text[end:])

    def fill(self, data: Any, rows: Mapping[str, _Filled]) -> str:
        return "".join([part if isinstance(part, str) else part.fill(data, rows) for part in self.parts])


class StatusPage:
    """The page, made of `source`: HTML as described above, with one <style> and one <script>."""

    def __init__(self, source: str) -> None:
        self._rows = {name: _Filled(row) for name, row in _TEMPLATE.findall(source)}
        self._page = _Filled(_TEMPLATE.sub("", source))
        self.policy = "; ".join(
            (
                "default-src 'none'",
                f"style-src '{_hash(source, 'style')}'",
                f"script-src '{_hash(source, 'script')}'",
                "connect-src 'self'",
                "img-src data:",  # its empty icon
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )

    def fill(self, data: Mapping[str, Any]) -> bytes:
        """The page with `data`, as `manager.port.public_page` has it."""
        return self._page.fill(data, self._rows).encode()


def _hash(source: str, element: str) -> str:
    """The hash source of an inline element (Content Security Policy Level 3, section 2.3.1)."""
    found = re.search(rf"<{element}>(.*?)</{element}>", source, re.DOTALL)
    assert found is not None, element
    return "sha256-" + base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()


# Read with the module: later the daemon may be a user to whom its own files are closed.
with open(os.path.join(os.path.dirname(__file__), "status.html"), encoding="utf-8") as _file:
    _SOURCE = _file.read()


def load() -> StatusPage:
    """The page of this package."""
    return StatusPage(_SOURCE)
