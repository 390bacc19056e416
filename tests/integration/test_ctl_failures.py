"""`miniwsgictl` when something is wrong: nobody there, somebody else, not allowed, too slow, gone in the middle."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ctl import COMMAND, Tool
from tests.support.daemon import Daemon
from tests.support.service import HELD_IMPORT, HELLO, Service, get
from tests.support.users import as_root
from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .relay import Relay


def start(service: Service, *arguments: str, directory: Path | None = None) -> tuple[Daemon, Tool]:
    ctl = Tool((directory or service.directory) / "control.sock")
    daemon = service.start("--workers", "2", "--control", str(ctl.socket), *arguments)
    daemon.wait_for_log("start: done")
    return daemon, ctl


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may search; those of pytest are its user's own."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


def test_no_daemon(tmp_path: Path) -> None:
    ctl = Tool(tmp_path / "control.sock")
    for command in (["status"], ["scale", "2"], ["reload"], ["stop"], ["events", "-f"], ["top"], ["ping"]):
        found = ctl(*command)
        if command == ["top"]:
            assert found.status == 2  # no terminal
            continue
        assert (found.status, found.out) == (3, "")
        assert f"no daemon listens on {ctl.socket}: is it running? systemctl status miniwsgi" in found.err
    with ctl.on_terminal("top") as terminal:
        assert terminal.end() == 3
        assert "\x1b[?1049h" not in terminal.text


def test_a_socket_that_is_no_daemon(service: Service) -> None:
    """Here: the application's own listener, which speaks HTTP and knows nothing."""
    path = service.directory / "http.sock"
    service.start("--bind", f"unix:{path}")
    found = Tool(path)("status")
    assert (found.status, f"what listens on {path} is no miniwsgi daemon" in found.err) == (3, True)
    (service.directory / "file").touch()
    found = Tool(service.directory / "file")("status")
    assert (found.status, "is no socket" in found.err) == (3, True)


def test_the_socket_of_a_daemon_that_was_killed(service: Service) -> None:
    daemon, ctl = start(service)
    daemon.process.kill()
    daemon.process.wait(PATIENCE_SECONDS)
    assert stat.S_ISSOCK(os.stat(ctl.socket).st_mode)
    found = ctl("status")
    assert (found.status, "no daemon listens on" in found.err) == (3, True)


@as_root
def test_a_user_who_may_not(service: Service, public: Path) -> None:
    _, ctl = start(service, directory=public)
    closed = ctl("status", nobody=True)
    assert (closed.status, closed.out) == (5, "")
    assert f"denied: {ctl.socket} may not be opened by nobody (uid 65534)" in closed.err
    assert "it belongs to root:root, mode 0660; try sudo" in closed.err
    hidden = Tool(service.directory / "control.sock")("status", nobody=True)
    assert (hidden.status, "a directory above it is closed to you" in hidden.err) == (5, True)
    os.chmod(ctl.socket, 0o666)
    for command in (["status"], ["scale", "3"], ["reload"], ["stop"], ["events"], ["workers"], ["config"]):
        refused = ctl(*command, nobody=True)
        assert (refused.status, refused.out) == (5, "")
        assert "miniwsgictl: MW6003 denied: " in refused.err
    assert ctl("status", "-o", "json").json["workers"]["target"] == 2


@as_root
def test_a_user_who_may_only_look(service: Service, public: Path) -> None:
    daemon, ctl = start(service, "--set", "control.read=nobody", "--set", "control.mode=0666", directory=public)
    assert ctl("status", "-o", "json", nobody=True).json["role"] == "read"
    assert ctl("workers", nobody=True).status == 0
    for command in (["reload"], ["scale", "1"], ["stack", "0"]):
        refused = ctl(*command, nobody=True)
        assert (refused.status, "yours is read" in refused.err) == (5, True)
    daemon.wait_for_log("nobody (uid 65534")


def test_a_daemon_that_does_not_answer_in_time(service: Service) -> None:
    daemon, ctl = start(service)
    daemon.signal(signal.SIGSTOP)
    try:
        for command in (["status"], ["-o", "json", "reload"], ["events", "-f"], ["scale", "3"]):
            found = ctl("--timeout", "0.5", *command)
            assert (found.status, found.out) == (4, "")
            assert "did not answer within 500 ms" in found.err
    finally:
        daemon.signal(signal.SIGCONT)


def test_a_change_that_takes_longer_than_one_waits(service: Service) -> None:
    service.write(HELD_IMPORT + HELLO)
    daemon, ctl = start(service)
    service.hold_imports()
    found = ctl("reload", "--timeout", "5")  # from its start to the daemon's answer, too
    assert (found.status, found.out) == (4, "")
    assert "timed out; reload goes on in the daemon (operation 2)" in found.err
    service.release()
    daemon.wait_for_log("reload: done")
    assert ctl("events", "-f", "--timeout", "0.3").status == 4


def test_an_unknown_slot(service: Service) -> None:
    _, ctl = start(service)
    for command in (["stack", "77"], ["restart", "77"], ["workers", "77"]):
        found = ctl(*command)
        assert (found.status, found.out) == (1, "")
        assert "slot 77" in found.err
    assert ctl("stack", "x").status == 2
    assert ctl("stack").status == 2


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_daemon_that_dies_in_the_middle(output: str, service: Service) -> None:
    daemon, ctl = start(service)
    service.write(HELD_IMPORT + HELLO)
    service.hold_imports()
    relayed = Tool(service.directory / "relay.sock")
    with Relay.at(relayed.socket, ctl.socket) as relay:
        tool = relayed.start("reload", "-o", output)
        try:
            daemon.wait(lambda: relay.asked("GET /v1/operations/2"), "it waits for the reload")
            daemon.process.kill()
            _, said = tool.communicate(timeout=PATIENCE_SECONDS)
            assert tool.returncode == 3
            assert "the daemon went away during reload (operation 2): it stopped or died" in said
        finally:
            tool.kill()
            tool.communicate()


def test_a_reader_that_leaves(service: Service) -> None:
    """`miniwsgictl events -f | head -1`: no traceback."""
    _, ctl = start(service)
    tool = ctl.start("events", "-f")
    assert tool.stdout is not None
    assert tool.stderr is not None
    try:
        assert tool.stdout.readline()
        tool.stdout.close()

        def has_ended() -> bool:
            ctl("log-level", "debug")  # something happens
            return tool.poll() is not None

        wait_for(has_ended, "its end")
        assert tool.stderr.read() == ""
    finally:
        tool.kill()
        tool.stderr.close()
        tool.wait()


def test_a_client_that_is_slow_to_read_disturbs_nobody(service: Service) -> None:
    daemon, ctl = start(service)
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(ctl.socket))
        idle.sendall(b"GET /v1/status HT")
        assert ctl("status").status == 0
    assert get(daemon).startswith("v1")


def test_status_answers_in_a_wink(service: Service) -> None:
    """In little more than the interpreter takes to start: of processor time, the best of several, on any machine."""
    _, ctl = start(service)
    bare = min(processor_seconds([sys.executable, "-c", "pass"]) for _ in range(5))
    status = min(processor_seconds([*COMMAND, "--socket", str(ctl.socket), "status"]) for _ in range(5))
    assert status < 20 * bare, (status, bare)


def processor_seconds(argv: list[str]) -> float:
    """What a command takes to its end."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime
