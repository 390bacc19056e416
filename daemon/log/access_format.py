"""What a line of the access log says: formats, and the function that each is compiled to.

A format is a list of parts: what stands in every line as it is, and atoms, whose values are a request's. The atoms are
gunicorn's (and two of traces), so that a format string can be carried over; JSON is a format, too, with atoms of its
own. Whatever a client sends, a line stays one line and a quoted value between its quotes: control characters, quotes,
backslashes and everything beyond ASCII are written as \\xHH (in JSON as it wants them); what is unknown is "-" (null).
Who renders usual lines faster knows atoms by their `kind`, and leaves all other lines to the function here. Standard
library only.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from enum import IntEnum, auto
from typing import Any, NamedTuple

from ..traceparent import trace_of
from ..unpatched import os, time
from .error_log import iso_timestamp

Headers = list[tuple[str, str]]
Render = Callable[[dict[str, Any], str, Headers, int, int], bytes]
# Takes a format's parts, its Render, time_of_second, iso_timestamp, and the writer's `append`. Renders usual lines, and
# others by that Render, with the same result. Where `append` is the engine's own, it may append usual ones uncalled.
Faster = Callable[["list[Part]", Render, Callable[[], str], Callable[[float], str], object], Render]

COMMON = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
FORMATS = {"common": COMMON, "combined": COMMON + ' "%(f)s" "%(a)s"'}
JSON = "json"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Kind(IntEnum):
    """What an atom's value is."""

    OTHER = 0
    KEY = auto()  # a variable of the environ; "-" if it is empty or missing
    WORD = auto()  # the same without quotes around it: a space there would shift all that follows
    DASH = auto()
    USER = auto()  # of HTTP Basic authentication
    TIME = auto()  # of now, to a second
    REQUEST = auto()  # the request line
    STATUS = auto()
    BODY_BYTES = auto()
    BODY_BYTES_OR_DASH = auto()
    SECONDS = auto()  # of the duration …
    MILLISECONDS = auto()
    MICROSECONDS = auto()
    DECIMAL_SECONDS = auto()
    PROCESS = auto()  # its number
    FIELD = auto()  # of the response; `key` is its name in lower case
    VARIABLE = auto()  # of the environ, in any case: `key` is its name as it was written
    # of JSON:
    TIMESTAMP = auto()  # of now, to a millisecond
    TEXT = auto()  # a variable of the environ
    ADDRESS = auto()  # the same; empty is null
    TARGET = auto()  # its path and its query, two keys
    CODE = auto()  # of the status
    DURATION = auto()  # in milliseconds, to a microsecond
    REQUEST_ID = auto()  # with its key, if it has one
    TRACE = auto()  # with its keys, if it belongs to one
    TRACE_ID = auto()  # in any format
    SPAN_ID = auto()


class Atom(NamedTuple):
    """`plain` and `careful` are expressions over a request's environ, its `get`, status, headers, body_bytes and
    duration_ns, and what is in _NAMES: the first where all is harmless, the second for whatever it is."""

    plain: str
    careful: str
    kind: Kind = Kind.OTHER
    key: str = ""  # of the environ


Part = str | Atom


def compile_format(format: str) -> Render:
    """A function from a request to its line, newline included: its environ, or what is known of it, the response's
    status line, header and body bytes, the duration in nanoseconds. Raises ValueError as `parse` does.

    It is made of the expressions of its atoms, and whatever the format says stands in it as a literal: a call for each
    atom would cost more than all else in a line.
    """
    parts = parse(format)
    template = "".join(["%s" if isinstance(part, Atom) else part.replace("%", "%%") for part in parts])
    atoms = [part for part in parts if isinstance(part, Atom)]
    # If nothing in a line is special but what is so in the format, all its values are harmless: proved at once for the
    # whole line, which is most of what makes it cheap. In JSON each value is seen to.
    literal = "".join([part for part in parts if not isinstance(part, Atom)])
    harmless = "True" if format == JSON else f"special(entry) == {_special(literal.encode())!r}"
    source = f"""
def careful(environ, status, headers, body_bytes, duration_ns):
    get = environ.get
    line = {template!r} % ({"".join(f"{atom.careful}, " for atom in atoms)})
    return line.encode("utf-8", "backslashreplace")

def plain(environ, status, headers, body_bytes, duration_ns):
    get = environ.get
    try:
        line = {template!r} % ({"".join(f"{atom.plain}, " for atom in atoms)})
    except TypeError:  # of something that the application has left, and that no dictionary has as a key
        return careful(environ, status, headers, body_bytes, duration_ns)
    entry = line.encode("utf-8", "backslashreplace")
    return entry if {harmless} else careful(environ, status, headers, body_bytes, duration_ns)
"""
    names: dict[str, Any] = dict(_NAMES)
    exec(source, names)  # noqa: S102 - see above
    render: Render = names["plain"]
    return render


# --- the format string --------------------------------------------------------------------------------------

_TOKEN = re.compile(r"%\((?P<atom>[^()]*)\)(?P<kind>[a-zA-Z]?)|%%|(?P<stray>%)")
_NAMED = re.compile(r"\{([^{}]+)\}([ioe])")


def parse(format: str) -> list[Part]:
    """What a line is made of, newline included. Raises ValueError for what is wrong with a format string."""
    if format == JSON:
        return _JSON
    format = FORMATS.get(format, format)
    if not format.strip():
        raise ValueError("the access-log format is empty")
    if any(character != "\t" and not character.isprintable() for character in format):
        raise ValueError(f"the access-log format {format!r} has control characters: a request is one line")
    parts: list[Part] = []
    at = 0
    for token in _TOKEN.finditer(format):
        parts.append(format[at : token.start()])
        at = token.end()
        name, kind = token["atom"], token["kind"]
        if token["stray"]:
            raise ValueError(f"the access-log format has a stray '%' at position {token.start()}: write %% or %(atom)s")
        if name is None:
            parts.append("%")
            continue
        atom = _atom(name)
        if kind != "s" and not (kind == "d" and name in _NUMBERS):
            raise ValueError(f"%({name}){kind} in the access-log format: write %({name})s")
        parts.append(atom)
    return [*parts, format[at:] + "\n"]


def _atom(name: str) -> Atom:
    if found := _ATOMS.get(name):
        return found
    if named := _NAMED.fullmatch(name):
        return {"i": _request_field, "o": _response_field, "e": _variable}[named[2]](named[1])
    known = " ".join(f"%({name})s" for name in _ATOMS)
    raise ValueError(
        f"unknown atom %({name})s in the access-log format; known are {known}, "
        "and %({name}i)s %({name}o)s %({name}e)s for a request header, a response header, an environ variable"
    )


# --- values of atoms ----------------------------------------------------------------------------------------


class _Escaped(str):
    """A value that is fit for the log as it is."""

    __slots__ = ()


_SPECIAL = re.compile(r"[^ !#-\[\]-~]")  # all but printable ASCII, and of that the quote and the backslash
_PLAIN = bytes(code for code in range(0x80) if not _SPECIAL.match(chr(code)))


def _special(entry: bytes) -> bytes:
    """What of it is special, in its order."""
    return entry.translate(None, _PLAIN)


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


def _user(credentials: object) -> object:
    """The user of HTTP Basic authentication (RFC 7617), as far as it can be read. Never the password."""
    if not isinstance(credentials, str) or credentials[:6].lower() != "basic ":
        return "-"
    try:
        user, colon, _password = binascii.a2b_base64(credentials[6:].strip()).partition(b":")
    except ValueError:
        return "-"
    return _word(user.decode("latin-1")) if colon else "-"


_second: tuple[int, str] = (-1, "")


def time_of_second() -> str:
    """Now, as in the common format."""
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


def _request(environ: dict[str, Any]) -> str:
    try:
        return f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}"
    except KeyError:
        if "REQUEST_METHOD" not in environ:
            return "-"
        return f"{environ['REQUEST_METHOD']} {_target(environ) or '-'} {environ.get('SERVER_PROTOCOL', '-')}"


def _of_field(headers: Headers, name: str) -> str:
    return ", ".join([value for field, value in headers if field.lower() == name]) or "-"


def _of_variable(environ: dict[str, Any], names: tuple[str, ...]) -> object:
    for key in names:
        if key in environ:
            return environ[key]
    return "-"


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns // 1_000_000_000}.{duration_ns // 1_000 % 1_000_000:06d}"


# --- atoms --------------------------------------------------------------------------------------------------


def _text(plain: str, kind: Kind = Kind.OTHER, key: str = "") -> Atom:
    return Atom(plain, f"escaped({plain})", kind, key)


def _key(name: str) -> Atom:
    return _text(f'get({name!r}) or "-"', Kind.KEY, name)


def _request_field(name: str) -> Atom:
    key = name.upper().replace("-", "_")
    return _key(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key)


def _response_field(name: str) -> Atom:
    return _text(f"of_field(headers, {name.lower()!r})", Kind.FIELD, name.lower())


def _variable(name: str) -> Atom:
    """gunicorn wants environ variables in lower case: any case will do."""
    return _text(f"of_variable(environ, {(name, name.upper(), name.lower())!r})", Kind.VARIABLE, name)


_ATOMS = {
    "h": _text('word(get("REMOTE_ADDR", "-"))', Kind.WORD, "REMOTE_ADDR"),
    "l": _text('"-"', Kind.DASH),
    "u": _text('user(get("HTTP_AUTHORIZATION")) if "HTTP_AUTHORIZATION" in environ else "-"', Kind.USER),
    "t": _text("time()", Kind.TIME),
    "r": _text("request(environ)", Kind.REQUEST),
    "m": _key("REQUEST_METHOD"),
    "U": _key("PATH_INFO"),
    "q": _key("QUERY_STRING"),
    "H": _key("SERVER_PROTOCOL"),
    "s": _text('status[:3] or "-"', Kind.STATUS),
    "B": _text("body_bytes", Kind.BODY_BYTES),
    "b": _text('body_bytes or "-"', Kind.BODY_BYTES_OR_DASH),
    "f": _key("HTTP_REFERER"),
    "a": _key("HTTP_USER_AGENT"),
    "T": _text("duration_ns // 1_000_000_000", Kind.SECONDS),
    "M": _text("duration_ns // 1_000_000", Kind.MILLISECONDS),
    "D": _text("duration_ns // 1_000", Kind.MICROSECONDS),
    "L": _text("seconds(duration_ns)", Kind.DECIMAL_SECONDS),
    "p": _text('f"<{getpid()}>"', Kind.PROCESS),
    # not gunicorn's:
    "trace_id": _text('trace.trace_id if (trace := trace_of(environ)) else "-"', Kind.TRACE_ID),
    "span_id": _text('trace.span_id if (trace := trace_of(environ)) else "-"', Kind.SPAN_ID),
}
_NUMBERS = frozenset("BTMD")


# --- JSON ---------------------------------------------------------------------------------------------------

_quote = json.JSONEncoder().encode
_CODES = frozenset(str(code) for code in range(100, 1000))
_KEPT, _KEPT_CHARACTERS = 256, 512


class _Remembered(dict[Any, str]):
    """What texts become in JSON: most come again and again. It has only so many of them, and none that is long."""

    def __init__(self, make: Callable[[Any], str]) -> None:
        self._make = make

    def __missing__(self, text: Any) -> str:
        made = self._make(text)
        if len(made) <= _KEPT_CHARACTERS:
            if len(self) >= _KEPT:
                self.clear()
            self[text] = made
        return made


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


def _path_and_query(target: object) -> str:
    if target is None:
        return '"path":null,"query":null'
    path, mark, query = str(target).partition("?")
    return f'"path":{_json(path)},"query":{_json(query if mark else None)}'


def _milliseconds(duration_ns: int) -> str:
    microseconds = (duration_ns + 500) // 1_000
    return f"{microseconds // 1_000}.{microseconds % 1_000:03d}"


def _quoted(key: str, *, or_none: str = "", kind: Kind = Kind.TEXT) -> Atom:
    return Atom(f"texts[get({key!r}){or_none}]", f"json(get({key!r}){or_none})", kind, key)


def _same(expression: str, kind: Kind, key: str = "") -> Atom:
    return Atom(expression, expression, kind, key)


_TARGET = 'get("RAW_URI") or target(environ)'
_ID = '"" if (value := get("miniwsgi.request_id")) is None else f\',"request_id":{json(value)}\''
_TRACE = (
    '"" if "HTTP_TRACEPARENT" not in environ or (trace := trace_of(environ)) is None '
    'else f\',"trace_id":"{trace.trace_id}","span_id":"{trace.span_id}"\''
)
_JSON: list[Part] = [
    '{"time":"', _same("timestamp(clock.time())", Kind.TIMESTAMP),
    '","remote":', _quoted("REMOTE_ADDR", or_none=" or None", kind=Kind.ADDRESS),
    ',"method":', _quoted("REQUEST_METHOD"),
    ",", Atom(f"targets[{_TARGET}]", f"path_and_query({_TARGET})", Kind.TARGET, "RAW_URI"),
    ',"protocol":', _quoted("SERVER_PROTOCOL"),
    ',"status":', _same('code if (code := status[:3]) in CODES else "null"', Kind.CODE),
    ',"bytes":', _same("body_bytes", Kind.BODY_BYTES),
    ',"duration_ms":', _same("milliseconds(duration_ns)", Kind.DURATION),
    ',"referer":', _quoted("HTTP_REFERER"),
    ',"user_agent":', _quoted("HTTP_USER_AGENT"),
    _same(_ID, Kind.REQUEST_ID, "miniwsgi.request_id"),
    _same(_TRACE, Kind.TRACE),
    "}\n",
]  # fmt: skip
_NAMES = {
    "CODES": _CODES, "clock": time, "escaped": _escaped, "getpid": os.getpid, "json": _json,
    "milliseconds": _milliseconds, "of_field": _of_field, "of_variable": _of_variable,
    "path_and_query": _path_and_query, "request": _request, "seconds": _seconds, "special": _special, "target": _target,
    "targets": _Remembered(_path_and_query), "texts": _Remembered(_json), "time": time_of_second,
    "timestamp": iso_timestamp, "trace_of": trace_of, "user": _user, "word": _word,
}  # fmt: skip
