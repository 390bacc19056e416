"""Defaults that come from the machine: CPUs as the cgroups allow them, directories by their own names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from miniwsgi.daemon.config.machine import available_cpus, control_socket, working_directory

V2 = "0::/system.slice/shop.service"
QUOTA, PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"
V1 = "12:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n0::/docker/x"


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("", {}, 8),
        (V2, {}, 8),
        (V2, {"system.slice/shop.service/cpu.max": "max 100000"}, 8),
        (V2, {"system.slice/shop.service/cpu.max": "200000 100000"}, 2),
        (V2, {"system.slice/shop.service/cpu.max": "150000 100000"}, 2),
        (V2, {"system.slice/shop.service/cpu.max": "10000 100000"}, 1),
        (V2, {"system.slice/shop.service/cpu.max": "100000 50000"}, 2),
        (V2, {"system.slice/shop.service/cpu.max": "1600000 100000"}, 8),
        (V2, {"system.slice/cpu.max": "300000 100000"}, 3),
        (V2, {"system.slice/cpu.max": "300000 100000", "system.slice/shop.service/cpu.max": "400000 100000"}, 3),
        ("0::/", {"cpu.max": "300000 100000"}, 3),  # a container's own view
        ("0::/../../outside", {"cpu.max": "300000 100000"}, 3),
        (V2, {"unified/system.slice/cpu.max": "300000 100000"}, 3),  # a hybrid layout
        (
            V1,
            {f"cpu,cpuacct/docker/x/{QUOTA}": "250000", f"cpu,cpuacct/docker/x/{PERIOD}": "100000"},
            3,
        ),
        (V1, {f"cpu,cpuacct/{QUOTA}": "200000", f"cpu,cpuacct/{PERIOD}": "100000"}, 2),
        (V1, {f"cpu/{QUOTA}": "200000", f"cpu/{PERIOD}": "100000"}, 2),
        (V1, {f"cpu,cpuacct/docker/x/{QUOTA}": "-1", f"cpu,cpuacct/docker/x/{PERIOD}": "100000"}, 8),
        (V2, {"system.slice/shop.service/cpu.max": "nonsense"}, 8),
        (V2, {"system.slice/shop.service/cpu.max": ""}, 8),
        (V2, {"system.slice/shop.service/cpu.max": "100000 0"}, 8),
        ("garbage\n::::\n", {"cpu.max": "100000 100000"}, 8),
    ],
)
def test_counts_the_cpus_that_affinity_and_quota_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert available_cpus(str(tmp_path / "cgroup"), str(tmp_path / "mount")) == expected


def test_counts_the_cpus_here() -> None:
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))
    assert available_cpus("/nonexistent", "/nonexistent") == len(os.sched_getaffinity(0))


def test_the_working_directory_keeps_the_name_of_a_symbolic_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "release-1").mkdir()
    link = tmp_path / "current"
    link.symlink_to("release-1")
    monkeypatch.chdir(link)
    real = str((tmp_path / "release-1").resolve())
    assert working_directory({"PWD": str(link)}) == str(link)
    assert working_directory({}) == real
    assert working_directory({"PWD": "/somewhere/else"}) == real
    assert working_directory({"PWD": "current"}) == real


def test_a_working_directory_that_is_gone_is_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert working_directory({"PWD": str(gone)}) == "/"


@pytest.mark.parametrize(
    ("uid", "environ", "path"),
    [
        (0, {}, "/run/miniwsgi/control.sock"),
        (0, {"RUNTIME_DIRECTORY": "/run/miniwsgi/shop"}, "/run/miniwsgi/shop/control.sock"),
        (1000, {"RUNTIME_DIRECTORY": "/run/a:/run/b"}, "/run/a/control.sock"),
        (1000, {"XDG_RUNTIME_DIR": "/run/user/1000"}, "/run/user/1000/miniwsgi/control.sock"),
        (1000, {}, ""),
        (1000, {"XDG_RUNTIME_DIR": "relative"}, ""),
    ],
)
def test_the_control_socket_goes_to_the_runtime_directory(uid: int, environ: dict[str, str], path: str) -> None:
    assert control_socket(environ, uid) == path
