"""The lab itself: it is a machine of its own, and leaves nothing, however the test run ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import cgroups, lab
from tests.support.lab import Lab
from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .installation import REPOSITORY

pytestmark = pytest.mark.skipif(bool(lab.missing()), reason=lab.missing())

KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from tests.support.lab import Lab
machine = Lab(Path(sys.argv[1])).__enter__()
print(machine.pid1, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def cgroups_of(run: int) -> list[Path]:
    """The cgroups of a test run's labs."""
    return [path for _controllers, parent in cgroups.hierarchies() for path in parent.glob(f"{cgroups.PREFIX}{run}.*")]


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits for its new parent to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_is_another_machine(tmp_path: Path) -> None:
    machine = Lab(tmp_path)
    Lab.write(machine.seed / "etc/seeded", "from the seed")
    before = Path("/proc/mounts").read_text("utf-8")
    with machine:
        assert machine.do("cat", "/etc/seeded") == "from the seed"
        assert machine.do("cat", "/proc/1/comm") == "systemd\n"
        assert f"{os.getpid()}" not in machine.do("ps", "-A", "-o", "pid=").split()[:1]
        machine.do("sh", "-c", "echo changed >/etc/passwd; touch /usr/bin/of-the-lab /run/of-the-lab")
        assert [name for _index, name in socket.if_nameindex() if name in machine.do("cat", "/proc/net/dev")] == ["lo"]
        assert cgroups_of(os.getpid())
        pid1 = machine.pid1
    assert not os.path.exists(f"/proc/{pid1}")
    assert not cgroups_of(os.getpid())
    assert Path("/proc/mounts").read_text("utf-8") == before
    assert not any(os.path.exists(place) for place in ("/etc/seeded", "/usr/bin/of-the-lab", "/run/of-the-lab"))
    assert Path("/etc/passwd").read_text("utf-8") != "changed\n"
    assert not list((tmp_path / "mount").iterdir())


def test_a_killed_test_run_leaves_no_process_and_what_it_leaves_is_swept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_RUN, str(tmp_path)]
    run = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    out, _nothing = run.communicate(timeout=2 * PATIENCE_SECONDS)
    assert run.returncode == -signal.SIGKILL

    def nothing_is_left() -> bool:
        cgroups.sweep()
        return has_ended(int(out)) and not cgroups_of(run.pid)

    wait_for(nothing_is_left, "the killed run's lab and its cgroups are gone")
