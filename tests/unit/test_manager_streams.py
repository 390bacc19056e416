"""The master's server: answers without an end, bodies that may come, and the server's own end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.http.body import FEED_STEPS
from miniwsgi.daemon.http.head import Limits
from miniwsgi.manager.http.exchange import Answer, HttpRefusal, Request, Stream
from miniwsgi.manager.http.server_connection import ConnectionState

from tests.support.manager_world import GET, Served, World, run, scenario
from tests.support.waiting import PATIENCE_SECONDS

# --- streams -------------------------------------------------------------------------------------------------------


def stream_of(chunks: Any) -> Any:
    async def handler(_request: Request) -> Stream:
        return Stream(chunks, "application/x-ndjson")

    return handler


async def _numbers() -> AsyncIterator[bytes]:
    number = 0
    while True:
        number += 1
        yield b"%d\n" % number
        await asyncio.sleep(0)


async def _three() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"%d\n" % number


def test_a_stream_is_chunked_and_its_end_is_told(tmp_path: Path) -> None:
    @scenario(tmp_path, Served({"/s": stream_of(_three)}))
    async def _(world: World) -> None:
        client = await world.client()
        answer = await run(client.get, "/s")
        assert answer.fields["transfer-encoding"] == "chunked"
        assert [await run(client.chunk) for _ in range(4)] == [b"0\n", b"1\n", b"2\n", b""]


def test_a_stream_to_http_1_0_ends_with_the_connection(tmp_path: Path) -> None:
    @scenario(tmp_path, Served({"/s": stream_of(_three)}))
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, b"GET /s HTTP/1.0\r\n\r\n")
        await run(client.until, b"\r\n\r\n")
        assert await run(client.rest) == b"0\n1\n2\n"


def test_head_of_a_stream_has_no_body(tmp_path: Path) -> None:
    @scenario(tmp_path, Served({"/s": stream_of(_numbers)}))
    async def _(world: World) -> None:
        client = await world.client()
        assert (await run(client.get, "/s", method="HEAD")).status == 200
        assert (await run(client.get, "/one")).body == b"/one 0"


def test_a_stream_is_not_pulled_while_its_client_does_not_read(tmp_path: Path) -> None:
    pulled = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal pulled
        async for chunk in _numbers():
            pulled += 1
            yield chunk * 1000

    @scenario(tmp_path, Served({"/s": stream_of(counted)}))
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.get, "/s")
        before = -1
        while before != pulled:
            before = pulled
            await asyncio.sleep(0.2)
        (connection,) = world.server.connections
        assert connection._transport.get_write_buffer_size() < 200_000
        other = await world.client()
        assert (await run(other.get, "/one")).status == 200
        for _ in range(50):
            await run(client.chunk)
        await world.until(lambda: pulled > before, "it goes on")


def test_a_client_that_leaves_ends_its_stream(tmp_path: Path) -> None:
    closed: list[str] = []

    async def waits() -> AsyncIterator[bytes]:
        try:
            yield b"1\n"
            await asyncio.sleep(60)
        finally:
            closed.append("closed")

    @scenario(tmp_path, Served({"/s": stream_of(waits)}))
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.get, "/s")
        await run(client.chunk)
        client.close()
        await world.until(lambda: closed, "the generator is closed")
        await world.until(lambda: not world.server.connections, "the connection is gone")


def test_a_stream_that_nobody_reads_is_ended(tmp_path: Path) -> None:
    @scenario(tmp_path, Served({"/s": stream_of(_numbers)}), unread_seconds=0.5)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.get, "/s")
        (connection,) = world.server.connections
        await world.until(lambda: connection.state is ConnectionState.CLOSED, "the stream is ended")


def test_streams_are_fewer_than_connections(tmp_path: Path) -> None:
    @scenario(tmp_path, Served({"/s": stream_of(_numbers)}), streams=2)
    async def _(world: World) -> None:
        clients = [await world.client() for _ in range(3)]
        assert [(await run(client.get, "/s")).status for client in clients] == [200, 200, 503]
        assert (await run(clients[2].get, "/one")).status == 200


# --- bodies --------------------------------------------------------------------------------------------------------

BODY = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"


def test_a_body_is_received_only_from_who_may_send_it(tmp_path: Path) -> None:
    async def refuse(_request: Request) -> None:
        raise HttpRefusal(403, "not you")

    served = Served(admissions={"/p": refuse})

    @scenario(tmp_path, served)
    async def _(world: World) -> None:
        for field in (b"", b"Expect: 100-continue\r\n"):
            client = await world.client()
            await run(client.send, BODY + field + b"\r\n")
            answer = await run(client.response)
            assert (answer.status, answer.body, answer.fields["connection"]) == (403, b"not you", "close")
        assert not served.requests


def test_while_it_is_asked_whether_a_body_may_come_none_is_received(tmp_path: Path) -> None:
    asked, allowed = asyncio.Event(), asyncio.Event()

    async def wait(request: Request) -> None:
        assert (request.method, request.path, request.body) == ("POST", "/p", b"")
        asked.set()
        await allowed.wait()

    @scenario(tmp_path, Served(admissions={"/p": wait}))
    async def _(world: World) -> None:
        client = await world.client()
        sending = asyncio.create_task(run(client.send, BODY + b"\r\n" + bytes(1_000_000)))
        await asked.wait()
        (connection,) = world.server.connections
        assert connection._http.received < 500_000
        assert not connection._transport.is_reading()
        allowed.set()
        await sending
        assert (await run(client.response)).body == b"/p 1000000"


# --- the end -------------------------------------------------------------------------------------------------------


def test_at_the_end_answers_under_way_are_given_and_streams_closed_properly(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def wait(_request: Request) -> Answer:
        await go.wait()
        return Answer(200, b"done")

    @scenario(tmp_path, Served({"/wait": wait, "/s": stream_of(_numbers)}))
    async def _(world: World) -> None:
        waiting, streaming, idle = await world.client(), await world.client(), await world.client()
        await run(waiting.send, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await run(streaming.get, "/s")
        await run(idle.get, "/one")
        stopping = asyncio.create_task(world.server.stop(10.0))
        assert await run(idle.rest) == b""
        assert (await run(streaming.rest)).endswith(b"\r\n0\r\n\r\n")
        assert not stopping.done()
        go.set()
        answer = await run(waiting.response)
        assert (answer.body, answer.fields["connection"]) == (b"done", "close")
        for client in (waiting, streaming, idle):  # whom the server lets close first
            client.close()
        await stopping
        with pytest.raises(ConnectionRefusedError):
            await world.client()


def test_a_stream_that_ends_with_the_server_says_its_last_word(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def until_over() -> AsyncIterator[bytes]:
        yield b"first\n"
        await over.wait()
        yield b"last\n"

    @scenario(tmp_path, Served({"/s": stream_of(until_over)}))
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.get, "/s")
        assert await run(client.chunk) == b"first\n"
        reading = asyncio.create_task(run(client.rest))
        await asyncio.sleep(0.05)
        over.set()
        await world.server.stop(2.0)
        assert await reading == b"5\r\nlast\n\r\n0\r\n\r\n"


def test_the_end_does_not_wait_longer_than_it_is_told(tmp_path: Path) -> None:
    async def for_ever(_request: Request) -> Answer:
        await asyncio.sleep(1000)
        return Answer(200)

    @scenario(tmp_path, Served({"/wait": for_ever}))
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await world.until(
            lambda: any(one.state is ConnectionState.ANSWERING for one in world.server.connections), "it runs"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            await world.server.stop(0.2)
        assert not world.server.connections


def test_the_small_limits_of_a_server_can_be_others(tmp_path: Path) -> None:
    @scenario(tmp_path, http=Limits(body_max_bytes=10))
    async def _(world: World) -> None:
        client = await world.client()
        assert (await run(client.get, "/p", method="POST", body=b"a" * 11)).status == 413


def test_a_body_of_tiny_chunks_is_parsed_in_many_turns(tmp_path: Path) -> None:
    turns = set()  # by how much of the body was parsed

    async def look(world: World) -> None:
        while True:
            for connection in world.server.connections:
                if (body := connection._http.body) is not None:
                    turns.add(body.size)
            await asyncio.sleep(0)

    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        head = b"POST /tiny HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        looking = asyncio.create_task(look(world))
        await run(client.send, head + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n" + GET)
        assert (await run(client.response)).body == b"/tiny 20000"
        assert (await run(client.response)).status == 200
        looking.cancel()

    assert len(turns) > 20_000 // FEED_STEPS // 2
