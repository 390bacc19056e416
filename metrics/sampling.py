"""What the kernel knows of a process: memory and CPU time, through psutil.

Reading the memory maps of a large process takes milliseconds and can hang on one that is stuck in the kernel: call
`sample` in a thread, never on the loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

FRESH_SECONDS = 60.0  # an older sample says nothing about the CPU's use now
SHORTEST_SECONDS = 0.2  # between two samples: CPU times come in hundredths of a second


@dataclass(frozen=True, slots=True)
class Sample:
    """One process. Sizes are bytes; None: the kernel does not tell."""

    pid: int
    at: float  # monotonic seconds
    rss: int
    pss: int | None  # its share of what it has in common with others
    uss: int | None  # its own
    cpu_seconds: float
    cpu_percent: float | None  # of one CPU: since the last sample, else over the life of the process


def sample(pids: Iterable[int], before: Mapping[int, Sample]) -> dict[int, Sample]:
    """A sample of each process that is alive. `before` has earlier ones, to tell how busy it was since. Blocks."""
    found = {}
    for pid in pids:
        try:
            found[pid] = _sample(psutil.Process(pid), before.get(pid))
        except (psutil.Error, OSError):
            continue
    return found


def _sample(process: psutil.Process, before: Sample | None) -> Sample:
    with process.oneshot():
        now = time.monotonic()
        times = process.cpu_times()
        cpu = times.user + times.system
        pss: int | None
        uss: int | None
        try:
            memory = process.memory_full_info()
            rss, pss, uss = memory.rss, memory.pss, memory.uss
        except psutil.AccessDenied:
            rss, pss, uss = process.memory_info().rss, None, None
        if before is not None and now - before.at < FRESH_SECONDS:
            if now - before.at < SHORTEST_SECONDS:
                return Sample(process.pid, before.at, rss, pss, uss, cpu, before.cpu_percent)
            percent = 100 * (cpu - before.cpu_seconds) / (now - before.at)
        else:
            percent = 100 * cpu / max(SHORTEST_SECONDS, time.time() - process.create_time())
    return Sample(process.pid, now, rss, pss, uss, cpu, round(max(0.0, percent), 1))
