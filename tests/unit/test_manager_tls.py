"""TLS on the port of metrics and health, with clients' certificates: whoever is slow, or none of ours, holds nobody."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from miniwsgi.daemon.config import load
from miniwsgi.daemon.master.certificates.files import CertificateFiles
from miniwsgi.daemon.master.telemetry.metrics_port import PortContext, open_context
from miniwsgi.manager.http.connection_table import ServerLimits
from miniwsgi.manager.http.exchange import Answer, HttpRefusal, Request
from miniwsgi.manager.http.server import HttpServer

from tests.support import certificates as made
from tests.support.waiting import PATIENCE_SECONDS

LOCAL = made.issued("localhost", number=1)
BODY = b"x" * 300_000


class Echo:
    """Answers with what was sent, or with much."""

    async def admit(self, request: Request) -> None:
        pass

    async def respond(self, request: Request) -> Answer:
        return Answer(200, request.body or BODY, "text/plain")

    def refuse(self, refusal: HttpRefusal, path: str) -> Answer:
        return Answer(refusal.status, refusal.detail.encode())


class Port:
    def __init__(self, server: HttpServer, number: int, context: PortContext) -> None:
        self.server, self.number, self.context = server, number, context

    async def ask(self, request: bytes, client: ssl.SSLContext) -> bytes:
        """All that comes until the end; nothing, if a handshake fails. (TLS 1.3: that is told when one reads.)"""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.number, ssl=client, server_hostname="localhost"
        )
        writer.write(request)
        try:
            return await asyncio.wait_for(_until_the_end(reader), PATIENCE_SECONDS)
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def port(directory: Path, limits: ServerLimits | None = None, **options: str) -> AsyncIterator[Port]:
    chain, key = made.write(directory, LOCAL)
    bind = {"address": "127.0.0.1:1", "certificate": str(chain), "key": str(key), **options}
    config = load(None, {"app.module": "x", "metrics.bind": bind}, {})
    context = open_context(config, CertificateFiles({}))
    assert context is not None
    errors: list[str] = []
    server = HttpServer(Echo(), lambda message, error: errors.append(f"{message}: {error!r}"), limits)
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    number = sock.getsockname()[1]
    await server.start([sock], lambda: context.context)
    try:
        yield Port(server, number, context)
    finally:
        await server.stop(0.2)
    assert errors == []


def client(*, by: str = "", number: int = 0) -> ssl.SSLContext:
    """Of a client that trusts us; with a certificate issued by the authority `by`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.authority().configure_trust(context)
    if by:
        made.issued("prometheus", number=number, by=by).configure_cert(context)
    return context


GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


def test_answers_come_whole(tmp_path: Path) -> None:
    async def story() -> None:
        async with port(tmp_path) as opened:
            assert (await opened.ask(GET, client())).endswith(b"\r\n\r\n" + BODY)
            assert (await opened.ask(POST, client())).endswith(b"\r\n\r\nhello")
            assert (await opened.ask(b"nonsense\r\n\r\n", client())).startswith(b"HTTP/1.1 400 ")
            await opened.server.connections.until_empty(PATIENCE_SECONDS)
            assert len(opened.server.connections) == 0

    asyncio.run(story())


def test_without_a_certificate_of_the_right_authority_nobody_is_answered(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(made.authority("Clients").cert_pem.bytes())

    async def story() -> None:
        async with port(tmp_path, client="required", client_ca=str(tmp_path / "ca.pem")) as opened:
            assert (await opened.ask(POST, client(by="Clients"))).endswith(b"hello")
            for other in (client(), client(by="Others")):
                assert await opened.ask(POST, other) == b""

    asyncio.run(story())


def test_a_renewed_certificate_is_shown_to_the_next_client(tmp_path: Path) -> None:
    async def shown(opened: Port) -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", opened.number, ssl=client(), server_hostname="localhost")
        try:
            found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return found
        finally:
            writer.transport.abort()

    async def story() -> None:
        async with port(tmp_path) as opened:
            assert await shown(opened) == made.der_of(made.chain_of(LOCAL))
            renewed = made.issued("localhost", number=2)
            made.write(tmp_path, renewed)
            installed = opened.context.installed
            installed.replace(CertificateFiles({}).load(installed.secured))
            assert await shown(opened) == made.der_of(made.chain_of(renewed))

    asyncio.run(story())


def test_who_never_shakes_hands_makes_room_for_who_does(tmp_path: Path) -> None:
    async def story() -> None:
        async with port(tmp_path, ServerLimits(connections=4)) as opened:
            silent = [await asyncio.open_connection("127.0.0.1", opened.number) for _ in range(12)]
            assert (await opened.ask(POST, client())).endswith(b"hello")
            assert len(opened.server.connections) <= 4
            for _reader, writer in silent:
                writer.transport.abort()

    asyncio.run(story())


def test_a_handshake_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miniwsgi.manager.http.server.SWEEP_SECONDS", 0.01)

    async def story() -> None:
        async with port(tmp_path, ServerLimits(receive_seconds=0.0)) as opened:
            reader, writer = await asyncio.open_connection("127.0.0.1", opened.number)
            writer.write(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a hello
            assert await asyncio.wait_for(_until_the_end(reader), PATIENCE_SECONDS) == b""
            writer.transport.abort()

    asyncio.run(story())


def test_what_is_no_tls_is_closed(tmp_path: Path) -> None:
    async def story() -> None:
        async with port(tmp_path) as opened:
            reader, writer = await asyncio.open_connection("127.0.0.1", opened.number)
            writer.write(GET)
            assert b"HTTP/1.1" not in await asyncio.wait_for(_until_the_end(reader), PATIENCE_SECONDS)
            writer.transport.abort()

    asyncio.run(story())


async def _until_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except OSError:
        return b""
