"""gunicorn's command line, as gunicorn reads it: its flags, $GUNICORN_CMD_ARGS, the configuration file that they
name."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from ..setting import Given, Takes
from ..trouble import ImportTrouble
from .table import SETTINGS

VARIABLE = "GUNICORN_CMD_ARGS"
DEFAULT_FILE = "gunicorn.conf.py"
ACTIONS: Mapping[Takes, Mapping[str, str]] = {
    Takes.VALUE: {"action": "store"},
    Takes.MANY: {"action": "append"},
    Takes.ON: {"action": "store_true"},
    Takes.OFF: {"action": "store_false"},
}
ReadFile = Callable[[str], list[Given]]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ImportTrouble(f"gunicorn: {message}")


def parse(arguments: Sequence[str], where: str = "") -> tuple[list[Given], list[str]]:
    """What flags set, and the rest: the application. Abbreviations are understood, as gunicorn does.

    Raises ImportTrouble.
    """
    parser = _Parser(prog="gunicorn", add_help=False, argument_default=argparse.SUPPRESS)
    for setting in SETTINGS.values():
        if setting.name == "proxy_protocol":  # its value may be left out
            parser.add_argument(*setting.flags, dest=setting.name, nargs="?", const="auto")
        elif setting.flags:
            parser.add_argument(*setting.flags, dest=setting.name, **ACTIONS[setting.takes])  # type: ignore[arg-type]
    parser.add_argument("args", nargs="*")
    found = vars(parser.parse_intermixed_args(list(arguments)))
    rest = found.pop("args", [])
    return [Given(name, value, where or SETTINGS[name].flags[0]) for name, value in found.items()], rest


def settings(arguments: Sequence[str], environ: Mapping[str, str], directory: str, read_file: ReadFile) -> list[Given]:
    """All that a command sets, weakest first: file, $GUNICORN_CMD_ARGS, flags. Raises ImportTrouble."""
    flags, rest = parse(arguments)
    said = environ.get(VARIABLE, "")
    try:
        variable, _ = parse(shlex.split(said), f"${VARIABLE}")
    except ValueError as error:
        raise ImportTrouble(f"${VARIABLE}: {error}") from None
    named = [str(given.value) for given in (*variable, *flags) if given.name == "config"]
    default = os.path.join(directory, DEFAULT_FILE)
    file = named[-1] if named else default if os.path.exists(default) else ""
    given = [*(read_file(file) if file else ()), *variable, *flags]
    if len(rest) > 1:
        raise ImportTrouble(f"gunicorn: it serves one application, and here are {len(rest)}: {' '.join(rest)}")
    return [*given, *(Given("wsgi_app", target, "the command") for target in rest)]
