"""What a default takes from the machine: CPUs, the working directory, the interpreter, the runtime directory.

Each may be asked again at a reload. Nothing here raises for a machine that lacks something: it falls back.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping

CGROUPS = "/sys/fs/cgroup"
SMALLEST_LIMIT = 16 << 20  # less is nothing to run an application in
NO_LIMIT = 1 << 60  # cgroup v1 says "none" by a number near 2**63
SYSTEM_RUNTIME_DIRECTORY = "/run/miniwsgi"


def available_cpus(cgroup_file: str = "/proc/self/cgroup", mount: str = CGROUPS) -> int:
    """How many CPUs this process can keep busy: its affinity, capped by the CPU quotas of its cgroups.

    A quota of 1.5 CPUs counts as 2. Source: sched_getaffinity(2), cgroups(7), "cpu.max" in the kernel's
    cgroup-v2.rst and "cpu.cfs_quota_us" in its sched-bwc.rst.
    """
    cpus = len(os.sched_getaffinity(0))
    for quota in _quotas(cgroup_file, mount):
        cpus = min(cpus, math.ceil(quota))
    return max(1, cpus)


def cpu_quota(cgroup_file: str = "/proc/self/cgroup", mount: str = CGROUPS) -> float | None:
    """The smallest CPU quota of this process's cgroups, in CPUs; None without one."""
    return min(_quotas(cgroup_file, mount), default=None)


def throttled_periods(cgroup_file: str = "/proc/self/cgroup", mount: str = CGROUPS) -> list[tuple[int, int]]:
    """Of each of this process's cgroups with a quota: its periods so far, and in how many it had used that up.

    Source: "cpu.stat" in the kernel's cgroup-v2.rst and in its sched-bwc.rst.
    """
    found = []
    for directory in _directories("cpu", cgroup_file, mount):
        lines = (line.split() for line in _read(f"{directory}/cpu.stat").splitlines())
        counted = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}
        if counted.get("nr_periods"):
            found.append((counted["nr_periods"], counted.get("nr_throttled", 0)))
    return found


def memory_limit(cgroup_file: str = "/proc/self/cgroup", mount: str = CGROUPS) -> int | None:
    """Bytes that this process's cgroups let it have, with all else in them; None without a limit.

    Source: "memory.max" in the kernel's cgroup-v2.rst, "memory.limit_in_bytes" in its cgroup-v1 memory.rst.
    """
    names = ("memory.max", "memory.limit_in_bytes")
    found = [int(text) for text in _memory_files(cgroup_file, mount, *names) if text.isdecimal()]
    return min((limit for limit in found if limit < NO_LIMIT), default=None)


def memory_ceiling(cgroup_file: str = "/proc/self/cgroup", mount: str = CGROUPS) -> int:
    """When a single worker is about to take all the memory that there is: bytes, 0 without a limit."""
    limit = memory_limit(cgroup_file, mount)
    return limit * 9 // 10 if limit is not None and limit > SMALLEST_LIMIT else 0


def oom_kills(cgroup_file: str = "/proc/self/cgroup", mount: str = CGROUPS) -> int | None:
    """How many processes of this process's cgroup the kernel has killed for want of memory ("memory.events").

    Also for want of the machine's. Counted before the signal is sent (oom_kill.c). None: that cannot be seen.
    """
    for text in _memory_files(cgroup_file, mount, "memory.events", "memory.oom_control"):
        for line in text.splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return None


def _memory_files(cgroup_file: str, mount: str, *names: str) -> Iterator[str]:
    """What files say in this process's cgroup and in all above it that can be seen; "" where there is none."""
    for directory in _directories("memory", cgroup_file, mount):
        for name in names:  # of version 2, or of version 1
            yield _read(f"{directory}/{name}")


def _quotas(cgroup_file: str, mount: str) -> Iterator[float]:
    """The CPU quotas, in CPUs, of this process's cgroups and of all above them that can be seen."""
    for directory in _directories("cpu", cgroup_file, mount):
        yield from _cpus(*(_read(f"{directory}/cpu.max").split() or ["max"]))
        yield from _cpus(_read(f"{directory}/cpu.cfs_quota_us"), _read(f"{directory}/cpu.cfs_period_us"))


def _directories(controller: str, cgroup_file: str, mount: str) -> Iterator[str]:
    """This process's cgroups for a controller and all above them that can be seen, of either version, from the
    innermost.
    """
    for line in _read(cgroup_file).splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield from _upwards(path, mount, f"{mount}/unified")
        elif controller in controllers.split(","):
            yield from _upwards(path, f"{mount}/{controllers}", f"{mount}/{controller}")


def _upwards(path: str, *roots: str) -> Iterator[str]:
    """The directory of a cgroup and those above it. A container may see only the root: that is its own."""
    parts = [part for part in path.split("/") if part and part != ".."]
    for root in roots:
        for length in range(len(parts), -1, -1):
            yield "/".join([root, *parts[:length]])


def _cpus(quota: str, period: str = "100000") -> Iterator[float]:
    try:
        share, whole = int(quota), int(period)
    except ValueError:
        return  # "max", or no such file
    if share > 0 and whole > 0:  # v1 says -1 for none
        yield share / whole


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def working_directory(environ: Mapping[str, str]) -> str:
    """The current directory, by the name under which the shell went there.

    $PWD keeps a symbolic link such as /srv/shop/current, which a deployment points elsewhere; getcwd(3)
    does not. "/" if the directory is gone.
    """
    logical = environ.get("PWD", "")
    try:
        if logical.startswith("/") and os.path.samefile(logical, "."):
            return logical
        return os.getcwd()
    except OSError:
        try:
            return os.getcwd()
        except OSError:
            return "/"


def interpreter() -> str:
    """The interpreter that runs this process."""
    return sys.executable


def prefix(python: str) -> str:
    """The environment that an interpreter belongs to, found without running it; links are followed.

    That is its sys.prefix: the directory of pyvenv.cfg (PEP 405), or the installation that the program lies in.
    """
    directory = os.path.dirname(python)
    for candidate in (directory, os.path.dirname(directory)):
        if os.path.isfile(os.path.join(candidate, "pyvenv.cfg")):
            return os.path.realpath(candidate)
    return os.path.dirname(os.path.dirname(os.path.realpath(python)))


def control_socket(environ: Mapping[str, str], uid: int) -> str:
    """Where the control socket goes: the runtime directory of the unit, of root or of the user; or ""."""
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd.exec(5): ":" joins several
    if given.startswith("/"):
        return f"{given}/control.sock"
    if uid == 0:
        return f"{SYSTEM_RUNTIME_DIRECTORY}/control.sock"
    own = environ.get("XDG_RUNTIME_DIR", "")
    return f"{own}/miniwsgi/control.sock" if own.startswith("/") else ""


def state_directory(environ: Mapping[str, str]) -> str:
    """Where a daemon may keep what is to outlive it: systemd.exec(5)'s StateDirectory=, or ""."""
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return given if given.startswith("/") else ""
