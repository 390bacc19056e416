"""What the metrics port serves: metrics, health, the status page. A table of routes, for the master's server.

It knows the daemon by the functions it is given. Health is answered at once, whatever else is asked. What costs the
master time is shared by all who ask for it meanwhile, and made for a fifth of the time at most.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from miniwsgi.daemon.http.head import Limits
from miniwsgi.metrics import status_page
from miniwsgi.metrics.exposition import Format, negotiate
from miniwsgi.metrics.health import Health, livez, readyz, startupz

from ..http.connection_table import ServerLimits
from ..http.exchange import Answer, Refusal, Request, encoded, reason
from ..http.routing import Route, Router
from .gate import Gate
from .public_status import PublicStatus, as_data

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
NOSNIFF = (("X-Content-Type-Options", "nosniff"),)
GZIP_BYTES = 1024  # a smaller body goes as it is
GZIP_LEVEL = 1  # a scrape is thrown away at once: time matters more
REST = 4  # after making an answer, times the CPU time that it took …
REST_SECONDS = 0.5  # … and so long at most

Metrics = Callable[[Format], Awaitable[bytes]]
Handler = Callable[[Request], Awaitable[Answer]]

LIMITS = ServerLimits(
    http=Limits(request_line_bytes=2048, field_bytes=8192, fields=64, fields_bytes=16384, body_max_bytes=0),
    connections=128,
    streams=0,
    backlog=128,
    receive_seconds=5.0,
    idle_seconds=120.0,  # Prometheus keeps its connection from scrape to scrape
    send_seconds=10.0,
    linger_seconds=1.0,
    pipelined_bytes=4096,
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the answers come from. Without `metrics` there is no /metrics."""

    health: Callable[[], Health]
    status: Callable[[], PublicStatus]
    metrics: Metrics | None


class MetricsApi:
    """See the module, and `manager.exchange.Served`."""

    def __init__(self, sources: Sources, gate: Gate) -> None:
        self._sources = sources
        self._gate = gate
        self._page = status_page.load()
        self._shared = Shared()
        routes: list[Route[Handler]] = [
            Route("GET", "/livez", self.livez, JSON),
            Route("GET", "/readyz", self.readyz, JSON),
            Route("GET", "/startupz", self.startupz, JSON),
            Route("GET", "/", self.page, status_page.CONTENT_TYPE),
            Route("GET", "/status.json", self.status, JSON),
        ]
        if sources.metrics is not None:
            routes.append(Route("GET", "/metrics", self.metrics, TEXT))
        self.router = Router(routes)

    def __repr__(self) -> str:
        return f"<MetricsApi routes={len(self.router.routes)}>"

    # --- the server's calls ---

    async def admit(self, request: Request) -> None:
        """Bodies have no room here; who may not ask at all is told that instead."""
        self._gate.check_address(request)

    async def respond(self, request: Request) -> Answer:
        """The answer to a request; its query is not looked at. Raises Refusal."""
        self._gate.check_address(request)
        route, _ = self.router.find(request.method, request.path)
        return await route.handler(request)

    def refuse(self, refusal: Refusal, path: str) -> Answer:
        """A line of text."""
        said = f"{refusal.status} {reason(refusal.status)}"
        body = f"{said}: {refusal.detail}\n" if refusal.detail else f"{said}\n"
        close = refusal.status in {401, 403, 421}
        return Answer(refusal.status, body.encode(), TEXT, (*refusal.fields, *NOSNIFF), close=close)

    # --- health: free of the token, answered at once ---

    async def livez(self, _request: Request) -> Answer:
        return _health(livez(self._sources.health()))

    async def readyz(self, _request: Request) -> Answer:
        return _health(readyz(self._sources.health()))

    async def startupz(self, _request: Request) -> Answer:
        return _health(startupz(self._sources.health()))

    # --- what is told to readers ---

    async def metrics(self, request: Request) -> Answer:
        metrics, format_ = self._sources.metrics, negotiate(request.fields.get("HTTP_ACCEPT"))
        assert metrics is not None

        async def make() -> Answer:
            return Answer(200, await metrics(format_), format_.value, (("Vary", "Accept, Accept-Encoding"), *NOSNIFF))

        return await self._read(request, f"/metrics {format_.name}", make)

    async def status(self, request: Request) -> Answer:
        async def make() -> Answer:
            return Answer(200, encoded(self._sources.status()), JSON, (("Vary", "Accept-Encoding"), *NOSNIFF))

        return await self._read(request, "/status.json", make)

    async def page(self, request: Request) -> Answer:
        fields = (
            ("Vary", "Accept-Encoding"),
            ("Content-Security-Policy", self._page.policy),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            *NOSNIFF,
        )

        async def make() -> Answer:
            page = self._page.fill(as_data(self._sources.status()))
            return Answer(200, page, status_page.CONTENT_TYPE, fields)

        return await self._read(request, "/", make)

    async def _read(self, request: Request, name: str, make: Callable[[], Awaitable[Answer]]) -> Answer:
        self._gate.check_reader(request)
        packed = accepts_gzip(request.fields.get("HTTP_ACCEPT_ENCODING", ""))
        return await self._shared.answer(name, make, packed=packed)


class Shared:
    """Answers that cost time: who asks for one before the next is begun shares it, so that it never is from before it
    was asked for; between two lies a rest. Compressed or not, it is made once.
    """

    def __init__(self) -> None:
        self._next: dict[str, asyncio.Task[_Made]] = {}  # not begun
        self._turn = asyncio.Lock()
        self._due = 0.0  # of the loop's clock: when the next may begin
        self._rest = 0.0  # after the last one

    def __repr__(self) -> str:
        return f"<Shared next={len(self._next)} rest={self._rest:.3f}>"

    async def answer(self, name: str, make: Callable[[], Awaitable[Answer]], *, packed: bool = False) -> Answer:
        """What `make` gives, now or soon. A client that leaves does not take it from the others."""
        task = self._next.get(name)
        if task is None:
            task = self._next[name] = asyncio.get_running_loop().create_task(self._make(name, make))
        made = await asyncio.shield(task)
        if not packed:
            return made.plain
        if made.packed is None:
            began = time.thread_time()
            made.packed = _compressed(made.plain)
            self._rest_after(time.thread_time() - began)
        return made.packed

    async def _make(self, name: str, make: Callable[[], Awaitable[Answer]]) -> _Made:
        loop = asyncio.get_running_loop()
        async with self._turn:
            if (wait := self._due - loop.time()) > 0:
                await asyncio.sleep(wait)
            self._due = loop.time() + self._rest  # as it turns out, below
        del self._next[name]
        began = time.thread_time()
        try:
            return _Made(await make())
        finally:
            self._rest = self._rest_after(time.thread_time() - began)

    def _rest_after(self, seconds: float) -> float:
        """The next may not begin before a rest, which is returned: `seconds` of processor time have been taken."""
        rest = min(REST_SECONDS, REST * seconds)
        self._due = max(self._due, asyncio.get_running_loop().time() + rest)
        return rest


@dataclass(slots=True)
class _Made:
    """An answer, and the same compressed once somebody wants it so."""

    plain: Answer
    packed: Answer | None = None


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client takes gzip (RFC 9110, section 12.5.3)."""
    wanted = {}
    for item in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        refused = any(_is_zero(parameter) for parameter in parameters)
        wanted["gzip" if coding == "x-gzip" else coding] = not refused
    return wanted.get("gzip", wanted.get("*", False))


def _is_zero(parameter: str) -> bool:
    """Whether a parameter is a weight of 0."""
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and not value.strip().strip("0.")


def _compressed(answer: Answer) -> Answer:
    if len(answer.body) < GZIP_BYTES:
        return answer
    body = gzip.compress(answer.body, GZIP_LEVEL, mtime=0)
    return Answer(answer.status, body, answer.content_type, (("Content-Encoding", "gzip"), *answer.fields))


def _health(said: tuple[int, bytes]) -> Answer:
    status, body = said
    return Answer(status, body, JSON, NOSNIFF)
