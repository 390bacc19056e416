"""One HTTP/1.1 connection without its socket: bytes in, complete requests out (RFC 9112).

The rules:
1. A request is complete when its head and its whole body are here; only then is it announced.
2. While a request is answered nothing further is parsed; bytes that arrive meanwhile wait in `pending`.
3. After an error nothing that arrives is a request any more.
4. A request ends with `finish`, which says whether the connection goes on.
5. What one call does is bounded, whatever the bytes are. `unparsed` says that it has left some: `advance` goes on.

`STATES` is the same as a table; the code below is that table compiled into branches, and a test walks both.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from . import errors
from .body import Chunked, Sized, Spool
from .errors import ProtocolError
from .head import Head, Known, Limits, RequestLine, parse_fields, parse_request_line, refuse_first_byte


class Parsing(Enum):
    IDLE = auto()  # between requests: nothing of the next one is here
    HEAD = auto()  # part of a head is here
    BODY = auto()  # the head is complete, the body is not
    ANSWERING = auto()  # a complete request is being answered
    CLOSED = auto()  # no further request: an error, or the last response said so


class ParsingEvent(Enum):
    BYTES = auto()  # some bytes, but neither a whole head nor an error
    HEAD_DONE = auto()  # a whole head that announces a body
    REQUEST_DONE = auto()  # the last byte of a request
    FINISHED = auto()  # the response is complete, the connection goes on
    FINISHED_LAST = auto()  # the response is complete and was the last
    EMPTY_LINE = auto()  # nothing but an empty line in front of a request
    ERROR = auto()  # a ProtocolError was raised
    CLOSE = auto()  # `close` was called


STATES: dict[tuple[Parsing, ParsingEvent], Parsing] = {
    (Parsing.IDLE, ParsingEvent.EMPTY_LINE): Parsing.IDLE,
    (Parsing.IDLE, ParsingEvent.BYTES): Parsing.HEAD,
    (Parsing.IDLE, ParsingEvent.HEAD_DONE): Parsing.BODY,
    (Parsing.IDLE, ParsingEvent.REQUEST_DONE): Parsing.ANSWERING,
    (Parsing.IDLE, ParsingEvent.ERROR): Parsing.CLOSED,
    (Parsing.HEAD, ParsingEvent.EMPTY_LINE): Parsing.IDLE,
    (Parsing.HEAD, ParsingEvent.BYTES): Parsing.HEAD,
    (Parsing.HEAD, ParsingEvent.HEAD_DONE): Parsing.BODY,
    (Parsing.HEAD, ParsingEvent.REQUEST_DONE): Parsing.ANSWERING,
    (Parsing.HEAD, ParsingEvent.ERROR): Parsing.CLOSED,
    (Parsing.BODY, ParsingEvent.BYTES): Parsing.BODY,
    (Parsing.BODY, ParsingEvent.REQUEST_DONE): Parsing.ANSWERING,
    (Parsing.BODY, ParsingEvent.ERROR): Parsing.CLOSED,
    (Parsing.ANSWERING, ParsingEvent.BYTES): Parsing.ANSWERING,
    (Parsing.ANSWERING, ParsingEvent.FINISHED): Parsing.IDLE,
    (Parsing.ANSWERING, ParsingEvent.FINISHED_LAST): Parsing.CLOSED,
    (Parsing.CLOSED, ParsingEvent.BYTES): Parsing.CLOSED,
    **{(state, ParsingEvent.CLOSE): Parsing.CLOSED for state in Parsing},
}

_IDLE, _HEAD, _BODY, _ANSWERING, _CLOSED = Parsing
_LEADING_EMPTY_LINES = 2


class ConnectionSteps:
    """What a connection does. Its state is its subclass's: another engine keeps the same fields elsewhere."""

    __slots__ = tuple[str, ...]()  # not written as (), which a type checker takes for all that there is

    def __init__(
        self,
        limits: Limits,
        body_memory_bytes: int = 256 * 1024,
        spool_directory: str | None = None,
        base: dict[str, Any] | None = None,
        known: Known | None = None,
    ) -> None:
        """`known` is shared with other connections of the same limits; None: with none."""
        self.limits = limits
        self.known = Known() if known is None else known
        self.base: dict[str, Any] = {} if base is None else base  # what the fields of each request are added to
        self.body_memory_bytes = body_memory_bytes
        self.spool_directory = spool_directory
        self.state = _IDLE
        self.pending = b""
        self.line: RequestLine | None = None
        self.head: Head | None = None
        self.body: Spool | None = None
        self._body_reader: Sized | Chunked | None = None
        self._empty_lines = 0
        self._looked_at = 0  # so much of an unfinished head: whole lines, request line included
        self.received = 0  # bytes of the current request's body so far, as sent
        self.unparsed = False  # there is more of the body here, not yet looked at: call `advance`, and take no more
        self.wants_continue = False  # the client waits for "100 Continue" before it sends the body
        self.asked_head = False  # a refused request began as one of HEAD, whatever its line says else

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.name} {self.line} pending={len(self.pending)}>"

    def receive(self, data: bytes) -> bool:
        """Take bytes from the client; True when a request is complete. Raises ProtocolError."""
        state = self.state
        if state is _IDLE:
            head = self.head
            if head is not None and data.endswith(head.raw):
                # The same fields as last time behind a request line that is known: nothing is left to check.
                line = self.known.lines.get(data[: -len(head.raw)])
                if (
                    line is not None and line.http11 is head.http11
                    and not (head.length or head.chunked or self._empty_lines)
                ):  # fmt: skip
                    self.line = line
                    self.state = _ANSWERING
                    return True
            return self._parse_head(data)
        if state is _BODY:
            return self._parse_body(data)
        if state is _HEAD:
            pending, self.pending = self.pending, b""
            return self._parse_head(pending + data, max(0, len(pending) - 3))
        if state is _ANSWERING:
            self.pending += data
        return False

    def advance(self) -> bool:
        """After `finish`, or while `unparsed`: parse what is here. As `receive`."""
        if self.state is _BODY:
            return self._parse_body(b"")
        pending, self.pending = self.pending, b""
        return self._parse_head(pending) if pending else False

    def finish(self, persistent: bool) -> bool:
        """The response is complete; `persistent` as it announced. Says whether the connection goes on."""
        if self.body is not None:
            self.body.close()
            self.body = None
        if persistent:
            self.state = _IDLE
            return True
        self.state = _CLOSED
        return False

    def end_of_input(self) -> None:
        """The client sends no more. Raises ProtocolError (400) if a request is cut off by that."""
        if self.state in {_HEAD, _BODY}:
            self.asked_head = self.pending.startswith(b"HEAD ")
            self._fail()
            raise ProtocolError(400, "the request ends before its end", "RFC 9112 section 8")

    def forget(self) -> None:
        """Drop what was kept to parse the next request faster; for connections that have long been idle."""
        self.head = self.line = None

    def close(self) -> None:
        """Nothing that arrives is a request any more."""
        self._fail()

    def _fail(self) -> None:
        self.state = _CLOSED
        self.pending = b""
        self.unparsed = self.wants_continue = False
        if self.body is not None:
            self.body.close()
            self.body = None

    def _parse_head(self, data: bytes, unknown: int = 0) -> bool:
        """`data` begins where a head does; before `unknown` no end of it has been found."""
        if self.state is not _HEAD:
            self.line = None
        try:
            while data[:2] == b"\r\n" and self._empty_lines < _LEADING_EMPTY_LINES:
                data = data[2:]  # RFC 9112 section 2.2: empty lines before a request line
                self._empty_lines += 1
            end = data.find(b"\r\n\r\n", unknown)
            if end < 0:
                return self._incomplete_head(data)
            line_end = data.find(b"\r\n", 0, end + 2)
            limits = self.limits
            if line_end > limits.request_line_bytes:
                raise errors.line_too_long(line_end)
            self.line = line = parse_request_line(data[:line_end], self.known)
            self._empty_lines = 0
            if end - line_end > limits.fields_bytes:
                raise errors.fields_too_large(end - line_end)
            raw = data[line_end : end + 4]
            head = self.head
            if head is None or head.raw != raw or head.http11 is not line.http11:
                fields = parse_fields(raw[2:-4], limits, self.known, self.base)
                head = Head(raw, fields, line.http11, limits, self.known)
                self.head = head
            rest = data[end + 4 :]
            if not (head.length or head.chunked):
                self.pending = rest
                self.state = _ANSWERING
                return True
            self.state = _BODY
            self.received = 0
            spool = self.body = Spool(self.body_memory_bytes, self.spool_directory)
            if head.chunked:
                self._body_reader = Chunked(spool, limits.body_max_bytes)
            else:
                self._body_reader = Sized(spool, head.length)
            self.wants_continue = head.expects_continue
        except ProtocolError as error:
            self.asked_head = data.startswith(b"HEAD ")
            other = errors.other_protocol(data, self._empty_lines)
            self._fail()
            if other:
                raise ProtocolError(error.status, other, "RFC 9112 section 3") from None
            raise
        return self._parse_body(rest) if rest else False

    def _incomplete_head(self, data: bytes) -> bool:
        limits = self.limits
        if not data:  # nothing but empty lines: still between requests
            self.state = _IDLE
            return False
        refuse_first_byte(data)
        line_end = data.find(b"\r\n", 0, limits.request_line_bytes + 2)
        if line_end < 0 and len(data) > limits.request_line_bytes + 1:
            raise errors.line_too_long(f"more than {limits.request_line_bytes}")
        if self.state is not _HEAD:
            self._looked_at = 0
        if line_end >= 0:
            if not self._looked_at:
                self.line = parse_request_line(data[:line_end], self.known)  # an error need not wait for the rest
                self._looked_at = line_end + 2
            if len(data) - line_end > limits.fields_bytes + 4:
                raise errors.fields_too_large(f"more than {limits.fields_bytes}")
        lines = data[self._looked_at :].removesuffix(b"\r").split(b"\r\n")
        if line_end >= 0:
            if len(max(lines, key=len)) > limits.field_bytes:
                raise errors.field_too_large(limits.field_bytes)
            self._looked_at = data.rfind(b"\r\n") + 2
        if b"\n" in (bare := b"".join(lines)) or b"\r" in bare:
            raise errors.bare_line_end()
        self.pending = data
        self.state = _HEAD
        return False

    def _parse_body(self, data: bytes) -> bool:
        self.received += len(data)
        self.wants_continue = False
        assert self._body_reader is not None
        assert self.body is not None
        try:
            rest = self._body_reader.feed(data)
            self.unparsed = self._body_reader.unparsed
            if rest is None:
                return False
            self.body.complete()
        except (ProtocolError, OSError):
            self._fail()
            raise
        self._body_reader = None
        self.pending = rest
        self.state = _ANSWERING
        return True


class Connection(ConnectionSteps):
    """Bytes in, requests out. While `state` is ANSWERING, `line`, `head` and `body` are the request's."""

    __slots__ = (
        "_body_reader", "_empty_lines", "_looked_at", "asked_head", "base", "body", "body_memory_bytes", "head",
        "known", "limits", "line", "pending", "received", "spool_directory", "state", "unparsed", "wants_continue",
    )  # fmt: skip
