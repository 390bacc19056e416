"""A second reader of requests, written from RFC 9110 and RFC 9112 alone, to be compared with the one that serves.

It wants the whole stream at once and is slow and plain: no state, no caches, no regular expressions that it shares
with the server. Of a message with several faults it tells them all, because which of them is reported first is the
server's own choice.
"""

from __future__ import annotations

import ipaddress
import string
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from miniwsgi.daemon.http.body import MAX_CHUNK_LINE_BYTES, MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES
from miniwsgi.daemon.http.head import Limits

from tests.conformance.case import Stage
from tests.conformance.parser import Request

TOKEN_BYTES = frozenset((string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode())
FIELD_BYTES = frozenset([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
REG_NAME_BYTES = frozenset((string.ascii_letters + string.digits + "-._~!$&'()*+,;=").encode())
HEX = frozenset(string.hexdigits.encode())
DIGITS = frozenset(string.digits.encode())
LEADING_EMPTY_LINES = 2
LENGTH_DIGITS = 18  # more than any limit of a body has


@dataclass(frozen=True, slots=True)
class Reading:
    """The requests of a stream, where it ends, and the statuses of what is wrong there."""

    requests: list[Request]
    stage: Stage
    faults: frozenset[int] = frozenset()
    continues: bool = False  # the client waits for "100 Continue"
    method: str = ""  # of the request that is not complete, once its line is known to be right, or HEAD that it says
    rest: bytes = b""  # of a head that is not complete


@dataclass(slots=True)
class _Head:
    faults: set[int] = field(default_factory=set)
    method: str = ""
    target: str = ""
    path: str = ""
    query: str = ""
    authority: str | None = None
    http11: bool = True
    fields: dict[str, str] = field(default_factory=dict)
    persistent: bool = True
    length: int = 0
    chunked: bool = False
    expects: bool = False


def read(data: bytes, limits: Limits) -> Reading:
    """All that is in `data`, from the beginning of a connection."""
    requests: list[Request] = []
    at = 0
    while True:
        for _ in range(LEADING_EMPTY_LINES):  # RFC 9112 section 2.2
            if data[at : at + 2] == b"\r\n":
                at += 2
        if at == len(data):
            return Reading(requests, Stage.IDLE)
        if data[at : at + 2] == b"\r\n":
            return Reading(requests, Stage.REFUSED, frozenset({400}))
        end = data.find(b"\r\n\r\n", at)
        asked = "HEAD" if data.startswith(b"HEAD ", at) else ""  # RFC 9110 9.3.2: it gets no body
        if end < 0:
            return Reading(requests, Stage.HEAD, rest=data[at:], method=asked)
        head = _head(data[at:end], limits)
        if head.faults:
            return Reading(requests, Stage.REFUSED, frozenset(head.faults), method=head.method or asked)
        at = end + 4
        continues = head.expects and at == len(data) and (head.chunked or head.length > 0)
        body: bytes | None = b""
        if head.chunked:
            body, at, faults = _chunks(data, at, limits)
            if faults:
                return Reading(requests, Stage.REFUSED, frozenset(faults), method=head.method)
        elif head.length:
            body = data[at : at + head.length] if len(data) - at >= head.length else None
            at += head.length
        if body is None:
            return Reading(requests, Stage.BODY, continues=continues, method=head.method)
        requests.append(
            Request(
                head.method, head.target, head.path, head.query, head.http11, head.persistent, head.authority,
                head.fields, body,
            )
        )  # fmt: skip
        if not head.persistent:
            return Reading(requests, Stage.LAST)


def _head(data: bytes, limits: Limits) -> _Head:
    head = _Head()
    start, *lines = data.split(b"\r\n")
    if len(start) > limits.request_line_bytes:
        head.faults.add(414)
    if not _request_line(start, head):
        return head
    if sum(len(line) + 2 for line in lines) > limits.fields_bytes:
        head.faults.add(431)
    if len(lines) > limits.fields or any(len(line) > limits.field_bytes for line in lines):
        head.faults.add(431)
    for line in lines:
        _field_line(line, head)
    _host(head)
    _framing(head, limits)
    _connection(head)
    return head


def _request_line(line: bytes, head: _Head) -> bool:
    """RFC 9112 section 3; False if the rest of the head cannot be judged."""
    parts = line.split(b" ")
    faults = head.faults
    if len(parts) != 3:
        faults.add(400)
        return False
    method, target, version = parts
    numbers = version.removeprefix(b"HTTP/")
    if (
        not method or set(method) - TOKEN_BYTES
        or not target or any(byte <= 0x20 or byte == 0x7F or byte == ord("#") for byte in target)
        or len(version) != 8 or len(numbers) != 3 or numbers[1:2] != b"." or {numbers[0], numbers[2]} - DIGITS
    ):  # fmt: skip
        faults.add(400)
        return False
    if numbers[:1] != b"1":
        faults.add(505)
        return False
    if method == b"CONNECT":
        faults.add(501)
        return False
    head.http11 = numbers[2:] != b"0"
    head.target = target.decode("latin-1")
    path, mark, query = target.partition(b"?")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        if target == b"*":
            path = b"/"
    elif path[:7].lower() == b"http://" or path[:8].lower() == b"https://":
        authority, slash, path = path.partition(b"://")[2].partition(b"/")
        path = slash + path or b"/"
        head.authority = authority.decode("latin-1")
        if not authority or authority.startswith(b":") or not _is_host(authority):
            faults.add(400)
            return False
    else:
        faults.add(400)
        return False
    head.method = "" if faults else method.decode("ascii")  # a line that is too long is not looked at
    head.path = unquote_to_bytes(path).decode("latin-1")
    head.query = query.decode("latin-1") if mark else ""
    return True


def _is_host(value: bytes) -> bool:
    """RFC 3986 section 3.2.2, without userinfo and without the IP literals of the future."""
    if value.startswith(b"["):
        literal, bracket, port = value[1:].partition(b"]")
        if not bracket or not literal or set(literal) - HEX - set(b":."):
            return False
        try:
            ipaddress.IPv6Address(literal.decode("ascii"))
        except ValueError:
            return False
        return not port or (port[:1] == b":" and not set(port[1:]) - DIGITS)
    name, _, port = value.partition(b":")
    if set(port) - DIGITS:
        return False
    first, *escaped = name.split(b"%")
    if set(first) - REG_NAME_BYTES:
        return False
    return all(
        len(part) >= 2 and not set(part[:2]) - HEX and not set(part[2:]) - REG_NAME_BYTES for part in escaped
    )  # fmt: skip


def _field_line(line: bytes, head: _Head) -> None:
    """RFC 9112 section 5."""
    name, colon, value = line.partition(b":")
    if not colon or not name or set(name) - TOKEN_BYTES or set(value) - FIELD_BYTES:
        head.faults.add(400)
        return
    key = name.decode("ascii").upper().replace("-", "_")
    if b"_" in name or key == "PROXY":
        return
    if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
        key = "HTTP_" + key
    text = value.decode("latin-1").strip(" \t")
    if key not in head.fields:
        head.fields[key] = text
        return
    if key in {"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE"}:
        head.faults.add(400)
    head.fields[key] += ("; " if key == "HTTP_COOKIE" else ", ") + text


def _host(head: _Head) -> None:
    """RFC 9112 section 3.2."""
    host = head.fields.get("HTTP_HOST")
    if (host is None and head.http11) or (host is not None and not _is_host(host.encode("latin-1"))):
        head.faults.add(400)


def _framing(head: _Head, limits: Limits) -> None:
    """RFC 9112 section 6."""
    coding, length = head.fields.get("HTTP_TRANSFER_ENCODING"), head.fields.get("CONTENT_LENGTH")
    if coding is not None:
        if length is not None or not head.http11:
            head.faults.add(400)
        codings = [item.strip(" \t").lower().encode("latin-1") for item in coding.split(",")]
        if codings == [b"chunked"]:
            head.chunked = True
        elif b"chunked" in codings[:-1] or any(not item or set(item) - TOKEN_BYTES for item in codings):
            head.faults.add(400)
        else:
            head.faults.add(501)
    if length is not None:
        digits = length.encode("latin-1")
        if not digits or set(digits) - DIGITS:
            head.faults.add(400)
        elif len(digits.lstrip(b"0")) > LENGTH_DIGITS or int(digits) > limits.body_max_bytes:
            head.faults.add(413)
        else:
            head.length = int(digits)


def _connection(head: _Head) -> None:
    """RFC 9112 section 9.3, RFC 9110 section 10.1.1."""
    tokens = [item.strip(" \t").lower() for item in head.fields.get("HTTP_CONNECTION", "").split(",")]
    head.persistent = "close" not in tokens and (head.http11 or "keep-alive" in tokens)
    expect = head.fields.get("HTTP_EXPECT")
    if expect is not None and head.http11:
        members = {item.strip(" \t").lower() for item in expect.split(",")} - {""}
        head.expects = bool(members)
        if members - {"100-continue"}:
            head.faults.add(417)


def _chunks(data: bytes, at: int, limits: Limits) -> tuple[bytes | None, int, set[int]]:
    """RFC 9112 section 7.1: the body (None: incomplete), where it ends, what is wrong with it."""
    body = b""
    extensions = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None, at, set()
        line = data[at:end]
        at = end + 2
        digits = line[: len(line) - len(line.lstrip(string.hexdigits.encode()))]
        if len(line) > MAX_CHUNK_LINE_BYTES or not 1 <= len(digits) <= 16 or not _is_extensions(line[len(digits) :]):
            return None, at, {400}
        extensions += len(line) - len(digits)
        size = int(digits, 16)
        faults = {400} if extensions > MAX_EXTENSION_BYTES else set()
        if size + len(body) > limits.body_max_bytes:
            faults.add(413)
        if faults:
            return None, at, faults
        if not size:
            return _trailers(data, at, body)
        if len(data) < at + size:
            return None, at, set()
        body += data[at : at + size]
        at += size
        if not b"\r\n".startswith(data[at : at + 2]):
            return None, at, {400}
        if len(data) < at + 2:
            return None, at, set()
        at += 2


def _is_extensions(text: bytes) -> bool:
    """*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )"""
    while text:
        text = text.lstrip(b" \t")
        if text[:1] != b";":
            return False
        name, text = _token(text[1:].lstrip(b" \t"))
        if not name:
            return False
        after = text.lstrip(b" \t")
        if after[:1] != b"=":
            continue
        text = after[1:].lstrip(b" \t")
        if text[:1] == b'"':
            text, closed = _behind_quoted(text[1:])
            if not closed:
                return False
        else:
            value, text = _token(text)
            if not value:
                return False
    return True


def _token(text: bytes) -> tuple[bytes, bytes]:
    end = next((index for index, byte in enumerate(text) if byte not in TOKEN_BYTES), len(text))
    return text[:end], text[end:]


def _behind_quoted(text: bytes) -> tuple[bytes, bool]:
    """What follows a quoted-string (RFC 9110 section 5.6.4), and whether it ended at all."""
    at = 0
    while at < len(text) and text[at] in FIELD_BYTES:
        if text[at] == ord('"'):
            return text[at + 1 :], True
        if text[at] == ord("\\"):
            at += 1
            if at == len(text) or text[at] not in FIELD_BYTES:
                break
        at += 1
    return b"", False


def _trailers(data: bytes, at: int, body: bytes) -> tuple[bytes | None, int, set[int]]:
    total = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None, at, set()
        line = data[at:end]
        at = end + 2
        if not line:
            return body, at, set()
        total += len(line)
        name, colon, value = line.partition(b":")
        faults = {431} if total > MAX_TRAILER_BYTES else set()
        if len(line) > MAX_CHUNK_LINE_BYTES or not colon or not name or set(name) - TOKEN_BYTES:
            faults.add(400)
        if set(value) - FIELD_BYTES:
            faults.add(400)
        if faults:
            return None, at, faults
