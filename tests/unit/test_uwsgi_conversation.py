"""A conversation in uwsgi: what nginx gets as an answer, who is heard at all, what is logged and counted."""

from __future__ import annotations

import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.engine.call import Call
from miniwsgi.daemon.engine.contract import Awaited, Outcome, Refusal, Stage
from miniwsgi.daemon.log.access_format import compile_format
from miniwsgi.metrics import scoreboard

from tests.support.uwsgi import packet, post
from tests.unit.conversation_world import NOW, World

HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n(?:[A-Za-z-]+: [^\r\n]*\r\n)*\r\n")


class Access:
    """The lines of an access log."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self._render = compile_format("json")

    def log(self, *request: Any) -> None:
        self.lines.append(json.loads(self._render(*request)))


class UwsgiWorld(World):
    """A peer that may speak uwsgi, unless said otherwise, and an application of the test's."""

    def __init__(self, engine: str = "plain", peer: str = "", **options: Any) -> None:
        self.access_lines = Access()
        super().__init__(engine, peer, self.access_lines, "uwsgi", **options)  # type: ignore[arg-type]

    def ask(self, *data: bytes) -> tuple[int, bytes, bytes]:
        """Send it; status, head and body of the answer. The conversation is over then."""
        if data:
            self.send(*data)
        outcome = self.conversation.serve(self.thread, NOW)
        while outcome is Outcome.MORE:
            outcome = self.conversation.serve(self.thread, NOW)
        assert outcome in {Outcome.END, Outcome.LAST, Outcome.REFUSED}
        assert self.conversation.stage is Stage.OVER
        answer = self._read()
        head = HEAD.match(answer)
        assert head is not None, answer
        assert b"Transfer-Encoding" not in head[0]
        assert b"Connection: close\r\n" in head[0]
        return int(head[1]), head[0], answer[head.end() :]


@pytest.fixture
def make() -> Iterator[Callable[..., UwsgiWorld]]:
    made: list[UwsgiWorld] = []

    def world(**options: Any) -> UwsgiWorld:
        made.append(UwsgiWorld(**options))
        return made[-1]

    yield world
    for one in made:
        one.near.close()
        one.far.close()


def seen_by(world: UwsgiWorld) -> list[dict[str, Any]]:
    """The environs that its application is called with from now on; it gives back what it reads."""
    seen: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    world.context.site.application = application
    return seen


def stream() -> Iterator[bytes]:
    yield b"first "
    yield b"last"


# --- answers ---


def test_an_answer_has_its_length_and_ends_the_connection(make: Callable[..., UwsgiWorld]) -> None:
    status, head, body = make().ask(packet())
    assert (status, body) == (200, b".")
    assert b"Content-Length: 1\r\n" in head


def test_a_stream_ends_with_the_connection(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    world.answer = stream
    status, head, body = world.ask(packet())
    assert (status, body) == (200, b"first last")
    assert b"Content-Length" not in head


def test_write_is_not_chunked(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    writes: list[Callable[[bytes], None]] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        writes.append(start_response("200 OK", []))
        writes[0](b"written ")
        return [b"given"]

    world.context.site.application = application
    assert world.ask(packet())[2] == b"written given"


def test_head_has_no_body(make: Callable[..., UwsgiWorld]) -> None:
    status, head, body = make().ask(packet(b"HEAD"))
    assert (status, body) == (200, b"")
    assert b"Content-Length: 1\r\n" in head


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_a_body(make: Callable[..., UwsgiWorld], status: str) -> None:
    world = make()
    world.context.site.application = lambda _environ, start_response: start_response(status, []) and [b"x"]
    assert world.ask(packet())[2] == b""


def test_a_file_is_sent(make: Callable[..., UwsgiWorld], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    world = make()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    world.context.site.application = application
    _, head, body = world.ask(packet())
    assert body == b"0123456789"
    assert b"Content-Length: 10\r\n" in head


def test_nothing_comes_before_the_answer(make: Callable[..., UwsgiWorld]) -> None:
    """Neither 100 Continue nor 103: nginx takes the first status line for the answer's."""
    world = make()
    seen = seen_by(world)
    world.send(post(b"hello", HTTP_EXPECT=b"100-continue")[:-5])
    assert world.conversation.receive(NOW) is Outcome.MORE
    assert world.conversation.awaited is Awaited.BODY
    assert world._read() == b""
    assert world.ask(b"hello")[2] == b"hello"
    assert "wsgi.early_hints" not in seen[0]
    assert seen[0]["wsgi.input_terminated"] is True


def test_an_application_that_fails(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    world.during = lambda: 1 / 0  # type: ignore[assignment]
    assert world.ask(packet())[0] == 500


def test_a_request_that_takes_too_long(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    world.during = lambda: world.conversation.expire(0, time.monotonic_ns())
    world.send(packet())
    assert world.conversation.serve(world.thread, NOW) is not Outcome.IDLE
    assert world._read().startswith(b"HTTP/1.1 504 ")


def test_a_client_that_sends_no_more_gets_its_answer(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    world.send(post(b"hello"))
    world.far.shutdown(socket.SHUT_WR)
    assert world.ask()[2] == b"."


def test_what_comes_behind_a_request_is_left_to_be_read_before_the_close(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    world.send(packet() + packet())
    assert world.conversation.serve(world.thread, NOW) is Outcome.LAST
    assert world.calls_made == 1


# --- who is heard ---


@pytest.mark.parametrize("trusted", [(), ("192.0.2.0/24",), ("unix",)])
def test_a_stranger_is_not_heard(make: Callable[..., UwsgiWorld], trusted: tuple[str, ...]) -> None:
    """Whatever it says of itself."""
    world = make(peer="198.51.100.7", trusted=trusted)
    status, _, _ = world.ask(packet(REMOTE_ADDR=b"192.0.2.1"))
    assert status == 403
    assert world.calls_made == 0
    assert world.access_lines.lines[0]["remote"] == "198.51.100.7"


@pytest.mark.parametrize(("peer", "trusted"), [("192.0.2.8", ("192.0.2.0/24",)), ("192.0.2.8", ("*",)), ("", ())])
def test_a_proxy_says_who_the_client_is(make: Callable[..., UwsgiWorld], peer: str, trusted: tuple[str, ...]) -> None:
    world = make(peer=peer, trusted=trusted, host_field="X-Forwarded-Host", prefix_field="X-Forwarded-Prefix")
    seen = seen_by(world)
    forged = {"HTTP_X_FORWARDED_FOR": b"6.6.6.6", "HTTP_X_FORWARDED_HOST": b"a b", "HTTP_X_FORWARDED_PREFIX": b"/evil"}
    assert world.ask(packet(HTTP_X_REQUEST_ID=b"given-1", **forged))[0] == 200
    (environ,) = seen
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.1", "4711")
    assert (environ["SCRIPT_NAME"], environ["HTTP_HOST"]) == ("", "shop.example")
    assert environ["miniwsgi.request_id"] == "given-1"


# --- what is told ---


def test_a_line_of_the_access_log(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    world.ask(packet(target=b"/a?b=c", HTTP_USER_AGENT=b"curl", SERVER_PROTOCOL=b"HTTP/2.0"))
    (line,) = world.access_lines.lines
    told = {name: line[name] for name in ("remote", "method", "path", "query", "protocol", "status", "user_agent")}
    assert told == {
        "remote": "192.0.2.1", "method": "GET", "path": "/a", "query": "b=c", "protocol": "HTTP/2.0", "status": 200,
        "user_agent": "curl",
    }  # fmt: skip


def test_requests_and_refusals_are_counted(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    world.ask(packet())
    assert world.context.slot.cells[scoreboard.REQUESTS] == 1
    refused = make()
    assert refused.ask(b"GET / HTTP/1.1\r\n\r\n")[0] == 400
    assert refused.context.slot.cells[scoreboard.REJECTED] == 1


def test_a_health_check_is_no_request(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    world.leave()
    assert world.conversation.receive(NOW) is Outcome.END
    assert world.access_lines.lines == []
    assert world.context.slot.cells[scoreboard.REJECTED] == 0


def test_a_proxy_that_does_not_go_on_is_refused(make: Callable[..., UwsgiWorld]) -> None:
    world = make()
    world.send(packet()[:-1])
    assert world.conversation.receive(NOW) is Outcome.MORE
    assert world.conversation.awaited is Awaited.HEAD
    assert world.conversation.refuse(Refusal.HEAD_LATE) is Outcome.REFUSED
    assert world._read().startswith(b"HTTP/1.1 408 ")


def test_a_large_body_waits_in_a_file(make: Callable[..., UwsgiWorld], tmp_path: Path) -> None:
    world = make(body_memory_bytes=1000, spool_directory=str(tmp_path))
    seen = seen_by(world)
    assert world.ask(post(b"x" * 3000))[2] == b"x" * 3000
    assert not isinstance(seen[0]["wsgi.input"], io.BytesIO)


def test_a_call_is_one_of_a_client_of_http_1_0(make: Callable[..., UwsgiWorld]) -> None:
    """`http.response.frame` alone decides that nothing is chunked: there is no second place."""
    world = make()
    calls: list[Call] = []
    world.during = lambda: calls.append(world.conversation._call)  # type: ignore[attr-defined]
    world.ask(packet())
    assert (calls[0].http11, calls[0].persistent) == (False, False)


def test_each_engine_has_it(engine: str, make: Callable[..., UwsgiWorld]) -> None:
    assert make(engine=engine).ask(packet())[2] == b"."
