"""Defaults that come from the machine: CPUs as the cgroups allow them, directories by their own names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from miniwsgi.daemon.config.machine import (
    available_cpus,
    control_socket,
    memory_ceiling,
    memory_limit,
    oom_kills,
    working_directory,
)

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


# --- memory --------------------------------------------------------------------------------------------------------

IN_V2, IN_V1 = "0::/app/web\n", "7:memory:/app\n3:cpu,cpuacct:/app\n0::/\n"
MIB = 1 << 20


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        (IN_V2, {}, None),
        (IN_V2, {"app/web/memory.max": "max"}, None),
        (IN_V2, {"app/web/memory.max": "104857600"}, 100 * MIB),
        (IN_V2, {"app/web/memory.max": "max", "app/memory.max": "52428800"}, 50 * MIB),
        (IN_V2, {"app/web/memory.max": "104857600", "app/memory.max": "52428800"}, 50 * MIB),
        (IN_V1, {"memory/app/memory.limit_in_bytes": "104857600"}, 100 * MIB),
        (IN_V1, {"memory/app/memory.limit_in_bytes": "9223372036854771712"}, None),
        (IN_V1, {"memory/memory.limit_in_bytes": "104857600"}, 100 * MIB),  # a container sees only the root
        ("", {}, None),
        ("nonsense", {}, None),
    ],
)
def test_the_cgroups_memory_limit_makes_a_ceiling_for_workers(
    tmp_path: Path, cgroup: str, files: dict[str, str], limit: int | None
) -> None:
    write_cgroup(tmp_path, cgroup, files)
    assert memory_limit(str(tmp_path / "cgroup"), str(tmp_path / "mount")) == limit
    ceiling = memory_ceiling(str(tmp_path / "cgroup"), str(tmp_path / "mount"))
    assert ceiling == (limit * 9 // 10 if limit else 0)


@pytest.mark.parametrize(
    ("cgroup", "files", "kills"),
    [
        (IN_V2, {}, None),
        (IN_V2, {"app/web/memory.events": "oom 0\noom_kill 0\n"}, 0),
        (IN_V2, {"app/web/memory.events": "low 0\noom 3\noom_kill 2\n"}, 2),
        (IN_V2, {"app/web/memory.events": "oom_kill x\n", "app/memory.events": "oom_kill 5\n"}, 5),
        (IN_V1, {"memory/app/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"}, 7),
    ],
)
def test_kills_for_want_of_memory_are_counted(
    tmp_path: Path, cgroup: str, files: dict[str, str], kills: int | None
) -> None:
    write_cgroup(tmp_path, cgroup, files)
    assert oom_kills(str(tmp_path / "cgroup"), str(tmp_path / "mount")) == kills


def write_cgroup(directory: Path, cgroup: str, files: dict[str, str]) -> None:
    (directory / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = directory / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
