"""Reading a TOML file, with errors that say where in it they are."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from .problems import Mistake, Problem

MAX_FILE_BYTES = 1 << 20  # a configuration is smaller; this is some other file
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
    found = _POSITION.fullmatch(message)
    lines = data.decode("utf-8-sig").splitlines() or [""]
    if not found:
        return _problem(path, f"not valid TOML: {message}")
    line = int(found[2] or len(lines))
    column = int(found[3] or len(lines[-1]) + 1)
    return _problem(f"{path}:{line}:{column}", f"not valid TOML: {found[1]} (line {line}, column {column})")


def _problem(source: str, what: str) -> Problem:
    return Problem("", None, what, source, Mistake.FILE)
