"""A connection to the daemon that believes nothing: each answer is read by its own framing, byte by byte accounted for.

It never retries. What the server may do by RFC 9112 is no failure: to close between requests, or after an answer that
says `Connection: close`. Everything else is, with the kinds of `tests.support.load`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from tests.support.load import ANSWER_SECONDS, Failure

T = TypeVar("T")

SILENT_SECONDS = 1.0  # a connection that was silent for longer is not used again: a drain may be closing it
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


class Wrong(Exception):
    """A request was not answered rightly."""

    def __init__(self, kind: Failure, detail: str = "") -> None:
        super().__init__(f"{kind.value}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response."""

    status: int
    body: bytes
    last: bool  # the server closes the connection after it


class Connection:
    """One connection; `ask` and `answer` as often as one likes, then `close` or `reset`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._used_at = time.monotonic()
        self._over = False

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Connection:
        """Raises Wrong."""
        try:
            return cls(*await _in_time(asyncio.open_connection(*address)))
        except OSError as error:
            raise Wrong(Failure.REFUSED, str(error)) from error

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        return not self._over and not self._reader.at_eof() and time.monotonic() - self._used_at < SILENT_SECONDS

    async def ask(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Send, with a pause after each piece. Raises Wrong."""
        try:
            for piece in pieces:
                self._writer.write(piece)
                await _in_time(self._writer.drain())
                if pause:
                    await asyncio.sleep(pause)
        except OSError as error:
            raise Wrong(Failure.RESET, f"while sending: {error}") from error

    async def answer(self) -> Answer:
        """The next response. Raises Wrong."""
        head = b""
        try:
            head = await _in_time(self._reader.readuntil(b"\r\n\r\n"))
            status, fields = _parse(head)
            body = await self._body(fields)
        except asyncio.IncompleteReadError as error:
            kind = Failure.TRUNCATED if head or error.partial else Failure.CLOSED
            raise Wrong(kind, f"after {head[:40]!r} {len(error.partial)} bytes") from error
        except asyncio.LimitOverrunError as error:
            raise Wrong(Failure.BODY, f"a line without end: {error}") from error
        except OSError as error:
            raise Wrong(Failure.TRUNCATED if head else Failure.RESET, str(error)) from error
        except ValueError as error:
            raise Wrong(Failure.BODY, f"{error}: {head[:200]!r}") from error
        self._used_at = time.monotonic()
        self._over = fields.get("connection", "").lower() == "close"
        return Answer(status, body, self._over)

    async def _body(self, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding", "").lower() == "chunked":
            pieces = []
            while size := int(await _in_time(self._reader.readuntil(b"\r\n")), 16):
                piece = await _in_time(self._reader.readexactly(size + 2))
                if not piece.endswith(b"\r\n"):
                    raise ValueError("a chunk is longer than it says")
                pieces.append(piece[:-2])
            if await _in_time(self._reader.readexactly(2)) != b"\r\n":
                raise ValueError("trailers that nobody sent")
            return b"".join(pieces)
        return await _in_time(self._reader.readexactly(int(fields["content-length"])))

    async def read_some(self) -> bytes:
        """What has come, for those who do not want it all. Raises Wrong."""
        try:
            return await _in_time(self._reader.read(1000))
        except OSError as error:
            raise Wrong(Failure.RESET, str(error)) from error

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Close rudely."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._writer.transport.abort()


def _parse(head: bytes) -> tuple[int, dict[str, str]]:
    """Raises ValueError."""
    line, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    version, status, _reason = line.split(" ", 2)
    if version != "HTTP/1.1":
        raise ValueError(f"not HTTP/1.1: {line}")
    fields = {}
    for field in rest:
        name, _, value = field.partition(":")
        fields[name.lower()] = value.strip()
    if "content-length" not in fields and "transfer-encoding" not in fields:
        raise ValueError("an answer without a length")
    return int(status), fields


async def _in_time(work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await work
    except TimeoutError as error:
        raise Wrong(Failure.TIMEOUT, f"{ANSWER_SECONDS:g} s") from error
