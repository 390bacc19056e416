"""What was probably meant by a name in a configuration that nothing knows."""

from __future__ import annotations

from collections.abc import Iterable

from .binds import OPTIONS
from .declaration import Key
from .keys import KEYS, SECTIONS
from .problems import Mistake
from .spelling import close_matches
from .static_files import STATIC

PLACES = frozenset(("address", "bind", "file", "host", "listen", "path", "port", "socket"))  # a section has one at most


def near_miss(key_path: str, mistake: Mistake = Mistake.UNKNOWN_KEY) -> str:
    """What an unknown key or section was probably meant to be: "did you mean …?", or ""."""
    section, dot, name = key_path.partition(".")
    if mistake is Mistake.UNKNOWN_SECTION:
        tables = {**{name: f"[{name}]" for name in SECTIONS}, STATIC.path: f"[[{STATIC.path}]]"}
        near = close_matches(section, tables, 0.6)
        return f"did you mean {tables[near[0]]}?" if near else f"the sections are {', '.join(tables)}"
    last = name if dot else section
    if section == "server" and last in OPTIONS.keys() - PLACES:
        return f'it belongs to an entry of server.bind: {{ address = "…", {last} = … }}'
    same_name = [key for key in KEYS.values() if _words(key.name) == _words(last)]
    in_section = _closest(last, (key for key in KEYS.values() if key.section == section))
    found = _place(section, last) or same_name or in_section or _closest(last, KEYS.values())
    return "did you mean " + " or ".join(key.path for key in found) + "?" if found else ""


def _place(section: str, name: str) -> list[Key]:
    """The section's key for where something is, which people know by many names: control.path is control.socket."""
    if name.lower() not in PLACES:
        return []
    return [key for key in KEYS.values() if key.section == section and key.name in PLACES]


def _words(name: str) -> list[str]:
    """What a name is made of, in one order: max_body is body_max."""
    return sorted(name.lower().replace("-", "_").split("_"))


def _closest(name: str, keys: Iterable[Key]) -> list[Key]:
    by_name = {key.name: key for key in keys}
    return [by_name[near] for near in close_matches(name.lower(), by_name, 0.7)]


def near_variable(name: str) -> str:
    """The variable that was probably meant by one that is not used; "" if it may be somebody else's.

    Kubernetes makes MINIWSGI_SERVER_PORT and MINIWSGI_SERVER_SERVICE_HOST of a service miniwsgi-server.
    """
    section, _, last = name.removeprefix("MINIWSGI_").partition("_")
    if last == "PORT" or last.startswith(("PORT_", "SERVICE_")):
        return ""
    if place := _place(section.lower(), last):
        return place[0].variable
    last_parts = {key.name.upper(): key.variable for key in KEYS.values() if key.section.upper() == section}
    near = close_matches(last, last_parts, 0.8)
    return last_parts[near[0]] if near else ""
