"""The keeper of root's rights: it does what it knows, and removes what is left once the master is gone, however."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from pathlib import Path

import pytest
from miniwsgi.daemon.master.system.keeper import Keeper, KeptFile, LogFiles, start

from tests.support.users import as_root
from tests.support.waiting import wait_for

SOMEBODY = 60001
pytestmark = as_root


def kept(path: Path, *, for_the_next: bool = False) -> KeptFile:
    found = path.lstat()
    return KeptFile(path.name, str(path), found.st_dev, found.st_ino, for_the_next)


def started(directory: Path) -> Keeper:
    for name in ("pid", "listener"):
        (directory / name).touch()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory / "control"))
    logs = LogFiles([str(directory / "log")], SOMEBODY, SOMEBODY, {SOMEBODY})
    files = [kept(directory / "pid"), kept(directory / "control"), kept(directory / "listener", for_the_next=True)]
    return start(logs, files)


def is_gone(keeper: Keeper) -> bool:
    return not os.path.exists(f"/proc/{keeper.pid}/fd/0")


def test_it_makes_logs_after_a_rotation_and_removes_what_it_is_told_at_the_end(tmp_path: Path) -> None:
    keeper = started(tmp_path)
    keeper.make_logs()
    made = (tmp_path / "log").stat()
    assert (made.st_uid, made.st_mode & 0o7777) == (SOMEBODY, 0o640)
    (tmp_path / "log").write_text("a line\n")
    keeper.make_logs()
    assert (tmp_path / "log").read_text() == "a line\n", "what is there stays"
    assert keeper.end(["pid", "listener", "log"]) == set()
    assert {path.name for path in tmp_path.iterdir()} == {"log", "control"}
    wait_for(lambda: is_gone(keeper))
    assert keeper.end(["pid"]) == {"pid"}


def test_a_killed_master_leaves_what_the_next_one_goes_on_with(tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        started(tmp_path)
        (tmp_path / "running").touch()
        signal.pause()
    wait_for((tmp_path / "running").exists)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_for(lambda: {path.name for path in tmp_path.iterdir()} == {"running", "listener"})


def test_what_another_daemon_has_by_now_stays(tmp_path: Path) -> None:
    keeper = started(tmp_path)
    lock = os.open(tmp_path / "pid", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (tmp_path / "new").touch()
    (tmp_path / "new").rename(tmp_path / "control")
    assert keeper.end(["pid", "control"]) == {"pid"}
    assert {path.name for path in tmp_path.iterdir()} == {"pid", "control", "listener"}
    os.close(lock)


def test_it_is_led_nowhere_by_links(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    keeper = started(tmp_path / "run")
    os.link(tmp_path / "run" / "pid", tmp_path / "elsewhere" / "pid")
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    keeper.make_logs()
    assert (tmp_path / "moved" / "log").exists()
    assert keeper.end(["pid"]) == set()
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {"pid"}


@pytest.mark.parametrize("kind", ["another's", "writable", "of a group", "a link", "below a link"])
def test_logs_are_made_only_where_root_alone_decides(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "below").mkdir()
    directory = place / "below"
    match kind:
        case "another's":
            os.chown(place, SOMEBODY, 0)
        case "writable":
            place.chmod(0o757)
        case "of a group":
            os.chown(place, 0, SOMEBODY)
            place.chmod(0o775)
        case "a link":
            directory = tmp_path / "link"
            directory.symlink_to(place)
        case _:
            (tmp_path / "link").symlink_to(place)
            directory = tmp_path / "link" / "below"
    LogFiles([str(directory / "log")], SOMEBODY, SOMEBODY, {SOMEBODY}).make()
    assert not (directory / "log").exists()


def test_a_link_in_the_place_of_a_log_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    LogFiles([str(tmp_path / "log")], SOMEBODY, SOMEBODY, {SOMEBODY}).make()
    assert not (tmp_path / "elsewhere").exists()


def test_it_holds_nothing_open_and_heeds_no_signal_of_a_terminal(tmp_path: Path) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    keeper = started(tmp_path)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(keeper.pid, number)
    keeper.make_logs()
    opened = [os.readlink(f"/proc/{keeper.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{keeper.pid}/fd")]
    assert len([name for name in opened if name.startswith("socket:")]) == 1, opened
    assert set(opened) - {os.devnull, str(tmp_path)} <= {name for name in opened if name.startswith("socket:")}
    assert os.getsid(keeper.pid) != os.getsid(0)
    keeper.end([])
    sock.close()


def test_a_log_that_root_has_just_made_is_the_users_and_nothing_else(tmp_path: Path) -> None:
    """In a directory of that user's, who could have put a link to a file of root's there."""
    logs = LogFiles([], SOMEBODY, SOMEBODY, {SOMEBODY})
    (tmp_path / "precious").touch()
    os.link(tmp_path / "precious", tmp_path / "linked")
    (tmp_path / "used").write_text("a line\n")
    (tmp_path / "new").touch()
    for name in ("linked", "used", "new"):
        with (tmp_path / name).open("ab") as file:
            logs.give(file.fileno())
    owners = {path.name: path.stat().st_uid for path in tmp_path.iterdir()}
    assert owners == {"precious": 0, "linked": 0, "used": 0, "new": SOMEBODY}
