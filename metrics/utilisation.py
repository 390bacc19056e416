"""How busy the workers are, as one number for autoscalers: looked at once a second, averaged over ten.

A worker is as busy as the busier of two things: its threads (requests inside the application, or waiting for a thread)
and the one CPU that its interpreter can use. Requests that last show in its threads, short ones on the CPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

LOOKS = 10


class Utilisation:
    """Call `look` about once a second."""

    def __init__(self) -> None:
        self._shares: dict[int, deque[float]] = {}  # by slot: how much of its threads was busy

    def __repr__(self) -> str:
        return f"<Utilisation {self._shares}>"

    def look(self, loads: Iterable[tuple[int, int]], threads: int) -> None:
        """`loads`: each ready worker's slot, and how many requests it runs or has waiting."""
        before, self._shares = self._shares, {}
        for slot, load in loads:
            shares = self._shares[slot] = before.get(slot) or deque(maxlen=LOOKS)
            shares.append(min(1.0, load / max(1, threads)))

    def ratio(self, cpus: Mapping[int, float]) -> float | None:
        """0 to 1; None while nobody is ready. `cpus`: how much of a CPU each slot uses, where that is known."""
        if not self._shares:
            return None
        busy = [max(sum(shares) / len(shares), cpus.get(slot, 0.0)) for slot, shares in self._shares.items()]
        return round(min(1.0, sum(busy) / len(busy)), 4)
