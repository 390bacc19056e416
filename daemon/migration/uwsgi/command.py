"""uWSGI's command line: its options as words, files among them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..asked import Asked
from ..draft import Draft
from ..trouble import ImportTrouble
from . import files, variables
from .files import Option
from .table import SWITCHES

FILES = (".ini", ".yaml", ".yml", ".xml", ".json")
COMMAND = "the command"


def fill(draft: Draft, arguments: Sequence[str], asked: Asked) -> None:
    """Raises ImportTrouble."""
    options: list[Option] = []
    letters = variables.magic(os.path.join(asked.directory, "uwsgi"), "uwsgi")
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            options += _named(word, asked)
            continue
        bare = name.lstrip("-") if name.startswith("--") else name[:2]
        if not name.startswith("--") and len(word) > 2 and bare not in SWITCHES:
            equals, value = "=", word[2:]  # -p4
        if not equals:
            value = "true"
            if bare not in SWITCHES:
                if not words:
                    raise ImportTrouble(f"uwsgi: {word}: expected a value after it")
                value = words.pop(0)
        if bare in files.INCLUDES:
            options += _named(value, asked)
        else:
            options.append(Option(bare, value, COMMAND, letters))
    files.fill(draft, options, asked)


def _named(word: str, asked: Asked) -> list[Option]:
    path, _, section = word.partition(":")
    extension = os.path.splitext(path)[1]
    if extension == ".py":
        return [Option("wsgi-file", word, COMMAND, {})]
    if extension not in FILES:
        raise ImportTrouble(f"uwsgi: {word}: expected an option, or a file (.ini, .yaml, .xml, .json)")
    full = os.path.join(asked.directory, path)
    try:
        with open(full, encoding="utf-8", errors="replace") as file:
            return files.read(full, file.read(), section or "uwsgi")
    except OSError as error:
        raise ImportTrouble(f"{path}: {error.strerror}") from None
