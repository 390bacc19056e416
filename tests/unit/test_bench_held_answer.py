"""What an answer waits for behind a long call is measured on processes that stand still meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import held_answer
from bench.apps.bench_app import BRIEF_SECONDS, brief
from bench.exchange import HELLO_BODY
from bench.held_answer import Client, stopped
from bench.logged import look_for_lines
from bench.processes import ServerError, parse_stat
from tests.support.bench_server import RIGHT, serving
from tests.support.waiting import PATIENCE_SECONDS

TOLD = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n%020d"


def state(pid: int) -> str:
    return parse_stat(Path(f"/proc/{pid}/stat").read_text("utf-8"))[0]


def test_a_process_stands_still_meanwhile_and_goes_on() -> None:
    program = "import sys; print(1, flush=True); sys.stdin.read(); print(2)"
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with stopped([process.pid]):
            assert state(process.pid) == "T"
        output, _ = process.communicate()
    assert output == b"2\n"


def test_an_answer_is_awaited_whole() -> None:
    with serving(RIGHT) as fake, Client(fake.port) as client:
        client.ask("/slow")
        assert client.answer() == HELLO_BODY
        assert [head.split(b"\r\n")[0] for head in fake.heads] == [b"GET /slow HTTP/1.1"]


def test_a_connection_that_ends_before_its_answer_is_told() -> None:
    with serving(RIGHT.removesuffix(HELLO_BODY), most=1) as fake, Client(fake.port) as client:
        client.ask("/")
        with pytest.raises(ServerError, match="closed the connection after b'HTTP"):
            client.answer()


def test_the_application_says_when_its_answer_was_ready() -> None:
    begin = time.monotonic_ns()
    (body,) = brief({"PATH_INFO": "/told"}, lambda *_: None)
    assert begin + BRIEF_SECONDS * 1e9 <= int(body) <= time.monotonic_ns()
    assert brief({"PATH_INFO": "/"}, lambda *_: None) == [HELLO_BODY]


def test_the_wait_counts_from_when_the_answer_was_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_answer, "CALM_SECONDS", 0.0)
    ready = time.monotonic_ns() - 7_000_000_000  # long ago, as if the answer had been held since
    with (
        serving(RIGHT) as others,
        serving(TOLD % ready) as fake,
        Client(fake.port) as fast,
        Client(others.port) as slow,
    ):
        monkeypatch.setattr(held_answer, "SLOW_SECONDS", 0.0)
        assert 7.0 < held_answer._wait(fast, slow, []) < 7.0 + PATIENCE_SECONDS
        monkeypatch.setattr(held_answer, "SLOW_SECONDS", PATIENCE_SECONDS)
        with pytest.raises(ServerError, match="the slow call did not last"):
            held_answer._wait(fast, slow, [])


def test_requests_that_are_not_in_the_log_void_the_figure(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\n")
    look_for_lines(log, 2, seconds=0.0)
    with pytest.raises(ServerError, match="2 lines in the log for 3 requests"):
        look_for_lines(log, 3, seconds=0.0)
