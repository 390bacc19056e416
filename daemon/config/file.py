"""Reading a TOML file, with errors that say where in it they are.

A project keeps its configuration in miniwsgi.toml, or in the tables [tool.miniwsgi.…] of its pyproject.toml.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import Any

from .problems import Mistake, Problem

MAX_FILE_BYTES = 1 << 20  # a configuration is smaller; this is some other file
OWN_FILE, PROJECT_FILE = "miniwsgi.toml", "pyproject.toml"
NO_TABLE = "there is no [tool.miniwsgi] in it; its tables are those of miniwsgi.toml, as [tool.miniwsgi.app]"
_POSITION = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|(end of document))\)", re.DOTALL)


def read_file(path: str) -> tuple[dict[str, Any], Problem | None]:
    """The tables of a TOML file, or what is wrong with it."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except IsADirectoryError:
        return {}, _problem(path, "it is a directory; give the path of a file")
    except FileNotFoundError:
        return {}, _problem(path, "there is no such file")
    except PermissionError:
        return {}, _problem(path, "permission denied")
    except (OSError, ValueError) as error:
        return {}, _problem(path, f"it cannot be read: {getattr(error, 'strerror', None) or error}")
    return parse_file(path, data)


def parse_file(path: str, data: bytes) -> tuple[dict[str, Any], Problem | None]:
    """The same for what a file at `path` would hold."""
    tables, problem = _parse(path, data)
    if problem or not is_project_file(path):
        return tables, problem
    tool = tables.get("tool")
    own = tool.get("miniwsgi") if isinstance(tool, dict) else None
    if own is None:
        return {}, _problem(path, NO_TABLE)
    if not isinstance(own, dict):
        return {}, _problem(path, f"tool.miniwsgi is {own!r} in it, and tables are expected, as [tool.miniwsgi.app]")
    return own, None


def is_project_file(path: str) -> bool:
    """Whether our tables are below [tool.miniwsgi] there, as other tools' are below theirs."""
    return os.path.basename(path) == PROJECT_FILE


def configuration_of(project: str) -> str | None:
    """The path of the configuration that lies in a project's directory.

    A pyproject.toml that is broken counts if it speaks of tool.miniwsgi.
    """
    if os.path.isfile(path := os.path.join(project, OWN_FILE)):
        return path
    path = os.path.join(project, PROJECT_FILE)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES)
    except OSError:
        return None
    return path if parse_file(path, data)[1] is None or b"tool.miniwsgi" in data else None


def _parse(path: str, data: bytes) -> tuple[dict[str, Any], Problem | None]:
    if len(data) > MAX_FILE_BYTES:
        return {}, _problem(path, f"it is larger than {MAX_FILE_BYTES // 1024} KiB: not a configuration file")
    try:
        return tomllib.loads(data.decode("utf-8-sig")), None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        return {}, _problem(f"{path}:{line}:{column}", f"not UTF-8: byte 0x{data[error.start]:02x}")
    except tomllib.TOMLDecodeError as error:
        return {}, _syntax_problem(path, data, str(error))
    except RecursionError:
        return {}, _problem(path, "not valid TOML: nested too deeply")


def _syntax_problem(path: str, data: bytes, message: str) -> Problem:
    if _is_another_servers(path, data):
        return _problem(path, f"not TOML, but another server's: `miniwsgi import {path}` makes a miniwsgi.toml of it")
    found = _POSITION.fullmatch(message)
    lines = data.decode("utf-8-sig").splitlines() or [""]
    if not found:
        return _problem(path, f"not valid TOML: {message}")
    line = int(found[2] or len(lines))
    column = int(found[3] or len(lines[-1]) + 1)
    return _problem(f"{path}:{line}:{column}", f"not valid TOML: {found[1]} (line {line}, column {column})")


def _is_another_servers(path: str, data: bytes) -> bool:
    """A gunicorn.conf.py, a uwsgi.ini, a configuration of NGINX Unit or a Procfile, by its name or how it begins."""
    name = os.path.basename(path)
    return name.endswith((".py", ".ini", ".json")) or name.startswith("Procfile") or data.startswith(b"[uwsgi]")


def _problem(source: str, what: str) -> Problem:
    return Problem("", None, what, source, Mistake.FILE)
