"""The floor, really started: echoes echo, loops answer each head however it arrives, the load counts what it saw."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench import floor
from bench.apps import bench_app
from bench.floor import compile_floor, stdlib_http
from bench.floor.echo_load import load
from tests.support.ports import free_port, is_listened_on
from tests.support.waiting import PATIENCE_SECONDS, wait_for

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

Start = Callable[[list[str]], int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs with a port as their last argument, and waits until they listen."""
    running = []

    def begin(argv: list[str]) -> int:
        port = free_port()
        process = subprocess.Popen([*argv, str(port)])
        running.append(process)
        wait_for(lambda: process.poll() is not None or is_listened_on(port), f"{argv} listens")
        assert process.poll() is None, f"{argv} ended with {process.returncode}"
        return port

    yield begin
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The programs in C; empty without a compiler."""
    return compile_floor(tmp_path_factory.mktemp("floor"))


def command(name: str, language: str, compiled: dict[str, Path]) -> list[str]:
    if language == "python":
        return [sys.executable, str(floor.HERE / f"{name}.py")]
    if floor.compiler() is None:
        pytest.skip("there is no C compiler (Debian: gcc)")
    return [str(compiled[name])]


def connect(port: int) -> closing[socket.socket]:
    return closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS))


def receive(sock: socket.socket, size: int) -> bytes:
    """So many bytes, and never more than were asked for."""
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def answer(port: int) -> bytes:
    """The response to one request."""
    with connect(port) as sock:
        sock.sendall(GET)
        sock.shutdown(socket.SHUT_WR)
        return receive(sock, 1 << 20)


@pytest.mark.parametrize("language", ["python", "c"])
def test_an_echo_gives_back_what_it_gets(language: str, start: Start, compiled: dict[str, Path]) -> None:
    port = start(command("echo", language, compiled))
    with connect(port) as first, connect(port) as second:
        for sock, said in ((first, b"one"), (second, b"two" * 10_000), (first, b"three")):
            sock.sendall(said)
            assert receive(sock, len(said)) == said
        first.shutdown(socket.SHUT_WR)
        assert first.recv(1) == b""
    with connect(port) as third:  # the end of a connection is not that of the echo
        third.sendall(GET)
        assert receive(third, len(GET)) == GET


@pytest.mark.parametrize("language", ["python", "c"])
def test_a_loop_answers_as_the_application_does(language: str, start: Start, compiled: dict[str, Path]) -> None:
    port = start(command("loop", language, compiled))
    head, _, body = answer(port).partition(b"\r\n\r\n")
    fields = [f"{name}: {value}".encode() for name, value in bench_app.HEADERS]
    assert head.split(b"\r\n") == [b"HTTP/1.1 200 OK", *fields]
    assert body == bench_app.BODY


@pytest.mark.parametrize("language", ["python", "c"])
@pytest.mark.parametrize("cut", range(1, 5))
def test_a_loop_answers_each_head_wherever_it_is_cut(
    language: str, cut: int, start: Start, compiled: dict[str, Path]
) -> None:
    port = start(command("loop", language, compiled))
    one = answer(port)
    with connect(port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(GET * 2 + GET[:-cut])
        assert receive(sock, 2 * len(one)) == one * 2
        sock.sendall(GET[-cut:-1])  # empty once
        sock.sendall(GET[-1:] + GET)
        assert receive(sock, 2 * len(one)) == one * 2
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


@pytest.mark.parametrize("language", ["python", "c"])
def test_a_loop_answers_more_heads_than_it_sends_at_a_time(
    language: str, start: Start, compiled: dict[str, Path]
) -> None:
    port = start(command("loop", language, compiled))
    one = answer(port)
    with connect(port) as sock:
        sock.sendall(GET * 1000)
        assert receive(sock, 1000 * len(one)) == one * 1000


def test_a_program_in_c_says_how_it_is_called(compiled: dict[str, Path]) -> None:
    done = subprocess.run(command("loop", "c", compiled), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


@pytest.mark.parametrize("name", ["echo", "loop"])
def test_the_programs_in_c_have_no_warnings(name: str, tmp_path: Path) -> None:
    if (compiler := floor.compiler()) is None:
        pytest.skip("there is no C compiler (Debian: gcc)")
    argv = [compiler, *floor.FLAGS, "-Werror", "-o", str(tmp_path / name), str(floor.HERE / f"{name}.c")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_compiler_there_is_no_floor_in_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compile_floor(tmp_path) == {}


def test_what_the_compiler_refuses_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = tmp_path / "cc"
    refusing.write_text("#!/bin/sh\necho no headers >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compile_floor(tmp_path) == {}
    assert "no headers" in capsys.readouterr().err


def test_the_standard_librarys_server_answers_the_same_body_and_closes(start: Start) -> None:
    port = start([sys.executable, str(floor.HERE / "stdlib_http.py")])
    head, _, body = answer(port).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert body == bench_app.BODY == stdlib_http.BODY


def test_the_echos_load_counts_echoes(start: Start) -> None:
    port = start([sys.executable, str(floor.HERE / "echo.py")])
    argv = [sys.executable, str(floor.HERE / "echo_load.py"), str(port), "0.3", "4"]
    found = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    assert found["rate"] > 0
    assert found["errors"] == 0
    assert 0 < found["p50"] <= found["p99"] <= found["p999"]


def test_the_echos_load_counts_what_is_no_echo_as_errors(start: Start) -> None:
    port = start([sys.executable, str(floor.HERE / "loop.py")])
    found = load(port, PATIENCE_SECONDS, 3)  # ends at once, when every connection has failed
    assert (found["errors"], found["rate"], found["p99"]) == (3, 0.0, None)
