"""How the tables of bytes are written and fed to a Connection.

A case is bytes and what must come of them: the requests in order, and the status of the error behind them, if any. Each
is fed whole, byte by byte, split at every boundary, and with other bytes behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from miniwsgi.daemon.http.connection import Connection, State
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Limits

LARGE = Limits()
SMALL = Limits(request_line_bytes=100, field_bytes=200, fields=10, fields_bytes=600, body_max_bytes=1000)
NEXT = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n"
EVERY_BOUNDARY_BYTES = 300  # longer cases are split at some boundaries only
END_CHUNK = b"0\r\n\r\n"
_ATTRIBUTES = ("method", "target", "path", "query", "body", "http11", "persistent", "authority")


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a connection announced it."""

    method: str
    target: str
    path: str
    query: str
    http11: bool
    persistent: bool
    authority: str | None
    fields: Mapping[str, str]
    body: bytes


Outcome = list[Request | int]  # an int is the status of a ProtocolError: always the last


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    data: bytes
    requests: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)
    status: int = 0  # of the error; 0 for none
    limits: Limits = LARGE
    state: State = State.IDLE  # in the end; of no interest after an error
    early: bool = False  # the error does not wait for what would follow

    def __str__(self) -> str:
        return self.name[:60]


# --- cases ---


def served(name: str, data: bytes, *requests: Mapping[str, Any], **checks: Any) -> Case:
    """One request (or as many as `requests`) with these attributes and fields; None: no such field."""
    return Case(name, data, requests or (checks,))


def small(name: str, data: bytes, *requests: Mapping[str, Any], **checks: Any) -> Case:
    return Case(name, data, requests or (checks,), limits=SMALL)


def refused(name: str, data: bytes, status: int = 400, *before: Mapping[str, Any], limits: Limits = LARGE) -> Case:
    return Case(name, data, before, status, limits)


def unfinished(name: str, data: bytes, state: State, *before: Mapping[str, Any], limits: Limits = SMALL) -> Case:
    return Case(name, data, before, limits=limits, state=state)


def early(name: str, data: bytes, status: int = 400, *before: Mapping[str, Any], limits: Limits = SMALL) -> Case:
    """Refused although more is to come."""
    return Case(name, data, before, status, limits, early=True)


# --- messages ---


def request(line: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line, *lines, b"", body))


def get(target: bytes = b"/", *lines: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    return request(b"%b %b HTTP/1.1" % (method, target), b"Host: a", *lines, body=body)


def get10(target: bytes = b"/", *lines: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    return request(b"%b %b HTTP/1.0" % (method, target), *lines, body=body)


def post(body: bytes, *lines: bytes, target: bytes = b"/") -> bytes:
    return get(target, *lines, b"Content-Length: %d" % len(body), method=b"POST", body=body)


def chunked(*raw: bytes, target: bytes = b"/") -> bytes:
    return get(target, b"Transfer-Encoding: chunked", method=b"POST", body=b"".join(raw))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- feeding ---


def feed(pieces: Iterable[bytes], connection: Connection | None = None, *, pipelined: bool = True) -> Outcome:
    """What a connection makes of the pieces. Each request is answered as soon as it is complete, or, without
    `pipelined`, when all pieces are here."""
    connection = connection or Connection(Limits())
    outcome: Outcome = []
    try:
        for piece in pieces:
            complete = to_the_end(connection, connection.receive(piece))
            while pipelined and complete:
                complete = _answer(connection, outcome)
        while connection.state is State.ANSWERING and _answer(connection, outcome):
            pass
    except ProtocolError as error:
        outcome.append(error.status)
        assert connection.state is State.CLOSED
        assert connection.body is None
        assert connection.pending == b""
        assert not connection.wants_continue
    return outcome


def _answer(connection: Connection, outcome: Outcome) -> bool:
    outcome.append(seen(connection))
    head = connection.head
    assert head is not None
    return connection.finish(head.persistent) and to_the_end(connection, connection.advance())


def to_the_end(connection: Connection, complete: bool) -> bool:
    """Go on while the connection has left something unparsed; whether a request is complete."""
    while connection.unparsed:
        assert not complete
        complete = connection.advance()
    return complete


def seen(connection: Connection) -> Request:
    assert connection.state is State.ANSWERING
    line, head, body = connection.line, connection.head, connection.body
    assert line is not None
    assert head is not None
    assert line.http11 is head.http11
    assert (body is not None) is bool(head.length or head.chunked)
    return Request(
        line.method, line.target, line.path, line.query, line.http11, head.persistent, line.authority,
        dict(head.fields), body.file().read() if body else b"",
    )  # fmt: skip


def splits(data: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The ways to cut a case: a label and the pieces."""
    yield "whole", [data]
    yield "byte by byte", [data[i : i + 1] for i in range(len(data))]
    boundaries: Iterable[int] = range(1, len(data))
    if len(data) > EVERY_BOUNDARY_BYTES:
        interesting = {data.find(b"\r\n") + i for i in range(3)} | {data.find(b"\r\n\r\n") + i for i in range(5)}
        interesting |= {len(data) - i for i in range(1, 8)} | set(range(1, len(data), max(1, len(data) // 20)))
        boundaries = sorted(i for i in interesting if 0 < i < len(data))
    for i in boundaries:
        yield f"split at {i}", [data[:i], data[i:]]


def check(case: Case) -> None:
    """All ways of feeding a case lead to what it says."""
    for label, pieces in splits(case.data):
        if label == "byte by byte" and len(case.data) > 20 * EVERY_BOUNDARY_BYTES:
            continue  # takes long, and says no more than the splits
        connection = Connection(case.limits)
        outcome = feed(pieces, connection)
        _compare(case, label, outcome)
        if not case.status:
            assert connection.state is (case.state if _goes_on(outcome) else State.CLOSED), label
    _compare(case, "answered when all is here", feed([case.data], Connection(case.limits), pipelined=False))
    _compare(case, "on a connection in use", _without_first(feed([NEXT, case.data], Connection(case.limits))))
    _compare(case, "behind another request", _without_first(feed([NEXT + case.data], Connection(case.limits))))
    for label, behind in (("a request behind it", NEXT), ("junk behind it", b"\0"), ("a line behind it", b"junk\r\n")):
        if case.early or case.state is not State.IDLE:
            continue
        for pieces in ([case.data + behind], [case.data, behind]):
            outcome = feed(pieces, Connection(case.limits))
            if not case.status and _goes_on(outcome):
                last = outcome.pop()
                assert last == 400 if behind != NEXT else isinstance(last, Request), f"{label}: {last}"
                assert not isinstance(last, Request) or last.path == "/next", label
            _compare(case, label, outcome)


def _goes_on(outcome: Outcome) -> bool:
    last = next((item for item in reversed(outcome) if isinstance(item, Request)), None)
    return last is None or last.persistent


def _without_first(outcome: Outcome) -> Outcome:
    assert isinstance(outcome[0], Request)
    assert outcome[0].path == "/next"
    return outcome[1:]


def _compare(case: Case, label: str, outcome: Outcome) -> None:
    requests = [item for item in outcome if isinstance(item, Request)]
    statuses = [item for item in outcome if not isinstance(item, Request)]
    assert statuses == ([case.status] if case.status else []), f"{label}: {outcome}"
    assert len(requests) == len(case.requests), f"{label}: {outcome}"
    for actual, expected in zip(requests, case.requests, strict=True):
        for name, value in expected.items():
            found = getattr(actual, name) if name in _ATTRIBUTES else actual.fields.get(name)
            assert found == value, f"{label}: {name} is {found!r}, not {value!r}"
