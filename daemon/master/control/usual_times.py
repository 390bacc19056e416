"""How long requests of a route usually take: what takes longer is slow for it, though not by `log.slow_request`."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from miniwsgi.manager import messages as ms

from ...settings import UNUSUAL_SECONDS

ENOUGH = 100  # requests of the last minute, for a p99
EVERY_SECONDS = 10.0


class UsualTimes:
    """By route, the p99 of the last minute where it had enough requests; as `figures` tells of them."""

    def __init__(self) -> None:
        self.figures: Callable[[], ms.RouteList] | None = None  # None: nobody counts by route
        self._limits: dict[str, float] = {}
        self._due = 0.0

    def __repr__(self) -> str:
        return f"<UsualTimes {self._limits}>"

    @property
    def least(self) -> float:
        """Seconds; what has taken less is usual for every route."""
        return min(self._limits.values(), default=inf)

    def limit_of(self, route: str | None) -> float:
        """Seconds; inf: not known, or log.slow_request comes first."""
        return self._limits.get(route or "", inf)

    def look(self, now: float, slow_seconds: float) -> None:
        """To be called now and then; `now` is of time.monotonic()."""
        if now < self._due or self.figures is None:
            return
        self._due = now + EVERY_SECONDS
        limits = {
            route.name: max(route.duration.p99, UNUSUAL_SECONDS)
            for route in self.figures().routes
            if route.name is not None and route.duration.count >= ENOUGH and route.duration.p99 is not None
        }
        self._limits = {name: limit for name, limit in limits.items() if limit < slow_seconds}
