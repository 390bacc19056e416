"""Control groups of a test run's own, in each hierarchy (v1 or v2) that this machine has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

PREFIX = "miniwsgi-lab."


def sweep() -> None:
    """Remove the cgroups of test runs that were killed; their names carry the run's process id."""
    for _controllers, parent in hierarchies():
        for cgroup in parent.glob(f"{PREFIX}*.*"):
            if not os.path.exists(f"/proc/{cgroup.name.removeprefix(PREFIX).partition('.')[0]}"):
                remove_cgroup(cgroup)


def _mounts(kind: str) -> list[tuple[str, Sequence[str]]]:
    """The cgroup mounts of one kind: (place, options)."""
    fields = [line.split() for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    return [(place, options.split(",")) for _device, place, found, options, *_ in fields if found == kind]


def unified() -> str:
    return next((place for place, _options in _mounts("cgroup2")), "")


def hierarchies() -> list[tuple[str, Path]]:
    """Each hierarchy of this machine: (its v1 controllers, "" for v2; our own cgroup in it)."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
        _number, controllers, path = line.split(":", 2)
        own[controllers] = path.strip("/")
    found = [("", Path(unified()) / own.get("", ""))]
    for place, options in _mounts("cgroup"):
        for controllers, path in own.items():
            if controllers and controllers.split(",")[0] in options:
                found.append((controllers, Path(place) / path))
    return found


def make_cgroup(path: Path) -> Path:
    path.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):  # a v1 cpuset takes no process without
        if (path / "cpuset.sched_load_balance").exists() and (path / name).exists():
            (path / name).write_text((path.parent / name).read_text("ascii"), "ascii")
    clone = path / "cgroup.clone_children"
    if clone.exists():
        clone.write_text("1", "ascii")
    return path


def remove_cgroup(path: Path) -> bool:
    """Remove it and those below; whether it is gone."""
    for directory, _names, _files in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return not path.exists()
