"""Which routes are told apart, and what was counted of those whose names a slot has given back.

A slot has room for 64 names. A slot that has many gives all of them back when its worker is gone, so that those of old
code leave room to new code: what was counted is OTHER's in the slot, and kept here by name. No figure of a route goes
backwards, whatever reloads bring, until the next master, for whom those requests are OTHER's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import add, sub

from . import scoreboard as sb
from .slot import Slot

OTHER = "_OTHER"
KNOWN_ROUTES = 4 * sb.ROUTES  # the first that a master has seen, for ever: a counter must not go
KEPT_SERIES = 4 * sb.SERIES  # of the past: more only if statuses are many
FULL_NAMES, FULL_SERIES = sb.ROUTES // 2, sb.SERIES_OF_ROUTES // 2  # more than those are given back

Labels = tuple[str, int, str]  # method, status, route: "" without one


class RouteNames:
    """A board's, remembered by its master whatever workers come and go."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._past: dict[Labels, list[int]] = {}

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
            if len(self._known) >= KNOWN_ROUTES:
                return OTHER
            self._known.add(name)
        return name

    def labels(self, key: int, names: Sequence[str]) -> Labels:
        """Of the series with that key, in a slot whose names these are."""
        method, status, number = sb.series_labels(key)
        return method, status, self.name(number, names)

    def take_back(self, slot: Slot) -> None:
        """Let a vacant slot's next worker find room for its routes."""
        names = slot.route_names()
        if len(names) <= FULL_NAMES and slot.series_of_routes() <= FULL_SERIES:
            return
        for key, row in slot.forget_routes():
            labels = self.labels(key, names)
            known = self._past.get(labels)
            if known is not None:
                self._past[labels] = list(map(add, known, row))
            elif labels[2] != OTHER and len(self._past) < KEPT_SERIES:
                self._past[labels] = row

    def with_past(self, found: Mapping[Labels, list[int]]) -> dict[Labels, list[int]]:
        """What slots have counted, each row the cells of a series, with what was given back under its name."""
        told = dict(found)
        for labels, row in self._past.items():
            other = (*labels[:2], OTHER)
            told[labels] = list(map(add, told[labels], row)) if labels in told else row
            told[other] = list(map(sub, told[other], row))  # where forget_routes has put them
            if not any(told[other][sb.S_BUCKETS :]):
                del told[other]
        return told
