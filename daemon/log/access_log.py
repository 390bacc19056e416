"""The access log: one line a request, in the combined or common format, a format string of atoms, or JSON.

The atoms are gunicorn's, so that a format string can be carried over. The format is compiled once; a line
costs two or three microseconds and is queued in a `Writer`. Promises: whatever a client sends, a line stays
one line and a quoted value stays between its quotes: control characters, quotes, backslashes and everything
beyond ASCII are written as \\xHH; what is unknown is "-" (null in JSON). Standard library only.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from typing import Any

from ..unpatched import os, time
from .error_log import iso_timestamp
from .ring import Ring
from .writer import Writer, lost_message

Headers = list[tuple[str, str]]
Getter = Callable[[dict[str, Any], str, Headers, int, int], object]
Render = Callable[[dict[str, Any], str, Headers, int, int], bytes]

LINGER_SECONDS = 0.02  # at 100,000 requests/s 2,000 lines gather, a fifth of the queue
COMMON = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
FORMATS = {"common": COMMON, "combined": COMMON + ' "%(f)s" "%(a)s"'}
# By descriptor, because a socket (the journal's) cannot be opened by its path.
_STREAMS = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class AccessLog:
    """Lines about answered requests to `destination`: "-" for standard output, or a path.

    `format` is "combined", "common", "json" or a format string. Raises ValueError for what is wrong with a
    format string, OSError when the path cannot be opened. `writer` (its own by default) has reopen, flush and
    lost. Lines gather in `ring` for 20 ms; `at_once`: they do not.
    """

    def __init__(
        self,
        destination: str,
        format: str = "combined",
        writer: Writer | None = None,
        *,
        ring: Ring | None = None,
        at_once: bool = False,
    ) -> None:
        self._render = compile_format(format)
        if writer is None:
            linger = 0.0 if at_once else LINGER_SECONDS
            target = _STREAMS.get(destination, destination)
            writer = Writer(target, at_once=at_once, linger_seconds=linger, ring=ring)
        if writer.notice is None:
            writer.notice = _json_notice if format == "json" else _comment_notice
        self.writer = writer

    def __repr__(self) -> str:
        return f"<AccessLog {self.writer!r}>"

    def log(self, environ: dict[str, Any], status: str, headers: Headers, body_bytes: int, duration_ns: int) -> None:
        """Queue the line of one request: its environ, or what is known of it; the response's status line
        ("200 OK"), header and body bytes; the nanoseconds from complete request to complete response.
        """
        self.writer.put(self._render(environ, status, headers, body_bytes, duration_ns))


def compile_format(format: str) -> Render:
    """A function from a request to its line, newline included. Raises ValueError, as `AccessLog` does."""
    if format == "json":
        return _render_json
    format = FORMATS.get(format, format)
    template, getters = _parse(format)
    literal = template.replace("%s", "").replace("%%", "%")
    quotes = literal.count('"')
    # If all that is literal is harmless, a whole line can be proved harmless at once, which is most of what
    # makes a line cheap: printable ASCII, no backslash, and no quotes but the literal ones.
    harmless = literal.isascii() and literal.isprintable()

    def render(environ: dict[str, Any], status: str, headers: Headers, body_bytes: int, duration_ns: int) -> bytes:
        values = [getter(environ, status, headers, body_bytes, duration_ns) for getter in getters]
        line = template % tuple(values)
        plain = harmless and line.isascii() and line.isprintable()
        if plain and "\\" not in line and line.count('"') == quotes:
            return line.encode("ascii") + b"\n"
        line = template % tuple([_escaped(value) for value in values])
        return line.encode("utf-8", "backslashreplace") + b"\n"

    return render


# --- the format string --------------------------------------------------------------------------------------

_TOKEN = re.compile(r"%\((?P<atom>[^()]*)\)(?P<kind>[a-zA-Z]?)|%%|(?P<stray>%)")
_NAMED = re.compile(r"\{([^{}]+)\}([ioe])")


def _parse(format: str) -> tuple[str, list[Getter]]:
    """A %-template and a getter for each of its places."""
    if not format.strip():
        raise ValueError("the access-log format is empty")
    if any(character != "\t" and not character.isprintable() for character in format):
        raise ValueError(f"the access-log format {format!r} has control characters: a request is one line")
    template: list[str] = []
    getters: list[Getter] = []
    at = 0
    for token in _TOKEN.finditer(format):
        template.append(format[at : token.start()])
        at = token.end()
        atom, kind = token["atom"], token["kind"]
        if token["stray"]:
            raise ValueError(f"the access-log format has a stray '%' at position {token.start()}: write %% or %(atom)s")
        if atom is None:
            template.append("%%")
            continue
        getter = _getter(atom)
        if kind != "s" and not (kind == "d" and atom in _NUMBERS):
            raise ValueError(f"%({atom}){kind} in the access-log format: write %({atom})s")
        template.append("%s")
        getters.append(getter)
    template.append(format[at:])
    return "".join(template), getters


def _getter(atom: str) -> Getter:
    if found := _ATOMS.get(atom):
        return found
    if named := _NAMED.fullmatch(atom):
        name, kind = named.groups()
        return {"i": _request_field, "o": _response_field, "e": _variable}[kind](name)
    known = " ".join(f"%({name})s" for name in _ATOMS)
    raise ValueError(
        f"unknown atom %({atom})s in the access-log format; known are {known}, "
        "and %({name}i)s %({name}o)s %({name}e)s for a request header, a response header, an environ variable"
    )


# --- atoms --------------------------------------------------------------------------------------------------


class _Escaped(str):
    """A value that is fit for the log as it is."""

    __slots__ = ()


_SPECIAL = re.compile(r"[^ !#-\[\]-~]")  # all but printable ASCII, and of that the quote and the backslash


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escaped(value: object) -> object:
    if type(value) is int or type(value) is _Escaped:
        return value
    return _SPECIAL.sub(_escape, str(value))


def _word(value: object) -> str:
    """A value for a place without quotes around it: a space there would shift all that follows."""
    text = str(value)
    return _Escaped(_SPECIAL.sub(_escape, text).replace(" ", "\\x20")) if " " in text else text or "-"


def _remote(environ: dict[str, Any], *_: object) -> object:
    return _word(environ.get("REMOTE_ADDR", "-"))


def _user(environ: dict[str, Any], *_: object) -> object:
    """The user of HTTP Basic authentication (RFC 7617), as far as it can be read. Never the password."""
    credentials = environ.get("HTTP_AUTHORIZATION")
    if not isinstance(credentials, str) or credentials[:6].lower() != "basic ":
        return "-"
    try:
        user, colon, _password = binascii.a2b_base64(credentials[6:].strip()).partition(b":")
    except ValueError:
        return "-"
    return _word(user.decode("latin-1")) if colon else "-"


_second: tuple[int, str] = (-1, "")


def _time(*_: object) -> object:
    global _second  # noqa: PLW0603 - one tuple, replaced whole: a race costs one formatting
    second = int(time.time())
    cached = _second
    if cached[0] != second:
        now = time.localtime(second)
        # Not by strftime's %b: that follows the locale, which the application may set.
        text = time.strftime(f"[%d/{_MONTHS[now.tm_mon - 1]}/%Y:%H:%M:%S %z]", now)
        cached = _second = (second, text)
    return cached[1]


def _target(environ: dict[str, Any]) -> str | None:
    """The request target as received, or as well as it can be told."""
    for name in ("RAW_URI", "REQUEST_URI"):
        if found := environ.get(name):
            return str(found)
    if "PATH_INFO" not in environ:
        return None
    query = environ.get("QUERY_STRING")
    return f"{environ.get('SCRIPT_NAME', '')}{environ['PATH_INFO']}{'?' if query else ''}{query or ''}"


def _request(environ: dict[str, Any], *_: object) -> object:
    try:
        return f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}"
    except KeyError:
        if "REQUEST_METHOD" not in environ:
            return "-"
        return f"{environ['REQUEST_METHOD']} {_target(environ) or '-'} {environ.get('SERVER_PROTOCOL', '-')}"


def _key(name: str) -> Getter:
    return lambda environ, *_: environ.get(name) or "-"


def _request_field(name: str) -> Getter:
    key = name.upper().replace("-", "_")
    return _key(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key)


def _response_field(name: str) -> Getter:
    name = name.lower()

    def get(_environ: object, _status: object, headers: Headers, *_: object) -> object:
        return ", ".join([value for field, value in headers if field.lower() == name]) or "-"

    return get


def _variable(name: str) -> Getter:
    """gunicorn wants environ variables in lower case: any case will do."""
    names = (name, name.upper(), name.lower())

    def get(environ: dict[str, Any], *_: object) -> object:
        for key in names:
            if key in environ:
                return environ[key]
        return "-"

    return get


_ATOMS: dict[str, Getter] = {
    "h": _remote,
    "l": lambda *_: "-",
    "u": _user,
    "t": _time,
    "r": _request,
    "m": _key("REQUEST_METHOD"),
    "U": _key("PATH_INFO"),
    "q": _key("QUERY_STRING"),
    "H": _key("SERVER_PROTOCOL"),
    "s": lambda _environ, status, *_: status[:3] or "-",
    "B": lambda _environ, _status, _headers, body_bytes, _duration: body_bytes,
    "b": lambda _environ, _status, _headers, body_bytes, _duration: body_bytes or "-",
    "f": _key("HTTP_REFERER"),
    "a": _key("HTTP_USER_AGENT"),
    "T": lambda _environ, _status, _headers, _bytes, duration_ns: duration_ns // 1_000_000_000,
    "M": lambda _environ, _status, _headers, _bytes, duration_ns: duration_ns // 1_000_000,
    "D": lambda _environ, _status, _headers, _bytes, duration_ns: duration_ns // 1_000,
    "L": lambda _environ, _status, _headers, _bytes, duration_ns: (
        f"{duration_ns // 1_000_000_000}.{duration_ns // 1_000 % 1_000_000:06d}"
    ),
    "p": lambda *_: f"<{os.getpid()}>",
}
_NUMBERS = frozenset("BTMD")


# --- JSON ---------------------------------------------------------------------------------------------------

_quote = json.JSONEncoder().encode
_CODES = frozenset(str(code) for code in range(100, 1000))


def _render_json(environ: dict[str, Any], status: str, headers: Headers, body_bytes: int, duration_ns: int) -> bytes:
    get = environ.get
    target = _target(environ)
    path, mark, query = target.partition("?") if target is not None else (None, "", None)
    if not mark:
        query = None
    code = status[:3]
    request_id = get("miniwsgi.request_id")
    end = "}\n" if request_id is None else f',"request_id":{_json(request_id)}}}\n'
    line = (
        f'{{"time":"{iso_timestamp(time.time())}","remote":{_json(get("REMOTE_ADDR") or None)}'
        f',"method":{_json(get("REQUEST_METHOD"))},"path":{_json(path)},"query":{_json(query)}'
        f',"protocol":{_json(get("SERVER_PROTOCOL"))},"status":{code if code in _CODES else "null"}'
        f',"bytes":{body_bytes},"duration_ms":{duration_ns / 1e6:.3f}'
        f',"referer":{_json(get("HTTP_REFERER"))},"user_agent":{_json(get("HTTP_USER_AGENT"))}{end}'
    )
    return line.encode("ascii")


def _json(value: object) -> str:
    if value is None:
        return "null"
    text = str(value)
    if not text.isascii():
        # An environ has bytes as latin-1 (PEP 3333); nearly all that is not ASCII was sent as UTF-8.
        try:
            text = text.encode("latin-1").decode("utf-8")
        except UnicodeError:
            pass
    return _quote(text)


# --- lost lines ---------------------------------------------------------------------------------------------


def _json_notice(lines: int, reason: str) -> bytes:
    entry = {"time": iso_timestamp(time.time()), "lost": lines, "message": lost_message(lines, reason)}
    return json.dumps(entry).encode() + b"\n"


def _comment_notice(lines: int, reason: str) -> bytes:
    return f"# {lost_message(lines, reason)}\n".encode()
