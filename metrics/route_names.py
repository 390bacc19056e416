"""Which routes are told apart: the first 64 that a daemon's master has seen, for ever; the rest are one."""

from __future__ import annotations

from collections.abc import Sequence

from . import scoreboard as sb

OTHER = "_OTHER"


class RouteNames:
    """Remembers them, whatever workers come and go."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __repr__(self) -> str:
        return f"<RouteNames {len(self._known)}>"

    def name(self, number: int, names: Sequence[str]) -> str:
        """Of a series: its route's name by its number in a slot whose names these are; "" without a route, or OTHER."""
        if number == sb.NO_ROUTE:
            return ""
        if number > len(names):
            return OTHER
        name = names[number - 1]
        if name not in self._known:
            if len(self._known) >= sb.ROUTES:
                return OTHER
            self._known.add(name)
        return name
