"""When the process was kept from running: what makes a call long, and looks like blocking, but is none.

A stopped or frozen process, a cgroup out of its quota, a machine that does not run its guest, a call that holds the
interpreter while it waits: in all of these another thread would not have got on either. The watcher is such a thread.
It sleeps nearly always, so whenever it wakes late and the process has not computed meanwhile, nothing could run. It
costs no request anything. A neighbour on the same processors may hold up one thread and let the watcher through: that
is known to the kernel, as the run delay of each thread.

What is not seen as a stall: waiting for a page of memory (a major fault). Others go on, and a thread more helps.
"""

from __future__ import annotations

from collections.abc import Iterable

from ....unpatched import os, time

LATE_NS = 1_000_000  # timers are never exact, and the interpreter may have to be asked for
_KEPT = 8  # stalls that are remembered


class Stalls:
    """Written by the watcher, and by whoever rouses it; read by everybody. Times are `time.monotonic_ns()`."""

    __slots__ = ("_found", "expected")

    def __init__(self) -> None:
        # Told when, to be here when (below 0: it rests), computed before; also written by a `doze`.
        self.expected = memoryview(bytearray(24)).cast("q")
        self.rest()
        self._found: tuple[tuple[int, int], ...] = ()  # the last ones, in their order; replaced whole

    def __repr__(self) -> str:
        return f"<Stalls {[f'{(ended - began) / 1e6:.1f}ms' for began, ended in self._found]}>"

    def expect(self, now: int, due: int) -> None:
        """The watcher is here, and should be again when it is `due`: behind its sleep, or at once."""
        found = self._overdue(now)
        self.expected[0], self.expected[1], self.expected[2] = now, due, time.process_time_ns()
        if found is not None:
            self._found = (*self._found[1 - _KEPT :], found)

    def rest(self) -> None:
        """It will not be here until it is roused."""
        self.expected[1] = -1

    def within(self, began: int, ended: int) -> int:
        """How many nanoseconds of a call, which has just ended, were a stall."""
        if self.expected[1] < 0 and not self._found:
            return 0
        stalled = 0
        overdue = self._overdue(ended)  # it may be over, and the watcher not yet on its feet
        for start, end in reversed(self._found if overdue is None else (*self._found, overdue)):
            if end <= began:
                break
            stalled += max(0, min(end, ended) - max(start, began))
        return min(stalled, ended - began)

    def _overdue(self, now: int) -> tuple[int, int] | None:
        told, due, computed = self.expected
        late = now - due
        if late <= LATE_NS or due < 0:
            return None
        late -= time.process_time_ns() - computed
        if late <= LATE_NS:
            return None
        # It began while the watcher would have slept anyway, nobody knows when: a long one takes more of that.
        return max(told, now - late - late // 4), now


def run_delay_ns(threads: Iterable[int]) -> int:
    """How long these threads (their kernel's ids) have waited for a processor since they began, in all.

    0 where the kernel does not tell (Documentation/scheduler/sched-stats.rst).
    """
    total = 0
    for thread in threads:
        try:
            fd = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            total += int(os.read(fd, 64).split()[1])
        except (OSError, IndexError, ValueError):
            pass
        finally:
            os.close(fd)
    return total
