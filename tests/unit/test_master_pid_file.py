"""The pid file: whoever holds its lock is the daemon, whatever the file says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from miniwsgi.daemon.master.system.pid_file import PidFile
from miniwsgi.daemon.master.system.process import StartError

HOLDER = (
    "import sys; from miniwsgi.daemon.master.system.pid_file import PidFile; "
    "f = PidFile(sys.argv[1]); f.write(); print(flush=True)"
)


def test_it_is_written_and_removed(tmp_path: Path) -> None:
    file = PidFile(str(tmp_path / "daemon.pid"))
    file.write()
    assert (tmp_path / "daemon.pid").read_text() == f"{os.getpid()}\n"
    assert len(list(tmp_path.iterdir())) == 1
    file.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "not a number", "999999999\n", "self", "the longer text of another file\n" * 9])
def test_one_of_nobody_is_taken_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "daemon.pid").write_text(text.replace("self", str(os.getpid())))
    PidFile(str(tmp_path / "daemon.pid")).write()
    assert (tmp_path / "daemon.pid").read_text() == f"{os.getpid()}\n"


def test_a_program_that_only_has_our_name_among_its_arguments_holds_nothing(tmp_path: Path) -> None:
    """As `tail -f /var/log/miniwsgi.log`, whose pid a crashed daemon's file may have by now."""
    with subprocess.Popen(["sh", "-c", "read x", "miniwsgi"], stdin=subprocess.PIPE) as other:
        (tmp_path / "daemon.pid").write_text(f"{other.pid}\n")
        PidFile(str(tmp_path / "daemon.pid")).write()
        other.communicate()
    assert (tmp_path / "daemon.pid").read_text() == f"{os.getpid()}\n"


def test_scratch_files_that_somebody_left_behind_block_nobody(tmp_path: Path) -> None:
    (tmp_path / f"daemon.pid.{os.getpid()}").write_text("1\n")
    PidFile(str(tmp_path / "daemon.pid")).write()
    assert (tmp_path / "daemon.pid").read_text() == f"{os.getpid()}\n"


def test_one_of_a_daemon_that_runs_is_refused_and_kept_until_it_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "daemon.pid")
    holder = [sys.executable, "-c", HOLDER + "; sys.stdin.read()", path]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StartError, match=f"held by a daemon that runs \\(pid {other.pid}\\)"):
            PidFile(path).write()
        assert (tmp_path / "daemon.pid").read_text() == f"{other.pid}\n"
        other.kill()
    PidFile(path).write()
    assert (tmp_path / "daemon.pid").read_text() == f"{os.getpid()}\n"


def test_one_that_another_daemon_has_made_since_is_left_alone(tmp_path: Path) -> None:
    file = PidFile(str(tmp_path / "daemon.pid"))
    file.write()
    os.unlink(tmp_path / "daemon.pid")
    (tmp_path / "daemon.pid").write_text("1\n")
    file.remove()
    assert (tmp_path / "daemon.pid").read_text() == "1\n"


def test_who_may_not_remove_it_empties_it_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    file = PidFile(str(tmp_path / "daemon.pid"))
    file.write()
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        with pytest.raises(PermissionError):
            file.remove()
    assert (tmp_path / "daemon.pid").read_text() == ""
    PidFile(str(tmp_path / "daemon.pid")).write()


def test_somebody_elses_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    os.symlink(tmp_path / "precious", tmp_path / "daemon.pid")
    with pytest.raises(StartError, match="symbolic link"):
        PidFile(str(tmp_path / "daemon.pid")).write()
    assert (tmp_path / "precious").read_text() == "kept"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "daemon.pid")
    with pytest.raises(StartError, match="no regular file"):
        PidFile(str(tmp_path / "daemon.pid")).write()
