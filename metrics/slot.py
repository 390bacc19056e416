"""A slot of the scoreboard, as the worker that holds it writes it, and whoever has the board reads it.

What its cells mean, and who may write them, is in `scoreboard`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat, takewhile
from operator import sub

from . import scoreboard as sb

_KEPT_SERIES = 4 * sb.SERIES
_NO_SERIES = memoryview(bytes(sb.SERIES_CELLS * sb.CELL)).cast("Q")
_MOMENTARY = (
    sb.STATE, sb.PID, sb.GENERATION, sb.STARTED, sb.HEARTBEAT, sb.CONNECTIONS, sb.WAITING, sb.BUSY_THREADS,
)  # fmt: skip


class Slot:
    """One worker's part of the board. `cells` is indexed by `scoreboard`'s constants; hot code uses it directly."""

    __slots__ = ("_routes", "_series", "cells", "index", "memory")

    def __init__(self, index: int, memory: memoryview) -> None:
        self.index = index
        self.memory = memory  # bytes
        self.cells = memory.cast("Q")
        self._series: dict[int, int] = {}
        self._routes: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Slot {self.index} {self.state.name} pid={self.cells[sb.PID]} requests={self.cells[sb.REQUESTS]}>"

    @property
    def state(self) -> sb.SlotState:
        return sb.SlotState(self.cells[sb.STATE])

    @state.setter
    def state(self, state: sb.SlotState) -> None:
        self.cells[sb.STATE] = state

    def vacate(self) -> None:
        """Forget what was momentary about a worker that has been reaped. Called by the master alone."""
        cells = self.cells
        while cells[sb.CLOSED] < cells[sb.ACCEPTED]:
            sb.count_closed(cells, sb.Closed.WORKER_EXIT)
        cells[sb.SOCKETS_CLOSED] = cells[sb.SOCKETS_OPENED]
        for cell in _MOMENTARY:
            cells[cell] = 0
        for thread in range(sb.MAX_THREADS):
            at = sb.THREADS_AT + thread * sb.THREAD_CELLS
            if not cells[at + sb.T_START]:
                break  # threads are numbered from 0 in the order of their first request
            cells[at + sb.T_STATE] = sb.IDLE

    def thread_cell(self, thread: int) -> int:
        """The index in `cells` of a thread's sub-slot."""
        return sb.THREADS_AT + thread * sb.THREAD_CELLS

    def series(self, method: str, status: int, route: int = sb.NO_ROUTE) -> int:
        """The index in `cells` of a labelled series, allocated on first use; `route` is a number that `route` gave.

        When all are taken the request counts under method _OTHER, status 0, for which one is kept.
        """
        return self._series_at(sb.series_key(method, status, route))

    def _series_at(self, key: int) -> int:
        found = self._series.get(key)
        if found is None:
            found = self._allocate(key)
            if len(self._series) < _KEPT_SERIES:
                self._series[key] = found
        return found

    def _allocate(self, key: int) -> int:
        cells = self.cells
        for number in range(sb.SERIES - 1):
            at = sb.SERIES_AT + number * sb.SERIES_CELLS
            if cells[at + sb.S_KEY] == key:
                return at
            if not cells[at + sb.S_KEY]:
                if number >= sb.SERIES_OF_ROUTES and sb.has_route(key):
                    cells[sb.SERIES_LOST] += 1
                    return self._allocate(sb.with_route(key, sb.OTHER_ROUTE))
                cells[at + sb.S_KEY] = key
                return at
        at = sb.SERIES_AT + (sb.SERIES - 1) * sb.SERIES_CELLS
        cells[at + sb.S_KEY] = sb.OVERFLOW_KEY
        cells[sb.SERIES_LOST] += 1
        return at

    def route(self, name: str) -> int:
        """The number of a route, allocated on first use: OTHER_ROUTE when all 64 are taken. Long names are cut."""
        found = self._routes.get(name)
        if found is None:
            found = self._allocate_route(name.encode("utf-8", "replace")[: sb.ROUTE_BYTES])
            if len(self._routes) < 4 * sb.ROUTES:
                self._routes[name] = found
        return found

    def _allocate_route(self, name: bytes) -> int:
        memory = self.memory
        for number in range(sb.ROUTES):
            at = (sb.ROUTES_AT + number * sb.ROUTE_CELLS) * sb.CELL
            length = memory[at]
            if not length:
                memory[at + 1 : at + 1 + len(name)] = name
                memory[at] = len(name)
                return number + 1
            if memory[at + 1 : at + 1 + length] == name:
                return number + 1
        self.cells[sb.SERIES_LOST] += 1
        return sb.OTHER_ROUTE

    def route_name(self, number: int) -> str:
        """Of a number that `route` gave, from 1; "" if it is nobody's."""
        at = (sb.ROUTES_AT + (number - 1) * sb.ROUTE_CELLS) * sb.CELL
        return bytes(self.memory[at + 1 : at + 1 + self.memory[at]]).decode("utf-8", "ignore")  # it may be cut

    def route_names(self) -> list[str]:
        """By number, from 1: the first has number 1."""
        return list(takewhile(bool, map(self.route_name, range(1, sb.ROUTES + 1))))

    def series_of_routes(self) -> int:
        """How many series have a route's name."""
        keys = self.cells[sb.SERIES_AT : sb.SERIES_AT + sb.SERIES * sb.SERIES_CELLS : sb.SERIES_CELLS].tolist()
        return sum(sb.has_route(key) for key in keys if key)

    def forget_routes(self) -> list[tuple[int, list[int]]]:
        """Count what has a route's name under OTHER_ROUTE, which is told: keys, and the cells with a key of 0.

        Called by the master alone, while the slot is vacant.
        """
        cells, told, kept = self.cells, [], []
        for number in range(sb.SERIES):
            at = sb.SERIES_AT + number * sb.SERIES_CELLS
            if not (key := cells[at + sb.S_KEY]):
                continue
            row = [0, *cells[at + sb.S_SUM : at + sb.SERIES_CELLS].tolist()]
            if sb.has_route(key):
                told.append((key, row))
                key = sb.with_route(key, sb.OTHER_ROUTE)
            kept.append((key, row))
            cells[at : at + sb.SERIES_CELLS] = _NO_SERIES
        self._series.clear()
        self._routes.clear()
        for key, row in kept:
            at = sb.SERIES_AT + (sb.SERIES - 1) * sb.SERIES_CELLS if key == sb.OVERFLOW_KEY else self._allocate(key)
            cells[at + sb.S_KEY] = key
            for offset in range(sb.S_SUM, sb.SERIES_CELLS):
                cells[at + offset] += row[offset]
        for number in range(sb.ROUTES):
            self.memory[(sb.ROUTES_AT + number * sb.ROUTE_CELLS) * sb.CELL] = 0
        for number in range(sb.BUCKETS):  # they tell of a series by its key
            cells[sb.EXEMPLARS_AT + number * sb.EXEMPLAR_CELLS] = 0
        return told

    def record(self, method: str, status: int, duration_ns: int) -> None:
        """Count one answered request. Called by whoever holds the worker's loop."""
        cells = self.cells
        at = self.series(method, status)
        cells[at + sb.S_SUM] += duration_ns
        cells[at + sb.S_BUCKETS + sb.bucket(duration_ns)] += 1
        cells[sb.REQUESTS] += 1

    def keep_exemplar(self, series: int, duration_ns: int, trace_id: str, span_id: str, at_ns: int) -> None:
        """A request in the series that lies at `series` belongs to a trace. Called by whoever holds the loop."""
        ids = int(trace_id[:16], 16), int(trace_id[16:], 16), int(span_id, 16)
        self._put_exemplar(sb.bucket(duration_ns), (at_ns, self.cells[series + sb.S_KEY], duration_ns, *ids))

    def _put_exemplar(self, number: int, values: Sequence[int]) -> None:
        cells, at = self.cells, sb.EXEMPLARS_AT + number * sb.EXEMPLAR_CELLS
        cells[at] = 0
        for offset in range(1, sb.EXEMPLAR_CELLS):
            cells[at + offset] = values[offset]
        cells[at] = values[0]

    def exemplars(self) -> list[sb.Exemplar]:
        """Those that are whole."""
        found = []
        for number, written in enumerate(self._exemplar_times()):
            if written and (values := self._whole_exemplar(number)):
                at_ns, series, duration_ns, high, low, span = values
                found.append(sb.Exemplar(series, duration_ns, f"{high:016x}{low:016x}", f"{span:016x}", at_ns))
        return found

    def _exemplar_times(self) -> list[int]:
        return self.cells[
            sb.EXEMPLARS_AT : sb.EXEMPLARS_AT + sb.BUCKETS * sb.EXEMPLAR_CELLS : sb.EXEMPLAR_CELLS
        ].tolist()

    def _whole_exemplar(self, number: int) -> list[int]:
        """Its cells; none if it is being written."""
        at = sb.EXEMPLARS_AT + number * sb.EXEMPLAR_CELLS
        values = self.cells[at : at + sb.EXEMPLAR_CELLS].tolist()
        return values if values[sb.E_AT] and values[sb.E_AT] == self.cells[at + sb.E_AT] else []

    def fold(self, other: Slot, seen: dict[int, list[int]]) -> None:
        """Add what `other` has counted since the last time; `seen` remembers it, by its first cell (empty at first).

        For counters that another process writes, and for slots that are given up.
        """
        cells = self.cells
        for offset, more in _grown(other.cells, sb.COUNTERS.start, sb.COUNTERS.stop, seen):
            cells[sb.COUNTERS.start + offset] += more
        for number in range(sb.SERIES):
            at = sb.SERIES_AT + number * sb.SERIES_CELLS
            key = other.cells[at + sb.S_KEY]
            if not key:
                break
            if grown := _grown(other.cells, at + sb.S_SUM, at + sb.SERIES_CELLS, seen):
                mine = self._series_for(key, other) + sb.S_SUM
                for offset, more in grown:
                    cells[mine + offset] += more
        times = zip(other._exemplar_times(), self._exemplar_times(), strict=True)
        for number, (theirs, ours) in enumerate(times):
            if theirs > ours and (values := other._whole_exemplar(number)):
                values[sb.E_SERIES] = cells[self._series_for(values[sb.E_SERIES], other) + sb.S_KEY]
                self._put_exemplar(number, values)

    def set_back(self, seen: Mapping[int, Sequence[int]]) -> None:
        """Forget what another slot has seen by `fold`. For memory that is used again, when its process has ended."""
        for start, row in seen.items():
            self.cells[start : start + len(row)] = memoryview(bytes(len(row) * sb.CELL)).cast("Q")

    def _series_for(self, key: int, other: Slot) -> int:
        """Our series for one of another slot, whose routes have numbers of its own."""
        if sb.has_route(key):
            key = sb.with_route(key, self.route(other.route_name(sb.route_of(key))))
        return self._series_at(key)

    def running(self) -> list[sb.Running]:
        """The requests that the slot's threads are inside, in the order of threads."""
        found = []
        cells = self.cells
        for thread in range(sb.MAX_THREADS):
            at = sb.THREADS_AT + thread * sb.THREAD_CELLS
            started = cells[at + sb.T_START]
            if not started:
                break
            if cells[at + sb.T_STATE] == sb.RUNNING:
                method, path = _request_line(bytes(self.memory[(at + sb.T_TEXT) * sb.CELL :][: sb.TEXT_BYTES]))
                found.append(sb.Running(thread, started, method, path, self._request_id(at), cells[at + sb.T_IDENT]))
        return found

    def _request_id(self, at: int) -> str:
        if number := self.cells[at + sb.T_NUMBER]:
            return f"{self.cells[at + sb.T_PREFIX]:016x}-{number}"
        given = bytes(self.memory[(at + sb.T_GIVEN) * sb.CELL :][: sb.GIVEN_BYTES])
        return given.partition(b"\0")[0].decode("ascii", "replace")

    def show_given_id(self, at: int, request_id: str) -> None:
        """Put the id of a request that brought its own into the sub-slot at `at`."""
        data = request_id.encode("ascii", "replace").ljust(sb.GIVEN_BYTES, b"\0")[: sb.GIVEN_BYTES]
        self.memory[(at + sb.T_GIVEN) * sb.CELL : (at + sb.T_GIVEN) * sb.CELL + sb.GIVEN_BYTES] = data
        self.cells[at + sb.T_NUMBER] = 0


def _grown(cells: memoryview[int], start: int, stop: int, seen: dict[int, list[int]]) -> list[tuple[int, int]]:
    """By how much which of these cells have grown since they were `seen`, where they are from now on."""
    now, before = cells[start:stop].tolist(), seen.get(start)
    if now == before:
        return []
    seen[start] = now
    return [(at, more) for at, more in enumerate(map(sub, now, before or repeat(0))) if more]


def _request_line(text: bytes) -> tuple[str, str]:
    parts = text.split(b"\r", 1)[0].split(b"\0", 1)[0].split(b" ")
    method = parts[0].decode("latin-1")
    path = parts[1].split(b"?", 1)[0].decode("latin-1") if len(parts) > 1 else ""
    return method, path
