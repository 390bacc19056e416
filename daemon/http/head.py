"""The head of a request: request line and fields (RFC 9112 sections 3 and 5), parsed strictly, from complete bytes.

Fields are keyed by their meta-variable names (RFC 3875 section 4.1.18: HTTP_ACCEPT, CONTENT_TYPE …), because that is
the only form in which anyone here reads them, and values are latin-1 text. What a request line or a name means is
remembered in bounded tables: clients repeat themselves.
"""

from __future__ import annotations

import re
from _socket import AF_INET6, inet_pton
from typing import Any, Final, NamedTuple

from . import errors
from .errors import ProtocolError

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 section 5.6.2

# request-line = method SP request-target SP HTTP-version (RFC 9112 section 3). A target is visible characters but "#";
# bytes above 0x7f are let through, because tools send them unescaped and they are unambiguous.
_REQUEST_LINE = re.compile(
    rf"({_TOKEN}) ([^\x00-\x20\x7f#]+) HTTP/([0-9])\.([0-9])".encode(),
)
_NAME = re.compile(_TOKEN)
_METHOD = re.compile(_TOKEN.encode())
_TARGET = re.compile(r"[^\x00-\x20\x7f#]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_LINE_PARTS = 3
_WHITE_SPACE = (" ", "\t")
_LF = ord("\n")

# absolute-form = absolute-URI (RFC 9112 section 3.2.2), of which the authority may not carry userinfo; an empty host is
# not one (RFC 9110 section 4.2.1)
_ABSOLUTE = re.compile(r"(?i:https?)://([^/?:][^/?]*)([^?]*)(?:\?(.*))?")

# pct-encoded (RFC 3986 section 2.1); a "%" without two digits behind it stays what it is
_ENCODED = re.compile("%([0-9A-Fa-f]{2})")

# Host = uri-host [ ":" port ] (RFC 9110 section 7.2; reg-name and IP-literal of RFC 3986 section 3.2.2)
_HOST = re.compile(
    r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::[0-9]*)?",
)

# What a field line may hold: HTAB, SP, VCHAR, obs-text (RFC 9110 section 5.5). All else but CR LF is an error.
_FIELD_BYTES: Final = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])

# What may begin a request, or the empty lines in front of it.
_FIRST_BYTES: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\r")

_KEPT_LINES = 1024
_KEPT_LINE_BYTES = 512
TEXT_BYTES = 200  # of a request line, for those who watch
_KEPT_NAMES = 2048
_KEPT_NAME_CHARS = 64
_KEPT_HOSTS = 256
_KEPT_HOST_CHARS = 255
_KEPT_WISHES = 64
_KEPT_WISH_CHARS = 64
_MAX_LENGTH_DIGITS = 18


class Limits(NamedTuple):
    """What a client may send; sizes in bytes. A ProtocolError names the one that is exceeded."""

    request_line_bytes: int = 8190
    field_bytes: int = 16384  # one field line
    fields: int = 100
    fields_bytes: int = 65536  # all of them
    body_max_bytes: int = 100 * 1024 * 1024
    host_is_path: bool = False  # Host may have a "/": clients of a Unix socket put its path there


class RequestLine:
    """A parsed request line. `path` is percent-decoded once, as latin-1; `target` is as it came."""

    __slots__ = ("authority", "http11", "method", "path", "query", "target", "text")

    def __init__(
        self,
        line: bytes,
        method: str,
        target: str,
        path: str,
        query: str,
        http11: bool,
        authority: str | None,
    ) -> None:
        self.text = line[:TEXT_BYTES] + b"\r"  # its beginning, for those who watch
        self.method = method
        self.target = target
        self.path = path
        self.query = query
        self.http11 = http11
        self.authority = authority  # of an absolute-form target: it replaces Host

    def __repr__(self) -> str:
        return f"<RequestLine {self.method} {self.target} HTTP/1.{int(self.http11)}>"


class _Names(dict[str, str]):
    """Field name as sent, with its colon → meta-variable name, validated once. KeyError: look closer at the line."""

    def __missing__(self, start: str) -> str:
        name = start[:-1]
        if start[-1:] != ":" or not _NAME.fullmatch(name) or (key := _meta_variable(name)) is None:
            raise KeyError(start)
        if len(start) <= _KEPT_NAME_CHARS:
            if len(self) >= _KEPT_NAMES:
                self.clear()
            self[start] = key
        return key


class Known:
    """What request lines, names, hosts and wishes of clients have meant, under one set of limits; bounded.

    One is shared by the connections of a worker: clients repeat themselves, and each other.
    """

    __slots__ = ("hosts", "lines", "names", "rules", "wishes")

    def __init__(self) -> None:
        self.rules: Any = None  # what another engine's parser has made of the limits, and remembers
        self.lines: dict[bytes, RequestLine] = {}
        self.names = _Names()
        self.hosts: set[str] = set()
        self.wishes: dict[str, tuple[bool, bool, bool]] = {}

    def __repr__(self) -> str:
        return f"<Known {len(self.lines)} lines, {len(self.names)} names, {len(self.hosts)} hosts>"


def parse_request_line(line: bytes, known: Known) -> RequestLine:
    """RFC 9112 section 3; `line` is without its CRLF. Raises ProtocolError (400, 501, 505)."""
    lines = known.lines
    found = lines.get(line)
    if found is None:
        found = _parse_request_line(line, known)
        if len(line) <= _KEPT_LINE_BYTES:
            if len(lines) >= _KEPT_LINES:
                lines.clear()
            lines[line] = found
    return found


def _parse_request_line(line: bytes, known: Known) -> RequestLine:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _malformed_line(line)
    method, target, major, minor = match[1].decode(), match[2].decode("latin-1"), match[3], match[4]
    if major != b"1":
        raise ProtocolError(505, f"HTTP major version {major.decode()}", "RFC 9112 section 2.3")
    if method == "CONNECT":
        raise ProtocolError(501, "CONNECT: this is not a proxy", "RFC 9110 section 9.3.6")
    authority = None
    if target[0] == "/":
        path, _, query = target.partition("?")
    elif target == "*":
        if method != "OPTIONS":
            raise ProtocolError(400, "request target * with a method other than OPTIONS", "RFC 9112 section 3.2.4")
        path, query = "/", ""  # RFC 9112 section 3.2.4: what an empty path stands for in absolute-form
    elif absolute := _ABSOLUTE.fullmatch(target):
        authority, path, query = absolute[1], absolute[2] or "/", absolute[3] or ""
        if not _valid_host(authority, known.hosts):
            raise ProtocolError(400, "invalid authority in an absolute-form request target", "RFC 9112 section 3.2.2")
    else:
        raise ProtocolError(400, "a request target that does not begin with /", "RFC 9112 section 3.2")
    return RequestLine(line, method, target, unescape(path), query, minor != b"0", authority)


def unescape(path: str) -> str:
    """Percent-decode, once, as latin-1."""
    return _ENCODED.sub(lambda found: chr(int(found[1], 16)), path) if "%" in path else path


def refuse_first_byte(data: bytes) -> None:
    """Raise ProtocolError (400) where a request line should begin and cannot, before the rest of it is here."""
    if data[0] not in _FIRST_BYTES:
        raise _malformed_line(data)


def _malformed_line(line: bytes) -> ProtocolError:
    """What is wrong with it, for the log: refusals alone pay for this closer look."""
    if not line:
        return ProtocolError(400, "malformed request line: too many empty lines in front of it", "RFC 9112 section 2.2")
    if line[0] not in _FIRST_BYTES and line[0] != _LF:
        return ProtocolError(400, "not HTTP: the first byte cannot begin a request", "RFC 9112 section 3")
    if b"\r" in line or b"\n" in line:
        return errors.bare_line_end()
    parts = line.split(b" ")
    if len(parts) != _LINE_PARTS:
        return ProtocolError(400, "malformed request line: not three parts and a space between", "RFC 9112 section 3")
    if not _METHOD.fullmatch(parts[0]):
        return ProtocolError(400, "malformed request line: the method is no token", "RFC 9112 section 3.1")
    if not _VERSION.fullmatch(parts[2]):
        return ProtocolError(400, "malformed request line: no HTTP version", "RFC 9112 section 2.3")
    return ProtocolError(400, "malformed request line: a byte that no request target has", "RFC 9112 section 3.2")


def _meta_variable(name: str) -> str | None:
    """None for a name that is dropped: with "_" it would shadow the hyphenated field, and Proxy would be HTTP_PROXY."""
    key = name.upper().replace("-", "_")
    if "_" in name or key == "PROXY":
        return None
    return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"


_ONLY_ONCE = {  # of two, parsers take different ones
    "CONTENT_LENGTH": ("repeated Content-Length", "RFC 9112 section 6.3"),
    "CONTENT_TYPE": ("repeated Content-Type", "RFC 9110 section 8.3"),
    "HTTP_HOST": ("repeated Host", "RFC 9112 section 3.2"),
}


def parse_fields(block: bytes, limits: Limits, known: Known, base: dict[str, Any] | None = None) -> dict[str, str]:
    """Field lines (RFC 9112 section 5) joined by CRLF, without the last one's. Raises ProtocolError (400, 431).

    Repeated fields are joined with ", " (RFC 9110 section 5.3), cookies with "; " (RFC 6265 section 5.4). They are put
    into a copy of `base`, whose keys are no fields' names.
    """
    if base is None:
        base = {}
    if not block:
        return base.copy()
    text = block.decode("latin-1")
    lines = text.split("\r\n")
    if block.translate(None, _FIELD_BYTES) != b"\r\n" * (len(lines) - 1):
        raise _control_character(lines)
    if len(lines) > limits.fields:
        raise ProtocolError(431, f"more than {limits.fields} fields", "RFC 6585 section 5", "fields")
    if len(block) > limits.field_bytes and len(max(lines, key=len)) > limits.field_bytes:
        raise errors.field_too_large(limits.field_bytes)
    # The usual case in one sweep: "Name: value", no tab to trim, each name once.
    if "\t" not in text:
        fields, names = base.copy(), known.names
        try:
            for line in lines:
                start, _, value = line.partition(" ")
                fields[names[start]] = value.strip(" ")
        except KeyError:
            pass
        else:
            if len(fields) == len(lines) + len(base):
                return fields
    return _parse_fields_closely(lines, base)


def _control_character(lines: list[str]) -> ProtocolError:
    """Where the one is that no field line may have, for the log."""
    if any("\r" in line or "\n" in line for line in lines):
        return errors.bare_line_end()
    _parse_fields_closely(lines, {})  # it may be in a name
    return ProtocolError(400, "control character in a field value", "RFC 9110 section 5.5")


def _malformed_field(line: str, *, is_first: bool) -> ProtocolError:
    """What is wrong with its name, for the log."""
    name, colon, _ = line.partition(":")
    if line.startswith(_WHITE_SPACE):
        if is_first:
            return ProtocolError(400, "white space in front of the first field", "RFC 9112 section 2.2")
        return ProtocolError(400, "a folded field line", "RFC 9112 section 5.2")
    if not colon:
        return ProtocolError(400, "a field line without a colon", "RFC 9112 section 5")
    if _NAME.fullmatch(name.rstrip(" \t")):
        return ProtocolError(400, "white space between a field's name and its colon", "RFC 9112 section 5.1")
    return ProtocolError(400, "invalid field name", "RFC 9110 section 5.1")


def _parse_fields_closely(lines: list[str], base: dict[str, Any]) -> dict[str, str]:
    fields = base.copy()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise _malformed_field(line, is_first=line is lines[0])
        key = _meta_variable(name)
        if key is None:
            continue
        value = value.strip(" \t")
        if key in fields:
            if key in _ONLY_ONCE:
                detail, section = _ONLY_ONCE[key]
                raise ProtocolError(400, detail, section)
            value = fields[key] + ("; " if key == "HTTP_COOKIE" else ", ") + value
        fields[key] = value
    return fields


class Head:
    """What the fields of a request say about its body and its connection.

    It depends on the bytes of the fields and on the minor version alone, so a connection whose client repeats itself
    keeps the last one. `template` is for the WSGI side, which makes an environ of `fields` and keeps it there.
    """

    __slots__ = (
        "chunked",
        "expects_continue",
        "fields",
        "http11",
        "length",
        "persistent",
        "raw",
        "template",
        "upgrade",
    )

    def __init__(self, raw: bytes, fields: dict[str, str], http11: bool, limits: Limits, known: Known) -> None:
        """Raises ProtocolError (400, 413, 417, 501)."""
        self.raw = raw  # from the request line's CRLF to the empty line's
        self.fields = fields
        self.http11 = http11
        self.template: dict[str, Any] | None = None
        host = fields.get("HTTP_HOST")
        if host is None:
            if http11:
                raise ProtocolError(400, "HTTP/1.1 without Host", "RFC 9112 section 3.2")
        elif (
            host not in known.hosts
            and not _valid_host(host, known.hosts)
            and not (limits.host_is_path and _valid_host(host.replace("/", ""), known.hosts))
        ):
            raise ProtocolError(400, "invalid Host", "RFC 9112 section 3.2")
        self.length, self.chunked = _framing(fields, http11, limits)
        self.upgrade = False
        connection = fields.get("HTTP_CONNECTION")
        if connection is None:
            self.persistent = http11
        else:
            close, keep_alive, upgrade = known.wishes.get(connection) or _read_wishes(connection, known.wishes)
            self.persistent = not close and (http11 or keep_alive)
            if upgrade:
                self.upgrade = http11 and not (self.length or self.chunked) and is_upgrade(fields, known)
        self.expects_continue = False
        expect = fields.get("HTTP_EXPECT")
        if expect is not None and http11:  # RFC 9110 section 10.1.1: from HTTP/1.0 it is ignored
            expectations = {member.strip(" \t").lower() for member in expect.split(",")} - {""}
            if expectations - {"100-continue"}:
                raise ProtocolError(417, "an expectation other than 100-continue", "RFC 9110 section 10.1.1")
            self.expects_continue = bool(expectations)

    def __repr__(self) -> str:
        body = "chunked" if self.chunked else self.length
        return f"<Head fields={len(self.fields)} body={body} persistent={self.persistent}>"


def is_upgrade(fields: dict[str, str], known: Known) -> bool:
    """Whether the connection is to be one of WebSocket, as far as fields can say it (RFC 6455 section 4.2.1)."""
    connection = fields.get("HTTP_CONNECTION", "")
    _, _, upgrade = known.wishes.get(connection) or _read_wishes(connection, known.wishes)
    protocols = fields.get("HTTP_UPGRADE", "").lower().split(",")
    return upgrade and "websocket" in (protocol.strip(" \t") for protocol in protocols)


def _framing(fields: dict[str, str], http11: bool, limits: Limits) -> tuple[int, bool]:
    """The body's length in bytes, or that it is chunked (RFC 9112 section 6): the one place that decides."""
    length = fields.get("CONTENT_LENGTH")
    coding = fields.get("HTTP_TRANSFER_ENCODING")
    if coding is not None:
        if length is not None:
            raise ProtocolError(400, "Content-Length together with Transfer-Encoding", "RFC 9112 section 6.3")
        if not http11:
            raise ProtocolError(400, "Transfer-Encoding in HTTP/1.0", "RFC 9112 section 6.1")
        if coding.lower() == "chunked":
            return 0, True
        codings = [name.strip(" \t").lower() for name in coding.split(",")]
        if not all(_NAME.fullmatch(name) for name in codings):
            raise ProtocolError(400, "malformed Transfer-Encoding", "RFC 9112 section 6.1")
        if "chunked" in codings[:-1]:
            raise ProtocolError(400, "chunked is not once, or not last, in Transfer-Encoding", "RFC 9112 section 6.3")
        raise ProtocolError(501, "a transfer coding other than chunked", "RFC 9112 section 6.1")
    return (0 if length is None else content_length(length, limits)), False


def content_length(length: str, limits: Limits) -> int:
    """What a Content-Length says, in bytes. Raises ProtocolError (400, 413)."""
    # Content-Length = 1*DIGIT (RFC 9110 section 8.6); str.isdigit alone would let other digits through
    if not (length.isascii() and length.isdigit()):
        raise ProtocolError(400, "invalid Content-Length", "RFC 9112 section 6.3")
    if len(length) > _MAX_LENGTH_DIGITS:
        length = length.lstrip("0") or "0"
        if len(length) > _MAX_LENGTH_DIGITS:
            raise errors.body_too_large("Content-Length out of bounds")
    if int(length) > limits.body_max_bytes:
        raise errors.body_too_large(f"a body of {length} bytes")
    return int(length)


def _read_wishes(connection: str, wishes: dict[str, tuple[bool, bool, bool]]) -> tuple[bool, bool, bool]:
    """Whether a Connection field (RFC 9110 section 7.6.1) has the tokens close, keep-alive and upgrade."""
    tokens = {token.strip(" \t").lower() for token in connection.split(",")}
    found = "close" in tokens, "keep-alive" in tokens, "upgrade" in tokens
    if len(connection) <= _KEPT_WISH_CHARS:
        if len(wishes) >= _KEPT_WISHES:
            wishes.clear()
        wishes[connection] = found
    return found


def is_host(text: str) -> bool:
    """Whether a Host field may say this (RFC 9110 section 7.2)."""
    match = _HOST.fullmatch(text)
    if match is None:
        return False
    if match["ipv6"] is not None:
        try:
            inet_pton(AF_INET6, match["ipv6"])
        except OSError:
            return False
    return True


def knows_host(text: str, known: Known) -> bool:
    """As `is_host`, of what is `known`."""
    return text in known.hosts or _valid_host(text, known.hosts)


def is_method(text: str) -> bool:
    """Whether a request line may begin with this (RFC 9110 section 9.1)."""
    return _NAME.fullmatch(text) is not None


def is_target(text: str) -> bool:
    """Whether a request line may ask for this; see _REQUEST_LINE."""
    return _TARGET.fullmatch(text) is not None


def _valid_host(host: str, hosts: set[str]) -> bool:
    if not is_host(host):
        return False
    if len(host) <= _KEPT_HOST_CHARS:
        if len(hosts) >= _KEPT_HOSTS:
            hosts.clear()
        hosts.add(host)
    return True
