"""The head of a response: built, checked and framed in one place (RFC 9110 section 6.4, RFC 9112 section 6).

`frame` alone decides how a body is delimited and whether the connection goes on. What a status line or a field looks
like on the wire is remembered in bounded tables, because applications repeat themselves.
"""

from __future__ import annotations

import re
import time
from enum import IntEnum
from typing import Any

from .errors import REASONS


class Body(IntEnum):
    """How the body of a response ends."""

    NONE = 0  # there is none, whatever the application gives (HEAD, 204, 304)
    SIZED = 1  # after Content-Length bytes
    CHUNKED = 2
    CLOSE = 3  # with the connection


class BadResponse(Exception):
    """The application's status or fields cannot go on the wire; nothing of them has."""


# head, how the body is framed, its bytes if SIZED, whether the connection goes on
Framed = tuple[bytes, Body, int, bool]


class _Kind(IntEnum):
    PLAIN = 0
    LENGTH = 1
    DATE = 2
    SERVER = 3
    HOP = 4


_STATUS = re.compile(r"([1-9][0-9][0-9])( [\t\x20-\x7e\x80-\xff]*)?")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_LENGTH_VALUE = re.compile(r"[ \t]*[0-9]{1,18}[ \t]*")  # white space around a value is none of it
_CODE_CHARS = 3
_HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "trailers", "transfer-encoding", "upgrade",
})  # fmt: skip
_KINDS = {"content-length": _Kind.LENGTH, "date": _Kind.DATE, "server": _Kind.SERVER}
_KEPT = 1024
_KEPT_CHARS = 256
_KEPT_ANSWERS = 256
_KEPT_ANSWER_BYTES = 4096

_PLAIN, _LENGTH, _DATE, _SERVER, _HOP = (int(kind) for kind in _Kind)

_OWN_DATE, _OWN_SERVER = 1, 2
_NONE, _SIZED, _CHUNKED, _CLOSE_BODY = Body

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(seconds: float) -> str:
    """IMF-fixdate (RFC 9110 section 5.6.7) of a time since the epoch, whatever the locale."""
    t = time.gmtime(seconds)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )


class ServerFields:
    """The Date and Server lines; `refresh` once a second is enough. What else the server adds is named here."""

    __slots__ = ("_server", "lines", "request_id_header")

    def __init__(self, server: str, request_id_header: str = "") -> None:
        """`server` is the Server field's value, `request_id_header` a field's name; empty for none."""
        self.request_id_header = request_id_header or None
        self._server = f"Server: {server}\r\n".encode("latin-1") if server else b""
        self.refresh()

    def refresh(self) -> None:
        date = f"Date: {http_date(time.time())}\r\n".encode()
        self.lines = (b"", date, self._server, self._server + date)  # indexed by _OWN_DATE | _OWN_SERVER


class Encodings:
    """What statuses and fields, and whole heads, look like on the wire; bounded. One is shared by a worker's calls."""

    __slots__ = ("answers", "fields", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[str, tuple[int, bytes]] = {}
        self.fields: dict[tuple[str, str], tuple[bytes, int]] = {}
        self.answers: dict[tuple[Any, ...], Encoded] = {}

    def __repr__(self) -> str:
        return f"<Encodings {len(self.answers)} answers, {len(self.fields)} fields, {len(self.statuses)} statuses>"


def status_line(status: str, statuses: dict[str, tuple[int, bytes]]) -> tuple[int, bytes]:
    """Code and status line of a WSGI status ("200 OK"), kept in `statuses`. Raises BadResponse."""
    if not isinstance(status, str):
        raise BadResponse(f"the status is a {type(status).__name__}, not a str")
    match = _STATUS.fullmatch(status)
    if match is None:
        raise BadResponse(f"the status {status!r} is not three digits, a space and a reason")
    code = int(match[1])
    if code < 200:  # RFC 9110 section 15.2: another response would have to follow
        raise BadResponse(f"the status {status!r} is not a final one; for 103 there is wsgi.early_hints")
    # RFC 9112 section 4: the space stays, also in front of no reason
    found = code, _wire("HTTP/1.1 ", status, "" if match[2] else " ")
    if len(statuses) < _KEPT and len(status) <= _KEPT_CHARS:
        statuses[status] = found
    return found


def _wire(*parts: str) -> bytes:
    """A line. Joined, not formatted: a subclass of str may format itself as something else than was checked."""
    return "".join((*parts, "\r\n")).encode("latin-1")


def _field(item: Any, fields: dict[tuple[str, str], tuple[bytes, int]]) -> tuple[bytes, int]:
    try:
        name, value = item
    except (TypeError, ValueError):
        raise BadResponse(f"a response header is {item!r}, not a pair of str") from None
    if not isinstance(name, str) or not isinstance(value, str):
        raise BadResponse(f"the response header {name!r}: {value!r} is not a pair of str")
    if not _NAME.fullmatch(name):
        raise BadResponse(f"the response header name {name!r} is not a token")
    if not _VALUE.fullmatch(value):
        raise BadResponse(f"the response header {name} has a character that cannot be sent: {value!r}")
    lower = name.lower()
    kind = _Kind.HOP if lower in _HOP_BY_HOP else _KINDS.get(lower, _Kind.PLAIN)
    if kind is _Kind.LENGTH and not _LENGTH_VALUE.fullmatch(value):
        raise BadResponse(f"Content-Length is {value!r}, not a number of bytes")
    found = _wire(name, ": ", value), int(kind)
    if len(name) + len(value) <= _KEPT_CHARS and lower != "set-cookie":
        if len(fields) >= _KEPT:
            fields.clear()
        fields[name, value] = found
    return found


class Encoded:
    """A status and fields that may go on the wire: checked, encoded, framing still open."""

    __slots__ = ("code", "dropped", "framed", "kept", "length", "mistakes", "own", "parts")

    def __init__(self, status: str, headers: list[tuple[str, str]], encodings: Encodings) -> None:
        """Raises BadResponse."""
        statuses, fields = encodings.statuses, encodings.fields
        try:
            self.code, line = statuses.get(status) or status_line(status, statuses)
        except TypeError:  # not even hashable
            self.code, line = status_line(status, statuses)
        self.length: int | None = None  # as the application announced it
        self.own = _OWN_DATE | _OWN_SERVER
        self.dropped: tuple[str, ...] = ()  # hop-by-hop fields, which are not an application's
        self.mistakes: tuple[str, ...] = ()  # what was put right, and should be in the application
        self.kept = False  # for the next response that says the same
        self.framed: tuple[tuple[Any, ...], Framed] | None = None  # and from what: in one, as threads share it
        parts = self.parts = [line]
        for item in headers:
            try:
                encoded, kind = fields.get(item) or _field(item, fields)
            except TypeError:  # a list instead of a tuple
                encoded, kind = _field(item, fields)
            if kind:
                self._special(item, kind)
                if kind in (_LENGTH, _HOP):
                    continue
            parts.append(encoded)
        if len(status) == _CODE_CHARS:
            told = f'the status "{status}" has no reason: a space was added (PEP 3333: "200 OK")'
            self.mistakes = (told, *self.mistakes)

    def _special(self, item: tuple[str, str], kind: int) -> None:
        if kind == _LENGTH:
            length = int(item[1])
            if self.length is not None and self.length != length:
                raise BadResponse("two different Content-Length headers")
            self.length = length
        elif kind == _DATE:
            self.own &= ~_OWN_DATE  # the application's wins
        elif kind == _SERVER:
            self.own &= ~_OWN_SERVER
        else:
            self.dropped = (*self.dropped, item[0])
            names = ", ".join(self.dropped)
            self.mistakes = (f"hop-by-hop response headers are the server's and were left out: {names}",)


def encode(status: str, headers: list[tuple[str, str]], encodings: Encodings) -> Encoded:
    """The same as `Encoded`, remembered whole while an application repeats itself. Raises BadResponse."""
    if type(headers) is not list:  # what can be read only once must be read by one
        return Encoded(status, headers, encodings)
    answers = encodings.answers
    try:
        key = (status, *headers)
        found = answers.get(key)
    except TypeError:  # something in it cannot be hashed
        return Encoded(status, headers, encodings)
    if found is None:
        found = Encoded(status, headers, encodings)
        if sum(map(len, found.parts)) <= _KEPT_ANSWER_BYTES and all(item in encodings.fields for item in headers):
            if len(answers) >= _KEPT_ANSWERS:
                answers.clear()
            found.kept = True
            answers[key] = found
    return found


def frame(
    encoded: Encoded, method: str, http11: bool, persistent: bool, length: int | None, server: ServerFields
) -> Framed:
    """The bytes of a response's head and how its body is framed (RFC 9112 section 6): the one place that decides.

    `length` is the body's size in bytes where it is known before it is sent (a list, a file, nothing at all).
    `persistent` is what the request and the server wish.
    """
    wishes = (method, http11, persistent, length, server.lines)
    kept = encoded.framed
    if kept is not None and kept[0] == wishes:
        return kept[1]
    parts = encoded.parts[:]
    code = encoded.code
    announced = encoded.length
    body = _SIZED
    if code == 204:
        body, announced = _NONE, None
    elif method == "HEAD" or code == 304:
        body = _NONE
        if announced is None and length and code != 304:
            announced = length
    elif announced is None:
        announced = length
        if length is None:
            if http11:
                body = _CHUNKED
                parts.append(b"Transfer-Encoding: chunked\r\n")
            else:
                body = _CLOSE_BODY
                persistent = False
    if announced is not None:
        parts.append(b"Content-Length: %d\r\n" % announced)
    parts.append(server.lines[encoded.own])
    if not persistent:
        parts.append(b"Connection: close\r\n\r\n")
    elif http11:
        parts.append(b"\r\n")
    else:
        parts.append(b"Connection: keep-alive\r\n\r\n")
    framed = b"".join(parts), body, announced or 0, persistent
    if encoded.kept:
        encoded.framed = wishes, framed
    return framed


def identified(head: bytes, headers: list[tuple[str, str]], server: ServerFields, request_id: str) -> bytes:
    """The head with the request's id in it, if that is wanted and is not among the headers already."""
    name = server.request_id_header
    if name is None or any(key.lower() == name.lower() for key, _value in headers):
        return head
    return with_field(head, name, request_id)


def with_field(head: bytes, name: str, value: str) -> bytes:
    """A response's head that has one field more, in front of the others."""
    field = f"{name}: {value}\r\n".encode("latin-1")
    end = head.index(b"\r\n") + 2  # of the status line
    return head[:end] + field + head[end:]


def refusal(status: int, server: ServerFields, *, persistent: bool = False, head_only: bool = False) -> bytes:
    """A whole response by the server itself. Nothing of the request is in it."""
    text = f"{status} {REASONS[status]}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\n".encode(),
        b"Retry-After: 1\r\n" if status == 503 else b"",
        server.lines[-1],
        b"\r\n" if persistent else b"Connection: close\r\n\r\n",
        b"" if head_only else text,
    ]
    return b"".join(lines)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def early_hints(headers: list[tuple[str, str]], encodings: Encodings) -> bytes:
    """A 103 response (RFC 8297), without fields that would frame it. Raises BadResponse."""
    fields = [_field(item, encodings.fields) for item in headers]
    lines = [line for line, kind in fields if kind not in (_LENGTH, _HOP)]
    return b"HTTP/1.1 103 Early Hints\r\n" + b"".join(lines) + b"\r\n"
