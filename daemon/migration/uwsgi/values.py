"""uWSGI's values as ours. In its files a number ends where the digits do, and a switch may be a word."""

from __future__ import annotations

import re
from typing import Any

from ..conversions import account, octal, path, switch
from ..setting import Place, Unsuitable

_NUMBER = re.compile(r"\s*(-?\d+)")
_FORMAT = re.compile(r"%\(([^()]+)\)")
ATOMS = {
    "addr": "%(h)s",
    "user": "%(u)s",
    "ltime": "%(t)s",
    "ctime": "%(t)s",
    "time": "%(t)s",
    "method": "%(m)s",
    "proto": "%(H)s",
    "status": "%(s)s",
    "size": "%(B)s",
    "rsize": "%(B)s",
    "uagent": "%(a)s",
    "referer": "%(f)s",
    "host": "%({host}i)s",
    "msecs": "%(M)s",
    "micros": "%(D)s",
    "pid": "%(p)s",
    "uri": "%({request_uri}e)s",
}


def number(value: Any, _place: Place) -> int:
    if (match := _NUMBER.match(str(value))) is None:
        raise Unsuitable(f"{value!r} is no number")
    return int(match[1])


def number_or_off(value: Any, place: Place) -> int | str:
    return number(value, place) or "off"


def static_map(value: Any, place: Place) -> list[str]:
    """Of MOUNTPOINT=PATH."""
    mount, equals, directory = str(value).partition("=")
    if not equals or not mount.startswith("/"):
        raise Unsuitable(f"{value!r} is not /PATH=DIRECTORY")
    return [f"{mount}={place.path(directory)}"]


def milliseconds(value: Any, place: Place) -> str:
    return f"{number(value, place)}ms"


def megabytes(value: Any, place: Place) -> str:
    return f"{number(value, place)} MiB"


def keep_alive(value: Any, place: Place) -> int:
    """A switch, or seconds."""
    if _NUMBER.match(str(value)) and (seconds := number(value, place)) > 1:
        return seconds
    raise Unsuitable("kept for 75 s here (timeouts.keep_alive)")


def socket_mode(value: Any, place: Place) -> str:
    return "0666" if str(value) in ("", "true", "True", "1") else octal(str(value), place)


def log_file(value: Any, place: Place) -> str:
    """`file:/path` of a logger, or a path; standard output and error are "-"."""
    text = str(value).strip()
    if " " in text and ":" in text.partition(" ")[2]:
        text = text.partition(" ")[2].strip()  # a logger may have a name before
    if text in ("stdio", "stdio:", "/dev/stdout", "/dev/stderr", "true"):
        return "-"
    if ":" in text and not text.startswith(("file:", "/")):
        raise Unsuitable(f"{text}: a file, or standard output, which systemd's journal and containers collect")
    return path(text.removeprefix("file:"), place)


def log_format(value: Any, _place: Place) -> str:
    """uWSGI's variables as the atoms that ours has."""
    unknown: list[str] = []

    def atom(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith("var."):
            return f"%({{{name[4:].lower()}}}e)s"
        if name not in ATOMS:
            unknown.append(name)
        return ATOMS.get(name, "-")

    text = _FORMAT.sub(atom, str(value)).replace("[%(t)s]", "%(t)s")
    if unknown:
        raise Unsuitable(f"{value}: there is no {', '.join(unknown)} here; docs/operations.md has what there is")
    return text


def owner(value: Any, place: Place) -> str:
    return account(str(value).partition(":")[0], place)


def reload_on_change(value: Any, place: Place) -> bool:
    return str(value).strip() not in ("0", "") and (switch(value, place) or number(value, place) > 0)
