"""Exit statuses, and that an error says what to do."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.manager import messages as ms
from miniwsgi.manager.client import options, unit_state
from miniwsgi.manager.client.client import RequestRefused, TransportError, Trouble
from miniwsgi.manager.client.exit_statuses import ExitStatus, complaint, unit_of

from tests.support.ctl_daemon import FakeDaemon, Raw, problem, run


def test_nobody_there(tmp_path: Path) -> None:
    found = run("--socket", str(tmp_path / "control.sock"), "status")
    assert (found.status, found.out) == (3, "")
    assert found.err == (
        f"miniwsgictl: MW6011 no daemon listens on {tmp_path}/control.sock: is it running? "
        "systemctl status miniwsgi, or name another with --socket or --instance\n"
    )


def test_a_socket_that_was_left_behind(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
    found = run("--socket", str(tmp_path / "s"), "status")
    assert (found.status, "no daemon listens on" in found.err) == (3, True)


def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = run("--socket", str(tmp_path / "file"), "status")
    assert (found.status, f"{tmp_path}/file is no socket" in found.err) == (3, True)


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    found = run("--socket", str(tmp_path / ("x" * 120)), "status")
    assert (found.status, "AF_UNIX path too long" in found.err) == (3, True)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_something_else_listens_there(said: bytes, tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /status": Raw(said)}) as daemon:
        found = daemon.run("status")
    assert found.status == 3
    assert f"what listens on {tmp_path}/s is no miniwsgi daemon" in found.err


def test_a_daemon_of_another_version(tmp_path: Path) -> None:
    body = b'{"version":"9.0.0","pid":1}'
    raw = Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    with FakeDaemon(tmp_path / "s", {"GET /status": raw}) as daemon:
        found = daemon.run("status")
    assert found.status == 3
    assert "is of a version that this miniwsgictl does not understand" in found.err
    assert "missing required field" in found.err


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /status": Raw(hold=True)}) as daemon:
        started = time.monotonic()
        found = daemon.run("status", "--timeout", "0.3")
    assert found.status == 4
    assert time.monotonic() - started < 20
    assert f"the daemon on {tmp_path}/s did not answer within 300 ms" in found.err


def test_a_change_that_was_not_answered_may_be_made_all_the_same(tmp_path: Path) -> None:
    answers = {"POST /scale": Raw(hold=True), "POST /drain": Raw(b"")}
    with FakeDaemon(tmp_path / "s", dict(answers)) as daemon:
        late, lost = daemon.run("scale", "3", "--timeout", "0.3"), daemon.run("drain")
    assert (late.status, lost.status) == (4, 3)
    for found in (late, lost):
        assert "what it was asked for may be done all the same: miniwsgictl status shows it" in found.err


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
def test_a_daemon_that_dies_before_its_answer(said: bytes, tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /status": Raw(said)}) as daemon:
        found = daemon.run("status")
    assert found.status == 3
    assert "closed the connection before its answer: it stopped or died" in found.err


@pytest.mark.parametrize(
    ("status", "exit_status"), [(400, 2), (422, 2), (403, 5), (404, 1), (409, 1), (413, 1), (503, 1), (504, 4)]
)
def test_what_a_refusal_is_worth(status: int, exit_status: int, tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /status": problem(status, "the reason\x1b[2J")}) as daemon:
        found = daemon.run("status")
    assert found.status == exit_status
    assert "the reason\\x1b[2J\n" in found.err


def test_mistakes_in_a_configuration_are_all_told() -> None:
    mistakes = [ms.ConfigProblem("a.b", "1", "2", "file x", f"a.b = {number}") for number in (1, 2)]
    found = complaint(RequestRefused(problem(422, "not valid", problems=mistakes)), "/x")
    assert str(found).splitlines() == ["not valid", "  a.b = 1", "  a.b = 2"]


@pytest.mark.parametrize("trouble", Trouble)
def test_every_trouble_has_words_and_a_status(trouble: Trouble) -> None:
    found = complaint(TransportError(trouble, "so it is"), "/run/miniwsgi/shop/control.sock")
    assert found.status in {ExitStatus.UNREACHABLE, ExitStatus.TIMED_OUT, ExitStatus.DENIED}
    assert "/run/miniwsgi/shop/control.sock" in str(found)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/run/miniwsgi/control.sock", "miniwsgi"),
        ("/run/miniwsgi/shop/control.sock", "miniwsgi@shop"),
        ("/run/miniwsgi/miniwsgi/control.sock", "miniwsgi"),
        ("/run/miniwsgi/shop.control", "miniwsgi@shop"),
        ("/tmp/x.sock", "miniwsgi"),
    ],
)
def test_the_unit_to_look_at(path: str, unit: str) -> None:
    assert unit_of(path) == unit


@pytest.mark.parametrize("arguments", [["--nonsense"], ["nonsense"], ["status", "extra"], ["status", "-o", "xml"], []])
def test_wrong_usage(arguments: list[str]) -> None:
    found = run(*arguments)
    assert found.status == 2
    assert "Usage: miniwsgictl" in found.err


def test_help_and_version() -> None:
    for arguments in (["--help"], ["-h"], ["status", "-h"], ["config", "--help"]):
        found = run(*arguments)
        assert (found.status, found.err) == (0, "")
        assert "Exit status:" in found.out
        assert max(map(len, found.out.splitlines())) <= 80
    assert run("--version").out.startswith("miniwsgictl ")


def fake_systemctl(directory: Path, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """A machine whose systemd says this of every unit."""
    said = f"LoadState=loaded\\nActiveState=active\\nMainPID=4711\\nStatusText={status}\\n"
    script = directory / "systemctl"
    script.write_text(f"#!/bin/sh\n[ $1 = show ] && [ $2 = miniwsgi@shop.service ] && printf '{said}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    monkeypatch.setattr(unit_state, "BOOTED", str(directory))


def test_a_daemon_without_a_control_api_says_why_through_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "cannot listen on unix:/x/control.sock: the directory /x does not exist; make it (mkdir -p /x)"
    fake_systemctl(tmp_path, monkeypatch, f"running: 2 of 2 workers ready, generation 1, no control API: {why}")
    path = tmp_path / "miniwsgi" / "shop" / "control.sock"
    found = run("--socket", str(path), "status")
    assert (found.status, found.out) == (3, "")
    assert (
        found.err == f"miniwsgictl: MW6001 the daemon runs (miniwsgi@shop, pid 4711), but has no control API: {why}\n"
    )


def test_a_daemon_that_has_said_nothing_of_that_is_looked_for_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_systemctl(tmp_path, monkeypatch, "running: 2 of 2 workers ready")
    found = run("--socket", str(tmp_path / "miniwsgi" / "shop" / "control.sock"), "status")
    assert "no daemon listens on" in found.err


# --- the end of what goes on --------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        (["routes", "-w"], {"GET /routes": ms.RouteList(60.0, [])}),
        (["slow", "-w"], {"GET /slow": ms.SlowList([], 5.0, 0, 0)}),
        (["profile", "--file", "-"], {"POST /profile": Raw(CHUNKED, hold=True)}),
    ],
)
def test_a_timeout_that_ends_what_goes_on_is_no_fault_of_the_daemon(
    command: list[str], answers: dict[str, Any], tmp_path: Path
) -> None:
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run(*command, "--timeout", "0.3")
    assert (found.status, found.err) == (4, f"miniwsgictl: {command[0]} ended after --timeout\n")


def test_events_that_are_followed_end_so_too(tmp_path: Path) -> None:
    past = ms.EventList(events=[], last_id=0, lost=0)
    answers = {"GET /events": lambda asked: Raw(CHUNKED, hold=True) if "follow" in asked.target else past}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("events", "-f", "--timeout", "0.3")
    assert (found.status, found.err) == (4, "miniwsgictl: events ended after --timeout\n")


def test_a_daemon_that_does_not_answer_any_more_is_told_from_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "WATCH_SECONDS", 0.01)
    with FakeDaemon(tmp_path / "s", {"GET /routes": [ms.RouteList(60.0, []), Raw(hold=True)]}) as daemon:
        found = daemon.run("routes", "-w", "--timeout", "0.6")
    assert found.status == 4
    (waited,) = re.findall(r"did not answer within (\d+) ms", found.err)
    assert 100 <= int(waited) < 600  # since it was asked


@pytest.mark.parametrize(
    ("command", "option"),
    [(["why", "--seconds", "8"], "--seconds"), (["memory", "0", "--for", "8"], "--for")],
)
def test_a_look_that_cannot_end_before_the_timeout_is_not_begun(
    command: list[str], option: str, tmp_path: Path
) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        found = daemon.run(*command, "--timeout", "3")
        assert daemon.asked == []
    assert found.status == 2
    said = f"--timeout 3 ends before a look of 8.0 s does: allow more, or look for less with {option}"
    assert found.err.splitlines()[-1] == f"Error: MW1301 {said}"
