"""Environment variables: files of them, what of the daemon's reaches the application, and which are secret.

Environment files follow systemd.exec(5)'s EnvironmentFile and the common "dotenv" form: NAME=value lines,
comments, `export`, quotes. Nothing is expanded: a `$` is a `$`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from ..executed import initial_environment
from .machine import interpreter, prefix

# The daemon's alone: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3), its own virtual environment.
DAEMONS_OWN = frozenset(
    (
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "LISTEN_FDNAMES",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
    )
)
MASK = "********"

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_ASSIGNMENT = re.compile(
    rf"""[ \t]*(?:export[ \t]+)?(?P<name>{_NAME})[ \t]*=[ \t]*
         (?: '(?P<literal>[^']*)'        [ \t]*(?:\#[^\n]*)?(?:\n|\Z)
           | "(?P<escaped>(?:[^"\\]|\\.)*)" [ \t]*(?:\#[^\n]*)?(?:\n|\Z)
           | (?P<bare>(?!['"])[^\n]*)    (?:\n|\Z) )""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\n": ""}
_SECRET_NAME = re.compile(r"SECRET|PASSW|PASSPHRASE|TOKEN|KEY|CREDENTIAL|DSN|AUTH|PRIVATE|SALT", re.IGNORECASE)
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)([^/?#\s]*)@", re.IGNORECASE)  # RFC 3986, section 3.2.1


def parse_environment(text: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """The variables of an environment file, and its mistakes as (line number, what was expected)."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    variables: dict[str, str] = {}
    mistakes: list[tuple[int, str]] = []
    position = 0
    while position < len(text):
        blank = _BLANK.match(text, position)
        if blank and blank.end() > position:
            position = blank.end()
            continue
        found = _ASSIGNMENT.match(text, position)
        if found and "\0" not in found[0]:
            variables[found["name"]] = _value(found)
            position = found.end()
            continue
        mistakes.append((text.count("\n", 0, position) + 1, _what_is_wrong(text, position)))
        newline = text.find("\n", position)
        position = len(text) if newline < 0 else newline + 1
    return variables, mistakes


def _value(found: re.Match[str]) -> str:
    if found["literal"] is not None:
        return found["literal"]
    if found["escaped"] is not None:
        return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), found["escaped"])
    return _COMMENT.sub("", found["bare"]).strip()


def _what_is_wrong(text: str, position: int) -> str:
    line = text[position:].partition("\n")[0]  # never repeated: it may hold a secret
    if "\0" in line:
        return "text without NUL"
    if re.match(rf"[ \t]*(?:export[ \t]+)?{_NAME}[ \t]*=[ \t]*['\"]", line):
        return "a closing quote, and nothing after it"
    if "=" in line:
        return "NAME=value, the name of letters, digits and _"
    return "NAME=value"


def daemons_environment() -> dict[str, str]:
    """This process's environment, with the `PYTHON*` that it was executed with.

    An agent may have taken itself out of PYTHONPATH when it started here; it is to start in the application, too.
    """
    initial = initial_environment()
    return {**os.environ, **{name: value for name, value in initial.items() if name.startswith("PYTHON")}}


def dropped_variables(python: str, names: Iterable[str]) -> tuple[str, ...]:
    """Which of the daemon's variables an application does not get: `PYTHON*`, if `python` is of another environment.

    They are meant for one: PYTHONPATH leads to packages for a certain interpreter, PYTHONHOME is where that lives.
    """
    if prefix(python) == prefix(interpreter()):
        return ()
    return tuple(sorted(name for name in names if name.startswith("PYTHON")))


def about_dropped(python: str, names: Iterable[str]) -> str:
    """What the operator should know of `dropped_variables`."""
    return (
        f"not passed on to the application: {', '.join(names)}; app.python ({python}) is of another environment "
        f"than the daemon ({prefix(interpreter())}); app.env and app.env_files can set them"
    )


def masked(name: str, value: str) -> str:
    """A variable's value as it may be shown: secrets, by its name or as part of a URL, are hidden."""
    if not value:
        return value
    if _SECRET_NAME.search(name):
        return MASK
    return _USERINFO.sub(_mask_userinfo, value)


def _mask_userinfo(found: re.Match[str]) -> str:
    user, colon, _password = found[2].partition(":")
    return f"{found[1]}{user if colon else ''}{colon}{MASK}@"
