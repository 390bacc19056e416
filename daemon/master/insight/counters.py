"""What the scoreboard and the kernel count, read at the beginning and at the end of a look. Blocks for no longer than
reading files of /proc takes; whoever is gone is left out.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics import scoreboard_reading as reading
from miniwsgi.metrics.processes import CLOCK_TICKS, stat
from miniwsgi.metrics.route_names import OTHER
from miniwsgi.metrics.slot import Slot

NANOSECONDS = 1e9
NO_ROUTE = "(no route)"


class RouteCounts(NamedTuple):
    """A route's sums."""

    answered: int = 0
    seconds: float = 0.0  # in the application
    cpu_seconds: float = 0.0  # 0: not known

    def plus(self, other: RouteCounts, sign: int = 1) -> RouteCounts:
        return RouteCounts(
            self.answered + sign * other.answered,
            self.seconds + sign * other.seconds,
            self.cpu_seconds + sign * other.cpu_seconds,
        )


class SlotCounts(NamedTuple):
    """A slot's sums since the start."""

    answered: int
    run_seconds: float  # from the application's start to the end of the answer
    queue_seconds: float  # from the complete request to the application's start
    server_errors: int
    routes: dict[str, RouteCounts]


class ProcessCounts(NamedTuple):
    """A process's sums since its start, with its children's."""

    cpu_seconds: float
    major_faults: int
    delays: dict[int, float] | None  # by thread: seconds ready to run, and no CPU was free; None: not told
    state: str

    def starved_since(self, before: ProcessCounts) -> float | None:
        """Seconds that its threads lacked a CPU since then; of those that were there: whoever looks has begun later."""
        if self.delays is None or before.delays is None:
            return None
        both = self.delays.keys() & before.delays.keys()
        return sum(max(0.0, self.delays[thread] - before.delays[thread]) for thread in both)


class HostCounts(NamedTuple):
    """Of all CPUs, in ticks: proc_stat(5)."""

    busy: int
    stolen: int
    total: int


def slot_counts(slot: Slot) -> SlotCounts:
    cells, names = slot.cells, slot.route_names()
    errors, nanoseconds, answered = 0, 0, 0
    routes: dict[str, RouteCounts] = defaultdict(RouteCounts)
    for at in reading.series(cells):
        _method, status, route = reading.labels(cells[at + sb.S_KEY])
        count, took = sum(cells[at + sb.S_BUCKETS : at + sb.S_BUCKETS + sb.BUCKETS].tolist()), cells[at + sb.S_SUM]
        run = took - cells[at + sb.S_QUEUED]
        answered, nanoseconds = answered + count, nanoseconds + run
        errors += count if status >= 500 else 0
        name = NO_ROUTE if route == sb.NO_ROUTE else names[route - 1] if route <= len(names) else OTHER
        computed = cells[at + sb.S_CPU]
        routes[name] = routes[name].plus(RouteCounts(count, run / NANOSECONDS, computed / NANOSECONDS))
    return SlotCounts(answered, nanoseconds / NANOSECONDS, cells[sb.QUEUE_SUM] / NANOSECONDS, errors, dict(routes))


def process_counts(pid: int) -> ProcessCounts | None:
    """None: it is gone."""
    try:
        return _process_counts(pid)
    except (OSError, ValueError, IndexError):
        return None


def _process_counts(pid: int) -> ProcessCounts:
    fields = stat(pid)
    tasks = f"/proc/{pid}/task"
    cpu = sum(map(int, fields[11:15])) / CLOCK_TICKS  # its own and its reaped children's
    faults = int(fields[9]) + int(fields[10])
    delays = {int(thread): _run_delay(f"{tasks}/{thread}/schedstat") for thread in os.listdir(tasks)}
    known = {thread: delay for thread, delay in delays.items() if delay is not None}
    for child in _children(pid):
        if (found := process_counts(child)) is not None:
            cpu, faults = cpu + found.cpu_seconds, faults + found.major_faults
    return ProcessCounts(cpu, faults, known or None, fields[0].decode("ascii"))


def _run_delay(path: str) -> float | None:
    """Seconds that a thread was ready to run and did not (the kernel's sched-stats.rst)."""
    try:
        with open(path, "rb") as file:
            return int(file.read().split()[1]) / NANOSECONDS
    except (OSError, IndexError, ValueError):
        return None


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(text) for text in file.read().split()]
    except OSError:  # CONFIG_PROC_CHILDREN
        return []


def host_counts() -> HostCounts | None:
    """None: the kernel does not tell."""
    try:
        with open("/proc/stat", "rb") as file:
            user, nice, system, idle, wait, irq, soft, stolen, *_ = map(int, file.readline().split()[1:])
    except (OSError, ValueError):
        return None
    busy = user + nice + system + irq + soft
    return HostCounts(busy, stolen, busy + idle + wait + stolen)


def throttled_share(before: Iterable[tuple[int, int]], after: Iterable[tuple[int, int]]) -> float | None:
    """The share of periods in which a quota was used up, of the cgroup where that was most."""
    shares = [
        (late[1] - early[1]) / (late[0] - early[0])
        for early, late in zip(before, after, strict=False)
        if late[0] > early[0]
    ]
    return max(shares, default=None)
