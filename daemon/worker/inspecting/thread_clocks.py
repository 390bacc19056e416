"""How long each thread of this process has computed, by the kernel's account, and what the threads are called.

`time.pthread_getcpuclockid` must not be asked about a thread that may have ended, which another thread's may at any
moment: it reads that one's memory. What it would return is made here of the kernel's number of the thread instead, as
the C library does it: then a thread that has ended is an error, and no more.
"""

from __future__ import annotations

import threading
from collections.abc import Set

from ...engine import account
from ...unpatched import os, time

_PER_THREAD, _SCHEDULED = 4, 2  # of a clock's number: include/linux/posix-timers.h, CPUCLOCK_PERTHREAD_MASK and …_SCHED
UNKNOWN = -1


class ThreadClocks:
    """Threads by `threading.get_ident`."""

    def __init__(self) -> None:
        self._clocks: dict[int, tuple[int, int]] = {}  # the clock and what it showed last
        self.unknown: set[int] = set()  # threads whose clock is not to be had: made by C code, which named none
        self._nameless: set[int] = set()  # that have been so once: a thread that begins has no number yet

    def __repr__(self) -> str:
        return f"<ThreadClocks {len(self._clocks)}>"

    def spent(self, ident: int) -> int:
        """Nanoseconds that it has computed since this was last asked; 0 the first time, UNKNOWN if nobody knows."""
        known = self._clocks.get(ident)
        if known is None:
            native = _native_id(ident)
            if not native:
                (self.unknown if ident in self._nameless else self._nameless).add(ident)
                return UNKNOWN
            self._nameless.discard(ident)
            known = clock, now = (~native << 3) | _PER_THREAD | _SCHEDULED, -1
        clock, before = known
        try:
            now = time.clock_gettime_ns(clock)
        except OSError:  # it has ended; another may get its number
            self._clocks.pop(ident, None)
            return 0
        self._clocks[ident] = clock, now
        return now - before if 0 <= before <= now else 0

    def reading(self, ident: int) -> int:
        """Nanoseconds that it has computed since it began; UNKNOWN if nobody knows."""
        self.spent(ident)
        known = self._clocks.get(ident)
        return UNKNOWN if known is None else known[1]

    def keep_only(self, idents: Set[int]) -> None:
        """Forget threads that are gone: their numbers are given again."""
        for ident in self._clocks.keys() - idents:
            del self._clocks[ident]
        self._nameless &= idents


def name_of(ident: int) -> str:
    """As `threading` has it; "" if that knows none."""
    thread = _by_ident().get(ident)
    return thread.name if thread is not None else ""


def _native_id(ident: int) -> int:
    """The kernel's number of it; 0: not known."""
    if ident == threading.main_thread().ident:
        return os.getpid()  # what `threading` knows is, in a process that was forked, its parent's
    for known in (_by_ident().get(ident), account.threads.get(ident)):
        if found := getattr(known, "native_id", None):
            return int(found)
    return 0


def _by_ident() -> dict[int, threading.Thread]:
    """Without the lock that `threading.enumerate` takes: a thread that hangs may hold it."""
    found: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
    return found
