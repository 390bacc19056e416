"""The metrics port over a real TCP socket in a loop of the test's own, with a faked daemon behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from miniwsgi.manager.http.connection_table import ServerLimits
from miniwsgi.manager.http.server import HttpServer
from miniwsgi.manager.port.gate import Gate, Rules
from miniwsgi.manager.port.metrics_api import LIMITS, MetricsApi, Sources
from miniwsgi.manager.port.public_page import PublicPage
from miniwsgi.manager.port.public_status import PublicStatus, public_status
from miniwsgi.metrics.exposition import Format
from miniwsgi.metrics.health import Health, ServicePhase
from miniwsgi.metrics.history import Span
from msgspec.structs import replace

from tests.support.ctl_daemon import status, worker
from tests.support.manager_world import Response, run
from tests.support.waiting import PATIENCE_SECONDS


@dataclass
class World:
    """A port that is open, what it was asked to make, and what it logged."""

    rules: Rules = field(default_factory=Rules)
    health: Health = field(default_factory=lambda: Health(ServicePhase.SERVING, True, 2, 2, 1))
    body: bytes = b"miniwsgi_ready 1\n"
    scrapes: list[Format] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    server: HttpServer = field(init=False)
    port: int = 0

    async def metrics(self, format_: Format) -> bytes:
        self.scrapes.append(format_)
        return self.body

    def status(self) -> PublicStatus:
        return public_status(status(), [worker(0)], self.health, None)

    async def page(self, span: Span) -> PublicPage:
        return PublicPage(self.status(), span, f"<p>{span.value}</p>")

    @property
    def sources(self) -> Sources:
        return Sources(lambda: self.health, self.status, self.metrics, self.page)

    @asynccontextmanager
    async def open(self, limits: ServerLimits = LIMITS, *, without: bool = False) -> AsyncIterator[World]:
        sources = replace(self.sources, metrics=None) if without else self.sources
        api = MetricsApi(sources, Gate(self.rules, self.denied.append))
        self.server = HttpServer(api, lambda message, error: self.errors.append(f"{message}: {error!r}"), limits)
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        await self.server.start([sock])
        try:
            yield self
        finally:
            await self.server.stop(1.0)
        assert self.errors == []

    def connect(self) -> Client:
        return Client(self.port)

    async def get(self, path: str, *fields: str, method: str = "GET", body: bytes = b"") -> Response:
        """The answer to a request on a connection of its own."""

        def ask() -> Response:
            client = self.connect()
            try:
                return client.get(path, *fields, method=method, body=body)
            finally:
                client.close()

        found: Response = await run(ask)
        return found


class Client:
    """A raw client on TCP. Its methods block."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)

    def get(self, path: str, *fields: str, method: str = "GET", body: bytes = b"") -> Response:
        host = [] if any(line.startswith("Host:") for line in fields) else ["Host: localhost"]
        length = [f"Content-Length: {len(body)}"] if body else []
        lines = [f"{method} {path} HTTP/1.1", *host, *fields, *length, "", ""]
        self.socket.sendall("\r\n".join(lines).encode("latin-1") + body)
        return self.response(bare=method == "HEAD")

    def response(self, *, bare: bool = False) -> Response:
        with self.socket.makefile("rb") as file:
            code = int(file.readline().split()[1])
            fields: dict[str, str] = {}
            while line := file.readline().decode("latin-1").strip():
                name, _, value = line.partition(": ")
                fields[name.lower()] = value
            return Response(code, fields, b"" if bare else file.read(int(fields.get("content-length", 0))))

    def close(self) -> None:
        self.socket.close()


def scenario(world: World | None = None, **options: Any) -> Callable[[Any], None]:
    """Run an async function against a port at once."""

    def decorate(function: Any) -> None:
        async def body() -> None:
            async with (world or World()).open(**options) as opened:
                await function(opened)

        asyncio.run(body())

    return decorate
