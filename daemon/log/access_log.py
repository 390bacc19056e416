"""The access log: one line a request, in the combined or common format, a format string of atoms, or JSON.

The atoms are gunicorn's, so that a format string can be carried over. The format is compiled once, to a function; a
line costs two microseconds and is queued in a `Writer`. Promises: whatever a client sends, a line stays
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
        self._put = writer.put

    def __repr__(self) -> str:
        return f"<AccessLog {self.writer!r}>"

    def log(self, environ: dict[str, Any], status: str, headers: Headers, body_bytes: int, duration_ns: int) -> None:
        """Queue the line of one request: its environ, or what is known of it; the response's status line
        ("200 OK"), header and body bytes; the nanoseconds from complete request to complete response.
        """
        self._put(self._render(environ, status, headers, body_bytes, duration_ns))


def compile_format(format: str) -> Render:
    """A function from a request to its line, newline included. Raises ValueError, as `AccessLog` does."""
    if format == "json":
        return _render_json
    template, expressions = _parse(FORMATS.get(format, format) + "\n")
    special = _special(template.replace("%s", "").replace("%%", "%").encode())
    careful = _render(template, [f"escaped({expression})" for expression in expressions], "entry")
    # If nothing in a line is special but what is so in the format, all its values are harmless: proved at once for the
    # whole line, which is most of what makes it cheap.
    return _render(
        template,
        expressions,
        "entry if special(entry) == SPECIAL else careful(environ, status, headers, body_bytes, duration_ns)",
        special=_special, SPECIAL=special, careful=careful,
    )  # fmt: skip


def _render(template: str, expressions: list[str], returned: str, **known: object) -> Render:
    """A function made of expressions of ours (_ATOMS), in which whatever a format says stands as a literal.

    A call for each atom would cost more than all else in a line.
    """
    source = f"""
def render(environ, status, headers, body_bytes, duration_ns):
    get = environ.get
    line = {template!r} % ({"".join(f"{expression}, " for expression in expressions)})
    entry = line.encode("utf-8", "backslashreplace")
    return {returned}
"""
    names: dict[str, Any] = {**_NAMES, **known}
    exec(source, names)  # noqa: S102 - see above
    rendered: Render = names["render"]
    return rendered


# --- the format string --------------------------------------------------------------------------------------

_TOKEN = re.compile(r"%\((?P<atom>[^()]*)\)(?P<kind>[a-zA-Z]?)|%%|(?P<stray>%)")
_NAMED = re.compile(r"\{([^{}]+)\}([ioe])")


def _parse(format: str) -> tuple[str, list[str]]:
    """A %-template and an expression for each of its places."""
    if not format.strip():
        raise ValueError("the access-log format is empty")
    if any(character != "\t" and not character.isprintable() for character in format[:-1]):
        raise ValueError(f"the access-log format {format[:-1]!r} has control characters: a request is one line")
    template: list[str] = []
    expressions: list[str] = []
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
        expression = _expression(atom)
        if kind != "s" and not (kind == "d" and atom in _NUMBERS):
            raise ValueError(f"%({atom}){kind} in the access-log format: write %({atom})s")
        template.append("%s")
        expressions.append(expression)
    template.append(format[at:])
    return "".join(template), expressions


def _expression(atom: str) -> str:
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


def _time() -> str:
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


def _key(name: str) -> str:
    return f'get({name!r}) or "-"'


def _request_field(name: str) -> str:
    key = name.upper().replace("-", "_")
    return _key(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key)


def _response_field(name: str) -> str:
    return f"field(headers, {name.lower()!r})"


def _field(headers: Headers, name: str) -> str:
    return ", ".join([value for field, value in headers if field.lower() == name]) or "-"


def _variable(name: str) -> str:
    """gunicorn wants environ variables in lower case: any case will do."""
    return f"variable(environ, {(name, name.upper(), name.lower())!r})"


def _variable_of(environ: dict[str, Any], names: tuple[str, ...]) -> object:
    for key in names:
        if key in environ:
            return environ[key]
    return "-"


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns // 1_000_000_000}.{duration_ns // 1_000 % 1_000_000:06d}"


# Expressions over a request's environ, its `get`, status, headers, body_bytes, duration_ns, and what is in _NAMES.
_ATOMS = {
    "h": 'word(get("REMOTE_ADDR", "-"))',
    "l": '"-"',
    "u": 'user(get("HTTP_AUTHORIZATION")) if "HTTP_AUTHORIZATION" in environ else "-"',
    "t": "time()",
    "r": "request(environ)",
    "m": _key("REQUEST_METHOD"),
    "U": _key("PATH_INFO"),
    "q": _key("QUERY_STRING"),
    "H": _key("SERVER_PROTOCOL"),
    "s": 'status[:3] or "-"',
    "B": "body_bytes",
    "b": 'body_bytes or "-"',
    "f": _key("HTTP_REFERER"),
    "a": _key("HTTP_USER_AGENT"),
    "T": "duration_ns // 1_000_000_000",
    "M": "duration_ns // 1_000_000",
    "D": "duration_ns // 1_000",
    "L": "seconds(duration_ns)",
    "p": 'f"<{getpid()}>"',
}
_NUMBERS = frozenset("BTMD")
_NAMES = {
    "escaped": _escaped, "field": _field, "getpid": os.getpid, "request": _request, "seconds": _seconds, "time": _time,
    "user": _user, "variable": _variable_of, "word": _word,
}  # fmt: skip


# --- JSON ---------------------------------------------------------------------------------------------------

_quote = json.JSONEncoder().encode
_CODES = frozenset(str(code) for code in range(100, 1000))
_KEYS = (
    "REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "REQUEST_URI", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING",
    "SERVER_PROTOCOL", "HTTP_REFERER", "HTTP_USER_AGENT", "miniwsgi.request_id",
)  # fmt: skip
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


def _render_json(environ: dict[str, Any], status: str, headers: Headers, body_bytes: int, duration_ns: int) -> bytes:
    get = environ.get
    code = status[:3]
    request_id = get("miniwsgi.request_id")
    end = "}\n" if request_id is None else f',"request_id":{_json(request_id)}}}\n'
    try:
        line = (
            f'{{"time":"{iso_timestamp(time.time())}","remote":{_texts[get("REMOTE_ADDR") or None]}'
            f',"method":{_texts[get("REQUEST_METHOD")]},{_targets[get("RAW_URI") or _target(environ)]}'
            f',"protocol":{_texts[get("SERVER_PROTOCOL")]},"status":{code if code in _CODES else "null"}'
            f',"bytes":{body_bytes},"duration_ms":{duration_ns / 1e6:.3f}'
            f',"referer":{_texts[get("HTTP_REFERER")]},"user_agent":{_texts[get("HTTP_USER_AGENT")]}{end}'
        )
    except TypeError:  # something that the application has left, and of which no dictionary has a key
        texts = {key: None if environ[key] is None else str(environ[key]) for key in _KEYS if key in environ}
        return _render_json(texts, status, headers, body_bytes, duration_ns)
    return line.encode("ascii")


def _path_and_query(target: object) -> str:
    if target is None:
        return '"path":null,"query":null'
    path, mark, query = str(target).partition("?")
    return f'"path":{_json(path)},"query":{_json(query if mark else None)}'


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


_texts = _Remembered(_json)
_targets = _Remembered(_path_and_query)


# --- lost lines ---------------------------------------------------------------------------------------------


def _json_notice(lines: int, reason: str) -> bytes:
    entry = {"time": iso_timestamp(time.time()), "lost": lines, "message": lost_message(lines, reason)}
    return json.dumps(entry).encode() + b"\n"


def _comment_notice(lines: int, reason: str) -> bytes:
    return f"# {lost_message(lines, reason)}\n".encode()
