"""The kinds of configuration values that are numbers: counts, sizes in bytes, durations in seconds.

As in `kinds`. A range is part of the kind; where "off" is accepted it is 0.
"""

from __future__ import annotations

import math
import re
from typing import Any

from .kinds import Kind, MismatchError, is_off

SIZES = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "k": 1024,
    "m": 1024**2,
    "g": 1024**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
DURATIONS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)


class Number(Kind[Any]):
    """What whole numbers, sizes and durations share: a range, and 0 or "off" below it."""

    def __init__(self, low: float, high: float, off: bool = False) -> None:
        self.low, self.high, self.off = low, high, off
        self.expected = f"{self.noun()} from {self.plain(low)} to {self.plain(high)}"
        if off:
            self.expected += ', or "off"'

    def accepts(self) -> str:
        off = ", or off" if self.off else ""
        return f"{self.plain(self.low)} to {self.plain(self.high)}{off}"

    def noun(self) -> str:
        raise NotImplementedError

    def plain(self, value: float) -> str:
        """The value as a person writes it, unquoted."""
        raise NotImplementedError

    def number(self, value: object) -> float:
        """The value before its range is checked. Raises MismatchError."""
        raise NotImplementedError

    def parse(self, value: object, base: str) -> Any:
        if self.off and is_off(value):
            value = 0
        elif isinstance(value, bool):
            raise MismatchError(self.expected)
        number = self.number(value)
        if not math.isfinite(number) or not (self.low <= number <= self.high or (self.off and number == 0)):
            raise MismatchError(self.expected)
        return number

    def from_text(self, text: str) -> object:
        text = text.strip()
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) else text

    def show(self, value: Any) -> str:
        if self.off and not value:
            return '"off"'
        text = self.plain(value)
        return f'"{text}"' if " " in text or text[-1].isalpha() else text


class Integer(Number):
    name = "number"

    def noun(self) -> str:
        return "a whole number"

    def plain(self, value: float) -> str:
        return str(int(value))

    def number(self, value: object) -> int:
        if not isinstance(value, int):
            raise MismatchError(self.expected)
        return value


class Size(Number):
    """Bytes: a number, or a text such as "100 MiB", "16 KiB", "1 GB"; K, M and G alone are powers of 1024."""

    name = "size"

    def noun(self) -> str:
        return 'a size (bytes, or as "16 KiB", "100 MB")'

    def plain(self, value: float) -> str:
        whole = int(value)
        for unit, factor in (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
            if whole and whole % factor == 0:
                return f"{whole // factor} {unit}"
        return str(whole)

    def number(self, value: object) -> int:
        if isinstance(value, int):
            return value
        match = _NUMBER_AND_UNIT.fullmatch(value) if isinstance(value, str) else None
        factor = SIZES.get(match[2].lower()) if match else None
        if not match or factor is None:
            raise MismatchError(self.expected)
        amount = float(match[1]) * factor if "." in match[1] else int(match[1][:20]) * factor
        if amount != int(amount):
            raise MismatchError(self.expected)
        return int(amount)


class Duration(Number):
    """Seconds: a number, or a text such as "500ms", "10s", "5m", "1h", "1d"."""

    name = "duration"

    def noun(self) -> str:
        return 'a duration (seconds, or as "500ms", "10s", "5m")'

    def plain(self, value: float) -> str:
        for unit, factor in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
            if value and value % factor == 0:
                return f"{int(value) // factor}{unit}"
        milliseconds = f"{value * 1000:g}"
        if "e" not in milliseconds and float(milliseconds) * DURATIONS["ms"] == value:
            return f"{milliseconds}ms" if value else "0"
        return repr(value)

    def number(self, value: object) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        match = _NUMBER_AND_UNIT.fullmatch(value) if isinstance(value, str) else None
        factor = DURATIONS.get(match[2].lower()) if match else None
        if not match or factor is None:
            raise MismatchError(self.expected)
        return float(match[1]) * factor

    def from_text(self, text: str) -> object:
        return text.strip()
