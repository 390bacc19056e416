"""What the metrics port serves: metrics, health, the status page. A table of routes, for the master's server.

It knows the daemon by the functions it is given. Health is answered at once, whatever else is asked. What costs the
master time is shared by all who ask for it meanwhile, and made for a fifth of the time at most.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from miniwsgi.daemon.http.head import Limits
from miniwsgi.metrics import status_page
from miniwsgi.metrics.exposition import Format, negotiate
from miniwsgi.metrics.health import Health, livez, readyz, startupz
from miniwsgi.metrics.history import Span
from msgspec import Struct

from ..http.connection_table import ServerLimits
from ..http.exchange import Answer, HttpRefusal, Request, encoded, reason
from ..http.places import Places
from ..http.routing import Route, Router
from .gate import Gate
from .public_page import PublicPage, asked_span, page_data
from .public_status import PublicStatus
from .shared_answers import SharedAnswers, accepts_gzip

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
NOSNIFF = (("X-Content-Type-Options", "nosniff"),)

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
# Who reads has a place until the answer is made. The others are for health: who restarts a service that says nothing of
# its health must not do so because many look at it.
MAX_READERS = LIMITS.connections - 16


class Sources(Struct, frozen=True):
    """Where the answers come from. Without `metrics` there is no /metrics."""

    health: Callable[[], Health]
    status: Callable[[], PublicStatus]
    metrics: Metrics | None
    page: Callable[[Span], Awaitable[PublicPage]]


class MetricsApi:
    """See the module, and `manager.http.exchange.Served`."""

    def __init__(self, sources: Sources, gate: Gate) -> None:
        self._sources = sources
        self._gate = gate
        self._page = status_page.load()
        self._shared = SharedAnswers()
        self._readers = Places(MAX_READERS, "too many readers; try again")
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
        """The answer to a request; of queries only the page's `span` is looked at. Raises HttpRefusal."""
        self._gate.check_address(request)
        route, _ = self.router.find(request.method, request.path)
        return await route.handler(request)

    def refuse(self, refusal: HttpRefusal, path: str) -> Answer:
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

        span = asked_span(request.query)

        async def make() -> Answer:
            page = self._page.fill(page_data(await self._sources.page(span)))
            return Answer(200, page, status_page.CONTENT_TYPE, fields)

        return await self._read(request, f"/ {span.value}", make)

    async def _read(self, request: Request, name: str, make: Callable[[], Awaitable[Answer]]) -> Answer:
        self._gate.check_reader(request)
        packed = accepts_gzip(request.fields.get("HTTP_ACCEPT_ENCODING", ""))
        with self._readers:
            return await self._shared.answer(name, make, packed=packed)


def _health(said: tuple[int, bytes]) -> Answer:
    status, body = said
    return Answer(status, body, JSON, NOSNIFF)
