"""A strict reader of HTTP/1.1 responses: bytes in, responses out, no sockets.

It accepts what a server must send and nothing laxer: RFC 9112 grammar with CRLF only, one framing that fits the
request's method and the status, no bytes between responses. The first thing that breaks a rule is kept in
`violation` and ends the reading; a body that ends early is a response that is not `complete`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

# status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112, section 4)
STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)")
# field-line = field-name ":" OWS field-value OWS (RFC 9112, section 5)
FIELD_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff][\t \x21-\x7e\x80-\xff]*?)?)[ \t]*"
)
# chunk-size without extensions: a server has no reason to send any
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
HEAD_MAX_BYTES = 65536
SINGLE_FIELDS = ("content-length", "transfer-encoding", "date", "server", "content-type", "connection")


class Framing(Enum):
    """How the end of a body is known."""

    NONE = "no body"
    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    CLOSE = "until close"


@dataclass(slots=True)
class Response:
    """One response, interim (1xx) or final."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    framing: Framing = Framing.NONE
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    def all(self, name: str) -> list[str]:
        """The values of a field, in order; the name in any case."""
        name = name.lower()
        return [value for key, value in self.fields if key.lower() == name]

    def tokens(self, name: str) -> list[str]:
        """The lower-case members of a comma-separated field."""
        return [part.strip().lower() for part in ",".join(self.all(name)).split(",") if part.strip()]

    def __repr__(self) -> str:
        cut = "" if self.complete else ", cut off"
        return f"<{self.status} {self.reason} {len(self.body)} bytes by {self.framing.value}{cut}>"


class ViolationError(Exception):
    """What the server sent is not HTTP/1.1."""


class _State(Enum):
    HEAD = 0
    LENGTH = 1
    CHUNK_SIZE = 2
    CHUNK_DATA = 3
    CHUNK_END = 4
    LAST_CHUNK = 5
    UNTIL_CLOSE = 6
    BROKEN = 7


class Reader:
    """Reads the responses of one connection; `methods` are those of its requests, GET after the last."""

    def __init__(self, methods: Sequence[str] = ()) -> None:
        self.responses: list[Response] = []
        self.violation = ""
        self.answered = 0  # complete responses, interim ones too
        self.received = 0  # bytes
        self.finished = 0  # complete final responses
        self._methods = methods
        self._buffer = bytearray()
        self._left = 0
        self._state = _State.HEAD

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self.received += len(data)
        self._buffer += data
        try:
            while self._step():
                pass
        except ViolationError as error:
            self.violation = str(error)
            self._state = _State.BROKEN

    def end(self) -> None:
        """The server closed its side."""
        if self._state is _State.UNTIL_CLOSE:
            self._complete()
        elif self._state is _State.HEAD and self._buffer:
            self.violation = f"closed amid a head or after garbage: {bytes(self._buffer[:60])!r}"

    def _step(self) -> bool:
        """Advance once; False when more bytes are needed."""
        buffer, state = self._buffer, self._state
        if state is _State.HEAD:
            return self._read_head()
        if state is _State.LENGTH or state is _State.CHUNK_DATA:
            part = buffer[: self._left]
            del buffer[: self._left]
            self.responses[-1].body += part
            self._left -= len(part)
            if self._left:
                return False
            if state is _State.LENGTH:
                self._complete()
            else:
                self._state = _State.CHUNK_END
            return True
        if state is _State.CHUNK_SIZE:
            return self._read_chunk_size()
        if state is _State.CHUNK_END or state is _State.LAST_CHUNK:
            if len(buffer) < 2:
                return False
            if buffer[:2] != b"\r\n":
                raise ViolationError(f"no CRLF behind a chunk, or a trailer: {bytes(buffer[:20])!r}")
            del buffer[:2]
            if state is _State.LAST_CHUNK:
                self._complete()
            else:
                self._state = _State.CHUNK_SIZE
            return True
        if state is _State.UNTIL_CLOSE:
            self.responses[-1].body += buffer
        buffer.clear()
        return False

    def _read_chunk_size(self) -> bool:
        line, found, _ = bytes(self._buffer[:20]).partition(b"\r\n")
        if not found:
            if len(self._buffer) >= 20:
                raise ViolationError(f"bad chunk size: {line!r}")
            return False
        if not CHUNK_SIZE.fullmatch(line):
            raise ViolationError(f"bad chunk size: {line!r}")
        del self._buffer[: len(line) + 2]
        self._left = int(line, 16)
        self._state = _State.CHUNK_DATA if self._left else _State.LAST_CHUNK
        return True

    def _read_head(self) -> bool:
        buffer = self._buffer
        if buffer[:5] != b"HTTP/"[: len(buffer)]:
            raise ViolationError(f"not a response: {bytes(buffer[:60])!r}")
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > HEAD_MAX_BYTES:
                raise ViolationError("an endless head")
            return False
        start, *lines = bytes(buffer[:end]).split(b"\r\n")
        del buffer[: end + 4]
        match = STATUS_LINE.fullmatch(start)
        if not match:
            raise ViolationError(f"bad status line: {start!r}")
        version, status, reason = (part.decode("latin-1") for part in match.groups())
        response = Response(version, int(status), reason, [parse_field(line) for line in lines])
        method = self._methods[self.finished] if self.finished < len(self._methods) else "GET"
        self.responses.append(response)
        response.framing, self._left = framing(response, method)
        if response.framing is Framing.NONE or (response.framing is Framing.LENGTH and not self._left):
            self._complete()
        else:
            self._state = {
                Framing.LENGTH: _State.LENGTH,
                Framing.CHUNKED: _State.CHUNK_SIZE,
                Framing.CLOSE: _State.UNTIL_CLOSE,
            }[response.framing]
        return True

    def _complete(self) -> None:
        self.responses[-1].complete = True
        self.answered += 1
        self.finished += self.responses[-1].status >= 200
        self._state = _State.HEAD


def parse_field(line: bytes) -> tuple[str, str]:
    """One field line as name and value. Raises ViolationError."""
    match = FIELD_LINE.fullmatch(line)
    if not match:
        raise ViolationError(f"bad field line: {line!r}")
    return match[1].decode("ascii"), match[2].decode("latin-1")


def framing(response: Response, method: str) -> tuple[Framing, int]:
    """The framing of a response and its length in bytes (RFC 9112, section 6.3). Raises ViolationError."""
    for name in SINGLE_FIELDS:
        if len(response.all(name)) > 1:
            raise ViolationError(f"{name} twice: {response.all(name)}")
    lengths, codings = response.all("content-length"), response.all("transfer-encoding")
    if lengths and not re.fullmatch("[0-9]{1,18}", lengths[0]):
        raise ViolationError(f"bad Content-Length: {lengths[0]!r}")
    if codings and codings[0].lower() != "chunked":
        raise ViolationError(f"bad Transfer-Encoding: {codings[0]!r}")
    if lengths and codings:
        raise ViolationError("both Content-Length and Transfer-Encoding")
    if response.status < 200 or response.status == 204:
        if lengths or codings:
            raise ViolationError(f"{response.status} with {lengths or codings} as its framing")
        return Framing.NONE, 0
    if method == "HEAD" or response.status == 304:
        return Framing.NONE, 0
    if codings:
        return Framing.CHUNKED, 0
    if lengths:
        return Framing.LENGTH, int(lengths[0])
    return Framing.CLOSE, 0
