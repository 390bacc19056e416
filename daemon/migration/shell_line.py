"""A command as a Procfile, a Dockerfile or a unit has it: what is run, with which variables, and what surrounds it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .trouble import ImportTrouble

SERVERS = ("gunicorn", "uwsgi")
PROGRAMS = {"gunicorn.app.wsgiapp": "gunicorn"}  # after -m
OTHERS = {
    "uvicorn": "it serves ASGI; miniwsgi serves WSGI",
    "hypercorn": "it serves ASGI; miniwsgi serves WSGI",
    "daphne": "it serves ASGI; miniwsgi serves WSGI",
    "waitress-serve": "its options are few: miniwsgi serve MODULE:CALLABLE --bind … --threads …",
    "flask": "a development server: miniwsgi serve MODULE:app --reload-on-change",
    "granian": "its options are much like ours: miniwsgi serve --help",
    "miniwsgi": "it is what would be imported to",
}
NAMELESS = {"exec", "env", "nohup", "command", "time"}  # they change nothing of what is imported
SHELLS = {"sh", "bash", "dash", "ash", "zsh"}
OPERATORS = {"&&", "||", ";", "|", "&"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?[-=]([^{}]*))?\})")


@dataclass(frozen=True, slots=True)
class Command:
    """`program` is gunicorn or uwsgi; `around` are words before it, `others` commands beside it."""

    program: str
    arguments: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    around: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    path: str = ""  # as the program was named
    directory: str = ""  # that of `cd`, before it


def command(words: list[str]) -> Command:
    """From words as a shell leaves them. Raises ImportTrouble if no server that is known is run."""
    others: list[str] = []
    found: Command | None = None
    directory = ""
    for part in _parts(words):
        one = _simple(part)
        if found is None and len(part) == 2 and part[0] == "cd":
            directory = os.path.join(directory, part[1])
        elif one is not None and found is None:
            found = one
        elif part:
            others.append(shlex.join(part))
    if found is None:
        raise ImportTrouble(_not_known(words))
    return replace(found, others=(*found.others, *others), directory=os.path.join(directory, found.directory))


def line(text: str) -> Command:
    """The same from a line of text. Raises ImportTrouble."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return command(list(lexer))
    except ValueError as error:
        raise ImportTrouble(f"{text!r}: {str(error)[:1].lower()}{str(error)[1:]}") from None


def _parts(words: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word in OPERATORS:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _simple(words: list[str]) -> Command | None:
    """One command: assignments, wrappers, the server, its arguments; or a shell that is given such a command."""
    if text := _for_a_shell(words):
        return line(text)
    for index, word in enumerate(words):
        name = PROGRAMS.get(os.path.basename(word), os.path.basename(word))
        after_an_option = words[index - 1 : index] and words[index - 1].startswith("-")
        if name not in SERVERS or (after_an_option and words[index - 1] not in ("-m", "--")):
            continue
        before, path = words[:index], word
        if before[-1:] == ["-m"]:
            pythons = [at for at, one in enumerate(before) if os.path.basename(one).startswith("python")]
            before = before[: pythons[-1]] if pythons else before[:-1]
            path = words[pythons[-1]] if pythons else word
        variables = tuple(
            (item.partition("=")[0], item.partition("=")[2]) for item in before if _ASSIGNMENT.match(item)
        )
        around = tuple(item for item in before if not _ASSIGNMENT.match(item) and item not in NAMELESS)
        return Command(name, tuple(words[index + 1 :]), variables, around, (), path)
    return None


def _for_a_shell(words: list[str]) -> str:
    """The text of `sh -c TEXT`; "" for other commands."""
    if len(words) < 3 or os.path.basename(words[0]) not in SHELLS:
        return ""
    flags = [at for at, word in enumerate(words[:-1]) if re.fullmatch(r"-[a-z]*c", word)]
    return words[flags[0] + 1] if flags else ""


def _not_known(words: list[str]) -> str:
    for word in words:
        name = os.path.basename(word)
        if name in OTHERS:
            return f"{name} is not imported: {OTHERS[name]}"
    shown = shlex.join(words[:8]) + (" …" if len(words) > 8 else "")
    return f"no gunicorn or uwsgi is run by: {shown or '(nothing)'}"


@dataclass(frozen=True, slots=True)
class Expanded:
    """A word with its variables replaced: `unknown` are those for which there is no value."""

    text: str
    variables: tuple[str, ...]
    unknown: tuple[str, ...]


def expanded(text: str, environ: Mapping[str, str]) -> Expanded:
    """$NAME, ${NAME} and ${NAME:-default} replaced from `environ`, else by the default."""
    names: list[str] = []
    unknown: list[str] = []

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        names.append(name)
        if environ.get(name):
            return environ[name]
        if match[3] is None:
            unknown.append(name)
            return match[0]
        return match[3]

    done = _VARIABLE.sub(value, text)
    return Expanded(done, tuple(dict.fromkeys(names)), tuple(dict.fromkeys(unknown)))
