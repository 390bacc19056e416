"""How a launcher is executed, with an interpreter on a disk that hangs: its program is held by fanotify(7)."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import miniwsgi
import pytest

from tests.support.waiting import PATIENCE_SECONDS

FAN_CLASS_CONTENT, FAN_MARK_ADD, FAN_OPEN_EXEC_PERM, AT_FDCWD = 0x4, 0x1, 0x40000, -100
EVENT = 24  # bytes, of which the last eight are a descriptor and a pid (fanotify(7), struct fanotify_event_metadata)
PROGRAM = """
import sys, threading
sys.path.insert(0, sys.argv[2])
from miniwsgi.daemon.master.running.bootstrap import execute
waiting = threading.Thread(target=lambda: execute(sys.argv[1], "app", 2, [], {}).wait())
waiting.start()
sys.stdin.readline()
print("this thread goes on", flush=True)
waiting.join()
"""
DEBIANS = "/usr/bin/python3.11"  # 3.11.2 in Debian 12: older than 3.11.4, which lets go of the interpreter by itself


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A program that is not executed until the descriptor beside it is closed, from which it can be read who tries."""
    if os.geteuid():
        pytest.skip("needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    path = shutil.copy("/bin/true", tmp_path)
    fd = libc.fanotify_init(FAN_CLASS_CONTENT, os.O_CLOEXEC)
    mark = (fd, FAN_MARK_ADD, ctypes.c_uint64(FAN_OPEN_EXEC_PERM), AT_FDCWD, os.fsencode(path))
    if fd < 0 or libc.fanotify_mark(*mark):
        pytest.skip(f"this kernel has no fanotify that holds exec: {os.strerror(ctypes.get_errno())}")
    yield path, fd
    os.close(fd)


@pytest.mark.parametrize("python", list(filter(os.path.exists, (sys.executable, DEBIANS))))
def test_other_threads_go_on_while_an_interpreter_is_loaded(held: tuple[str, int], python: str) -> None:
    path, fd = held
    sources = os.path.dirname(next(iter(miniwsgi.__path__)))
    with subprocess.Popen(
        [python, "-c", PROGRAM, path, sources], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert select.select([fd], [], [], PATIENCE_SECONDS)[0], "it is executed"
            os.close(int.from_bytes(os.read(fd, EVENT)[-8:-4], sys.byteorder))
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 10)[0], "a thread that executes holds the others"
            assert process.stdout.readline() == b"this thread goes on\n"
        finally:
            process.kill()
