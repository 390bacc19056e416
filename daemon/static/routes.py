"""Which requests are for static files, and what they are answered: one of a worker, from its settings.

The longest prefix wins. What lies below a prefix is the server's, whether there is a file or not, unless the entry
falls through: then the application answers what is absent, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from miniwsgi.codes import Code

from ..http.response import Encodings
from ..routes.variables import ROUTE
from ..settings import StaticFiles
from ..unpatched import os
from .answers import METHODS, MOVED, NOT_ALLOWED, NOT_FOUND, REFUSED_BY, Answer, of_found, of_server
from .directory import Directory
from .names import No

_ALLOW = ("Allow", ", ".join(sorted(METHODS)))
_BROKEN = "a static file cannot be read"
_WHY = {
    No.FORBIDDEN: "permission denied", No.BROKEN: "input or output error, or it is just being changed",
    No.EXHAUSTED: "too many open files, or no memory; see LimitNOFILE",
}  # fmt: skip


class Line(Protocol):
    """Of a request: http.head.RequestLine, or another engine's."""

    method: str
    path: str
    query: str


class Told(Protocol):
    """The error log."""

    def limited(
        self, key: str, level: Literal["warning", "error"], code: Code, message: str, /, **fields: object
    ) -> None: ...


class Route:
    """One entry, open."""

    __slots__ = ("directory", "environ", "fallthrough", "has_index", "internal", "path", "roots")

    def __init__(self, settings: StaticFiles) -> None:
        """Raises OSError."""
        self.path = settings.path
        self.roots = {settings.directory, os.path.realpath(settings.directory)}  # as an application may name it
        self.directory = Directory(settings)
        self.fallthrough = settings.fallthrough
        self.internal = settings.internal
        self.has_index = bool(settings.index_name)
        self.environ: dict[str, Any] = {ROUTE: f"static:{settings.path}"}  # as metrics know it

    def __repr__(self) -> str:
        return f"<Route {self.path}>"


class Routes:
    """All of them. `answer` belongs to the loop's owner, and is for paths that begin with one of `prefixes`."""

    def __init__(self, entries: Sequence[StaticFiles], encodings: Encodings, log: Told) -> None:
        """Raises OSError."""
        self.all = sorted(map(Route, entries), key=lambda route: -len(route.path))
        self.prefixes = tuple(route.path.rstrip("/") for route in self.all)
        self._encodings = encodings
        self._log = log

    def __repr__(self) -> str:
        return f"<Routes {' '.join(route.path for route in self.all)}>"

    @property
    def has_internal(self) -> bool:
        """Whether the application's answers may name files."""
        return any(route.internal for route in self.all)

    def route_of(self, path: str) -> Route | None:
        """Whose a decoded path is."""
        for route in self.all:
            if path.startswith(route.path) or (route.has_index and f"{path}/" == route.path):
                return route
        return None

    def answer(self, line: Line, fields: Mapping[str, Any]) -> tuple[Route, Answer] | None:
        """What a request is answered; None: it is the application's. `fields` by their meta-variable names."""
        path = line.path
        route = self.route_of(path)
        if route is None:
            return None
        if route.internal:  # of which clients know nothing
            return route, of_server(NOT_FOUND, self._encodings)
        method = line.method
        if method not in METHODS and not route.fallthrough:
            return route, of_server(NOT_ALLOWED, self._encodings, [_ALLOW])
        if len(path) < len(route.path):
            return route, self._to_directory(line)
        found = route.directory.find(path[len(route.path) :], fields.get("HTTP_ACCEPT_ENCODING"))
        if not isinstance(found, No):
            answer = of_found(found, method, fields, self._encodings)
            if method in METHODS:
                return route, answer
            answer = of_server(NOT_ALLOWED, self._encodings, [_ALLOW])
            answer.fd = found.fd
            return route, answer
        if found is No.ABSENT and route.fallthrough:
            return None
        if found is No.DIRECTORY:
            return route, self._to_directory(line)
        if why := _WHY.get(found):
            self._log.limited(f"static-{found.name}", "warning", Code.FILE_UNREADABLE, f"{_BROKEN}: {why}", path=path)
        return route, of_server(REFUSED_BY[found], self._encodings)

    def _to_directory(self, line: Line) -> Answer:
        """The same with a slash at its end, as a reference to itself: whoever is in front may have changed the rest."""
        name = line.path.rpartition("/")[2]
        query = f"?{line.query}" if line.query else ""
        return of_server(MOVED, self._encodings, [("Location", f"./{quoted(name)}/{query}")])


_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@")


def quoted(segment: str) -> str:
    """A decoded segment of a path (latin-1 text) as it stands in a URL (RFC 3986 section 3.3)."""
    return "".join(char if char in _UNRESERVED else f"%{ord(char):02X}" for char in segment)
