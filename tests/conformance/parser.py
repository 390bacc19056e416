"""The parser of requests without its sockets: bytes in, requests and a refusal out.

Whoever feeds a table, a mutation or any other bytes to our parser does it through this module. What another engine
makes of them: `engine_parser`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from miniwsgi.daemon.http.connection import Connection, Parsing
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Known, Limits

from .case import Stage
from .server import SMALL_LIMITS

LARGE = Limits()
SMALL = Limits(
    request_line_bytes=SMALL_LIMITS["request_line"],
    field_bytes=SMALL_LIMITS["field_size"],
    fields=SMALL_LIMITS["fields"],
    fields_bytes=SMALL_LIMITS["fields_size"],
    body_max_bytes=SMALL_LIMITS["body_max"],
)
STAGES = {
    Parsing.IDLE: Stage.IDLE,
    Parsing.HEAD: Stage.HEAD,
    Parsing.BODY: Stage.BODY,
    Parsing.CLOSED: Stage.LAST,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the parser announced it."""

    method: str
    target: str
    path: str
    query: str
    http11: bool
    persistent: bool
    authority: str | None
    fields: Mapping[str, str]
    body: bytes

    def environ(self) -> dict[str, Any]:
        """What the application will be told of it by the parser's word."""
        host = {} if self.authority is None else {"HTTP_HOST": self.authority}
        return {
            **self.fields,
            **host,
            "REQUEST_METHOD": self.method,
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query,
            "RAW_URI": self.target,
            "SERVER_PROTOCOL": "HTTP/1.1" if self.http11 else "HTTP/1.0",
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stream of bytes: the requests in order, where it ended, what it was refused for."""

    requests: list[Request]
    stage: Stage
    status: int = 0  # of the refusal, 0 for none
    refusal: ProtocolError | None = field(default=None, compare=False)
    begun: Request | None = field(default=None, compare=False)  # whose body is not complete, and left out here


def parse(
    pieces: Iterable[bytes], limits: Limits = LARGE, *, unix: bool = False, late: bool = False, ended: bool = False
) -> Outcome:
    """The outcome on a connection of its own, to a Unix socket with `unix`.

    Each request is answered at once, or, with `late`, when all pieces are here. With `ended` the client then sends no
    more.
    """
    limits = limits._replace(host_is_path=unix)
    connection = Connection(limits, known=KNOWN[limits])
    outcome = feed(connection, pieces, late=late, ended=ended)
    connection.close()
    return outcome


KNOWN: dict[Limits, Known] = defaultdict(Known)  # what the parser remembers, shared as by the connections of a worker


def feed(connection: Connection, pieces: Iterable[bytes], *, late: bool = False, ended: bool = False) -> Outcome:
    """The same on a connection that may be in use; and it keeps no more than it may."""
    requests: list[Request] = []
    try:
        for piece in pieces:
            complete = to_the_end(connection, connection.receive(piece))
            while complete and not late:
                complete = _answer(connection, requests)
            _keeps_little(connection)
        while connection.state is Parsing.ANSWERING and _answer(connection, requests):
            pass
        if ended:
            connection.end_of_input()
    except ProtocolError as error:
        assert connection.state is Parsing.CLOSED
        assert connection.body is None
        assert connection.pending == b""
        assert not connection.wants_continue
        return Outcome(requests, Stage.REFUSED, error.status, error)
    begun = _request(connection, b"") if connection.state is Parsing.BODY else None
    return Outcome(requests, STAGES[connection.state], begun=begun)


def _keeps_little(connection: Connection) -> None:
    """As long as it is not told to: what comes while it answers has to wait."""
    limits = connection.limits
    if connection.state is Parsing.HEAD:
        head_bytes = limits.request_line_bytes + limits.fields_bytes + 6
        assert len(connection.pending) <= head_bytes, "it keeps more of a head than a head may have"
    elif connection.state in {Parsing.IDLE, Parsing.BODY}:
        assert not connection.pending, "it keeps bytes that nothing will be made of"


def _answer(connection: Connection, requests: list[Request]) -> bool:
    """Whether another request is complete behind it."""
    requests.append(seen(connection))
    return connection.finish(requests[-1].persistent) and to_the_end(connection, connection.advance())


def to_the_end(connection: Connection, complete: bool) -> bool:
    """Go on while the connection has left something unparsed; whether a request is complete."""
    while connection.unparsed:
        assert not complete
        complete = connection.advance()
    return complete


def seen(connection: Connection) -> Request:
    """The complete request."""
    assert connection.state is Parsing.ANSWERING
    head, body = connection.head, connection.body
    assert head is not None
    assert (body is not None) is bool(head.length or head.chunked)
    assert body is None or body.size <= connection.limits.body_max_bytes
    return _request(connection, body.file().read() if body else b"")


def _request(connection: Connection, body: bytes) -> Request:
    line, head = connection.line, connection.head
    assert line is not None
    assert head is not None
    assert line.http11 is head.http11
    return Request(
        line.method, line.target, line.path, line.query, line.http11, head.persistent, line.authority,
        dict(head.fields), body,
    )  # fmt: skip
