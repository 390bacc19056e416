"""Processor time of processes, to the nanosecond.

/proc/PID/stat counts in hundredths of a second: at 100,000 requests a second, that is a thousand of them. The clock
of a process (clock_getcpuclockid(3)) is the scheduler's own sum for all its threads, ended ones included. How much of
it went to the program itself and how much to the kernel is known less well: as a rule, it is sampled at the kernel's
ticks. That is therefore only a share, and applied to the exact sum.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")  # of /proc/PID/stat


class Clock(IntEnum):
    """The clocks that each process has: CPUCLOCK_PROF, _VIRT and _SCHED of the kernel's posix-timers.h."""

    SAMPLED = 0  # user and system
    SAMPLED_USER = 1
    EXACT = 2


@dataclass(frozen=True, slots=True)
class Cpu:
    """Processor time in seconds: all of it, and how much the ticks found, of it in the program itself."""

    total: float = 0.0
    sampled: float = 0.0
    sampled_user: float = 0.0

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.total + other.total, self.sampled + other.sampled, self.sampled_user + other.sampled_user)

    def __sub__(self, earlier: Cpu) -> Cpu:
        return Cpu(self.total - earlier.total, self.sampled - earlier.sampled, self.sampled_user - earlier.sampled_user)

    @property
    def user(self) -> float:
        """In the program itself; all of it where no tick has found anything."""
        return self.total * self.sampled_user / self.sampled if self.sampled else self.total

    @property
    def system(self) -> float:
        """In the kernel on its behalf."""
        return self.total - self.user


def sum_cpu(pids: Sequence[int]) -> Cpu:
    """What these processes and the children that they have reaped have used; those that are gone count nothing."""
    found = Cpu()
    for pid in pids:
        with suppress(OSError):
            own = Cpu(*(read(pid, clock) for clock in (Clock.EXACT, Clock.SAMPLED, Clock.SAMPLED_USER)))
            found += own + reaped(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace"))
    return found


def read(pid: int, clock: Clock) -> float:
    """A clock of a process, in seconds. Raises OSError when it is gone."""
    return time.clock_gettime_ns(~pid << 3 | clock) / 1e9


def reaped(stat: str) -> Cpu:
    """What the children that a process has waited for had used, from /proc/PID/stat, see proc(5)."""
    user, system = (int(value) / TICKS_PER_SECOND for value in stat[stat.rindex(")") + 2 :].split()[13:15])
    return Cpu(user + system, user + system, user)
