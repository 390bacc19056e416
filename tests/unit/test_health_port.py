"""What the metrics port serves, over a real TCP socket in a loop of the test's own, with a faked daemon behind."""

from __future__ import annotations

import json
import re
from ipaddress import ip_network

import pytest
from miniwsgi.manager.port.gate import Rules
from miniwsgi.manager.port.metrics_api import LIMITS
from miniwsgi.metrics.exposition import Format
from miniwsgi.metrics.health import ServicePhase
from msgspec.structs import replace

from tests.support.manager_world import run
from tests.support.waiting import wait_in_loop
from tests.unit.metrics_port import World, scenario

PATHS = ("/", "/livez", "/metrics", "/readyz", "/startupz", "/status.json")
HEALTH = ("/livez", "/readyz", "/startupz")

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


def test_the_page_looks_as_far_back_as_it_is_asked_to() -> None:
    @scenario()
    async def _(world: World) -> None:
        for query, told in (("", b"15m"), ("?span=1h", b"1h"), ("?span=15m", b"15m"), ("?span=<b>&span=1h", b"15m")):
            assert b"<p>" + told + b"</p>" in (await world.get(f"/{query}")).body


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


def test_status_json_is_what_the_page_shows() -> None:
    @scenario()
    async def _(world: World) -> None:
        said = (await world.get("/status.json")).json
        page = (await world.get("/")).body.decode()
        assert said["workers"][0]["pid"] == 4700
        assert re.search(r"pid <span>4711<", page)
        assert json.loads((await world.get("/livez")).body)["phase"] == "serving"
