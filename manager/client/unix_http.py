"""An HTTP/1.1 client on a Unix socket, as small as `miniwsgictl status` wants it: a connection, a deadline.

Knows Content-Length, chunked and close-delimited answers; one request at a time, the connection kept. Every wait
ends at the deadline of its call. Raises what went wrong by its kind, worded by whoever knows the daemon.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

JSON, LINES = "application/json", "application/x-ndjson"
HEAD_BYTES = 64 * 1024
BODY_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
MOST_FIELDS = 100
QUEUE_FULL_SECONDS = 0.01  # connect(2) does not wait while the accept queue is full: pause before the next try


class Trouble(Enum):
    """Why there is no answer."""

    MISSING = "missing"  # no such file
    SILENT = "silent"  # the file is there, nobody listens on it
    FORBIDDEN = "forbidden"  # the file's permissions
    UNUSABLE = "unusable"  # no socket's path
    LATE = "late"  # not before the deadline
    LOST = "lost"  # the connection ended before the answer did
    FOREIGN = "foreign"  # what answers is something else
    VERSION = "version"  # what answers is of a version that does not fit


class TransportError(Exception):
    """No answer, and why. `heard`: something of it had come; `asked`: a change was asked for, and may be made."""

    def __init__(self, trouble: Trouble, detail: str = "", *, heard: bool = False) -> None:
        super().__init__(f"{trouble.value}: {detail}" if detail else trouble.value)
        self.trouble = trouble
        self.detail = detail
        self.heard = heard
        self.asked = False


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response. Field names are lower case."""

    status: int
    fields: dict[str, str]
    body: bytes = field(repr=False, default=b"")


class _UnixConnectionState(Enum):
    CLOSED = "closed"
    IDLE = "idle"
    STREAMING = "streaming"


class UnixConnection:
    """To one socket; connects when needed, and again when the daemon has closed a kept connection."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._state = _UnixConnectionState.CLOSED

    def __repr__(self) -> str:
        return f"<UnixConnection {self.path} {self._state.value}>"

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer = b""
        self._state = _UnixConnectionState.CLOSED

    @property
    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise TransportError(Trouble.LOST, "not connected")
        return self._socket

    # --- one request ---

    def request(
        self, method: str, target: str, body: bytes | None = None, *, kind: str = JSON, deadline: float
    ) -> HttpResponse:
        """The whole answer. `deadline` is of time.monotonic(). Raises TransportError; the connection is then closed."""
        kept = self._state is _UnixConnectionState.IDLE
        try:
            return self._request(method, target, body, kind, deadline)
        except TransportError as error:
            self.close()
            if not (kept and method == "GET" and error.trouble is Trouble.LOST and not error.heard):
                raise
        # The daemon closes connections that were silent for a while: as good as none.
        return self._request(method, target, body, kind, deadline)

    def _request(self, method: str, target: str, body: bytes | None, kind: str, deadline: float) -> HttpResponse:
        sent = False
        try:
            self._send(method, target, body, kind, deadline)
            sent = True
            status, fields = self._head(deadline)
            content = b"".join(self._pieces(fields, deadline))
        except BaseException as error:
            self.close()
            if isinstance(error, TransportError):
                error.asked = sent and method != "GET"
            raise
        if fields.get("connection", "").lower() == "close":
            self.close()
        return HttpResponse(status, fields, content)

    def stream(
        self, target: str, body: bytes | None = None, *, deadline: float, end: float | None = None
    ) -> tuple[HttpResponse, Iterator[bytes]]:
        """GET, or POST if there is a body of JSON: the head by `deadline`, then the body's pieces as they come until
        `end`, or for as long as it takes.

        Not a 200: the whole answer, and no pieces. Raises TransportError, also while iterating.
        """
        self.close()
        self._send("GET" if body is None else "POST", target, body, JSON, deadline)
        status, fields = self._head(deadline)
        if status != 200:
            return HttpResponse(status, fields, b"".join(self._pieces(fields, deadline))), iter(())
        self._state = _UnixConnectionState.STREAMING
        return HttpResponse(status, fields), self._pieces(fields, end, limit=None)

    # --- sending ---

    def _send(self, method: str, target: str, body: bytes | None, kind: str, deadline: float) -> None:
        if self._state is not _UnixConnectionState.IDLE:
            self.close()
            self._connect(deadline)
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: {JSON}, {LINES}\r\n"
        if body is not None:
            head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        sock = self._connected
        try:
            sock.settimeout(_left(deadline))
            sock.sendall(head.encode("ascii") + b"\r\n" + (body or b""))
        except TimeoutError:
            raise TransportError(Trouble.LATE) from None
        except (BrokenPipeError, ConnectionResetError):
            pass  # what it had to say before it closed is still to be read
        except OSError as error:
            raise TransportError(Trouble.LOST, error.strerror or "") from None

    def _connect(self, deadline: float) -> None:
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise TransportError(Trouble.UNUSABLE, error.strerror or str(error)) from None
        try:
            while True:
                try:
                    sock.settimeout(_left(deadline))
                    sock.connect(self.path)
                    break
                except BlockingIOError:
                    time.sleep(QUEUE_FULL_SECONDS)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError | ValueError):
                raise _why(error) from None
            raise
        self._socket, self._state = sock, _UnixConnectionState.IDLE

    # --- receiving ---

    def _receive(self, deadline: float | None, *, heard: bool) -> bytes:
        """More bytes; b"" when the sender has ended. Without a deadline it waits for ever."""
        sock = self._connected
        try:
            sock.settimeout(None if deadline is None else _left(deadline))
            return sock.recv(CHUNK_BYTES)
        except TimeoutError:
            raise TransportError(Trouble.LATE, heard=heard) from None
        except OSError as error:
            raise TransportError(Trouble.LOST, error.strerror or "", heard=heard) from None

    def _line(self, deadline: float | None, *, heard: bool) -> str:
        """The next line without its end; the buffer holds the rest."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > HEAD_BYTES:
                raise TransportError(Trouble.FOREIGN, "a line without end", heard=True)
            more = self._receive(deadline, heard=heard or bool(self._buffer))
            if not more:
                raise TransportError(Trouble.LOST, heard=heard or bool(self._buffer))
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r").decode("latin-1")

    def _head(self, deadline: float) -> tuple[int, dict[str, str]]:
        """Status and fields of the final response, after those that are only informational."""
        while True:
            version, _, rest = self._line(deadline, heard=False).partition(" ")
            if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
                raise TransportError(Trouble.FOREIGN, "it does not speak HTTP", heard=True)
            status, fields = int(rest[:3]), {}
            for _ in range(MOST_FIELDS):
                line = self._line(deadline, heard=True)
                if not line:
                    break
                name, _, value = line.partition(":")
                fields[name.strip().lower()] = value.strip()
            else:
                raise TransportError(Trouble.FOREIGN, "an endless head", heard=True)
            if status >= 200:
                return status, fields

    def _pieces(
        self, fields: dict[str, str], deadline: float | None, limit: int | None = BODY_BYTES
    ) -> Iterator[bytes]:
        """The body as it comes."""
        length = fields.get("content-length")
        if "chunked" in fields.get("transfer-encoding", "").lower():
            pieces = self._chunks(deadline)
        elif length is not None:
            pieces = self._counted(_number(length, 10), deadline)
        else:
            pieces = self._until_closed(deadline)
        total = 0
        for piece in pieces:
            total += len(piece)
            if limit is not None and total > limit:
                raise TransportError(Trouble.FOREIGN, "an endless body", heard=True)
            yield piece

    def _counted(self, left: int, deadline: float | None) -> Iterator[bytes]:
        while left:
            if not self._buffer:
                self._buffer = self._receive(deadline, heard=True)
                if not self._buffer:
                    raise TransportError(Trouble.LOST, heard=True)
            piece, self._buffer = self._buffer[:left], self._buffer[left:]
            left -= len(piece)
            yield piece

    def _chunks(self, deadline: float | None) -> Iterator[bytes]:
        while size := _number(self._line(deadline, heard=True).partition(";")[0], 16):
            yield from self._counted(size, deadline)
            self._line(deadline, heard=True)  # the end of the chunk
        while self._line(deadline, heard=True):
            pass  # trailer fields

    def _until_closed(self, deadline: float | None) -> Iterator[bytes]:
        piece = self._buffer or self._receive(deadline, heard=True)
        self._buffer = b""
        while piece:
            yield piece
            piece = self._receive(deadline, heard=True)
        self.close()


def _left(deadline: float) -> float:
    """Seconds until `deadline`. Raises TransportError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TransportError(Trouble.LATE)
    return left


def _number(text: str, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < 0:
        raise TransportError(Trouble.FOREIGN, "a length that is no number", heard=True)
    return number


def _why(error: OSError | ValueError) -> TransportError:
    """Why connect(2) failed: unix(7). On a file that is no socket it says ECONNREFUSED, too."""
    number = error.errno if isinstance(error, OSError) else None
    troubles = {
        errno.ENOENT: Trouble.MISSING,
        errno.ECONNREFUSED: Trouble.SILENT,
        errno.EACCES: Trouble.FORBIDDEN,
        errno.EPERM: Trouble.FORBIDDEN,
    }
    if isinstance(error, TimeoutError):
        return TransportError(Trouble.LATE)
    detail = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return TransportError(troubles.get(number or 0, Trouble.UNUSABLE), detail)
