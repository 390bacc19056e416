"""A conversation over TLS is the same as over a bare socket: the same bytes, outcomes and stages, on both engines."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.engine.contract import Outcome, Stage
from miniwsgi.daemon.engine.file_wrapper import FileWrapper
from miniwsgi.daemon.engine.https_policy import HSTS, REDIRECT
from miniwsgi.daemon.tls.variables import tls_variables

from tests.conformance.case import chunk, get

from .conversation_world import BIG, GARBAGE, MANY_CHUNKS, NOW, WANTS_CONTINUE, World
from .static_client import whole_answer
from .tls_world import Peer, pair

POST = get(b"/", b"Content-Length: 5", method=b"POST", body=b"12345")
CHUNKED = get(b"/", b"Transfer-Encoding: chunked", method=b"POST", body=chunk(b"abc") + chunk(b""))


class FarEnd:
    """The client's end of TLS, as the socket that a world expects."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.close = peer.close

    def send(self, data: bytes) -> int:
        self._peer.write(data)
        return len(data)

    def recv(self, _size: int) -> bytes:
        data = self._peer.read()
        if not data and not self._peer.ended:
            raise BlockingIOError
        return data

    def setblocking(self, _wanted: bool) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._peer.sock, name)


class SecureWorld(World):
    """The same behind TLS."""

    def __init__(self, engine: str, **options: Any) -> None:
        super().__init__(engine, **options)
        self.near.close()
        self.far.close()
        stream, peer = pair()
        self.near, self.far = stream, FarEnd(peer)  # type: ignore[assignment]
        base = {**self.conversation.base, **tls_variables(stream.session)}
        self.conversation = self.context.engine.begin.streamed()(self.context.site, stream, base, NOW)


@pytest.fixture
def world(engine: str) -> Iterator[World]:
    made = SecureWorld(engine)
    yield made
    for end in (made.near, made.far):
        end.close()


def lines(*parts: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter(parts)


def exchange(
    world: World, request: bytes, answer: Callable[[], Any], largest: int = 1 << 30
) -> tuple[list[Any], bytes]:
    """The outcomes, and what the client got; `largest`: what it sends at a time."""
    world.answer = answer
    conversation, outcomes, got = world.conversation, [], b""
    outcome = Outcome.MORE
    while outcome in {Outcome.MORE, Outcome.AGAIN, Outcome.UNSENT, Outcome.PAUSED}:
        if outcome in {Outcome.UNSENT, Outcome.PAUSED}:
            got += world._read()
            outcome = conversation.flush()
        else:
            if request and outcome is not Outcome.AGAIN:
                world.send(request[:largest])
                request = request[largest:]
            outcome = conversation.serve(world.thread, NOW)
        if outcome is Outcome.RESUME:
            conversation.resume(world.thread, NOW)
            outcome = conversation.settle()
        if outcome is not Outcome.UNSENT:
            outcomes.append(outcome)
    while data := world._read():
        got += data
    return outcomes, got


def without_date(answer: bytes) -> bytes:
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"Date:"))


EXCHANGES: dict[str, tuple[bytes, Callable[[], Any]]] = {
    "a list": (get(), lambda: [b"hello"]),
    "several blocks": (get(), lambda: [b"hello", b"", b"world"]),
    "an iterator": (get(), lines(b"a", b"b", b"c")),
    "large": (get(), lambda: [BIG]),
    "large, in parts": (get(), lines(BIG[: 1 << 20], b"x", BIG[: 1 << 20])),
    "larger than a copy": (get(), lambda: [bytes(100_000)]),
    "with a body": (POST, lambda: [b"."]),
    "with a body in chunks": (CHUNKED, lambda: [b"."]),
    "HEAD": (get(method=b"HEAD"), lambda: [b"hello"]),
    "the last": (get(b"/", b"Connection: close"), lambda: [b"hello"]),
    "three at once": (get() * 3, lambda: [b"hello"]),
    "refused": (GARBAGE, lambda: [b"."]),
    "nothing": (get(), list),
}


@pytest.mark.parametrize("largest", [1 << 30, 7], ids=["as a whole", "in small records"])
@pytest.mark.parametrize("name", EXCHANGES)
def test_an_exchange_is_the_same_as_without_tls(engine: str, world: World, name: str, largest: int) -> None:
    request, answer = EXCHANGES[name]
    bare = World(engine)
    outcomes, got = exchange(bare, request, answer, largest)
    expected = [outcomes[-1]], without_date(got)
    outcomes, got = exchange(world, request, answer, largest)
    assert ([outcomes[-1]], without_date(got)) == expected
    assert got
    for end in (bare.near, bare.far):
        end.close()


def test_a_file_is_sent_through_it(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BIG)
    with (tmp_path / "file").open("rb") as file:
        _outcomes, got = exchange(world, get(), lambda: FileWrapper(file))
    assert got.endswith(BIG)
    assert b"Content-Length: %d\r\n" % len(BIG) in got


def test_the_environ_says_it(world: World) -> None:
    seen: dict[str, Any] = {}
    application = world.context.site.application

    def look(environ, start_response):
        seen.update(environ)
        return application(environ, start_response)

    world.context.site.application = look
    exchange(world, get(), lambda: [b"."])
    assert seen["wsgi.url_scheme"] == "https"
    assert seen["HTTPS"] == "on"
    assert seen["SSL_PROTOCOL"] == "TLSv1.3"


def test_a_client_that_waits_for_leave_to_send_gets_it(world: World) -> None:
    world.send(WANTS_CONTINUE)
    assert world.conversation.receive(NOW) is Outcome.MORE
    assert world._read().startswith(b"HTTP/1.1 100 ")


def test_bytes_that_are_not_looked_at_yet_are_gone_on_with(world: World) -> None:
    world.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST", body=MANY_CHUNKS + chunk(b"")))
    outcome = world.conversation.receive(NOW)
    for _ in range(100):
        if outcome is Outcome.REQUEST:
            break
        outcome = world.conversation.receive(NOW)
    assert outcome is Outcome.REQUEST


def test_a_request_that_lasts_too_long_is_answered_in_its_place(world: World) -> None:
    world.send(get())
    assert world.conversation.receive(NOW) is Outcome.REQUEST
    world.during = lambda: world.conversation.expire(1, NOW + 10)
    world.conversation.answer(world.thread, NOW)
    world.conversation.settle()
    assert world._read().startswith(b"HTTP/1.1 504 ")


def test_a_client_that_says_its_end_is_let_go(world: World) -> None:
    world.far._peer.end()  # type: ignore[attr-defined]
    world.far.shutdown(socket.SHUT_WR)
    assert world.conversation.receive(NOW) is Outcome.END
    world.conversation.close()
    world.conversation.hang_up()
    assert world.far._peer.read() == b""  # type: ignore[attr-defined]
    assert world.far._peer.ended  # type: ignore[attr-defined]


def test_a_record_that_nobody_could_have_sent_ends_it(world: World) -> None:
    world.far._peer.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))  # type: ignore[attr-defined]
    assert world.conversation.receive(NOW) is Outcome.GONE


def test_a_client_that_leaves_is_noticed_within_its_answer(world: World) -> None:
    world.bring_to(Stage.PAUSED)
    world.leave()
    assert world.conversation.flush() in {Outcome.RESUME, Outcome.GONE}
    assert world.conversation.gone or world.conversation.stage is Stage.RESUMABLE


# --- static files ---


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_static_file_is_sent_through_it_too(world: World, tmp_path: Path, name: str) -> None:
    content = BIG if name == "large" else b"small"
    (tmp_path / name).write_bytes(content)
    world.serve_files(tmp_path)
    world.conversation.base[HSTS] = "max-age=9"
    world.send(get(f"/static/{name}".encode()))
    answer = whole_answer(world, world.conversation.receive(NOW))
    assert (answer.status, answer.body) == (200, content)
    assert answer["Strict-Transport-Security"] == "max-age=9"


def test_where_all_is_redirected_no_static_file_is_served(engine: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    bare = World(engine)
    bare.serve_files(tmp_path)
    bare.conversation.base[REDIRECT] = 443
    bare.send(get(b"/static/file"))
    assert bare.conversation.receive(NOW) is Outcome.REQUEST, "what redirects is around the application"
    for end in (bare.near, bare.far):
        end.close()
