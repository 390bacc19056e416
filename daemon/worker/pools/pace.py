"""Whether the application blocks: learnt from its calls, to decide whether requests are handed over before the call.

Only calls that take long, and those after them, are measured: a fast application pays nothing. Blocked is the time of a
call in which the whole process did not compute: a call that waits for the interpreter, because other threads are busy,
would not be helped by another thread.
"""

from __future__ import annotations

# Of the moving average of the time that the application is blocked in a call: wall time minus the process's CPU time.
SLOW_NS = 500_000  # above it requests are handed over …
FAST_NS = 250_000  # … below it they are run by the loop's own thread again
_WEIGHT = 1 / 64


class Pace:
    """`slow`: hand over. `sample`: measure the next call. Both are set by `judge`, for whoever holds the loop."""

    __slots__ = ("_blocked_ns", "sample", "slow")

    def __init__(self) -> None:
        self.slow = False
        self.sample = False
        self._blocked_ns = 0.0

    def __repr__(self) -> str:
        return f"<Pace {'slow' if self.slow else 'fast'} blocked={self._blocked_ns / 1e6:.2f}ms>"

    def judge(self, blocked_ns: int) -> None:
        """Learn from a call that took long, or was measured."""
        if not self.sample:  # long, but perhaps busy: measure the next ones
            self.sample = True
            self._blocked_ns = 0.0
            return
        self._blocked_ns += (max(0, blocked_ns) - self._blocked_ns) * _WEIGHT
        if self._blocked_ns > SLOW_NS:
            self.slow = True
        elif self._blocked_ns < FAST_NS:
            self.slow = False
            self.sample = self._blocked_ns > FAST_NS / 16
