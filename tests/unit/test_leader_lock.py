"""The file that leaders of two masters lock: it goes with its service, and stays while another's leader holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from miniwsgi.daemon.master.running.leader_lock import LeaderLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock.leader"


@pytest.fixture
def holder(path: Path) -> Iterator[None]:
    """A process that holds the lock: the leader of a master that was killed."""
    reader, writer = os.pipe()
    done, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        fcntl.lockf(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
        os.write(writer, b"x")
        os.read(done, 1)
        os._exit(0)
    assert os.read(reader, 1) == b"x"
    yield
    for fd in (reader, writer, done, end):
        os.close(fd)
    os.waitpid(pid, 0)


def lock(path: Path) -> LeaderLock:
    made = LeaderLock(Mock())
    made.path = str(path)
    assert made.open() >= 0
    return made


def test_the_file_goes_with_the_service(path: Path) -> None:
    made = lock(path)
    assert made.open() == made.open()
    made.close()
    assert not path.exists()
    made.close()  # has nothing to do


def test_the_next_master_finds_the_lock_of_a_leader_that_outlives_two(path: Path, holder: None) -> None:
    second = lock(path)
    second.close()
    third = os.open(path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.lockf(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(third)
