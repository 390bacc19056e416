"""A draft as a configuration file: the keys by section, then, as comments, all that became no key."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from ..config.keys import KEYS, SECTIONS
from ..config.kinds import quoted
from ..config.static_files import STATIC
from .draft import Draft, Heading, Line

WIDTH = 100


def written(draft: Draft, version: str) -> str:
    """The whole file."""
    return "".join(f"{line}\n" for line in _file(draft, version))


def _file(draft: Draft, version: str) -> Iterator[str]:
    yield from _comment(f"Made from {draft.source} ({draft.server}) by miniwsgi {version}.")
    yield from _comment("Look it through, to its end; then: miniwsgi check -c FILE")
    if static := draft.lines.get(STATIC.path):  # a key of no section comes before them all
        yield ""
        yield from _key(STATIC.path, static)
    for section in SECTIONS:
        lines = {path: line for path, line in draft.lines.items() if KEYS[path].section == section}
        if lines:
            yield from ("", f"[{section}]")
        for path in sorted(lines, key=list(KEYS).index):
            yield from _key(KEYS[path].name, lines[path])
        if section == "app" and draft.env:
            yield from ("", "[app.env]")
            for name, line in draft.env.items():
                yield from _key(name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name), line)
    for heading in Heading:
        if draft.remarks.get(heading):
            yield from ("", f"# --- {heading.value}")
            for name, text in draft.remarks[heading]:
                yield from _comment(f"{name}: {text}", "  ")
    if draft.differences:
        yield from ("", "# --- What will behave differently")
        for what, text in draft.differences:
            yield from _comment(f"{what}: {text}", "  ")


def _key(name: str, line: Line) -> Iterator[str]:
    if line.note:
        yield from _comment(line.note)
    text = f"{name} = {toml(line.value)}"
    said = [line.name] if line.name and line.name != name else []
    said += [f"was {line.was}"] if line.was else []
    said += [line.refused] if line.refused else []
    if line.refused:
        text = f"# {text}"
    yield f"{text}  # {_one_line(', '.join(said))}" if said else text


def _comment(text: str, hanging: str = "") -> Iterator[str]:
    """One line of text may be several of TOML. A control character would end the comment, or is none that TOML
    allows."""
    for part in text.split("\n"):
        yield from textwrap.wrap(
            _one_line(part),
            WIDTH,
            initial_indent="# ",
            subsequent_indent=f"# {hanging}",
            break_long_words=False,
            break_on_hyphens=False,
        ) or ["#"]


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)


def toml(value: Any) -> str:
    """A value as TOML (TOML 1.0: Boolean, Integer, Float, String, Array, Inline Table)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + " }"
    return quoted(str(value))
