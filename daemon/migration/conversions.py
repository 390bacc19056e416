"""Values of other servers as values of our keys: functions of the value and of where the server was started.

Each raises `Unsuitable` for what has no counterpart. What our keys accept is looked at later, by the keys.
"""

from __future__ import annotations

import re
from typing import Any

from .setting import Place, Unsuitable

TRUE = frozenset(("1", "true", "yes", "on", "y", "t"))
ANYWHERE = Place("")  # for what is no path
EVERYONE = "*"


def as_it_is(value: Any, _place: Place) -> Any:
    return value


def whole(value: Any, _place: Place = ANYWHERE) -> int:
    try:
        return int(str(value).strip())
    except ValueError:
        raise Unsuitable(f"{value!r} is no whole number") from None


def whole_or_off(value: Any, place: Place) -> int | str:
    """0 is "no limit" in all of these servers."""
    return whole(value, place) or "off"


def seconds(value: Any, _place: Place) -> int | float:
    try:
        number = float(str(value).strip())
    except ValueError:
        raise Unsuitable(f"{value!r} is no number of seconds") from None
    return int(number) if number == int(number) else number


def seconds_or_off(value: Any, place: Place) -> int | float | str:
    return seconds(value, place) or "off"


def milliseconds(value: Any, place: Place) -> str:
    return f"{whole(value, place)}ms"


def megabytes(value: Any, place: Place) -> str:
    return f"{whole(value, place)} MiB"


def switch(value: Any, _place: Place = ANYWHERE) -> bool:
    return value if isinstance(value, bool) else str(value).strip().lower() in TRUE


def off_if(value: Any, place: Place) -> str:
    """For what another server turns off: a true value is our "off"."""
    if not switch(value, place):
        raise Unsuitable("it is on here, too")
    return "off"


def path(value: Any, place: Place) -> str:
    return place.path(str(value))


def path_or_dash(value: Any, place: Place) -> str:
    return "-" if value in ("-", None, "") else path(value, place)


def is_everywhere(address: str) -> bool:
    """Whether HOST:PORT is on all addresses, as PORT alone is."""
    return address.rpartition(":")[0] in ("", "0.0.0.0", "[::]", "*")  # noqa: S104 - it is compared


def octal(value: Any, _place: Place) -> str:
    """A mode: a number, or its octal digits as a text."""
    try:
        number = value if isinstance(value, int) else int(str(value).removeprefix("0o"), 8)
    except ValueError:
        raise Unsuitable(f"{value!r} is no octal number") from None
    return f"{number & 0o777:04o}"


def account(value: Any, _place: Place) -> str:
    return str(value)


def listed(value: Any) -> list[str]:
    """A list, or a text with commas."""
    items = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return [str(item).strip() for item in items if str(item).strip()]


def peers(value: Any, _place: Place = ANYWHERE) -> list[str]:
    """Whose word counts."""
    items = listed(value)
    return [EVERYONE] if EVERYONE in items else items


def address(text: str, place: Place) -> str:
    """Where to listen, as any of these servers may write it."""
    text = text.strip().removeprefix("http://").removeprefix("tcp://").rstrip("/") if "://" in text else text.strip()
    if text.startswith("unix:"):
        text = text.removeprefix("unix:").removeprefix("//")
        return f"unix:{text if text.startswith('@') else place.path(text)}"
    if text.startswith("fd://"):
        return f"fd:{text.removeprefix('fd://')}"
    if text.startswith("@"):
        return f"unix:{text}"
    if "/" in text or text.endswith(".sock"):
        return f"unix:{place.path(text)}"
    if re.fullmatch(r"[0-9]+", text):
        return f":{text}"
    if text.startswith("*:"):
        return text[1:]
    if re.fullmatch(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]", text):
        return f"{text}:8000"
    return text


def speaking_uwsgi(address: str) -> str:
    """The same address in server.bind, where uwsgi is spoken."""
    return f"uwsgi:{address.removeprefix('unix:')}"


def interpreter_of(value: Any, place: Place) -> str:
    """The Python of a virtual environment."""
    return place.path(f"{value}/bin/python")


def python_path(value: Any, place: Place) -> str:
    """Directories, joined as PYTHONPATH has them."""
    return ":".join(place.path(item) for item in listed(value))
