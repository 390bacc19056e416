"""What processes take, slot by slot: memory, descriptors, and CPU time that only grows, whoever holds a slot.

`sample` blocks: reading the memory maps of a large process takes milliseconds, and can hang on one that is stuck in
the kernel. Call it in a thread. The rest is for the loop.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Collection, Mapping

from msgspec import Struct, structs

from . import processes
from .facts import MasterUsage, SlotUsage

FRESH_SECONDS = 60.0  # an older sample says nothing about the CPU's use now
SHORTEST_SECONDS = 0.2  # between two samples: CPU times come in hundredths of a second


class ProcessSample(Struct, frozen=True):
    """One process. Sizes are bytes; None: it was not asked for, or the kernel does not tell."""

    pid: int
    at: float  # monotonic seconds
    cpu_seconds: float
    life_share: float  # of one CPU, over the life of the process
    rss: int
    pss: int | None = None  # its share of what it has in common with others
    uss: int | None = None  # its own
    fds: int | None = None
    share: float | None = None  # of one CPU, since the sample before; None: there is none, or it is too old

    @property
    def cpu_percent(self) -> float:
        """Of one CPU: lately, or over the life of the process until that is known."""
        return round(100 * (self.life_share if self.share is None else self.share), 1)


def sample(pids: Mapping[int, int], maps: Collection[int]) -> dict[int, ProcessSample]:
    """A sample by slot of each process that is alive; `pids` by slot. Blocks.

    PSS and USS only for the slots in `maps`: they are dear.
    """
    found = {}
    for slot, pid in pids.items():
        try:
            found[slot] = _sample(pid, slot in maps)
        except OSError:  # it is gone
            continue
    return found


def _sample(pid: int, maps: bool) -> ProcessSample:
    now = time.monotonic()
    cpu, rss = processes.cpu_seconds(pid), processes.resident_bytes(pid)
    share = cpu / max(SHORTEST_SECONDS, time.time() - processes.started_at(pid))
    pss: int | None = None
    uss: int | None = None
    fds: int | None = None
    try:
        if maps:
            pss, uss = processes.shares_of_memory(pid)
    except (PermissionError, FileNotFoundError):  # hidden, unknown to this kernel, or gone: that is seen below
        pass
    try:
        fds = processes.open_descriptors(pid)
    except PermissionError:
        pass
    return ProcessSample(pid, now, cpu, share, rss, pss, uss, fds)


def master_usage() -> MasterUsage:
    """This process's own. Cheap."""
    pid = os.getpid()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MasterUsage(
        processes.cpu_seconds(pid),
        processes.resident_bytes(pid),
        processes.open_descriptors(pid),
        limit,
        processes.started_at(pid),
    )


def cpu_of_ended(pid: int) -> float | None:
    """CPU time of a process that may have ended, as long as nobody has reaped it; None afterwards."""
    try:
        return processes.cpu_seconds(pid)
    except OSError:
        return None


class Sampler:
    """The latest samples, and CPU time summed up over all processes that a slot had."""

    def __init__(self) -> None:
        self._latest: dict[int, ProcessSample] = {}  # by slot
        self._before: dict[int, float] = {}  # by slot: CPU time of the processes that are gone
        self._pids: dict[int, int] = {}  # by slot: whose CPU time is counted now
        self._cpu: dict[int, float] = {}  # and how much that is

    def __repr__(self) -> str:
        return f"<Sampler {self._latest}>"

    def unknown(self, pids: Mapping[int, int]) -> list[int]:
        """The slots of which there is no sample of the process that they have now."""
        return [slot for slot, pid in pids.items() if self._sample_of(slot, pid) is None]

    def take(self, samples: Mapping[int, ProcessSample]) -> None:
        """A round's samples."""
        latest = {}
        for slot, found in samples.items():
            self.count_cpu(slot, found.pid, found.cpu_seconds)
            before = self._sample_of(slot, found.pid)
            latest[slot] = found if before is None else _continued(found, before)
        self._latest = latest

    def count_cpu(self, slot: int, pid: int, seconds: float) -> None:
        """So much CPU time the slot's process has had until now."""
        if self._pids.get(slot) != pid:
            self._before[slot] = self._before.get(slot, 0.0) + self._cpu.get(slot, 0.0)
            self._pids[slot], self._cpu[slot] = pid, 0.0
        self._cpu[slot] = max(self._cpu[slot], seconds)

    @property
    def shares(self) -> dict[int, float]:
        """By slot: of one CPU, between the last two samples of one process."""
        return {slot: found.share for slot, found in self._latest.items() if found.share is not None}

    def samples(self) -> dict[int, ProcessSample]:
        """The latest ones, by pid."""
        return {found.pid: found for found in self._latest.values()}

    def by_slot(self, pids: Mapping[int, int]) -> dict[int, SlotUsage]:
        """Every slot that ever had a process; memory and descriptors only of those that have one now."""
        found = {}
        for slot in sorted(self._cpu):
            cpu = self._before.get(slot, 0.0) + self._cpu[slot]
            known = self._sample_of(slot, pids.get(slot))
            found[slot] = SlotUsage(cpu) if known is None else SlotUsage(cpu, known.rss, known.pss, known.fds)
        return found

    def _sample_of(self, slot: int, pid: int | None) -> ProcessSample | None:
        """The slot's sample, if it is of that process."""
        known = self._latest.get(slot)
        return known if known is not None and known.pid == pid else None


def _continued(found: ProcessSample, before: ProcessSample) -> ProcessSample:
    """A sample with what an earlier one of the same process adds: maps that were not read again, its share of a CPU."""
    if found.pss is None:
        found = structs.replace(found, pss=before.pss, uss=before.uss)
    seconds = found.at - before.at
    if seconds < SHORTEST_SECONDS:
        return structs.replace(found, at=before.at, cpu_seconds=before.cpu_seconds, share=before.share)
    if seconds < FRESH_SECONDS:
        return structs.replace(found, share=max(0.0, found.cpu_seconds - before.cpu_seconds) / seconds)
    return found
