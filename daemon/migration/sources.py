"""Which server a file is of, and its import."""

from __future__ import annotations

import os
from collections.abc import Callable

from . import commands, procfile, shell_line
from .asked import Asked
from .draft import Draft, Heading
from .trouble import ImportTrouble

KINDS = ("gunicorn", "uwsgi", "unit", "procfile")
MAX_BYTES = 1 << 20


def import_file(path: str, asked: Asked, kind: str = "", which: str = "") -> Draft:
    """The draft that a file makes. `kind` is one of KINDS, or "" to be told by the name; `which` names a process of a
    Procfile, a section of uWSGI's, an application of Unit. Raises ImportTrouble."""
    name = os.path.basename(path)
    if kind == "gunicorn" and path.startswith("python:"):
        text = ""
    else:
        path = os.path.join(asked.directory, path)
        text = _read(path)
    kind = kind or kind_of(name, text)
    if which and kind == "gunicorn":
        raise ImportTrouble(f"--select {which} is for a Procfile, for uWSGI and for Unit, not for {name}")
    readers: dict[str, Callable[[], Draft]] = {
        "gunicorn": lambda: _gunicorn(path, name, asked),
        "procfile": lambda: _procfile(text, name, asked, which),
        "uwsgi": lambda: _uwsgi(path, text, asked, which),
        "unit": lambda: _unit(text, name, asked, which),
    }
    return readers[kind]()


def kind_of(name: str, text: str) -> str:
    """By a file's name, and if that is not enough by what it holds. Raises ImportTrouble."""
    if name.startswith("Procfile") or name.endswith(".procfile"):
        return "procfile"
    extension = os.path.splitext(name)[1].lower()
    if extension in (".py", ".pyc"):
        return "gunicorn"
    if extension in (".ini", ".yaml", ".yml", ".xml"):
        return "uwsgi"
    if extension == ".json":
        return "uwsgi" if '"uwsgi"' in text else "unit"
    if text.lstrip().startswith("[uwsgi]"):
        return "uwsgi"
    raise ImportTrouble(
        f"{name}: what is it? gunicorn.conf.py, uwsgi.ini (.yaml, .xml, .json), unit.json and Procfile are known by "
        f"their names; for another name: --from {'|'.join(KINDS)}"
    )


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ImportTrouble(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise ImportTrouble(f"{path}: it is a directory; give the path of a file") from None
    except (OSError, ValueError) as error:
        raise ImportTrouble(f"{path}: it cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise ImportTrouble(f"{path}: it is larger than {MAX_BYTES // 1024} KiB: not a configuration file")
    return data.decode("utf-8-sig", "replace")


def _gunicorn(path: str, name: str, asked: Asked) -> Draft:
    draft = commands.draft_for("gunicorn", name, asked)
    commands.import_conf(path, draft, asked)
    return draft


def _procfile(text: str, name: str, asked: Asked, which: str) -> Draft:
    found = procfile.processes(text, name)
    process = procfile.chosen(found, which, name)
    command = shell_line.line(found[process])
    draft = commands.draft_for(command.program, f"{name}, {process}", asked)
    commands.import_command(command, draft, asked)
    for other, said in found.items():
        if other == "release":
            draft.remark(Heading.TODO, "release", f"{said}: before the start, as ExecStartPre= in the unit")
        elif other != process:
            draft.remark(Heading.TODO, other, f"{said}: {_beside(other, said)}")
    return draft


def _beside(name: str, text: str) -> str:
    """What is to be done about another process of the Procfile."""
    try:
        shell_line.line(text)
    except ImportTrouble:
        return "no web server; a unit (or container) of its own, as before"
    return f"a web server, too: import it with --select {name}, into a file of its own"


def _uwsgi(path: str, text: str, asked: Asked, which: str) -> Draft:
    from .uwsgi import files

    return files.draft(path, text, asked, which)


def _unit(text: str, name: str, asked: Asked, which: str) -> Draft:
    from .unit import file

    return file.draft(text, name, asked, which)
