"""The control socket: where it is, whose it is, who may use it, and what becomes of it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.control import Control
from tests.support.service import Service, get
from tests.support.users import STRANGER, as_root, as_user, open_python
from tests.support.waiting import PATIENCE_SECONDS


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- where it is and whose -----------------------------------------------------------------------------------------


def test_the_socket_has_its_mode_and_is_removed_at_the_end(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    daemon = service.start("--control", str(path))
    assert mode(path) == 0o660
    assert Control(path).status()["state"] == "running"
    assert daemon.stop() == 0
    assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir() if "control" in entry.name] == []


@as_root
def test_group_and_mode_are_as_configured(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    file = service.configure("[control]\ngroup = '12345'\nmode = '0600'\n")
    service.start("-c", file, "--control", str(path))
    assert (path.stat().st_gid, mode(path)) == (12345, 0o600)


def test_a_socket_that_a_killed_daemon_has_left_is_replaced(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    first = service.start("--control", str(path))
    first.signal(signal.SIGKILL)
    first.process.wait(PATIENCE_SECONDS)
    assert path.exists()
    service.start("--control", str(path))
    assert Control(path).status()["state"] == "running"


def test_a_living_daemons_socket_is_left_alone(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    first = service.start("--control", str(path))
    second = service.start("--control", str(path))
    second.wait_for_log("listens on it")
    assert second.log().count("the control API is off") == 1
    assert get(second).startswith("v1")  # it serves all the same
    assert second.stop() == 0
    assert Control(path).status()["pid"] == first.process.pid


@pytest.mark.parametrize("where", ["missing/control.sock", "file"])
def test_a_path_that_cannot_be_had_is_one_line_unless_it_is_required(
    service: Service, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("mine")
    path = str(tmp_path / where)
    daemon = service.start("--control", path)
    daemon.wait_for_log("--control PATH")
    (line,) = [line for line in daemon.log().splitlines() if "control" in line]
    assert "warning" in line
    assert path in line
    assert "--control PATH" in line
    file = service.configure("[control]\nrequired = true\n")
    ended = service.run("-c", file, "--control", path, "--bind", "127.0.0.1:0")
    assert ended.returncode == 1
    assert path in ended.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_a_socket_that_was_replaced_meanwhile_is_not_removed(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    daemon = service.start("--control", str(path))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert daemon.stop() == 0
        assert path.exists()


# Root's is /run/miniwsgi, whatever XDG_RUNTIME_DIR says: tests/unit/test_control_place.py.
@pytest.mark.parametrize("variable", ["RUNTIME_DIRECTORY", *(["XDG_RUNTIME_DIR"] if os.geteuid() else [])])
def test_the_default_is_in_the_runtime_directory(
    service: Service, tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.daemon.ALONE", {"MINIWSGI_METRICS_BIND": "off"})
    directory = tmp_path / "run"
    if variable == "XDG_RUNTIME_DIR":
        directory.mkdir()
        directory /= "miniwsgi"
    daemon = service.start(environ={variable: str(tmp_path / "run")})
    assert Control(directory / "control.sock").status()["pid"] == daemon.process.pid
    assert daemon.stop() == 0
    assert not directory.exists()
    directory.mkdir()
    daemon = service.start(environ={variable: str(tmp_path / "run")})
    assert daemon.stop() == 0
    assert list(directory.iterdir()) == []  # it was there before, so it stays


LAUNCH = """\
import os, socket, sys
path, *argv = sys.argv[1:]
sock = socket.socket(socket.AF_UNIX)
sock.bind(path)
sock.listen(16)
if sock.fileno() != 3:
    os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="control")
os.execv(argv[0], argv)
"""


def test_a_socket_that_systemd_passes_is_adopted_and_never_removed(service: Service, tmp_path: Path) -> None:
    path, script = tmp_path / "passed.sock", tmp_path / "launch.py"
    script.write_text(LAUNCH)
    launch = (sys.executable, str(script), str(path))
    daemon = service.start("--control", str(tmp_path / "other.sock"), under=launch)
    assert Control(path).status()["pid"] == daemon.process.pid
    assert not (tmp_path / "other.sock").exists()
    assert "nothing listens on" not in daemon.log()
    assert Control(path).change("/reload")["state"] == "succeeded"
    assert daemon.stop() == 0
    assert path.exists()


def test_workers_and_launchers_do_not_inherit_it(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    daemon = service.start("--control", str(path), "--workers", "2")
    control = Control(path)
    for _ in range(3):
        control.change("/reload")
    inode = f"socket:[{_inode(path)}]"
    assert inode in _descriptors(daemon.process.pid)
    for pid in (*daemon.workers(), *daemon.launchers()):
        assert inode not in _descriptors(pid)


def _inode(path: Path) -> str:
    for line in Path("/proc/net/unix").read_text().splitlines():
        if str(path) in line and line.split()[3] == "00010000":
            return line.split()[6]
    # bound under another name and renamed: the kernel still shows that one
    for line in Path("/proc/net/unix").read_text().splitlines():
        if f"{path}." in line and line.split()[3] == "00010000":
            return line.split()[6]
    raise AssertionError(path)


def _descriptors(pid: int) -> set[str]:
    found = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    except FileNotFoundError:
        pass  # it has just left
    return found


# --- who may -------------------------------------------------------------------------------------------------------


def attempt(path: Path, method: str, target: str, body: object = None) -> Callable[[], str]:
    def work() -> str:
        answer = Control(path).call(method, target, body)
        return f"{answer.status} {answer.body.decode()}"

    return work


@as_root
def test_strangers_are_refused_and_logged_whatever_they_ask(service: Service, open_directory: Path) -> None:
    path = open_directory / "control.sock"
    file = service.configure("[control]\nmode = '0666'\n")
    daemon = service.start("-c", file, "--control", str(path))
    for method, target in (("GET", "/status"), ("POST", "/stop"), ("GET", "/nothing")):
        said = as_user(STRANGER, [], attempt(path, method, target))
        assert said.startswith("403 "), said
        assert "is granted nothing" in said
    daemon.wait_for_log(f"to unknown user (uid {STRANGER}, pid ", 3)
    assert Control(path).status()["state"] == "running"


@as_root
def test_without_permission_on_the_file_nobody_connects(service: Service, open_directory: Path) -> None:
    path = open_directory / "control.sock"
    service.start("--control", str(path))
    assert "PermissionError" in as_user(STRANGER, [], attempt(path, "GET", "/status"))


@as_root
def test_users_and_groups_have_the_roles_that_they_are_granted(service: Service, open_directory: Path) -> None:
    path = open_directory / "control.sock"
    file = service.configure(
        f"""
        [server]
        workers = 1
        [control]
        mode = "0666"
        read = ["@60001"]
        operate = ["{STRANGER}"]
        admin = ["@60002"]
        """
    )
    daemon = service.start("-c", file, "--control", str(path))

    def status(uid: int, groups: list[int], method: str, target: str, body: object = None) -> str:
        return as_user(uid, groups, attempt(path, method, target, body))[:3]

    other = STRANGER - 1
    assert status(other, [60001], "GET", "/status") == "200"
    assert status(other, [60001], "POST", "/scale", {"workers": 2}) == "403"
    assert status(STRANGER, [], "POST", "/scale?wait=30", {"workers": 2}) == "200"
    assert status(STRANGER, [], "GET", "/workers/0/stack") == "200"
    assert status(STRANGER, [], "POST", "/config/check", {"toml": ""}) == "403"
    assert status(STRANGER, [], "PUT", "/log-level", {"level": "debug"}) == "403"
    assert status(STRANGER, [60002], "PUT", "/log-level", {"level": "debug"}) == "200"
    assert status(other, [60003], "GET", "/status") == "403"
    daemon.wait_for_log(f"scale to 2 workers is asked for by unknown user (uid {STRANGER}, pid")
    assert status(other, [60002], "POST", "/stop") == "202"
    assert daemon.process.wait(PATIENCE_SECONDS) == 0


@as_root
def test_a_daemon_that_has_become_somebody_else_is_that_users(open_directory: Path) -> None:
    python = open_python()
    path = open_directory / "control.sock"
    who = ("--user", str(STRANGER), "--group", str(STRANGER))
    open_directory.chmod(0o777)
    before = os.umask(0)  # for the notification socket: that user must be able to write to it
    service = Service(open_directory)
    try:
        daemon = service.start("--control", str(path), *who, "--python", python)
        assert (path.stat().st_uid, mode(path)) == (STRANGER, 0o660)
        assert as_user(STRANGER, [], attempt(path, "POST", "/reload?wait=30")).startswith("200 ")
        assert Control(path).status()["pid"] == daemon.process.pid  # root still may
        assert daemon.stop() == 0
        assert not path.exists()
    finally:
        os.umask(before)
        service.close()
