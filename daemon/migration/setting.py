"""What a table says of another server's setting, and what a reader says of one that it has found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Fate(Enum):
    """What becomes of a setting."""

    SAME = "same"  # a key of ours means the same
    EQUIVALENT = "equivalent"  # something of ours does what it was for
    BUILT_IN = "built in"  # it needs no setting
    LEFT_OUT = "by intention not"
    NOTHING = "nothing yet"


class Takes(Enum):
    """What follows a flag on the other server's command line."""

    VALUE = "one value"
    MANY = "one value; it may be repeated"
    ON = "nothing: it is true"
    OFF = "nothing: it is false"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the other server was started: its relative paths begin there."""

    directory: str

    def path(self, text: str) -> str:
        return os.path.normpath(os.path.join(self.directory, os.path.expanduser(text)))


class Unsuitable(Exception):
    """A value that has no counterpart; the text says why, and what to do."""


Convert = Callable[[Any, Place], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """A row: a setting's name, what becomes of it, in which of our keys, and the sentence about it.

    `convert` makes the TOML value of the first key; where it is None, and with several keys, the value is looked at
    together with others. A row whose keys do not exist yet is told as if it had none.
    """

    name: str
    fate: Fate
    says: str
    key: str = ""
    convert: Convert | None = None
    flags: tuple[str, ...] = ()
    takes: Takes = Takes.VALUE
    group: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """A setting that was found. `was` is its source where that varies, with what it depends on; `parts` that of each
    item
    of a list; `said` the name that it was given by."""

    name: str
    value: Any
    where: str = ""  # "line 12", "-w", "$GUNICORN_CMD_ARGS"
    was: str = ""
    parts: tuple[str, ...] = ()
    said: str = ""


def table(*groups: tuple[str, Iterable[Setting]]) -> Mapping[str, Setting]:
    """Rows by name, each with its group. Raises ValueError for a name that two rows have."""
    from dataclasses import replace

    rows: dict[str, Setting] = {}
    for group, settings in groups:
        for setting in settings:
            if setting.name in rows:
                raise ValueError(f"two rows for {setting.name}")
            rows[setting.name] = replace(setting, group=group)
    return rows


# --- rows, short to write: flags, and other names, may stand in one text ----------------------------------------


def same(name: str, key: str, convert: Convert, says: str = "", *flags: str, takes: Takes = Takes.VALUE) -> Setting:
    return Setting(name, Fate.SAME, says, key, convert, _words(flags), takes)


def like(name: str, key: str, convert: Convert | None, says: str, *flags: str, takes: Takes = Takes.VALUE) -> Setting:
    return Setting(name, Fate.EQUIVALENT, says, key, convert, _words(flags), takes)


def built_in(name: str, says: str, *flags: str, takes: Takes = Takes.VALUE) -> Setting:
    return Setting(name, Fate.BUILT_IN, says, "", None, _words(flags), takes)


def left_out(name: str, says: str, *flags: str, takes: Takes = Takes.VALUE) -> Setting:
    return Setting(name, Fate.LEFT_OUT, says, "", None, _words(flags), takes)


def nothing(name: str, says: str, *flags: str, takes: Takes = Takes.VALUE) -> Setting:
    return Setting(name, Fate.NOTHING, says, "", None, _words(flags), takes)


def _words(flags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(" ".join(flags).split())
