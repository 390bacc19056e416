"""Importing a command: its wrappers and variables, then what it sets, as the server that it runs reads it."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import shell_line
from .asked import Asked
from .conversions import is_everywhere
from .draft import Draft, Heading
from .gunicorn import command as gunicorn_command
from .gunicorn import conf_file, together
from .setting import Given, Place
from .shell_line import Command, expanded

PLATFORM = {  # what we read ourselves, and the setting that a command gives it to
    "PORT": "bind",
    "WEB_CONCURRENCY": "workers",
    "FORWARDED_ALLOW_IPS": "forwarded_allow_ips",
}
AGENTS = {"newrelic-admin", "ddtrace-run", "opentelemetry-instrument", "scout_apm", "elasticapm-run"}
RUNNERS = {"poetry", "pipenv", "uv", "pdm", "hatch", "rye", "conda"}


def import_command(command: Command, draft: Draft, asked: Asked) -> None:
    """Fill the draft from a command. Raises ImportTrouble."""
    _surroundings(command, draft)
    if command.directory:
        asked = replace(asked, directory=draft.place.path(command.directory))
        draft.place = Place(asked.directory)
    if command.program == "uwsgi":
        from .uwsgi import command as uwsgi_command

        uwsgi_command.fill(draft, _known_words(command.arguments, draft, asked), asked)
        return
    if not asked.python and (python := _beside(command.path, asked.directory)):
        asked = replace(asked, python=python)
        draft.set("app.python", python, note="The interpreter that gunicorn was installed for.")
    known = {name: value for name, value in command.variables if "$" not in value}
    asked = replace(asked, environ={**asked.environ, **known})
    given = gunicorn_command.settings(
        command.arguments, asked.environ, asked.directory, lambda file: read_conf(file, draft, asked)
    )
    gunicorn_settings(draft, given, asked)


def _beside(program: str, directory: str) -> str:
    """The Python of a virtual environment's program, such as venv/bin/gunicorn; "" if there is none."""
    python = os.path.join(directory, os.path.dirname(program), "python")
    in_environment = os.path.isfile(os.path.join(os.path.dirname(python), "..", "pyvenv.cfg"))
    return os.path.normpath(python) if "/" in program and in_environment and os.access(python, os.X_OK) else ""


def import_conf(file: str, draft: Draft, asked: Asked) -> None:
    """Fill the draft from a gunicorn.conf.py alone. Raises ImportTrouble."""
    gunicorn_settings(draft, read_conf(file, draft, asked), asked)
    if said := asked.environ.get(gunicorn_command.VARIABLE):
        draft.warn(
            f"${gunicorn_command.VARIABLE} ({said}) is not looked at: miniwsgi import -- gunicorn -c {file} does"
        )


def read_conf(file: str, draft: Draft, asked: Asked) -> list[Given]:
    where = file.removeprefix("file:")
    if not where.startswith("python:"):
        where = os.path.join(asked.directory, where)
    executed = conf_file.execute(where, asked.python or sys.executable, asked.directory, asked.environ, asked.seconds)
    if executed.printed:
        draft.warn(f"{os.path.basename(file)} printed: {executed.printed}")
    for note in executed.notes:
        draft.warn(note)
    return executed.given


def gunicorn_settings(draft: Draft, given: list[Given], asked: Asked) -> None:
    found: dict[str, Given] = {}
    for one in given:
        known = _with_variables(one, draft, asked)
        if known is None:
            found.pop(one.name, None)  # what a weaker source says does not hold either
        else:
            found[one.name] = known
    together.fill(draft, found)


def _with_variables(given: Given, draft: Draft, asked: Asked) -> Given | None:
    """A setting whose shell variables are replaced; None for one that is left to our own reading of the environment."""
    if not given.where.startswith(("-", "$", "the command")) or not _has_variable(given.value):
        return given
    values = given.value if isinstance(given.value, list) else [given.value]
    if computed := [value for value in values if "$(" in str(value) or "`" in str(value)]:
        _computed_by_the_shell(given.name, str(computed[0]), draft)
        return None
    variable = next((name for name, setting in PLATFORM.items() if setting == given.name), "")
    alone = variable and all(variable in expanded(str(value), {}).variables for value in values)
    if alone and variable == "PORT" and not all(is_everywhere(str(value)) for value in values):
        text = f"{_text(given.value)}: write it with its port; $PORT alone, which is obeyed, listens on all addresses"
        draft.remark(Heading.TODO, given.name, text)
        draft.warn(f"{given.name} {_text(given.value)} is left out: $PORT alone listens on all addresses")
        return None
    if alone:
        text = f"{_text(given.value)}: ${variable} is obeyed by itself, where the configuration does not say it"
        draft.remark(Heading.BUILT_IN, given.name, text)
        return None
    texts: list[str] = []
    for value in values:
        done = expanded(str(value), asked.environ)
        if done.unknown:
            names = ", ".join(f"${name}" for name in done.unknown)
            draft.remark(Heading.TODO, given.name, f"{value}: {names} was not known where this was imported")
            draft.warn(
                f"{given.name} {value} is left out: {names} is not set here ({done.unknown[0]}=… miniwsgi import …)"
            )
        else:
            texts.append(done.text)
    if not texts:
        return None
    return replace(given, value=texts if isinstance(given.value, list) else texts[0], was=_text(given.value))


def _computed_by_the_shell(name: str, value: str, draft: Draft) -> None:
    if name == "workers" and "nproc" in value:
        said = f"{value}: without server.workers there are as many as CPUs that the process may use"
        draft.remark(Heading.BUILT_IN, name, said)
        return
    draft.remark(Heading.TODO, name, f"{value}: a shell computed it; write what it is")
    draft.warn(f"{name} {value} is left out: a shell computes it")


def _known_words(words: Sequence[str], draft: Draft, asked: Asked) -> list[str]:
    """The words of a uwsgi command, with $PORT as uWSGI's own $(PORT), which is left to be read each time."""
    known = []
    for word in words:
        done = expanded(word.replace("$PORT", "$(PORT)").replace("${PORT}", "$(PORT)"), asked.environ)
        if done.unknown:
            draft.warn(f"{word}: ${done.unknown[0]} is not set here ({done.unknown[0]}=… miniwsgi import …)")
        known.append(done.text)
    return known


def _has_variable(value: Any) -> bool:
    return any("$" in str(item) or "`" in str(item) for item in (value if isinstance(value, list) else [value]))


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _surroundings(command: Command, draft: Draft) -> None:
    for name, value in command.variables:
        if "$" in value:
            draft.remark(Heading.TODO, name, f"{name}={value}: set it in app.env or app.env_files, without the shell")
        elif name != gunicorn_command.VARIABLE:
            draft.variable(name, value)
    if command.around:
        words = " ".join(command.around)
        program = os.path.basename(command.around[0])
        if program in AGENTS:
            said = f"{words}: as before: {words} miniwsgi serve -c FILE"
        elif program in RUNNERS:
            said = (
                f"{words}: name the environment's interpreter, app.python, or go on with {words} miniwsgi serve -c FILE"
            )
        else:
            said = f"{words}: if it is still needed, before miniwsgi serve -c FILE"
        draft.remark(Heading.TODO, "wrapper", said)
    for other in command.others:
        draft.remark(Heading.TODO, "other command", f"{other}: before the start, as ExecStartPre= in the unit")


def draft_for(program: str, source: str, asked: Asked) -> Draft:
    return Draft(program, source, Place(asked.directory))


def from_words(words: list[str], asked: Asked) -> Draft:
    """A command that the shell has read already. Raises ImportTrouble."""
    command = shell_line.command(words)
    shown = textwrap.shorten(shlex.join((command.program, *command.arguments)), 100, placeholder=" …")
    draft = draft_for(command.program, shown, asked)
    import_command(command, draft, asked)
    return draft
