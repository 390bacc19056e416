"""Other users, for tests of root's: work that is done as one of them, a directory and an interpreter that they may use.

What root may do and others may not is tested as root, too: in a child that becomes nobody.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

NOBODY = 65_534  # the account of that name
STRANGER = 65_533  # no account has it
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


def as_user(uid: int, groups: Sequence[int], work: Callable[[], str]) -> str:
    """What `work` returns, or the repr of what it raises, in a process of another user."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if uid != os.geteuid():
                os.setgroups(groups)
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            text = work()
        except BaseException as error:
            text = repr(error)
        os.write(write_end, text.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as file:
        found = file.read()
    os.waitpid(pid, 0)
    return found


def unprivileged(work: Callable[[], str]) -> str:
    """The same by somebody who is not root: nobody, or whoever runs the tests."""
    return as_user(os.geteuid() or STRANGER, [], work)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One with a short path that everybody may enter, as pytest's are not."""
    path = Path(tempfile.mkdtemp(prefix="miniwsgi-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def open_python() -> str:
    """An interpreter that everybody may run and that can run miniwsgi; without one, the test is skipped."""
    python = shutil.which("python3", path="/usr/bin:/bin")
    show = "import sys; print('%d.%02d' % sys.version_info[:2])"
    if python is None or subprocess.run([python, "-c", show], capture_output=True, text=True).stdout < "3.11":
        pytest.skip("there is no interpreter that everybody may run")
    return python
