"""A world for a call: a transport that records and may pause or break, a reporter that remembers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from miniwsgi.daemon.engine.call import Application, Call, Disconnected, Phase
from miniwsgi.daemon.engine.claim import Claim
from miniwsgi.daemon.http.response import Encodings, ServerFields

TEXT = [("Content-Type", "text/plain")]


class Wire:
    """The client's side. `breaks_at`: the number of the send that fails; `full`: every send asks for a pause;
    `meanwhile`: called in each send, when the bytes are out."""

    def __init__(
        self, *, breaks_at: int = 0, full: bool = False, meanwhile: Callable[[], object] | None = None
    ) -> None:
        self.sends: list[bytes] = []
        self.files: list[tuple[int, int]] = []  # offset, count
        self.waits = 0
        self.left = False  # the client, which shows only to whoever looks
        self.breaks_at = breaks_at
        self.broken = False
        self.full = full
        self.meanwhile = meanwhile

    @property
    def data(self) -> bytes:
        return b"".join(self.sends)

    def send(self, data: bytes, /) -> bool:
        assert type(data) is bytes
        assert data, "an empty send"
        self._count()
        self.sends.append(data)
        if self.meanwhile is not None:
            self.meanwhile()
        return self.full

    def trace_id(self) -> str | None:
        return None

    def send_parts(self, parts: tuple[bytes, ...], /) -> bool:
        assert all(type(part) is bytes for part in parts)
        return self.send(b"".join(parts))

    def send_file(self, fd: int, offset: int, count: int, /) -> None:
        self._count()
        self.files.append((offset, count))
        self.sends.append(os.pread(fd, count, offset))
        if self.meanwhile is not None:
            self.meanwhile()

    def turn_is_over(self) -> bool:
        return False

    def check_client(self) -> None:
        if self.broken or self.left:
            raise Disconnected

    def wait_sent(self) -> None:
        """Nothing is kept."""

    def wait_writable(self) -> None:
        self.waits += 1
        self._count()

    def _count(self) -> None:
        self.broken = self.broken or self.breaks_at == 1
        if self.broken:
            raise Disconnected
        self.breaks_at -= 1


class Site:
    """What a call needs of its site; it remembers what it is told."""

    def __init__(self, server: str = "") -> None:
        self.server_fields = ServerFields(server)
        self.encodings = Encodings()
        self.answers: Claim[Call] = Claim()
        self.errors: list[BaseException] = []
        self.mistakes: list[str] = []

    def exception(self, call: Call, error: BaseException, /) -> None:
        self.errors.append(error)

    def mistake(self, call: Call, what: str, /) -> None:
        self.mistakes.append(what)


class World:
    """One call, and what came of it."""

    def __init__(
        self, method: str = "GET", http11: bool = True, persistent: bool = True, wire: Wire | None = None
    ) -> None:
        self.wire = wire or Wire()
        self.site = Site()
        self.call = Call(self.site, self.wire, method, http11, persistent)
        self.pauses = 0

    def run(self, application: Application, environ: dict[str, Any] | None = None) -> World:
        """To the end, however often it pauses."""
        complete = self.call.run(application, environ or {})
        while not complete:
            self.pauses += 1
            complete = self.call.resume()
        return self

    # --- what the client saw ---

    @property
    def status(self) -> str:
        """Of the last head on the wire; "" if there is none."""
        return (
            self._heads()[-1].partition(b"\r\n")[0].removeprefix(b"HTTP/1.1 ").decode("latin-1")
            if self._heads()
            else ""
        )

    @property
    def fields(self) -> dict[str, str]:
        """Of the last head, Date left out."""
        lines = self._heads()[-1].decode("latin-1").split("\r\n")[1:]
        return {name: value for name, _, value in (line.partition(": ") for line in lines) if name != "Date"}

    @property
    def body(self) -> bytes:
        """What follows the head, decoded as far as it goes."""
        raw = self.wire.data.split(b"\r\n\r\n", len(self._heads()))[-1]
        return self._chunks(raw)[0] if "Transfer-Encoding" in self.fields else raw

    @property
    def complete(self) -> bool:
        """Whether a client can tell that it has the whole body."""
        raw = self.wire.data.split(b"\r\n\r\n", len(self._heads()))[-1]
        if "Transfer-Encoding" in self.fields:
            return self._chunks(raw)[1]
        length = self.fields.get("Content-Length")
        return length is None or self.call.method == "HEAD" or len(raw) == int(length)

    @property
    def outcome(self) -> tuple[str, bytes, bool, bool]:
        """Status, body, whether it is complete, whether the connection goes on."""
        return self.status[:3], self.body, self.complete, self.call.persistent

    def _heads(self) -> list[bytes]:
        heads, rest = [], self.wire.data
        while rest.startswith(b"HTTP/1.1 "):
            head, _, rest = rest.partition(b"\r\n\r\n")
            heads.append(head)
            if not head.startswith(b"HTTP/1.1 1"):
                break
        return heads

    @staticmethod
    def _chunks(raw: bytes) -> tuple[bytes, bool]:
        body = b""
        while raw:
            size, _, raw = raw.partition(b"\r\n")
            length = int(size, 16)
            if not length:
                assert raw == b"\r\n"
                return body, True
            body += raw[:length]
            assert raw[length : length + 2] == b"\r\n"
            raw = raw[length + 2 :]
        return body, False

    def check(self) -> None:
        """What must hold for every call that has ended."""
        call = self.call
        assert not self.site.answers
        assert getattr(call, "_result", None) is None
        assert getattr(call, "_iterator", None) is None
        assert call.phase is not Phase.OPEN or call.aborted
        assert not (call.aborted and call.persistent)
        assert not self.wire.sends or self._heads()


class Result:
    """An iterable that records what is done with it; `blocks` may hold exceptions and callables."""

    def __init__(self, *blocks: Any) -> None:
        self.blocks = list(blocks)
        self.pulled = 0
        self.closed = 0

    def __iter__(self) -> Result:
        return self

    def __next__(self) -> bytes:
        if not self.blocks:
            raise StopIteration
        self.pulled += 1
        block = self.blocks.pop(0)
        if isinstance(block, BaseException):
            raise block
        value: bytes = block() if callable(block) else block
        return value

    def close(self) -> None:
        self.closed += 1


def app(result: Any, status: str = "200 OK", headers: list[tuple[str, str]] | None = None) -> Application:
    """An application that starts its response and returns `result`."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response(status, TEXT if headers is None else headers)
        return result

    return application


def length(size: int) -> list[tuple[str, str]]:
    return [("Content-Length", str(size))]
