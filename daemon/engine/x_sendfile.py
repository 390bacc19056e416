"""X-Accel-Redirect and X-Sendfile: the application decides who gets a file, and the server sends it.

`X-Accel-Redirect: /protected/report.pdf` names a URL path below an entry of [[static]], percent-encoded, as for nginx.
`X-Sendfile: /srv/shop/protected/report.pdf` names a file below the directory of an entry with `internal = true`. Both
count only if there is such an entry: else they are fields like any other, perhaps for a proxy in front.

The answer keeps its other fields. Its body is the file, of which conditions and ranges are honoured; validators that
the application gives win. What the application itself made of a Range, it made of a body that is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from ..http.conditions import parse_date
from ..http.content_codings import IDENTITY
from ..http.head import unescape
from ..static.answers import (
    METHODS,
    NOT_FOUND,
    NOT_MODIFIED,
    OK,
    PARTIAL,
    REFUSED_BY,
    UNSATISFIABLE,
    content_range,
    decide,
)
from ..static.directory import Opened, Representation
from ..static.names import No
from ..static.routes import Route, Routes
from ..unpatched import os, time
from .call import Application, ExcInfo, Headers
from .file_wrapper import FileWrapper

FIELDS = ("x-accel-redirect", "x-sendfile")
_REPLACED = frozenset({*FIELDS, "content-length", "content-range", "accept-ranges"})
_CONTENT = frozenset({"content-type", "content-encoding", "accept-ranges"})
_ANSWERED = ("200", "206")  # with which the application means the file


class _Part(FileWrapper):
    """Part of an open file, as a result; the descriptor is its own, and closed once."""

    def __init__(self, fd: int) -> None:
        self._fd, self._offset, self._count = fd, 0, 0

    def of(self, start: int, stop: int) -> _Part:
        """From now on the part from one byte to before another."""
        self._offset, self._count = start, stop - start
        return self

    def extent(self) -> tuple[int, int, int]:
        return self._fd, self._offset, self._count

    def __next__(self) -> bytes:
        data = os.pread(self._fd, min(self._count, 65536), self._offset)
        if not data:
            raise StopIteration
        self._offset += len(data)
        self._count -= len(data)
        return data

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class _Begun:
    """What the application has said in start_response: of an answer that names a file the field and its value."""

    __slots__ = ("exc_info", "field", "headers", "status", "value")

    def __init__(self) -> None:
        self.status = self.field = self.value = ""
        self.headers: Headers = []
        self.exc_info: ExcInfo | None = None  # with which it replaces an answer that named none

    def __call__(self) -> bool:
        return bool(self.status)

    def with_a_file(self, status: str, headers: Headers, exc_info: ExcInfo | None) -> bool:
        self.status, self.headers, self.field = status or "?", headers, ""
        for name, value in headers:
            if (lower := name.lower()) in FIELDS:
                self.field, self.value, self.exc_info = lower, value, exc_info
                return True
        return False


class SendsFiles:
    """The application, whose answers may name a file."""

    def __init__(self, application: Application, routes: Routes, mistake: Callable[[str], None]) -> None:
        self._application = application
        self._routes = routes
        self._mistake = mistake

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        begun = _Begun()

        def start(status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
            if begun.with_a_file(status, headers, exc_info):
                return _ignore
            write: Callable[[bytes], None] = start_response(status, headers, exc_info)
            return write

        result = self._application(environ, start)
        if not begun():  # a generator calls start_response with its first block
            first: list[bytes] = []
            try:
                iterator = iter(result)
                for block in iterator:
                    first.append(block)
                    if begun() or block:  # with a block at the latest: else it is told so
                        break
            except BaseException:
                _close(result)  # nobody else has it yet (PEP 3333)
                raise
            if not begun.field:
                return _Rest(first, iterator, result)
        if not begun.field:
            return result
        _close(result)
        begin = start_response if begun.exc_info is None else partial(start_response, exc_info=begun.exc_info)
        return self._send(environ, begin, begun)

    def _send(self, environ: dict[str, Any], start_response: Callable[..., Any], begun: _Begun) -> Any:
        kept = [(name, text) for name, text in begun.headers if name.lower() not in _REPLACED]
        if not begun.status.startswith(_ANSWERED):
            start_response(begun.status, kept)
            return []
        found = self._found(begun.field, begun.value)
        if isinstance(found, No):
            failed = REFUSED_BY.get(found, NOT_FOUND)
            return _tell(start_response, failed, [("Content-Type", "text/plain; charset=utf-8")])
        representation, opened = found
        part = _Part(opened.fd)
        try:
            return _answer(environ, start_response, kept, representation, part)
        except BaseException:  # what start_response says of the application's fields
            part.close()
            raise

    def _found(self, by: str, value: str) -> tuple[Representation, Opened] | No:
        """The file that a field names; its descriptor is the caller's."""
        if not value.isascii() and max(value) > "\xff":
            self._mistake(f"{by} names {value[:200]!r}, whose bytes have to be given as latin-1 text (PEP 3333)")
            return No.REFUSED
        if by == "x-sendfile":
            route, rest = self._below_a_directory(value)
        else:
            path = unescape(value.partition("?")[0])
            route = self._routes.route_of(path)
            rest = path[len(route.path) :] if route is not None else ""
        if route is None:
            remedy = (
                "below no directory of [[static]] with internal = true" if rest == value else "no path of [[static]]"
            )
            self._mistake(f"{by} names {value[:200]!r}, which is {remedy}")
            return No.REFUSED
        opened = route.directory.open(rest)
        if isinstance(opened, No):
            if opened is not No.ABSENT:
                self._mistake(f"{by} names {value[:200]!r}, which cannot be sent: {opened.name.lower()}")
            return opened
        fields = route.directory.fields_of(rest)
        return Representation(rest.encode("latin-1"), IDENTITY, opened.status, fields, time.time_ns()), opened

    def _below_a_directory(self, path: str) -> tuple[Route | None, str]:
        for route in self._routes.all:
            for root in route.roots if route.internal else ():
                if path.startswith(f"{root}/"):
                    return route, path[len(root) + 1 :]
        return None, path


def _answer(
    environ: dict[str, Any], start_response: Callable[..., Any], kept: Headers, representation: Representation,
    part: _Part,
) -> Any:  # fmt: skip
    """Begin the answer; its body, which is the part that is wanted, or has nothing of the file."""
    given = {name.lower(): text for name, text in kept}
    etag = given.get("etag", representation.etag)
    modified = parse_date(given["last-modified"]) if "last-modified" in given else representation.modified
    facts = [*representation.own, *representation.validators]
    headers = [*kept, *(field for field in facts if field[0].lower() not in given)]
    size, method = representation.size, environ["REQUEST_METHOD"]
    decided = decide(method, environ, etag, modified, size) if method in METHODS else None
    status, start, stop = decided or (OK, 0, size)
    if status in {OK, PARTIAL}:
        if status == PARTIAL:
            headers.append(content_range(start, stop, size))
        start_response(status, [*headers, ("Content-Length", str(stop - start))])
        return part.of(start, stop)
    part.close()
    if status == NOT_MODIFIED:
        start_response(status, [field for field in headers if field[0].lower() not in _CONTENT])
        return []
    told = [field for field in headers if field[0].lower() not in {*_CONTENT, "content-disposition"}]
    if status == UNSATISFIABLE:
        told.append(("Content-Range", f"bytes */{size}"))
    return _tell(start_response, status, [*told, ("Content-Type", "text/plain; charset=utf-8")])


def _tell(start_response: Callable[..., Any], status: str, headers: Headers) -> list[bytes]:
    start_response(status, headers)
    return [f"{status}\n".encode()]


def _ignore(_data: bytes) -> None:
    """write() of an answer whose body is a file."""


def _close(result: Any) -> None:
    close = getattr(result, "close", None)
    if close is not None:
        close()


class _Rest:
    """What is left of a result of which the first blocks have been pulled."""

    def __init__(self, first: list[bytes], rest: Iterator[bytes], result: Any) -> None:
        self._blocks = chain(first, rest)
        self.close = getattr(result, "close", lambda: None)

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks
