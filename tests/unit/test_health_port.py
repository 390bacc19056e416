"""What the metrics port serves, over a real TCP socket in a loop of the test's own, with a faked daemon behind."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

import pytest
from miniwsgi.manager.http.connection_table import ServerLimits
from miniwsgi.manager.http.exchange import Answer, Request
from miniwsgi.manager.http.server import HttpServer
from miniwsgi.manager.port import shared_answers
from miniwsgi.manager.port.gate import Gate, Rules
from miniwsgi.manager.port.metrics_api import LIMITS, MetricsApi, Sources
from miniwsgi.manager.port.public_status import PublicStatus, public_status
from miniwsgi.manager.port.shared_answers import SharedAnswers, accepts_gzip
from miniwsgi.metrics.exposition import Format
from miniwsgi.metrics.health import Health, ServicePhase

from tests.support.manager_world import Response, run
from tests.support.waiting import PATIENCE_SECONDS, wait_in_loop
from tests.unit.ctl_daemon import status, worker

PATHS = ("/", "/livez", "/metrics", "/readyz", "/startupz", "/status.json")
HEALTH = ("/livez", "/readyz", "/startupz")


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

    @asynccontextmanager
    async def open(self, limits: ServerLimits = LIMITS, *, without: bool = False) -> AsyncIterator[World]:
        sources = Sources(lambda: self.health, self.status, None if without else self.metrics)
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


# --- routes --------------------------------------------------------------------------------------------------------


def test_every_path_answers_with_its_type() -> None:
    @scenario()
    async def _(world: World) -> None:
        types = {path: (await world.get(path)).fields["content-type"].partition(";")[0] for path in PATHS}
        assert types == {
            "/": "text/html",
            "/metrics": "text/plain",
            **dict.fromkeys(("/livez", "/readyz", "/startupz", "/status.json"), "application/json"),
        }


@pytest.mark.parametrize("path", PATHS)
def test_head_says_what_get_would_and_sends_no_body(path: str) -> None:
    @scenario()
    async def _(world: World) -> None:
        whole, head = await world.get(path), await world.get(path, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        for name in ("content-type", "content-length", "cache-control"):
            assert head.fields[name] == whole.fields[name]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_refused_with_those_that_will_do(path: str, method: str) -> None:
    @scenario()
    async def _(world: World) -> None:
        answer = await world.get(path, method=method)
        assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/nothing", "/livez/", "//", "/v1/status", "/favicon.ico", "/status.json/../.."])
def test_other_paths_are_not_there(path: str) -> None:
    @scenario()
    async def _(world: World) -> None:
        answer = await world.get(path)
        assert (answer.status, answer.fields["content-type"]) == (404, "text/plain; charset=utf-8")
        assert path.encode() not in answer.body


@pytest.mark.parametrize("path", PATHS)
def test_a_query_changes_nothing(path: str) -> None:
    @scenario()
    async def _(world: World) -> None:
        assert (await world.get(f"{path}?verbose&name[]=x&%%%")).status == 200


def test_without_a_source_there_are_no_metrics() -> None:
    @scenario(without=True)
    async def _(world: World) -> None:
        assert [(await world.get(path)).status for path in PATHS] == [200, 200, 404, 200, 200, 200]


def test_health_is_asked_anew_each_time() -> None:
    @scenario()
    async def _(world: World) -> None:
        assert (await world.get("/readyz")).status == 200
        world.health = replace(world.health, phase=ServicePhase.DRAINING)
        answer = await world.get("/readyz")
        assert (answer.status, answer.json["reason"]) == (503, "draining")
        assert [(await world.get(path)).status for path in ("/livez", "/startupz")] == [200, 200]


def test_a_scrape_is_made_in_the_format_that_it_accepts() -> None:
    @scenario()
    async def _(world: World) -> None:
        await world.get("/metrics")
        answer = await world.get("/metrics", "Accept: application/openmetrics-text;version=1.0.0")
        assert world.scrapes == [Format.TEXT, Format.OPENMETRICS]
        assert answer.fields["content-type"] == Format.OPENMETRICS.value
        assert answer.fields["vary"] == "Accept, Accept-Encoding"


def test_answers_say_that_they_are_what_they_say_and_are_not_kept() -> None:
    @scenario()
    async def _(world: World) -> None:
        for path in (*PATHS, "/nothing"):
            answer = await world.get(path)
            assert answer.fields["x-content-type-options"] == "nosniff"
            assert answer.fields["cache-control"] == "no-store"
        page = await world.get("/")
        assert page.fields["content-security-policy"].startswith("default-src 'none'; ")
        assert page.fields["x-frame-options"] == "DENY"
        assert page.fields["referrer-policy"] == "no-referrer"


# --- gzip ----------------------------------------------------------------------------------------------------------


def test_a_large_body_is_compressed_for_who_takes_it() -> None:
    @scenario(World(body=b"miniwsgi_ready 1\n" * 1000))
    async def _(world: World) -> None:
        plain = await world.get("/metrics")
        packed = await world.get("/metrics", "Accept-Encoding: deflate, gzip;q=0.5")
        assert "content-encoding" not in plain.fields
        assert packed.fields["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body == world.body
        assert len(packed.body) < 1000
        for path in ("/", "/status.json"):
            assert (await world.get(path)).status == 200
            page = await world.get(path, "Accept-Encoding: gzip")
            assert page.fields["content-encoding"] == "gzip"
            assert page.fields["vary"] == "Accept-Encoding"


def test_a_small_body_is_not() -> None:
    @scenario()
    async def _(world: World) -> None:
        assert "content-encoding" not in (await world.get("/metrics", "Accept-Encoding: gzip")).fields


@pytest.mark.parametrize(
    ("field_", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("*", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0.001", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("br", False),
    ],
)
def test_gzip_is_negotiated(field_: str, taken: bool) -> None:
    assert accepts_gzip(field_) is taken


# --- who may -------------------------------------------------------------------------------------------------------


def test_health_is_free_of_the_token_and_the_rest_is_not() -> None:
    @scenario(World(rules=Rules(token="t0ken")))
    async def _(world: World) -> None:
        for path in PATHS:
            free = path in HEALTH
            assert (await world.get(path)).status == (200 if free else 401), path
            assert (await world.get(path, "Authorization: Bearer t0ken")).status == 200
        assert len(world.denied) == 3
        assert world.denied[0].startswith("denied GET / to 127.0.0.1: ")
        assert world.scrapes == [Format.TEXT]


def test_health_is_free_of_names_and_the_rest_is_not() -> None:
    @scenario()
    async def _(world: World) -> None:
        for path in PATHS:
            answer = await world.get(path, "Host: evil.example")
            assert answer.status == (200 if path in HEALTH else 421)
        assert world.scrapes == []


def test_the_list_of_addresses_lets_loopback_in() -> None:
    @scenario(World(rules=Rules(allow=(ip_network("10.0.0.0/8"),))))
    async def _(world: World) -> None:
        assert [(await world.get(path)).status for path in PATHS] == [200] * len(PATHS)


def test_a_refused_request_ends_its_connection() -> None:
    @scenario(World(rules=Rules(token="t0ken")))
    async def _(world: World) -> None:
        answer = await world.get("/metrics")
        assert answer.fields["connection"] == "close"


# --- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status_"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 413),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 413),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200),
        (b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 4000), 414),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: %b\r\n\r\n" % (b"x" * 9000), 431),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"A: b\r\n" * 100), 431),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_requests_are_small_and_have_no_body(request_: bytes, status_: int) -> None:
    @scenario()
    async def _(world: World) -> None:
        client = await run(world.connect)
        await run(client.socket.sendall, request_)
        assert (await run(client.response)).status == status_
        client.close()


def test_idle_connections_hold_nobody_up() -> None:
    @scenario()
    async def _(world: World) -> None:
        idle = [await run(world.connect) for _ in range(3 * LIMITS.connections)]
        for path in PATHS:
            assert (await world.get(path)).status == 200
        assert len(world.server.connections) <= LIMITS.connections
        for client in idle:
            client.close()


def test_clients_that_do_not_read_hold_nobody_up() -> None:
    body = b"x" * (4 << 20)  # more than the kernel takes for a client

    @scenario(World(body=body))
    async def _(world: World) -> None:
        slow = []
        for _ in range(LIMITS.connections + 20):
            client = await run(world.connect)
            await run(client.socket.sendall, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await wait_in_loop(lambda: len(world.scrapes) > len(slow))
            slow.append(client)
        for path in HEALTH:
            assert (await world.get(path)).status == 200
        assert len(world.server.connections) <= LIMITS.connections
        for client in slow:
            client.close()


# --- sharing -------------------------------------------------------------------------------------------------------


def test_who_asks_before_it_is_begun_shares_an_answer_and_who_asks_later_gets_the_next() -> None:
    async def body() -> None:
        shared, made, gate = SharedAnswers(), 0, asyncio.Event()

        async def make() -> Answer:
            nonlocal made
            made += 1
            number = made
            await gate.wait()
            return Answer(200, str(number).encode())

        first = [asyncio.create_task(shared.answer("a", make)) for _ in range(5)]
        await wait_in_loop(lambda: made == 1)
        later = [asyncio.create_task(shared.answer("a", make)) for _ in range(5)]
        other = asyncio.create_task(shared.answer("b", make))
        first[0].cancel()  # a client that leaves takes it from nobody
        gate.set()
        assert {(await task).body for task in first[1:]} == {b"1"}
        assert len({(await task).body for task in later}) == 1
        assert (await later[0]).body != b"1"
        assert (await other).body not in {b"1", (await later[0]).body}
        assert made == 3

    asyncio.run(body())


def test_scrapes_share_an_answer_however_they_word_what_they_accept() -> None:
    async def body() -> None:
        world = World()
        api = MetricsApi(Sources(lambda: world.health, world.status, world.metrics), Gate(world.rules, print))

        async def scrape(number: int) -> Answer:
            accept, coding = f"text/plain;version=0.0.4;q=0.{number:03}", "gzip" if number % 2 else ""
            fields = {"HTTP_ACCEPT": accept, "HTTP_ACCEPT_ENCODING": coding}
            return await api.respond(Request("GET", "/metrics", "", fields, b""))

        answers = await asyncio.gather(*map(scrape, range(1, 101)))
        assert {answer.body for answer in answers} == {world.body}
        assert world.scrapes == [Format.TEXT]

    asyncio.run(body())


def test_compressed_or_not_an_answer_is_made_once() -> None:
    async def body() -> None:
        shared, made = SharedAnswers(), 0

        async def make() -> Answer:
            nonlocal made
            made += 1
            return Answer(200, b"x" * 5000)

        asked = (shared.answer("a", make, packed=bool(number % 2)) for number in range(6))
        plain, packed, *others = await asyncio.gather(*asked)
        assert made == 1
        assert gzip.decompress(packed.body) == plain.body
        assert others == [plain, packed] * 2

    asyncio.run(body())


def test_after_a_costly_answer_there_is_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    now, cpu = 100.0, 0.0
    begun: list[float] = []

    class Loop(asyncio.SelectorEventLoop):
        """Its clock goes on when somebody sleeps."""

        def time(self) -> float:
            return now

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def make() -> Answer:
        nonlocal cpu
        begun.append(round(now, 6))
        cpu += 0.015
        return Answer(200)

    monkeypatch.setattr(shared_answers.time, "thread_time", lambda: cpu)
    monkeypatch.setattr(shared_answers.asyncio, "sleep", sleep)

    async def body() -> None:
        shared = SharedAnswers()
        for _ in range(3):
            await shared.answer("a", make)
        await asyncio.gather(*(shared.answer(str(number), make) for number in range(3)))

    loop = Loop()
    try:
        loop.run_until_complete(body())
    finally:
        loop.close()
    assert begun == [round(100 + 0.06 * turn, 6) for turn in range(6)]


def test_what_fails_is_said_to_all_who_share_it() -> None:
    async def body() -> None:
        shared = SharedAnswers()

        async def make() -> Answer:
            raise ZeroDivisionError

        found = await asyncio.gather(*(shared.answer("a", make) for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in found] == [ZeroDivisionError] * 3
        assert "next=0" in repr(shared)

    asyncio.run(body())


def test_status_json_is_what_the_page_shows() -> None:
    @scenario()
    async def _(world: World) -> None:
        said = (await world.get("/status.json")).json
        page = (await world.get("/")).body.decode()
        assert said["workers"][0]["pid"] == 4700
        assert re.search(r'data-v="pid">4711<', page)
        assert json.loads((await world.get("/livez")).body)["phase"] == "serving"
