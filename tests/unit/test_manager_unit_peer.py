"""Who asks by `systemctl reload`: told by the kernel's word, which no process of the application can give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from miniwsgi.manager.control.unit_peer import is_of_unit, service_manager

UNIT = "0::/system.slice/miniwsgi.service"


def process(proc: Path, name: str, parent: int, cgroup: str = UNIT) -> None:
    (proc / name).mkdir()
    (proc / name / "stat").write_text(f"7 (a) b (c) S {parent} 7 7 0 -1 4194560\n")
    (proc / name / "cgroup").write_text(f"{cgroup}\n")


@pytest.mark.parametrize(
    ("parent", "cgroup", "found"),
    [
        (1, UNIT, True),
        (1, f"{UNIT}/.control", True),
        (1, f"4:memory:/elsewhere\n1:name=systemd:/system.slice/miniwsgi.service\n{UNIT}", True),
        (4711, UNIT, False),  # a child of the application's
        (1, "0::/system.slice/deploy.service", False),  # another unit's
        (1, f"{UNIT}-evil", False),
        (1, "0::/user.slice/user-0.slice/session-1.scope", False),
    ],
)
def test_it_is_a_child_of_the_manager_in_the_units_control_group(
    tmp_path: Path, parent: int, cgroup: str, found: bool
) -> None:
    process(tmp_path, "self", 1)
    process(tmp_path, "712", parent, cgroup)
    assert is_of_unit(712, 1, tmp_path) is found
    assert not is_of_unit(712, None, tmp_path), "nobody knows of a manager"


def test_who_is_gone_or_hidden_or_in_another_namespace_is_not(tmp_path: Path) -> None:
    process(tmp_path, "self", 1)
    process(tmp_path, "712", 0)
    assert not is_of_unit(713, 1, tmp_path)
    assert not is_of_unit(0, 1, tmp_path)
    assert not is_of_unit(712, 0, tmp_path)  # docker exec, with the daemon as pid 1


def test_a_manager_is_believed_that_has_started_this_very_process() -> None:
    assert service_manager({"SYSTEMD_EXEC_PID": str(os.getpid())}) == os.getppid()
    assert service_manager({"SYSTEMD_EXEC_PID": "1", "INVOCATION_ID": "x"}) is None  # inherited from a unit's shell
    assert service_manager({}) is None


def test_the_kernels_own_files_are_understood() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert is_of_unit(child.pid, os.getpid())
        assert not is_of_unit(child.pid, os.getppid())
    finally:
        child.communicate(b"\n")
