"""Mistakes in a configuration, as data: all of them, each with its key, value and what was expected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from miniwsgi.codes import Code

from .kinds import quoted

MAX_VALUE_CHARS = 80


class Note(NamedTuple):
    """What is no mistake, but should be known: one line."""

    code: Code
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class Mistake(Enum):
    """What kind of mistake it is; it decides the wording."""

    VALUE = "value"  # missing (value None) or not what was expected
    UNKNOWN_KEY = "unknown key"  # expected: a near miss, or ""
    UNKNOWN_SECTION = "unknown section"
    FILE = "file"  # the file as a whole: expected says what is wrong with it
    CONTRADICTION = "contradiction"  # with another value; expected: what would go with that
    RESTART = "restart"  # a change that a reload cannot make; expected: the present value


_CODES = {
    Mistake.VALUE: Code.WRONG_VALUE,
    Mistake.UNKNOWN_KEY: Code.UNKNOWN_KEY,
    Mistake.UNKNOWN_SECTION: Code.UNKNOWN_SECTION,
    Mistake.FILE: Code.CONFIG_FILE,
    Mistake.CONTRADICTION: Code.CONTRADICTION,
    Mistake.RESTART: Code.NEEDS_RESTART,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake; `str()` is one line."""

    key: str  # the key path, or ""
    value: object
    expected: str
    source: str  # a file (with line and column where known), a flag, an environment variable
    mistake: Mistake = Mistake.VALUE

    @property
    def code(self) -> Code:
        return _CODES[self.mistake]

    def __str__(self) -> str:
        source = f" ({self.source})" if self.source else ""
        hint = f": {self.expected}" if self.expected else ""
        value = "" if self.value is None else f" = {shown(self.value)}"
        match self.mistake:
            case Mistake.FILE:
                return f"{self.source}{hint}"
            case Mistake.UNKNOWN_KEY:
                return f"unknown key {self.key}{hint}{source}"
            case Mistake.UNKNOWN_SECTION:
                return f"unknown section [{self.key}]{hint}{source}"
            case Mistake.RESTART:
                return f"{self.key}{value}: needs a restart; it is {self.expected} now{source}"
        return f"{self.key}{value}: expected {self.expected}{source}"


def shown(value: object) -> str:
    text = quoted(value) if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


class ConfigError(Exception):
    """The configuration has mistakes."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)
