"""Reading uWSGI's configuration files, as uWSGI does: .ini, .yaml, .xml, .json, and those that they include."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from ..asked import Asked
from ..conversions import is_everywhere
from ..draft import Draft, Heading
from ..setting import Given, Place
from ..trouble import ImportTrouble
from . import together, variables
from .table import found

INCLUDES = ("ini", "include", "inherit", "yaml", "xml", "json")
MOST_INCLUDES = 20
LOG_FORMATS = ("log-format", "logformat")  # their %(…) are not ours to replace


@dataclass(frozen=True, slots=True)
class Option:
    """A line of a file: name, value, where it stands, and the letters after % that hold there."""

    name: str
    value: str
    where: str
    letters: Mapping[str, str]


def draft(path: str, text: str, asked: Asked, section: str = "") -> Draft:
    """The draft that a file makes. Raises ImportTrouble."""
    made = Draft("uWSGI", os.path.basename(path), Place(asked.directory))
    fill(made, read(path, text, section or "uwsgi"), asked)
    return made


def read(path: str, text: str, section: str = "uwsgi", included: int = 0) -> list[Option]:
    """The options of a section, with those of included files in their place. Raises ImportTrouble."""
    if included > MOST_INCLUDES:
        raise ImportTrouble(f"{os.path.basename(path)}: files that include each other")
    options: list[Option] = []
    letters = variables.magic(path, section)
    reader = READERS.get(os.path.splitext(path)[1].lower(), _ini)
    for name, value, where in reader(path, text, section):
        if name not in INCLUDES:
            options.append(Option(name, value, where, letters))
            continue
        known = {option.name: option.value for option in options}
        file, _, other = variables.replaced(value, known, letters, os.environ).text.partition(":")
        target = os.path.join(os.path.dirname(path), file) if file else path
        try:
            with open(target, encoding="utf-8", errors="replace") as opened:
                content = opened.read()
        except OSError as error:
            raise ImportTrouble(f"{where}: {name} = {value}: {error.strerror}") from None
        options += read(target, content, other or "uwsgi", included + 1)
    return options


# --- files --------------------------------------------------------------------------------------------
Lines = Iterator[tuple[str, str, str]]


def _ini(path: str, text: str, section: str) -> Lines:
    """No continued lines, no comments behind values: uWSGI knows neither."""
    name = os.path.basename(path)
    sections: list[str] = []
    for number, given in enumerate(text.splitlines(), 1):
        line = given.strip()
        if not line or line[0] in ";#":
            continue
        if line.startswith("["):
            if not line.endswith("]"):
                raise ImportTrouble(f"{name}, line {number}: {line[:60]!r}: expected a section, as in [uwsgi]")
            sections.append(line[1:-1])
        elif sections[-1:] == [section]:
            key, _, value = line.partition("=")
            yield key.strip(), value.strip(), f"{name}, line {number}"
    if section not in sections:
        has = ", ".join(f"[{one}]" for one in sections)
        what = f"it has {has}: name one with --select" if sections else "uWSGI would read nothing of it"
        raise ImportTrouble(f"{name} has no section [{section}]: {what}")


def _yaml(path: str, text: str, section: str) -> Lines:
    """As uWSGI's own reader: below `uwsgi:`, a line is NAME: VALUE, or an item of the list above."""
    name = os.path.basename(path)
    inside, last, seen = False, "", False
    for number, given in enumerate(text.splitlines(), 1):
        line = given.strip()
        if not line or line.startswith(("#", "---", "%")):
            continue
        if not given[0].isspace() and not line.startswith("-"):
            inside = line.rstrip() == f"{section}:"
            seen = seen or inside
        elif inside and line.startswith("- "):
            yield last, _unquoted(line[2:]), f"{name}, line {number}"
        elif inside:
            key, colon, value = line.partition(":")
            if not colon:
                raise ImportTrouble(f"{name}, line {number}: {line[:60]!r}: expected NAME: VALUE")
            last = key.strip()
            if value.strip():
                yield last, _unquoted(value), f"{name}, line {number}"
    if not seen:
        raise ImportTrouble(f"{name} has no {section}: with options below it")


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _json(path: str, text: str, section: str) -> Lines:
    name = os.path.basename(path)
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ImportTrouble(f"{name}: it is not JSON: {error}") from None
    options = data.get(section) if isinstance(data, dict) else None
    if not isinstance(options, dict):
        raise ImportTrouble(f'{name} has no "{section}": with an object of options')
    for key, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            yield key, _text(item), name


def _xml(path: str, text: str, section: str) -> Lines:
    name = os.path.basename(path)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - the operator's own file; it is what he serves with
    except ElementTree.ParseError as error:
        raise ImportTrouble(f"{name}: it is not XML: {error}") from None
    options = root if root.tag == section else root.find(section)
    if options is None:
        raise ImportTrouble(f"{name} has no <{section}> with options in it")
    for element in options:
        yield element.tag, (element.text or "true").strip(), name


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


READERS: Mapping[str, Callable[[str, str, str], Lines]] = {".yaml": _yaml, ".yml": _yaml, ".json": _json, ".xml": _xml}


# --- what they say ------------------------------------------------------------------------------------
def fill(made: Draft, options: list[Option], asked: Asked) -> None:
    """Replace what stands for something else, leave out what does not hold, and fill the draft."""
    known: dict[str, str] = {}
    for option in options:
        if option.name in ("set", "set-ph", "set-placeholder"):
            name, _, value = option.value.partition("=")
            known[name.strip()] = value.strip()
        else:
            known[option.name] = option.value
    given = [
        one
        for option, word in _holding(options, known, asked, made)
        if (one := _given(option, {**known, "_": word}, asked, made)) is not None
    ]
    together.fill(made, given)


def _given(option: Option, known: Mapping[str, str], asked: Asked, made: Draft) -> Given | None:
    setting = found(option.name)
    if setting is None:
        used = any(f"%({option.name})" in value for value in known.values())
        if not used and option.name not in ("set", "set-ph", "set-placeholder"):
            made.remark(Heading.UNKNOWN, option.name, f"{option.value} ({option.where}): not among the usual options")
            made.warn(f"{option.name} ({option.where}): not among the options of uWSGI that are known here")
        return None
    if option.name in LOG_FORMATS:
        return Given(setting.name, option.value, option.where, said=option.name)
    if setting.name in ("http", "http-socket", "socket") and "$(PORT)" in option.value:
        if not is_everywhere(option.value):
            text = f"{option.value}: write it with its port; $PORT alone, which is obeyed, listens on all addresses"
            made.remark(Heading.TODO, option.name, text)
            made.warn(f"{option.name} {option.value} is left out: $PORT alone listens on all addresses")
            return None
        text = f"{option.value}: $PORT is obeyed by itself, where server.bind is not set"
        made.remark(Heading.BUILT_IN, option.name, text)
        return None
    done = variables.replaced(option.value, known, option.letters, asked.environ)
    if done.missing:
        missing = ", ".join(done.missing)
        made.remark(Heading.TODO, option.name, f"{option.value} ({option.where}): {missing} was not known")
        made.warn(f"{option.name} is left out: {missing} is not known here ({option.where})")
        return None
    return Given(setting.name, done.text, option.where, done.was, said=option.name)


def _holding(
    options: list[Option], known: Mapping[str, str], asked: Asked, made: Draft
) -> Iterator[tuple[Option, str]]:
    """Options whose conditions hold, each with the word of the loop that it is in."""
    holds: list[bool] = []
    tested: list[str] = []  # what %(_) is in a condition
    words, body = [""], list[Option]()
    looping = False
    for option in options:
        if option.name in ("endif", "end-if"):
            holds, tested = holds[:-1], tested[:-1]
        elif option.name.startswith("if-"):
            truth, word = _condition(option, known, asked, made)
            holds.append(truth)
            tested.append(word)
        elif option.name == "for":
            looping, words = True, variables.replaced(option.value, known, option.letters, asked.environ).text.split()
        elif option.name in ("endfor", "end-for"):
            yield from ((one, word) for word in words for one in body)
            looping, words, body = False, [""], []
        elif option.name.startswith("for-"):
            made.warn(f"{option.name} = {option.value} ({option.where}) is not understood: what is in it is left out")
            looping, words = True, []
        elif all(holds):
            if looping:
                body.append(option)
            else:
                yield option, tested[-1] if tested else ""


def _condition(option: Option, known: Mapping[str, str], asked: Asked, made: Draft) -> tuple[bool, str]:
    """Whether it holds, and what it has tested: a path, or the variable's value."""
    kind = option.name.removeprefix("if-").removeprefix("not-")
    value = variables.replaced(option.value, known, option.letters, asked.environ).text
    path = os.path.join(asked.directory, value)
    if kind == "env":
        name, equals, wanted = value.partition("=")
        truth = name in asked.environ and (not equals or asked.environ[name] == wanted)
    elif kind in ("exists", "file", "dir"):
        truth = {"exists": os.path.exists, "file": os.path.isfile, "dir": os.path.isdir}[kind](path)
    else:
        made.warn(f"{option.name} = {option.value} ({option.where}) is not understood: what is in it is left out")
        return False, ""
    truth = truth != option.name.startswith("if-not-")
    said = (
        "held where this was imported" if truth else "did not hold where this was imported: what is in it is left out"
    )
    made.remark(Heading.TODO, f"{option.name} = {option.value} ({option.where})", said)
    return truth, asked.environ.get(value.partition("=")[0], value) if kind == "env" else value
