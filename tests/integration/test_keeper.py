"""A daemon that root starts for `server.user`, in directories where only root may make and remove files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import Daemon
from tests.support.service import HELLO, Service, get
from tests.support.users import STRANGER, as_root, open_python
from tests.support.waiting import PATIENCE_SECONDS

from .test_pid1 import unshare

pytestmark = as_root


@pytest.fixture
def service(open_directory: Path) -> Iterator[Service]:
    before = os.umask(0)  # for the notification socket: that user must be able to write to it
    service = Service(open_directory)
    yield service
    service.close()
    os.umask(before)


def started(service: Service, under: tuple[str, ...] = (), owner: int = 0) -> tuple[Daemon, Path]:
    """A daemon and the directory, root's by default, in which its files are."""
    python = open_python()
    ours = service.directory / "ours"
    ours.mkdir(mode=0o755)
    os.chown(ours, owner, owner)
    places = ("--bind", f"unix:{ours}/http", "--control", f"{ours}/control", "--pid-file", f"{ours}/pid")
    logs = ("--set", f"log.file={ours}/error.log", "--set", f"log.access_log={ours}/access.log")
    who = ("--user", str(STRANGER), "--group", str(STRANGER), "--python", python, "--workers", "1")
    return service.start(*places, *logs, *who, under=under), ours


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_logs_are_rotated_where_the_user_may_make_no_files_and_nothing_is_left(service: Service) -> None:
    daemon, ours = started(service)
    get(daemon)
    for name in ("error", "access"):
        (ours / f"{name}.log").rename(ours / f"{name}.log.1")
    daemon.signal(signal.SIGUSR1)
    error_log, access_log = ours / "error.log", ours / "access.log"
    daemon.wait(lambda: error_log.exists() and "were opened again" in error_log.read_text(), "the error log")

    def asked() -> bool:
        get(daemon)
        return "GET / " in access_log.read_text()

    daemon.wait(asked, "the access log")
    assert {path.stat().st_uid for path in (error_log, access_log)} == {STRANGER}
    assert daemon.stop() == 0
    assert names(ours) == {"error.log", "error.log.1", "access.log", "access.log.1"}
    assert "cannot be removed" not in error_log.read_text()


def test_a_master_that_is_killed_leaves_no_pid_file_and_no_control_socket(service: Service) -> None:
    daemon, ours = started(service)
    assert {"pid", "control", "http"} <= names(ours)
    daemon.kill()
    daemon.wait(lambda: not {"pid", "control"} & names(ours), "the keeper")
    assert "http" in names(ours), "the service manager keeps the socket for the next master"


@pytest.mark.skipif(not unshare(), reason="this machine permits no PID namespace (unshare --pid)")
def test_as_pid_1_it_is_a_child_of_the_master_and_neither_ended_nor_waited_for(service: Service) -> None:
    daemon, ours = started(service, under=unshare())
    (init,) = psutil.Process(daemon.process.pid).children()
    assert "mw-keeper" in {child.name() for child in init.children()}
    init.send_signal(signal.SIGTERM)
    assert daemon.process.wait(PATIENCE_SECONDS) == 0
    assert names(ours) == {"error.log", "access.log"}
    said = (ours / "error.log").read_text()
    assert "cannot be removed" not in said
    assert "killed" not in said


def test_a_log_in_the_users_own_directory_is_written_by_the_workers(service: Service) -> None:
    service.write(HELLO.replace("start_response(", "environ['wsgi.errors'].write('said by it\\n'); start_response(", 1))
    daemon, ours = started(service, owner=STRANGER)
    get(daemon)
    daemon.wait(lambda: "said by it" in (ours / "error.log").read_text(), "what the application said")
