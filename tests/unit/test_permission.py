"""What is closed to this process: who may not, which directory it is, and what opens it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path as FilePath

import pytest
from miniwsgi.daemon import permission
from miniwsgi.daemon.config.kinds import MismatchError, Path
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.permission import OPEN_IT, SHOW_IT, closed, why_not_written
from miniwsgi.daemon.settings import Settings
from miniwsgi.daemon.worker.application import BootError, load
from miniwsgi.daemon.worker.lifecycle import _open_access_log

from tests.support.users import unprivileged


def settings(directory: str, module: str = "shop", access_log: str = "") -> Settings:
    return Settings(
        generation=1, listeners=(), scoreboard_fd=-1, module=module, directory=directory, access_log=access_log
    )


def told(work: Callable[[], str]) -> str:
    """What `work` returns, or the message of what it raises, in a process that is not root's."""

    def say() -> str:
        try:
            return work()
        except MismatchError as error:
            return error.expected
        except BootError as error:
            return error.error

    return unprivileged(say)


@pytest.fixture
def place(tmp_path: FilePath) -> FilePath:
    """A directory that everybody may enter, whatever lies above it."""
    for directory in (tmp_path, *tmp_path.parents):
        if (
            directory.stat().st_uid == os.geteuid()
            and directory.stat().st_mode & 0o005 != 0o005
            and directory != FilePath("/")
        ):
            directory.chmod(directory.stat().st_mode | 0o055)
    return tmp_path


@pytest.fixture
def shut(place: FilePath) -> FilePath:
    """One with an application in it that only its owner may enter; for its owner, nobody."""
    directory = place / "home" / "shop"
    directory.mkdir(parents=True)
    (directory / "shop.py").write_text("app = lambda environ, start_response: []\n")
    directory.parent.chmod(0o700 if os.geteuid() == 0 else 0o000)
    return directory


def owner(path: FilePath) -> str:
    mode = 0o700 if os.geteuid() == 0 else 0o000
    return f"may not enter {path}, which is {path.owner()}'s, mode {mode:04o}: {OPEN_IT}"


def test_a_directory_that_may_be_entered_is_not_closed(place: FilePath) -> None:
    assert told(lambda: closed(str(place))) == ""
    assert told(lambda: closed(str(place / "missing"))) == ""


@pytest.mark.parametrize("must", ["directory", "file", "program"])
def test_the_configuration_says_permission_and_not_that_nothing_is_there(shut: FilePath, must: str) -> None:
    path = str(shut if must == "directory" else shut / "shop.py")
    said = told(lambda: Path(must).parse(path, "/"))
    assert owner(shut.parent) in said
    assert "nothing of that name" not in said


def test_so_does_the_boot(shut: FilePath) -> None:
    said = told(lambda: repr(load(settings(str(shut)))))
    assert said.startswith(f"app.directory {shut} cannot be entered: ")
    assert owner(shut.parent) in said


@pytest.mark.parametrize("target", ["home", "home.app", "home:app"])
def test_a_package_that_may_not_be_read_is_not_called_empty(shut: FilePath, target: str) -> None:
    said = told(lambda: repr(load(settings(str(shut.parent.parent), module=target))))
    assert owner(shut.parent) in said


def test_what_systemd_hides_is_said_to_be_hidden(place: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = place / "root"
    hidden.mkdir(mode=0o000)
    monkeypatch.setattr(permission, "HIDDEN_BY_SYSTEMD", (str(hidden),))
    assert SHOW_IT in told(lambda: Path("directory").parse(str(hidden / "shop"), "/"))


def test_an_access_log_that_cannot_be_opened_is_named_with_its_key(place: FilePath) -> None:
    logs = place / "logs"
    logs.mkdir(mode=0o755 if os.geteuid() == 0 else 0o555)
    path = logs / "access.log"
    chosen = settings(str(place), access_log=str(path))
    said = told(lambda: repr(_open_access_log(chosen, choose("plain"))))
    assert said.startswith(f"log.access_log {path} cannot be opened: ")
    assert f"may not make files in {logs}, which is {logs.owner()}'s" in said
    if os.geteuid() == 0:
        path.touch(0o640)
        said = told(lambda: repr(_open_access_log(chosen, choose("plain"))))
        assert f"may not write to {path}, which is {path.owner()}'s, mode 0640" in said


def test_a_file_system_that_is_read_only_and_a_directory_that_is_missing() -> None:
    read_only = OSError(errno.EROFS, "Read-only file system")
    assert "ReadWritePaths=/usr/logs" in why_not_written("/usr/logs/a", read_only)
    missing = OSError(errno.ENOENT, "No such file or directory")
    assert why_not_written("/usr/no-such-place/a", missing) == "there is no directory /usr/no-such-place"
