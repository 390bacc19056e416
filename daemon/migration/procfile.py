"""A Procfile (Heroku's, honcho's): lines of NAME: command."""

from __future__ import annotations

import re

from .trouble import ImportTrouble

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")


def processes(text: str, name: str = "Procfile") -> dict[str, str]:
    """The commands by their name. Raises ImportTrouble."""
    found: dict[str, str] = {}
    for number, given in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        line = given.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ImportTrouble(
                f"{name}, line {number}: {line[:60]!r}: expected NAME: COMMAND, as in web: gunicorn shop:app"
            )
        found[match[1]] = match[2]
    if not found:
        raise ImportTrouble(f"{name} names no process: expected a line such as web: gunicorn shop:app")
    return found


def chosen(found: dict[str, str], wanted: str, name: str = "Procfile") -> str:
    """The name of the process that serves: the one asked for, "web", or the only one. Raises ImportTrouble."""
    for choice in (wanted, "" if wanted else "web"):
        if choice in found:
            return choice
    if len(found) == 1 and not wanted:
        return next(iter(found))
    has = ", ".join(found)
    if wanted:
        raise ImportTrouble(f"{name} has no process {wanted!r}: it has {has}")
    raise ImportTrouble(f"{name} has no process web: name one of {has} with --select")
