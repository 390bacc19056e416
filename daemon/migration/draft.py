"""What an import has found so far: our keys with their values, and remarks about all that became no key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..config.addresses import SystemAccount
from ..config.environment import MASK, masked
from ..config.keys import KEYS
from ..config.kinds import Many, MismatchError, Path
from .setting import Convert, Fate, Given, Place, Setting, Unsuitable


class Heading(Enum):
    """Under which a remark stands, at the end of what is written."""

    TODO = "To do: what has no key, and what there is instead"
    HOOKS = "Hooks: as functions of a module of their own, which app.hooks names"
    NOTHING = "Nothing like it here yet"
    LEFT_OUT = "Better left out"
    BUILT_IN = "Built in: needs no setting"
    UNKNOWN = "Not understood"


HEADINGS = {
    Fate.SAME: Heading.TODO,
    Fate.EQUIVALENT: Heading.TODO,
    Fate.BUILT_IN: Heading.BUILT_IN,
    Fate.LEFT_OUT: Heading.LEFT_OUT,
    Fate.NOTHING: Heading.NOTHING,
}


@dataclass(slots=True)
class Line:
    """A key's value, with what it was called, its source where that was computed, and what else to know of it."""

    value: Any
    name: str = ""
    was: str = ""
    note: str = ""
    refused: str = ""  # why it is written as a comment


@dataclass(slots=True)
class Draft:
    """Filled by a server's reader; `finish` looks at the values with our own keys."""

    server: str  # "gunicorn"
    source: str  # "gunicorn.conf.py"
    place: Place
    lines: dict[str, Line] = field(default_factory=dict)
    env: dict[str, Line] = field(default_factory=dict)
    remarks: dict[Heading, list[tuple[str, str]]] = field(default_factory=dict)
    differences: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)  # names that stand somewhere in it

    # --- filling it ---
    def set(self, key: str, value: Any, given: Given | None = None, note: str = "") -> None:
        """A later value wins, as in all of these servers. One that another name gave is remarked on."""
        name = given.said or given.name if given else ""
        before = self.lines.get(key)
        if before and before.name and name and before.name != name and before.value != value:
            self.remark(Heading.TODO, before.name, f"{before.value}: {name} holds, which is the same here ({key})")
        self.lines[key] = Line(value, name, given.was if given else "", note)
        self.told |= {name, given.name} if given else set()

    def add(self, key: str, values: list[Any], given: Given | None = None, note: str = "") -> None:
        """To a key that is a list."""
        line = self.lines.setdefault(key, Line([]))
        line.value = [*line.value, *(value for value in values if value not in line.value)]
        line.note = line.note or note
        if given:
            names = [*filter(None, line.name.split(", ")), given.said or given.name]
            line.name, line.was = ", ".join(dict.fromkeys(names)), given.was or line.was
            self.told |= {given.name, names[-1]}

    def variable(self, name: str, value: str, was: str = "", note: str = "") -> None:
        """An environment variable for the application. A secret that was computed is not copied into a file."""
        if not name or "=" in name or "\0" in name + value:
            self.remark(Heading.TODO, "environment", f"{name}={value}: no variable of an environment")
            return
        if was and MASK in masked(name, value):
            said = f"{name} was taken from where this was imported ({was}): keep it in a file of app.env_files"
            self.remark(Heading.TODO, "environment", said)
            self.warn(f"{name} is not written: it looks like a secret, and was computed ({was})")
            return
        self.env[name] = Line(value, was=was, note=note)

    def remark(self, heading: Heading, name: str, text: str) -> None:
        self.told.add(name)
        entries = self.remarks.setdefault(heading, [])
        if (name, text) not in entries:
            entries.append((name, text))

    def differ(self, what: str, text: str) -> None:
        self.differences.append((what, text))

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def carry(self, given: Given, settings: Mapping[str, Setting]) -> None:
        """What the table says of a setting, and no more: what means something together is looked at elsewhere."""
        setting = settings.get(given.name)
        if setting is None:
            self.remark(Heading.UNKNOWN, given.name, f"no setting of {self.server} that is known here; left as it was")
            self.warn(f"{given.name}: no setting of {self.server} that is known here{_at(given)}")
            return
        if setting.convert is None or setting.key not in KEYS:
            text = setting.says + (f" (was {given.was})" if given.was else "")
            self.remark(HEADINGS[setting.fate], given.said or given.name, text)
            return
        value = self.converted(given, setting.convert)
        if value is None:
            return
        note = setting.says if setting.fate is Fate.EQUIVALENT else ""
        if isinstance(value, list) and isinstance(KEYS[setting.key].kind, Many):
            self.add(setting.key, value, given, note)
        else:
            self.set(setting.key, value, given, note)

    def converted(self, given: Given, convert: Convert) -> Any:
        """A value for a key, or None, which is remarked on."""
        try:
            return convert(given.value, self.place)
        except Unsuitable as reason:
            self.remark(Heading.TODO, given.said or given.name, f"not taken over: {reason}")
            return None

    # --- the end ---
    def finish(self) -> None:
        """Values that our keys do not accept become comments. What only this machine lacks is left, with a warning."""
        self._check()
        self._check_together()

    def _check_together(self) -> None:
        """One field may be no longer than all together, which other servers do not limit."""
        field, fields = (self.lines.get(key) for key in ("limits.field_size", "limits.fields_size"))
        if field is None or field.refused or not isinstance(field.value, int):
            return
        most = KEYS["limits.fields_size"].default if fields is None or fields.refused else fields.value
        if isinstance(most, int) and field.value > most:
            self.set("limits.fields_size", field.value, note="All fields together: no less than one of them.")

    def _check(self) -> None:
        for path, line in self.lines.items():
            kind = KEYS[path].kind
            try:
                kind.parse(tuple(line.value) if isinstance(line.value, list) else line.value, self.place.directory)
            except MismatchError as error:
                if isinstance(kind, (SystemAccount, Path)) and isinstance(line.value, str) and line.value.isprintable():
                    self.warn(f"{path} = {line.value!r}: on this machine it is not {error.expected}")
                    line.note = line.note or "not on the machine where this was imported"
                else:
                    expected = error.items[0].expected.partition(";")[0] if error.items else error.expected
                    line.refused = f"expected {expected}"
                    self.warn(f"{path} = {line.value!r} is written as a comment: expected {expected}")

    def relative_to(self, output: str) -> None:
        """Paths below the directory of the file that is written are written as they look from there: it can move."""
        base = os.path.dirname(os.path.abspath(output))
        for path, line in self.lines.items():
            if isinstance(KEYS[path].kind, Path) and isinstance(line.value, str):
                line.value = _relative(line.value, base)
            elif path in ("app.module", "app.factory") and str(line.value).startswith("/"):
                line.value = (
                    f"./{_relative(line.value, base)}" if _relative(line.value, base) != line.value else line.value
                )
            elif path in ("server.bind", "metrics.bind"):
                line.value = [_relative_bind(item, base) for item in line.value]


def _relative(path: str, base: str) -> str:
    inside = path == base or path.startswith(base.rstrip("/") + "/")
    return os.path.relpath(path, base) if inside and os.path.isabs(path) else path


def address_of(bind: str | dict[str, Any]) -> str:
    """Of an entry of server.bind, a text or a table."""
    return str(bind["address"]) if isinstance(bind, dict) else bind


def _relative_bind(bind: str | dict[str, Any], base: str) -> str | dict[str, Any]:
    relative = _relative_address(address_of(bind), base)
    if not isinstance(bind, dict):
        return relative
    named = (name for name in ("certificate", "key", "client_ca") if name in bind)
    files: dict[str, Any] = {name: _relative(bind[name], base) for name in named}
    return {**bind, "address": relative, **files}


def _relative_address(address: str, base: str) -> str:
    for before in ("unix:", "uwsgi:"):
        path = address.removeprefix(before)
        if path != address and path.startswith("/") and (below := _relative(path, base)) != path:
            return f"unix:{below}" if before == "unix:" else f"uwsgi:unix:{below}"
    return address


def _at(given: Given) -> str:
    return f" ({given.where})" if given.where else ""
