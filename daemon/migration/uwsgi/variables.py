"""What stands for something else in uWSGI's values: %(name), %d and its like, $(VARIABLE), @(file)."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

DEPTH = 10  # of placeholders in placeholders
MOST_BYTES = 65536
_PLACEHOLDER = re.compile(r"%\(([^()]*)\)")
_MAGIC = re.compile(r"%([A-Za-z0-9%])")
_VARIABLE = re.compile(r"\$\(([^()]*)\)")
_FILE = re.compile(r"@\(([^()]*)\)")
VARIES = frozenset("ktThuUgGVij")  # what is another one elsewhere, or later


def magic(path: str, section: str) -> dict[str, str]:
    """The letters after % (uWSGI's documentation, "Magic variables"), for a file."""
    full = os.path.abspath(path)
    directory, name = os.path.split(full)
    stem, extension = os.path.splitext(name)
    parts = [part for part in directory.split("/") if part]
    values = {
        "p": full,
        "o": path,
        "s": name,
        "d": f"{directory.rstrip('/')}/",
        "e": extension.lstrip("."),
        "n": stem,
        "c": os.path.basename(directory),
        "x": section,
        "v": os.getcwd(),
        "h": socket.gethostname(),
        "k": str(os.cpu_count() or 1),
        "u": str(os.geteuid()),
        "U": _user(),
        "g": str(os.getegid()),
        "%": "%",
    }
    values |= {letter.upper(): values[letter] for letter in "posdencx"}
    return values | {str(index): part for index, part in enumerate(parts[:10])}


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


@dataclass(slots=True)
class Replaced:
    """A value with all of it replaced. `was` is what it was, where that varies; `missing` what is not known."""

    text: str
    was: str = ""
    missing: list[str] = field(default_factory=list)


def replaced(text: str, options: Mapping[str, str], letters: Mapping[str, str], environ: Mapping[str, str]) -> Replaced:
    """`options` are all of the section, which may be named by %(…)."""
    result = Replaced(text)
    varies = False

    def variable(match: re.Match[str]) -> str:
        nonlocal varies
        varies = True
        if match[1] not in environ:
            result.missing.append(f"$({match[1]})")
        return environ.get(match[1], "")

    def file(match: re.Match[str]) -> str:
        nonlocal varies
        varies = True
        try:
            with open(match[1], encoding="utf-8", errors="replace") as opened:
                return opened.read(MOST_BYTES).strip()
        except (OSError, ValueError):
            result.missing.append(match[0])
            return ""

    def letter(match: re.Match[str]) -> str:
        nonlocal varies
        varies = varies or match[1] in VARIES
        return letters.get(match[1], match[0])

    def placeholder(match: re.Match[str]) -> str:
        name = match[1].strip()
        if name not in options:
            result.missing.append(match[0])
            return ""
        return options[name]

    done = text
    for _ in range(DEPTH):
        before = done
        done = _PLACEHOLDER.sub(placeholder, done)
        done = _VARIABLE.sub(variable, done)
        done = _FILE.sub(file, done)
        if done == before:
            break
    result.text = _MAGIC.sub(letter, done)
    result.was = text if varies else ""
    result.missing = list(dict.fromkeys(result.missing))
    return result
