"""What the kernel tells of a process, whoever's it is: proc_pid_stat(5), proc_pid_statm(5), proc_pid_smaps(5).

Everything here raises OSError where a process is gone or hidden from us.
"""

from __future__ import annotations

import os
from functools import cache

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def stat(pid: int) -> list[bytes]:
    """The fields of proc_pid_stat(5) from the third on: the second may contain blanks and brackets."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def cpu_seconds(pid: int) -> float:
    """CPU time that it has had, in user mode and in the kernel; also of one that has ended and is not yet reaped."""
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def started_at(pid: int) -> float:
    """In seconds since 1970."""
    return _boot_time() + int(stat(pid)[19]) / CLOCK_TICKS


def resident_bytes(pid: int) -> int:
    """Memory that it has in RAM, with what it shares. 0 once it has ended."""
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * PAGE_BYTES


def shares_of_memory(pid: int) -> tuple[int, int]:
    """PSS and USS in bytes: its share of what it has in common with others, and its own. Slow for a large one."""
    try:
        return _shares(f"/proc/{pid}/smaps_rollup")
    except FileNotFoundError:  # gVisor, for one, has each map and no sum
        return _shares(f"/proc/{pid}/smaps")


def memory_by_kind(pid: int) -> dict[str, int]:
    """All that the kernel sums up of its memory, in bytes, by the names of proc_pid_smaps(5): Rss, Pss, Pss_Anon …"""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        next(file, None)  # a heading
        for line in file:
            name, _, rest = line.decode("ascii", "replace").partition(":")
            found[name] = int(rest.split()[0]) << 10
    return found


def open_descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _shares(path: str) -> tuple[int, int]:
    pss = uss = 0
    with open(path, "rb") as file:
        for line in file:
            name, _, rest = line.partition(b":")
            if name == b"Pss":
                pss += int(rest.split()[0]) << 10
            elif name.startswith(b"Private_"):
                uss += int(rest.split()[0]) << 10
    return pss, uss


@cache
def _boot_time() -> int:
    """proc_stat(5), btime: read once, so that a process' start does not move when the clock is set."""
    with open("/proc/stat", "rb") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(b"btime "))
