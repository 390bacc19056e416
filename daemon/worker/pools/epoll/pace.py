"""Whether the application blocks, to decide whether requests are handed over before the call.

Handing over costs each request the way to another thread. Where most calls do not block they are made by the owner of
the loop all the same, and a relief stands by for the others (`ThreadPool.stand_by`), if the engine allows for that.

Nothing is measured for it but how long calls take, which is known anyway. A few times a second the long ones are
weighed by the share of that time in which the process did not compute and could have been run. A call that is long
because it computes, because it waits for the interpreter that others keep busy, or because nobody ran it (see
`stalls`), would not be helped by another thread.
"""

from __future__ import annotations

from collections.abc import Callable

from ....unpatched import time
from .stalls import Stalls

LONG_NS = 500_000  # a call that may have blocked
# Of the mean time that a request is blocked:
SLOW_NS = 500_000  # above it requests are handed over …
FAST_NS = 250_000  # … below it they are run by the loop's own thread again,
SATURATED_IDLE = 0.1  # a process that computes nearly always has no use for threads
PATIENCE_NS = 2_000_000_000  # but only after this time: one request in fifty that blocks is enough for threads


class Pace:
    """`slow`: hand over; `mixed`: have a relief stand by. Everything here belongs to the owner of the loop."""

    __slots__ = (
        "_blocks", "_computed_ns", "_delay_ns", "_delayed_ns", "_long_calls", "_long_ns", "_looked_ns", "_mean_ns",
        "_relief", "_requests", "_stalled_ns", "_stalls", "_until_ns", "mixed", "slow",
    )  # fmt: skip

    def __init__(self, requests: int, stalls: Stalls, delay_ns: Callable[[], int], *, relief: bool = False) -> None:
        """`requests`: how many have been answered in this slot so far; `delay_ns`: how long the threads that run them
        have waited for a processor so far; `relief`: whether one can stand by."""
        self.slow = self.mixed = self._blocks = False
        self._relief = relief
        self._long_calls = 0
        self._stalls = stalls
        self._delay_ns = delay_ns
        self._requests = requests
        self._long_ns = 0  # of long calls since the last look …
        self._stalled_ns = 0  # … and of that in stalls
        self._delayed_ns = delay_ns()
        self._mean_ns = 0.0
        self._looked_ns = time.monotonic_ns()
        self._computed_ns = time.process_time_ns()
        self._until_ns = 0  # slow at least until then

    def __repr__(self) -> str:
        pace = "slow" if self.slow else "mixed" if self.mixed else "fast"
        return f"<Pace {pace} blocked={self._mean_ns / 1e6:.2f}ms>"

    def long_call(self, began_ns: int, ended_ns: int) -> None:
        """A call took LONG_NS or more."""
        self._long_calls += 1
        self._long_ns += ended_ns - began_ns
        self._stalled_ns += self._stalls.within(began_ns, ended_ns)

    def look(self, requests: int, now: int) -> None:
        """Decide for the time to come; `requests` as before, `now` monotonic ns."""
        computed, long = time.process_time_ns(), self._long_ns
        kept_ns = self._stalled_ns
        if not self._blocks:  # many threads wait for a processor side by side: that says nothing of each call
            delayed = self._delay_ns()
            kept_ns += delayed - self._delayed_ns
            self._delayed_ns = delayed
        computing = (computed - self._computed_ns) / max(1, min(long, now - self._looked_ns))
        idle = 1 - computing - kept_ns / max(1, long)
        if idle < SATURATED_IDLE:
            idle = 0.0
        self._mean_ns = mean = long * idle / max(1, requests - self._requests)
        if mean > SLOW_NS:
            self._blocks = True
            self._until_ns = now + PATIENCE_NS
        elif mean < FAST_NS and self._blocks and now > self._until_ns:
            self._blocks = False
            self._delayed_ns = self._delay_ns()
        self.mixed = self._blocks and self._relief and 2 * self._long_calls <= requests - self._requests
        self.slow = self._blocks and not self.mixed
        self._requests, self._looked_ns, self._computed_ns = requests, now, computed
        self._long_calls = self._long_ns = self._stalled_ns = 0
