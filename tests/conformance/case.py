"""What a conformance case is, and the short words in which the tables write them.

A case is bytes and what must come back: the statuses of all responses on the connection, in order, and whether the
server then closes it. Everything else is an optional check on the last response. A status may be a set where the
specifications leave a choice. `@TOKEN@` in the bytes becomes a token of its own for each connection (as many bytes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .client import Framing
from .exchange import HalfClose, Send, Step

Status = int | frozenset[int]
# None: absent. A tuple: these values, in order. A pattern: the whole value. A callable: its verdict.
Expected = None | str | tuple[str, ...] | re.Pattern[str] | Callable[[Any], bool] | Any

TOKEN = b"@TOKEN@"
RAW_TARGET = "RAW_URI or REQUEST_URI"  # in an environ expected: no specification names the key


class Stage(Enum):
    """Where a stream of requests ends."""

    IDLE = "between requests"
    HEAD = "within a head"
    BODY = "within a body"
    LAST = "after a request that was the last"
    REFUSED = "at a fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Bytes sent and what must come of them."""

    name: str
    sent: bytes
    statuses: tuple[Status, ...]
    closed: bool
    topic: str = ""
    table: str = ""  # the module that it is in
    section: str = ""  # of a refusal: what the log names; that of the topic unless given
    parsing: bool = False  # about how the message is read: worth splitting at every place
    script: tuple[Step, ...] = ()  # instead of `sent`, for a client that waits, pauses or leaves
    methods: tuple[str, ...] = ()  # of the requests; found in `sent` unless given
    environ: Mapping[str, Expected] = field(default_factory=dict)  # as the application saw it
    received: bytes | None = None  # the body that the application read
    paths: tuple[str, ...] = ()  # PATH_INFO of each response in order, for pipelines
    each: tuple[Mapping[str, Expected], ...] = ()  # the environ of each; "body" is what the application read
    stage: Stage | None = None  # where its bytes end, if they are not a whole number of requests
    fields: Mapping[str, Expected] = field(default_factory=dict)  # of the last response
    reason: str | None = None
    body: Expected = None  # of the last response; None: any
    framing: Framing | None = None
    complete: bool = True  # False: the last response is cut off by the close
    announced: bool = True  # a close is announced (by the head); not where the server could not know of it
    otherwise: tuple[Status, ...] | None = None  # these and a close are right as well
    interim: tuple[int, ...] | None = ()  # 1xx responses; None: any
    events: tuple[str, ...] | None = None  # what the application recorded under the token
    seconds: tuple[float, float] | None = None  # when the exchange must end, for cases about time
    links: tuple[str, ...] | None = None  # the Link fields of the last 103
    abrupt: bool = False  # an RST will do for the close: the client did not read, or has gone
    whole: bool = False  # means something only when it arrives in one piece
    alone: bool = False  # nothing may be sent behind it: it is unfinished, or a script
    unix: bool = False  # over the server's Unix socket
    ipv6: bool = False  # over its IPv6 address
    profile: str = "plain"  # the configuration of the server that it needs

    @property
    def refusal(self) -> bool:
        """The last response is the server's own refusal of a message (400, 413, 501 …)."""
        last = self.statuses[-1] if self.statuses else 0
        return self.closed and min(last if isinstance(last, frozenset) else (last,)) in PROTOCOL_ERRORS

    @property
    def needs_keep_alive(self) -> bool:
        """Something happens on the connection after a complete answer, or must be able to."""
        return (
            not self.closed
            or len(self.statuses) > 1
            or (len(self.statuses) == 1 and not self.refusal and self.complete)
        )

    @property
    def bytes_alone(self) -> bool:
        """The bytes decide: a parser without sockets and clocks must come to the same statuses."""
        return not self.script and self.seconds is None

    def seen(self, number: int) -> Mapping[str, Expected]:
        """The environ expected of the request of this number, and "body"."""
        expected: dict[str, Expected] = {}
        if number < len(self.paths):
            expected["PATH_INFO"] = self.paths[number]
        if number < len(self.each):
            expected |= self.each[number]
        if number == len(self.statuses) - 1:
            expected |= self.environ
            if self.received is not None:
                expected["body"] = self.received
        return expected

    @property
    def closes_by_default(self) -> bool:
        """Its last request is HTTP/1.0: a close need not be announced."""
        return self.sent.rfind(b" HTTP/1.0\r\n") > self.sent.rfind(b" HTTP/1.1\r\n")

    @property
    def request_methods(self) -> tuple[str, ...]:
        if self.methods:
            return self.methods
        return ("HEAD",) if self.sent.lstrip(b"\r\n").startswith(b"HEAD ") else ()

    def method(self, number: int) -> str:
        """Of the request of this number; GET also stands for others that do not matter here."""
        return self.request_methods[number] if number < len(self.request_methods) else "GET"

    def __str__(self) -> str:
        return f"{self.topic}: {self.name}"


PROTOCOL_ERRORS = frozenset({400, 405, 408, 413, 414, 417, 431, 501, 505})


def either(*statuses: int) -> frozenset[int]:
    """Where the specifications leave a choice."""
    return frozenset(statuses)


# Requests


def request(line: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    """A message from its start line, its field lines and its body, joined with CRLF."""
    return b"\r\n".join((line, *lines, b"", body))


def get(target: bytes = b"/", *lines: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """An HTTP/1.1 request with a valid Host in front of the field lines given."""
    return request(b"%b %b HTTP/1.1" % (method, target), b"Host: a", *lines, body=body)


def get10(target: bytes = b"/", *lines: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """An HTTP/1.0 request, without Host."""
    return request(b"%b %b HTTP/1.0" % (method, target), *lines, body=body)


def head(target: bytes = b"/") -> bytes:
    return get(target, method=b"HEAD")


def post(body: bytes, *lines: bytes, target: bytes = b"/") -> bytes:
    """A POST with its right Content-Length behind the field lines given."""
    return get(target, *lines, b"Content-Length: %d" % len(body), method=b"POST", body=body)


def chunked(*raw: bytes, target: bytes = b"/") -> bytes:
    """A POST whose body is the chunk framing given, byte for byte."""
    return get(target, b"Transfer-Encoding: chunked", method=b"POST", body=b"".join(raw))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END_CHUNK = b"0\r\n\r\n"


# Cases


def served(name: str, sent: bytes, *statuses: Status, **checks: Any) -> Case:
    """Answered (200 unless said), and the connection goes on."""
    return Case(name=name, sent=sent, statuses=statuses or (200,), closed=False, **checks)


def last(name: str, sent: bytes, *statuses: Status, **checks: Any) -> Case:
    """Answered (200 unless said), and the server closes behind it."""
    return Case(**{"name": name, "sent": sent, "statuses": statuses or (200,), "closed": True, **checks})


def refused(name: str, sent: bytes, *statuses: Status, **checks: Any) -> Case:
    """A protocol error: its status (400 unless said), a close by FIN, and nothing behind it is read as a request."""
    return Case(name=name, sent=sent, statuses=statuses or (400,), closed=True, **checks)


def dropped(name: str, sent: bytes, **checks: Any) -> Case:
    """Closed without a word."""
    return Case(name=name, sent=sent, statuses=(), closed=True, **checks)


def scripted(name: str, *script: Step, statuses: tuple[Status, ...], closed: bool, **checks: Any) -> Case:
    """A client that waits, pauses, half-closes or leaves."""
    sent = b"".join(step.data for step in script if isinstance(step, Send))
    return Case(name=name, sent=sent, script=script, statuses=statuses, closed=closed, **{"alone": True, **checks})


def unfinished(name: str, sent: bytes, stage: Stage, *statuses: Status, **checks: Any) -> Case:
    """The client sends no more although a request has begun: a close without a word, or 400."""
    steps = (Send(sent), HalfClose()) if sent else (HalfClose(),)
    checks = {"announced": False, "otherwise": (*statuses, 400), **checks}
    return scripted(name, *steps, statuses=statuses, closed=True, stage=stage, **checks)


def at_once(name: str, sent: bytes, *statuses: Status, **checks: Any) -> Case:
    """Refused (400 unless said) although no more of it ever comes."""
    return scripted(name, Send(sent), statuses=statuses or (400,), closed=True, **checks)


def one_of(*values: Any) -> Callable[[Any], bool]:
    """A check: the value is one of these (None: absent)."""
    return lambda value: value in values


def matches(expected: Expected, value: Any) -> bool:
    """Whether a value of the environ or of a field is as expected."""
    if isinstance(expected, re.Pattern):
        return isinstance(value, type(expected.pattern)) and expected.fullmatch(value) is not None
    if callable(expected):
        return bool(expected(value))
    return bool(value == expected)
