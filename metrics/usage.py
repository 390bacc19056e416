"""What processes take, slot by slot: memory, descriptors, and CPU time that only grows, whoever holds the slot.

`sample_all` blocks: reading a large process's memory takes milliseconds. Call it in a thread. The rest is for the loop.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import psutil

from .facts import MasterUsage, SlotUsage
from .sampling import Sample

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """One process. `pss` is None where it was not asked for or the kernel does not tell."""

    pid: int
    cpu_seconds: float
    rss: int
    pss: int | None
    fds: int | None


def sample_all(pids: Mapping[int, int], pss: Collection[int]) -> dict[int, ProcessSample]:
    """A sample by slot of each process that is alive; `pids` by slot. With PSS for the slots in `pss`: it is dear."""
    found = {}
    for slot, pid in pids.items():
        try:
            found[slot] = _sample(psutil.Process(pid), slot in pss)
        except (psutil.Error, OSError):
            continue
    return found


def _sample(process: psutil.Process, pss: bool) -> ProcessSample:
    with process.oneshot():
        times, rss = process.cpu_times(), process.memory_info().rss
        share: int | None = None
        fds: int | None = None
        try:
            if pss:
                share = process.memory_full_info().pss
            fds = process.num_fds()
        except psutil.AccessDenied:
            pass
    return ProcessSample(process.pid, times.user + times.system, rss, share, fds)


def master_usage() -> MasterUsage:
    """This process's own. Cheap."""
    process = psutil.Process()
    times = process.cpu_times()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MasterUsage(
        times.user + times.system, process.memory_info().rss, process.num_fds(), limit, process.create_time()
    )


def cpu_of_ended(pid: int) -> float | None:
    """CPU time of a process that may have ended, as long as nobody has reaped it (proc(5), /proc/pid/stat)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


class Usage:
    """The latest samples, and CPU time summed up over all processes that a slot had."""

    def __init__(self) -> None:
        self._latest: dict[int, ProcessSample] = {}
        self._pss: dict[int, tuple[int, int | None]] = {}  # by slot: pid and bytes, perhaps of an earlier round
        self._before: dict[int, float] = {}  # by slot: CPU time of the processes that are gone
        self._pids: dict[int, int] = {}  # by slot: whose CPU time is counted now
        self._cpu: dict[int, float] = {}  # and how much that is
        self.shares: dict[int, float] = {}  # by slot: of one CPU, between the last two rounds
        self._taken_at = 0.0

    def __repr__(self) -> str:
        return f"<Usage {self._latest}>"

    def unknown(self, pids: Mapping[int, int]) -> list[int]:
        """The slots of which there is no sample of the process that they have now."""
        return [slot for slot, pid in pids.items() if self._pss.get(slot, (0, 0))[0] != pid]

    def take(self, samples: Mapping[int, ProcessSample], now: float) -> None:
        """A round's samples; `now` in monotonic seconds."""
        seconds = now - self._taken_at
        self.shares = {}
        for slot, sample in samples.items():
            known = self._pids.get(slot) == sample.pid
            if known and seconds > 0:
                self.shares[slot] = max(0.0, sample.cpu_seconds - self._cpu[slot]) / seconds
            self.count_cpu(slot, sample.pid, sample.cpu_seconds)
            if sample.pss is not None or self._pss.get(slot, (0, 0))[0] != sample.pid:
                self._pss[slot] = sample.pid, sample.pss
        self._latest = dict(samples)
        self._taken_at = now

    def count_cpu(self, slot: int, pid: int, seconds: float) -> None:
        """So much CPU time the slot's process has had until now."""
        if self._pids.get(slot) != pid:
            self._before[slot] = self._before.get(slot, 0.0) + self._cpu.get(slot, 0.0)
            self._pids[slot], self._cpu[slot] = pid, 0.0
        self._cpu[slot] = max(self._cpu[slot], seconds)

    def samples(self) -> dict[int, Sample]:
        """The latest ones by pid. The unique set is not measured."""
        found = {}
        for slot, one in self._latest.items():
            pid, pss = self._pss[slot]
            percent = round(100 * self.shares[slot], 1) if slot in self.shares else None
            share = pss if pid == one.pid else None
            found[one.pid] = Sample(one.pid, self._taken_at, one.rss, share, None, one.cpu_seconds, percent)
        return found

    def by_slot(self, pids: Mapping[int, int]) -> dict[int, SlotUsage]:
        """Every slot that ever had a process; memory and descriptors only of those that have one now."""
        found = {}
        for slot in sorted(self._cpu):
            cpu = self._before.get(slot, 0.0) + self._cpu[slot]
            sample = self._latest.get(slot)
            if sample is None or pids.get(slot) != sample.pid:
                found[slot] = SlotUsage(cpu)
                continue
            pid, pss = self._pss[slot]
            found[slot] = SlotUsage(cpu, sample.rss, pss if pid == sample.pid else None, sample.fds)
        return found
