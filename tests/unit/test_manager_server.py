"""The master's server: HTTP on asyncio that nobody can hold up: limits of size, number and time."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from miniwsgi.manager.http.exchange import Answer, HttpRefusal, Request
from miniwsgi.manager.http.server import HttpServer
from miniwsgi.manager.http.server_connection import ConnectionState

from tests.support.manager_world import GET, Served, World, run, scenario
from tests.support.waiting import PATIENCE_SECONDS

# --- answers -------------------------------------------------------------------------------------------------------


def test_requests_of_a_connection_are_answered_one_after_another(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        for path in ("/one", "/two", "/%20three"):
            answer = await run(client.get, path)
            assert (answer.status, answer.body) == (200, f"{path.replace('%20', ' ')} 0".encode())
        assert answer.fields["cache-control"] == "no-store"
        assert "connection" not in answer.fields


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, GET * 50)
        for _ in range(50):
            assert (await run(client.response)).body == b"/one 0"


def test_a_request_may_come_byte_by_byte(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        for byte in b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
            await run(client.send, bytes([byte]))
        assert (await run(client.response)).body == b"/p 3"


def test_a_chunked_body_is_taken(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        await run(
            client.send, b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        assert (await run(client.response)).body == b"/p 3"


def test_expect_100_continue_is_answered(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, b"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert (await run(client.response)).status == 100
        await run(client.send, b"abc")
        assert (await run(client.response)).body == b"/p 3"


def test_head_has_the_length_and_no_body(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        answer = await run(client.get, "/one", method="HEAD")
        assert (answer.status, answer.fields["content-length"], answer.body) == (200, "6", b"")
        assert (await run(client.get, "/two")).body == b"/two 0"


def test_http_1_0_and_connection_close_end_the_connection(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        for request in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
            client = await world.client()
            await run(client.send, request)
            assert (await run(client.response)).fields["connection"] == "close"
            assert await run(client.rest) == b""


def test_a_client_that_has_closed_its_sending_side_is_answered(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, GET)
        client.socket.shutdown(socket.SHUT_WR)
        assert (await run(client.response)).body == b"/one 0"
        assert await run(client.rest) == b""


def test_the_peer_is_known_by_the_kernels_word(tmp_path: Path) -> None:
    served = Served()

    @scenario(tmp_path, served)
    async def _(world: World) -> None:
        await run((await world.client()).get, "/")
        peer = served.requests[0].peer
        assert peer is not None
        assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
        assert peer.groups == tuple(os.getgroups())


def test_on_tcp_there_is_no_peer_to_trust() -> None:
    async def body() -> None:
        served = Served()
        server = HttpServer(served, lambda message, error: None)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        address = listener.getsockname()
        await server.start([listener])
        with await run(socket.create_connection, address) as client:
            await run(client.sendall, GET)
            assert (await run(client.recv, 1000)).startswith(b"HTTP/1.1 200 OK")
        await server.stop(1.0)
        assert served.requests[0].peer is None

    asyncio.run(body())


# --- what goes wrong -----------------------------------------------------------------------------------------------

GARBAGE = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"hello\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\n\r\n", 505),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET /" + b"a" * 5000, 414),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000, 431),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", 413),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100001\r\n" + b"a" * 100, 413),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
]


@pytest.mark.parametrize(("sent", "status"), GARBAGE, ids=[sent[:24].decode("latin-1") for sent, _ in GARBAGE])
def test_what_is_no_request_is_refused_and_the_connection_closed(tmp_path: Path, sent: bytes, status: int) -> None:
    served = Served()

    @scenario(tmp_path, served)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, sent)
        answer = await run(client.response)
        assert (answer.status, answer.fields["connection"]) == (status, "close")
        assert await run(client.rest) == b""
        assert served.requests == []


def test_a_client_that_still_sends_can_read_why_it_was_refused(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + b"a" * 5_000_000)
        assert (await run(client.response)).status == 413


def test_a_request_cut_off_by_its_client_is_refused(tmp_path: Path) -> None:
    @scenario(tmp_path)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, GET[:-2])
        client.socket.shutdown(socket.SHUT_WR)
        assert (await run(client.response)).status == 400


def test_a_handler_that_fails_is_a_500_and_told(tmp_path: Path) -> None:
    async def fail(_request: Request) -> Answer:
        raise RuntimeError("oh")

    @scenario(tmp_path, Served({"/fail": fail}))
    async def _(world: World) -> None:
        client = await world.client()
        assert (await run(client.get, "/fail")).status == 500
        assert world.errors == ["GET /fail failed: RuntimeError('oh')"]
        world.errors.clear()
        assert (await run(client.get, "/one")).status == 200


def test_a_refusal_of_a_handler_keeps_the_connection(tmp_path: Path) -> None:
    async def refuse(_request: Request) -> Answer:
        raise HttpRefusal(409, "not now")

    @scenario(tmp_path, Served({"/no": refuse}))
    async def _(world: World) -> None:
        client = await world.client()
        answer = await run(client.get, "/no")
        assert (answer.status, answer.body) == (409, b"not now")
        assert (await run(client.get, "/one")).status == 200


# --- time ----------------------------------------------------------------------------------------------------------


def test_half_a_request_is_given_its_time_and_refused(tmp_path: Path) -> None:
    @scenario(tmp_path, receive_seconds=0.3)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, GET[:-2])
        assert (await run(client.response)).status == 408
        assert await run(client.rest) == b""


def test_the_time_runs_from_the_first_byte_however_slowly_the_others_come(tmp_path: Path) -> None:
    @scenario(tmp_path, receive_seconds=0.5)
    async def _(world: World) -> None:
        client = await world.client()
        sent = 0
        while not client.received and sent < len(GET):
            client.socket.setblocking(False)
            try:
                client.send(GET[sent : sent + 1])
                client._receive()
            except (BlockingIOError, EOFError):
                pass
            except BrokenPipeError:
                break  # it is closed; what was said can still be read
            sent += 1
            await asyncio.sleep(0.1)
        client.socket.setblocking(True)
        assert (await run(client.rest)).startswith(b"HTTP/1.1 408")


def test_idle_connections_are_closed(tmp_path: Path) -> None:
    @scenario(tmp_path, idle_seconds=2.0)
    async def _(world: World) -> None:
        silent, used = await world.client(), await world.client()
        await run(used.get, "/one")
        assert await run(silent.rest) == b""
        assert await run(used.rest) == b""


def test_a_client_that_does_not_take_its_answer_is_dropped(tmp_path: Path) -> None:
    async def large(_request: Request) -> Answer:
        return Answer(200, b"a" * 4_000_000)

    @scenario(tmp_path, Served({"/large": large}), send_seconds=0.3)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await world.until(lambda: world.server.connections, "it is there")
        await world.until(lambda: not world.server.connections, "it is dropped")


def test_a_client_that_leaves_ends_the_work_for_it(tmp_path: Path) -> None:
    ended: list[str] = []

    async def wait(_request: Request) -> Answer:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return Answer(200)

    @scenario(tmp_path, Served({"/wait": wait}))
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await world.until(
            lambda: any(one.state is ConnectionState.ANSWERING for one in world.server.connections), "it runs"
        )
        client.close()
        await world.until(lambda: ended, "it is cancelled")


# --- number --------------------------------------------------------------------------------------------------------


def test_a_new_client_takes_the_place_of_the_one_that_has_been_idle_longest(tmp_path: Path) -> None:
    @scenario(tmp_path, connections=5)
    async def _(world: World) -> None:
        clients = [await world.client() for _ in range(5)]
        for client in clients:
            await run(client.get, "/one")
        await run(clients[0].get, "/again")
        late = await world.client()
        assert (await run(late.get, "/late")).status == 200
        assert len(world.server.connections) == 5
        assert await run(clients[1].rest) == b""  # the longest without a request
        assert (await run(clients[0].get, "/here")).status == 200


def test_when_all_are_at_work_a_new_client_is_told_to_come_back(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def wait(_request: Request) -> Answer:
        await go.wait()
        return Answer(200)

    @scenario(tmp_path, Served({"/wait": wait}), connections=2)
    async def _(world: World) -> None:
        clients = [await world.client() for _ in range(2)]
        for client in clients:
            await run(client.send, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await world.until(
            lambda: all(one.state is ConnectionState.ANSWERING for one in world.server.connections), "both run"
        )
        late = await world.client()
        answer = await run(late.response)
        assert (answer.status, answer.fields["retry-after"]) == (503, "1")
        early = await world.client()
        await run(early.send, GET * 100)  # nobody reads that: a close at once would be a reset
        assert (await run(early.response)).status == 503
        assert await run(early.rest) == b""
        go.set()
        for client in clients:
            assert (await run(client.response)).status == 200


def test_much_more_idle_connections_than_places_disturb_nobody(tmp_path: Path) -> None:
    @scenario(tmp_path, connections=50)
    async def _(world: World) -> None:
        busy = await world.client()
        for _ in range(200):
            await world.client()
            assert (await run(busy.get, "/one")).status == 200
        assert len(world.server.connections) <= 50


def test_what_is_read_ahead_is_bounded(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def wait(_request: Request) -> Answer:
        await go.wait()
        return Answer(200)

    @scenario(tmp_path, Served({"/wait": wait}), pipelined_bytes=1000)
    async def _(world: World) -> None:
        client = await world.client()
        await run(client.send, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        client.socket.setblocking(False)
        sent, before = 0, -1
        while sent != before and sent < 5_000_000:
            before = sent
            try:
                sent += client.socket.send(GET * 1000)
            except BlockingIOError:
                pass
            await asyncio.sleep(0.01)
        assert sent < 5_000_000
        client.socket.settimeout(PATIENCE_SECONDS)
        go.set()
        assert (await run(client.response)).status == 200
        assert (await run(client.response)).body == b"/one 0"
