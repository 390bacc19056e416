"""What an answer waits for behind a long call is measured on processes that stand still meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.exchange import HELLO_BODY
from bench.held_answer import Client, stopped
from bench.logged import look_for_lines
from bench.processes import ServerError, parse_stat
from tests.support.bench_server import RIGHT, serving


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
        client.answer()
        assert [head.split(b"\r\n")[0] for head in fake.heads] == [b"GET /slow HTTP/1.1"]


def test_a_connection_that_ends_before_its_answer_is_told() -> None:
    with serving(RIGHT.removesuffix(HELLO_BODY), most=1) as fake, Client(fake.port) as client:
        client.ask("/")
        with pytest.raises(ServerError, match="closed the connection after b'HTTP"):
            client.answer()


def test_requests_that_are_not_in_the_log_void_the_figure(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\n")
    look_for_lines(log, 2, seconds=0.0)
    with pytest.raises(ServerError, match="2 lines in the log for 3 requests"):
        look_for_lines(log, 3, seconds=0.0)
