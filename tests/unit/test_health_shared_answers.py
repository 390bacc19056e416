"""Answers of the metrics port that are made once for all who ask: sharing, their rest, compression."""

from __future__ import annotations

import asyncio
import gzip
import select

import pytest
from miniwsgi.manager.http.exchange import Answer, Request
from miniwsgi.manager.port import shared_answers
from miniwsgi.manager.port.gate import Gate
from miniwsgi.manager.port.metrics_api import LIMITS, MAX_READERS, MetricsApi
from miniwsgi.manager.port.shared_answers import SharedAnswers, accepts_gzip
from miniwsgi.metrics.exposition import Format

from tests.support.manager_world import run
from tests.support.waiting import PATIENCE_SECONDS, wait_in_loop
from tests.unit.metrics_port import World, scenario

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


# --- too many -------------------------------------------------------------------------------------------------------


def test_however_many_wait_for_an_answer_health_is_told_at_once() -> None:
    made, begun = asyncio.Event(), asyncio.Event()

    class Slow(World):
        async def metrics(self, format_: Format) -> bytes:
            begun.set()
            await made.wait()
            return await super().metrics(format_)

    @scenario(Slow())
    async def _(world: World) -> None:
        readers = [world.connect() for _ in range(MAX_READERS + 10)]
        probes = []
        try:
            for reader in readers:
                reader.socket.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sockets = [reader.socket for reader in readers]
            await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
            await wait_in_loop(lambda: len(select.select(sockets, [], [], 0)[0]) == 10)
            refused = [reader for reader in readers if select.select([reader.socket], [], [], 0)[0]]
            for reader in refused:
                answer = reader.response()
                assert (answer.status, answer.fields["retry-after"]) == (503, "1")
            for _ in range(LIMITS.connections):
                probes.append(await run(world.connect))
                assert (await run(probes[-1].get, "/livez")).status == 200
            made.set()
            assert {(await run(reader.response)).status for reader in readers if reader not in refused} == {200}
            assert (await run(probes[-1].get, "/metrics")).status == 200
        finally:
            made.set()
            for client in readers + probes:
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
        api = MetricsApi(world.sources, Gate(world.rules, print))

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
