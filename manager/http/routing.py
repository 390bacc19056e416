"""Which handler a request is for: one table of routes, and all that is checked before a handler runs.

404, 405 with Allow, 406, HEAD for GET, and query parameters: each has a parser, an unknown one is an error that names
the known ones. The table also is what openapi.json is made from.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from .exchange import HttpRefusal

H = TypeVar("H", bound=Callable[..., Awaitable[Any]])

_PARAMETER = re.compile(r"\{(\w+)\}")
MAX_NUMBER_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter. `parse` raises ValueError; `expected` says what it takes, `schema` the same as JSON Schema."""

    name: str
    parse: Callable[[str], Any]
    expected: str
    schema: Mapping[str, Any]
    doc: str


@dataclass(frozen=True, slots=True)
class Route(Generic[H]):
    """One operation of an API. `{name}` in its path stands for a number."""

    method: str
    path: str
    handler: H = field(repr=False)
    produces: str
    query: tuple[Parameter, ...] = ()
    also_produces: str = ""


class Router(Generic[H]):
    """The table."""

    def __init__(self, routes: Sequence[Route[H]]) -> None:
        self.routes = tuple(routes)
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._by_path: dict[str, dict[str, Route[H]]] = {}
        for route in routes:
            pattern = _PARAMETER.sub(r"(?P<\1>[0-9]+)", re.sub(r"[.]", r"\.", route.path))
            self._patterns[route.path] = re.compile(pattern)
            self._by_path.setdefault(route.path, {})[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route[H], dict[str, int]]:
        """The route and the numbers in the path. Raises HttpRefusal (404, 405)."""
        for template, pattern in self._patterns.items():
            match = pattern.fullmatch(path)
            if match is None:
                continue
            methods = self._by_path[template]
            route = methods.get("GET" if method == "HEAD" else method)
            if route is None:
                allowed = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
                raise HttpRefusal(405, f"{path} takes {allowed}", fields=(("Allow", allowed),))
            numbers = {name: _number(text) for name, text in match.groupdict().items()}
            return route, numbers
        raise HttpRefusal(404, "there is nothing here")


def _number(text: str) -> int:
    if len(text) > MAX_NUMBER_DIGITS:
        raise HttpRefusal(404, "there is nothing here")
    return int(text)


def parse_query(query: str, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """The parameters that are given, parsed. Raises HttpRefusal (400)."""
    known = {parameter.name: parameter for parameter in parameters}
    found: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=32)
    except ValueError:
        raise HttpRefusal(400, "the query is malformed: name=value&… is expected") from None
    for name, text in pairs:
        parameter = known.get(name)
        if parameter is None:
            names = ", ".join(known) or "none"
            raise HttpRefusal(400, f"unknown query parameter {name[:40]!r}; known here: {names}")
        if name in found:
            raise HttpRefusal(400, f"the query parameter {name} is given twice")
        try:
            found[name] = parameter.parse(text)
        except ValueError:
            raise HttpRefusal(
                400, f"the query parameter {name} is {text[:40]!r}; expected: {parameter.expected}"
            ) from None
    return found


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A parser for whole numbers of a range."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]+", text, re.ASCII) or len(text) > MAX_NUMBER_DIGITS:
            raise ValueError(text)
        if not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return parse


def switch(text: str) -> bool:
    """0 or 1, false or true."""
    if text not in {"0", "1", "false", "true"}:
        raise ValueError(text)
    return text in {"1", "true"}


def check_accept(accept: str | None, *types: str) -> None:
    """Raise HttpRefusal (406) if a client says what it accepts (RFC 9110, section 12.5.1), and that is none of them."""
    if accept is not None and not any(quality(accept, type_) for type_ in types):
        raise HttpRefusal(406, f"this resource is {' or '.join(types)}; Accept excludes that")


def quality(accept: str, type_: str) -> float:
    """How much a client wants a media type, 0 to 1: the most specific range of its Accept field decides."""
    best, found = -1, 0.0
    main = type_.partition("/")[0]
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        rank = {type_: 2, f"{main}/*": 1, "*/*": 0}.get(name, -1)
        if rank > best:
            best, found = rank, _weight(parameters)
    return found


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
