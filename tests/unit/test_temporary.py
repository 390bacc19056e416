"""Temporary files and directories: where they are made, who can open them, what is removed with them."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from miniwsgi.daemon import temporary
from miniwsgi.daemon.temporary import make_directory, remove_directory, temporary_directory, unnamed_file


def test_the_environment_says_where_and_what_cannot_be_used_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    assert temporary_directory() == "/tmp"
    monkeypatch.setenv("TMP", str(tmp_path))
    assert temporary_directory() == str(tmp_path)
    for unusable in (tmp_path / "missing", Path("/dev/null")):
        monkeypatch.setenv("TMPDIR", str(unusable))
        assert temporary_directory() == str(tmp_path)


def test_no_directory_is_an_error_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary.os, "access", lambda *_: False)
    with pytest.raises(FileNotFoundError, match=r"\$TMPDIR, /tmp, /var/tmp"):
        temporary_directory()


@pytest.mark.parametrize("unnamed", [temporary.UNNAMED, os.O_RDWR | os.O_DIRECTORY], ids=["supported", "not supported"])
def test_a_file_that_nobody_else_can_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: int) -> None:
    monkeypatch.setattr(temporary, "UNNAMED", unnamed)
    with unnamed_file(str(tmp_path)) as file:
        assert os.listdir(tmp_path) == []
        found = os.fstat(file.fileno())
        assert (found.st_nlink, found.st_mode & 0o777) == (0, 0o600)
        assert not os.get_inheritable(file.fileno())
        file.write(b"body")
        file.seek(0)
        assert file.read() == b"body"


def test_a_file_that_cannot_be_unnamed_is_an_error_and_not_kept_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(_path: str) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(temporary, "UNNAMED", os.O_RDWR | os.O_DIRECTORY)  # not supported
    monkeypatch.setattr(temporary.os, "unlink", unlink)
    gc.collect()  # or what other tests have left is closed meanwhile
    before = os.listdir("/proc/self/fd")
    with pytest.raises(PermissionError):
        unnamed_file(str(tmp_path))
    assert os.listdir("/proc/self/fd") == before


def test_a_file_in_no_directory_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        unnamed_file("/nonexistent")


def test_a_directory_goes_with_all_that_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    made = Path(make_directory(str(tmp_path), "mine-"))
    assert (made.parent, made.name[:5], made.stat().st_mode & 0o777) == (tmp_path, "mine-", 0o700)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (made / "a" / "b").mkdir(parents=True)
    (made / "a" / "b" / "file").touch()
    (made / "a" / "link").symlink_to(kept)
    (made / "dangling").symlink_to("nowhere")
    remove_directory(str(made))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (kept / "file").exists()
    remove_directory(str(made))  # it is gone already
