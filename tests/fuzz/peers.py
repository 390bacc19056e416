"""Other parsers on the same bytes, each made to say what it read in the same words as ours.

llhttp (Node's, through httptools) and h11 read whole connections; Python's http.server, and http.client's
parse_headers with it, read one head and know nothing of bodies.
"""

from __future__ import annotations

import http.server
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from miniwsgi.daemon.http.head import Limits

from tests.conformance.case import Stage
from tests.conformance.parser import Request, parse

LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Message:
    """A request as one of the parsers sees it."""

    method: str
    target: str
    http11: bool
    fields: dict[str, str]
    persistent: bool | None  # None: it does not say
    body: bytes | None  # None: it does not read bodies


@dataclass(slots=True)
class Read:
    """The requests of a stream and its end; `reason` is why it was refused."""

    messages: list[Message] = field(default_factory=list)
    end: Stage = Stage.IDLE
    reason: str = ""
    begun: Message | None = None  # ours alone: the one whose body is not complete


def meta_variables(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Fields as ours are: joined, keyed by their meta-variables, without the names that we drop."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").upper(), raw_value.decode("latin-1").strip(" \t")
        if "_" in name or name == "PROXY":
            continue
        key = name.replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        fields[key] = fields[key] + ("; " if key == "HTTP_COOKIE" else ", ") + value if key in fields else value
    return fields


def ours(data: bytes) -> Read:
    """Our connection, which answers each request at once."""
    outcome = parse([data], LIMITS)
    messages = [as_message(request, request.body) for request in outcome.requests]
    begun = as_message(outcome.begun, None) if outcome.begun else None
    return Read(messages, outcome.stage, outcome.refusal.detail if outcome.refusal else "", begun)


def as_message(request: Request, body: bytes | None) -> Message:
    return Message(
        request.method, request.target, request.http11, dict(request.fields), request.persistent, body
    )  # fmt: skip


class _Listener:
    """What llhttp calls."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.parser: Any = None
        self.begin()

    def begin(self) -> None:
        self.url = b""
        self.pairs: list[tuple[bytes, bytes]] = []
        self.body = b""

    def on_message_begin(self) -> None:
        self.begin()
        self.read.end = Stage.HEAD

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.read.end is Stage.HEAD:  # else a trailer
            self.pairs.append((name, value))

    def on_headers_complete(self) -> None:
        self.read.end = Stage.BODY
        self.persistent = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        version = self.parser.get_http_version()
        self.read.messages.append(
            Message(
                self.parser.get_method().decode("latin-1"), self.url.decode("latin-1"), version != "1.0",
                meta_variables(self.pairs), self.persistent, self.body,
            )
        )  # fmt: skip
        self.read.end = Stage.IDLE if self.persistent else Stage.LAST


def llhttp(data: bytes) -> Read:
    import httptools

    read = Read()
    listener = _Listener(read)
    listener.parser = httptools.HttpRequestParser(listener)
    try:
        listener.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        read.end = Stage.LAST  # it hands the connection over: what follows is another protocol's
    except httptools.HttpParserError as error:
        if read.end is not Stage.LAST:
            read.end, read.reason = Stage.REFUSED, str(error)
    return read


def h11(data: bytes) -> Read:
    import h11 as library

    connection = library.Connection(library.SERVER, max_incomplete_event_size=1 << 20)
    read = Read()
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is library.NEED_DATA:
                started = connection.their_state is library.SEND_BODY
                read.end = Stage.BODY if started else Stage.HEAD if connection.trailing_data[0] else Stage.IDLE
                return read
            if isinstance(event, library.Request):
                request, body = event, b""
            elif isinstance(event, library.Data):
                body += bytes(event.data)
            elif isinstance(event, library.EndOfMessage):
                undecided = connection.their_state is library.MIGHT_SWITCH_PROTOCOL
                persistent = None if undecided else connection.their_state is not library.MUST_CLOSE
                read.messages.append(
                    Message(
                        request.method.decode("latin-1"), request.target.decode("latin-1"),
                        request.http_version != b"1.0", meta_variables(request.headers), persistent, body,
                    )
                )  # fmt: skip
                if undecided:
                    read.end = Stage.LAST  # CONNECT, or an upgrade: what follows waits for the answer
                    return read
                connection.send(library.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(library.EndOfMessage())
                if not persistent or connection.our_state is not library.DONE:
                    read.end = Stage.LAST
                    return read
                connection.start_next_cycle()
            else:
                read.end = Stage.LAST  # PAUSED: CONNECT or an upgrade
                return read
    except library.RemoteProtocolError as error:
        read.end, read.reason = Stage.REFUSED, str(error)
        return read


class _Handler(http.server.BaseHTTPRequestHandler):
    """http.server without its sockets."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/0.9"

    def __init__(self, data: bytes) -> None:
        self.rfile = io.BytesIO(data)
        self.wfile = io.BytesIO()
        self.refused = ""
        self.client_address = ("", 0)
        self.raw_requestline = self.rfile.readline(65537)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.refused = f"{code} {message}"

    def handle_expect_100(self) -> bool:
        return True


def stdlib(data: bytes) -> Read:
    """The first request's head; a head that is cut off is read as if it were whole, so it is not given any."""
    read = Read()
    handler = _Handler(data)
    if not re.search(rb"\r?\n\r?\n", data):
        read.end = Stage.HEAD
        return read
    try:
        good = handler.parse_request()
    except Exception as error:
        read.end, read.reason = Stage.REFUSED, f"{type(error).__name__}: {error}"
        return read
    if not good:
        read.end, read.reason = Stage.REFUSED, handler.refused or "an empty line"
        return read
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in handler.headers.items()]
    read.messages.append(
        Message(
            handler.command, handler.path, handler.request_version != "HTTP/1.0", meta_variables(pairs),
            not handler.close_connection, None,
        )
    )  # fmt: skip
    read.end = Stage.LAST
    return read


PEERS: dict[str, Callable[[bytes], Read]] = {"llhttp": llhttp, "h11": h11, "http.server": stdlib}
