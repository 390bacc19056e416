"""The scoreboard: what every worker is doing and has done, in shared memory (a memfd).

Written by workers without locks, read by the master at any time. A cell is eight bytes, aligned, and is written only
through `memoryview.cast("Q")`, which is one store (struct.pack_into is not: it tears). Each cell has one writer at a
time: a slot's counters belong to whoever holds the worker's loop, a thread's cells to that thread. Counters are
cumulative over the workers that held the slot and are never set back. Times are `time.monotonic_ns()`.

    header | slot 0 | slot 1 | …      slot = counters | labelled series | names of routes | thread 0 | … | exemplars
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import repeat, takewhile
from operator import sub
from typing import NamedTuple

LAYOUT = 8  # raise it with every change of what a cell means or where it lies

MAX_SLOTS = 512
MAX_THREADS = 257  # 256 that run the application and the one that keeps the loop

CELL = 8


class SlotState(IntEnum):
    """A slot's state. Written by the worker that holds it, by the master only while it is vacant."""

    VACANT = 0
    BOOTING = 1
    READY = 2
    DRAINING = 3
    STOPPED = 4  # about to exit


# --- a slot's cells, from its start ----------------------------------------------------------------------------------
(
    STATE,
    PID,
    GENERATION,
    STARTED,  # when the worker was forked
    HEARTBEAT,  # when the loop last turned
    CONNECTIONS,  # open now
    WAITING,  # complete requests that wait for a thread, now
    BUSY_THREADS,  # threads given a request, now (what is run by the loop's own thread is in its sub-slot)
    REQUESTS,  # answered by the application
    ACCEPTED,  # connections
    CLOSED,
    FIRSTS,  # requests that were the first of their connection
    INLINE,  # requests run by the thread that held the loop, to their end
    HANDED_OVER,  # requests given to another thread before the call
    TAKEN_OVER,  # calls during which another thread took the loop
    REJECTED,  # protocol errors and limits answered by the server
    ABORTED,  # clients gone before their response was complete
    TIMED_OUT,  # requests beyond request_timeout
    ERRORS,  # exceptions from the application
    BYTES_IN,  # request bodies
    BYTES_OUT,  # response bodies
    LOG_LOST,  # log lines dropped because nobody read them
    SERIES_LOST,  # labels that found no series or route left, each counted once a worker
    QUEUE_SUM,  # ns between a complete request and the application's start
    CLIENTS_LEFT,  # of the aborted: those that left by themselves
    SEND_TIMEOUTS,  # of the aborted: those that did not read
    SOCKETS_OPENED,  # connections that the application has taken over (WebSockets) …
    SOCKETS_CLOSED,  # … and those of them that are over
    SOCKETS_NS,  # how long those were open, in all
) = range(29)


class Closed(IntEnum):
    """Why a connection was closed; `CLOSED_BY + reason` is the counter."""

    CLIENT = 0  # it closed, or its last request said so
    SERVER = 1  # draining, recycling, or the application said so
    IDLE = 2  # keep_alive
    TIMEOUT = 3  # of a head, a body, a request, or a client that does not read
    REFUSED = 4  # after an error answer of the server's
    ABORTED = 5  # in the middle of a response
    WORKER_EXIT = 6  # with its process; counted by the master
    OPENING = 7  # what has to come before the first request was not as it should be


class Handshake(IntEnum):
    """What a TLS handshake has come to; `HANDSHAKES + result` is the counter."""

    COMPLETE = 0
    RESUMED = 1  # complete, with the keys of an earlier one
    REFUSED = 2  # no version or cipher in common, no good client certificate, or no TLS at all
    PLAIN = 3  # HTTP without TLS: answered with 400
    TIMEOUT = 4  # of timeouts.handshake
    LEFT = 5  # the client left before its end


REJECTED_STATUSES = (400, 408, 413, 414, 417, 431, 501, 503, 505)
LOG_LEVELS = ("debug", "info", "warning", "error")

CLOSED_BY = 32
REJECTED_BY = CLOSED_BY + len(Closed)  # by place in REJECTED_STATUSES, others last
LOGGED = REJECTED_BY + len(REJECTED_STATUSES) + 1  # by place in LOG_LEVELS
QUEUE_BUCKETS = LOGGED + len(LOG_LEVELS)

# Upper bounds in ns. Each is at most a quarter above the one below it, so that a percentile is known to a quarter;
# OpenTelemetry's bounds for http.server.request.duration, and three below its first, are among them.
_STEPS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.5, 9.0)
BOUNDS_NS = (
    *(int(step * decade) for decade in (10**5, 10**6, 10**7, 10**8, 10**9) for step in _STEPS),
    *(seconds * 10**9 for seconds in (10, 12, 15, 18, 22, 27, 33, 40, 50, 60)),
)
BUCKETS = len(BOUNDS_NS) + 1

# Sizes of bodies, in bytes: 256, 1024, … 1 GiB, ×4.
SIZE_BOUNDS = tuple(4**power for power in range(4, 16))
SIZE_BUCKETS = len(SIZE_BOUNDS) + 1
REQUEST_SIZES = QUEUE_BUCKETS + BUCKETS  # of the requests that have a body
RESPONSE_SIZES = REQUEST_SIZES + SIZE_BUCKETS
HANDSHAKES = RESPONSE_SIZES + SIZE_BUCKETS
COUNTERS = range(8, HANDSHAKES + len(Handshake))  # the cells of a slot that only grow, but for the series
# The bucket of a size, by `(size - 1).bit_length()`: quicker than a search.
SIZE_BUCKET = tuple(min(max(0, (bits - 7) // 2), SIZE_BUCKETS - 1) for bits in range(65))
assert COUNTERS.start == REQUESTS
assert COUNTERS.stop <= 512

# --- labelled series: requests by method and status (and route), allocated on first use ------------------------------
SERIES = 256
SERIES_OF_ROUTES = 224  # beyond these a new route's requests count under OTHER_ROUTE: methods and statuses stay true
SERIES_AT = 512  # the slot's second page
(
    S_KEY,
    S_SUM,  # ns of durations
    S_SENT,  # bytes of response bodies: of requests whose environ has a route, be it ""
    S_QUEUED,  # ns of these durations between a complete request and its start
    S_CPU,  # ns that threads have computed, sampled and extrapolated; 0: not known
    S_BUCKETS,
) = range(6)
SERIES_CELLS = S_BUCKETS + BUCKETS
METHODS = (
    "_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
)  # fmt: skip
_METHOD_NUMBER = {name: number for number, name in enumerate(METHODS)}
_IN_USE = 1 << 63
_KEPT_SERIES = 4 * SERIES
_NO_SERIES = memoryview(bytes(SERIES_CELLS * CELL)).cast("Q")
NO_ROUTE, OTHER_ROUTE = 0, 65535

# --- the names of routes, in the order of their first use; a route's number is its place, from 1 ----------------------
ROUTES = 64
ROUTES_AT = SERIES_AT + ((SERIES * SERIES_CELLS + 511) // 512) * 512
ROUTE_CELLS = 16
ROUTE_BYTES = ROUTE_CELLS * CELL - 1  # of UTF-8; the first byte is the length, written last

# --- one sub-slot a thread: what it is running -----------------------------------------------------------------------
THREADS_AT = ROUTES_AT + ROUTES * ROUTE_CELLS
(
    T_STATE,  # idle or running
    T_START,  # since when
    T_PREFIX,  # the request's id: what ids of its process begin with
    T_NUMBER,  # and its number; 0: the id was given, and is in T_GIVEN
    T_IDENT,  # which thread it is in a dump of stacks: threading.get_ident(); 0: in none of this process
    T_TEXT,  # its first bytes as received
) = range(6)
T_GIVEN = 32
TEXT_BYTES = (T_GIVEN - T_TEXT) * CELL
GIVEN_BYTES = 128
THREAD_CELLS = T_GIVEN + GIVEN_BYTES // CELL
IDLE, RUNNING = 0, 1

# --- exemplars: of each bucket of durations the last request of a trace that is kept ----------------------------------
EXEMPLARS_AT = THREADS_AT + ((MAX_THREADS * THREAD_CELLS + 511) // 512) * 512
(
    E_AT,  # ns since the epoch, written first as 0 and last: what lies in between is whole if it was the same twice
    E_SERIES,  # the series' key
    E_DURATION,  # ns
    E_TRACE,  # the trace's id, in two cells …
    _E_TRACE_LOW,
    E_SPAN,  # … and the span's
) = range(6)
EXEMPLAR_CELLS = 6

SLOT_CELLS = EXEMPLARS_AT + ((BUCKETS * EXEMPLAR_CELLS + 511) // 512) * 512
SLOT_BYTES = SLOT_CELLS * CELL


class Running(NamedTuple):
    """A request that a thread is running now."""

    thread: int
    started_ns: int
    method: str
    path: str  # without its query: that may carry secrets
    request_id: str = ""
    ident: int = 0  # of the thread in a dump of stacks


class Exemplar(NamedTuple):
    """A request that is an example of its series, and the trace that it belongs to."""

    series: int  # the series' key
    duration_ns: int
    trace_id: str
    span_id: str
    at_ns: int  # since the epoch


class Slot:
    """One worker's part of the board. `cells` is indexed by the constants above; hot code uses it directly."""

    __slots__ = ("_routes", "_series", "cells", "index", "memory")

    def __init__(self, index: int, memory: memoryview) -> None:
        self.index = index
        self.memory = memory  # bytes
        self.cells = memory.cast("Q")
        self._series: dict[int, int] = {}
        self._routes: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Slot {self.index} {self.state.name} pid={self.cells[PID]} requests={self.cells[REQUESTS]}>"

    @property
    def state(self) -> SlotState:
        return SlotState(self.cells[STATE])

    @state.setter
    def state(self, state: SlotState) -> None:
        self.cells[STATE] = state

    def vacate(self) -> None:
        """Forget what was momentary about a worker that has been reaped. Called by the master alone."""
        cells = self.cells
        while cells[CLOSED] < cells[ACCEPTED]:
            count_closed(cells, Closed.WORKER_EXIT)
        cells[SOCKETS_CLOSED] = cells[SOCKETS_OPENED]
        for cell in (STATE, PID, GENERATION, STARTED, HEARTBEAT, CONNECTIONS, WAITING, BUSY_THREADS):
            cells[cell] = 0
        for thread in range(MAX_THREADS):
            at = THREADS_AT + thread * THREAD_CELLS
            if not cells[at + T_START]:
                break  # threads are numbered from 0 in the order of their first request
            cells[at + T_STATE] = IDLE

    def thread_cell(self, thread: int) -> int:
        """The index in `cells` of a thread's sub-slot."""
        return THREADS_AT + thread * THREAD_CELLS

    def series(self, method: str, status: int, route: int = NO_ROUTE) -> int:
        """The index in `cells` of a labelled series, allocated on first use; `route` is a number that `route` gave.

        When all are taken the request counts under method _OTHER, status 0, for which one is kept.
        """
        return self._series_at(_IN_USE | route << 32 | status << 8 | _METHOD_NUMBER.get(method, 0))

    def _series_at(self, key: int) -> int:
        found = self._series.get(key)
        if found is None:
            found = self._allocate(key)
            if len(self._series) < _KEPT_SERIES:
                self._series[key] = found
        return found

    def _allocate(self, key: int) -> int:
        cells = self.cells
        for number in range(SERIES - 1):
            at = SERIES_AT + number * SERIES_CELLS
            if cells[at + S_KEY] == key:
                return at
            if not cells[at + S_KEY]:
                if number >= SERIES_OF_ROUTES and _route_of(key) not in {NO_ROUTE, OTHER_ROUTE}:
                    cells[SERIES_LOST] += 1
                    return self._allocate(key | OTHER_ROUTE << 32)
                cells[at + S_KEY] = key
                return at
        at = SERIES_AT + (SERIES - 1) * SERIES_CELLS
        cells[at + S_KEY] = _IN_USE
        cells[SERIES_LOST] += 1
        return at

    def route(self, name: str) -> int:
        """The number of a route, allocated on first use: OTHER_ROUTE when all 64 are taken. Long names are cut."""
        found = self._routes.get(name)
        if found is None:
            found = self._allocate_route(name.encode("utf-8", "replace")[:ROUTE_BYTES])
            if len(self._routes) < 4 * ROUTES:
                self._routes[name] = found
        return found

    def _allocate_route(self, name: bytes) -> int:
        memory = self.memory
        for number in range(ROUTES):
            at = (ROUTES_AT + number * ROUTE_CELLS) * CELL
            length = memory[at]
            if not length:
                memory[at + 1 : at + 1 + len(name)] = name
                memory[at] = len(name)
                return number + 1
            if memory[at + 1 : at + 1 + length] == name:
                return number + 1
        self.cells[SERIES_LOST] += 1
        return OTHER_ROUTE

    def route_name(self, number: int) -> str:
        """Of a number that `route` gave, from 1; "" if it is nobody's."""
        at = (ROUTES_AT + (number - 1) * ROUTE_CELLS) * CELL
        return bytes(self.memory[at + 1 : at + 1 + self.memory[at]]).decode("utf-8", "ignore")  # it may be cut

    def route_names(self) -> list[str]:
        """By number, from 1: the first has number 1."""
        return list(takewhile(bool, map(self.route_name, range(1, ROUTES + 1))))

    def series_of_routes(self) -> int:
        """How many series have a route's name."""
        keys = self.cells[SERIES_AT : SERIES_AT + SERIES * SERIES_CELLS : SERIES_CELLS].tolist()
        return sum(_route_of(key) not in {NO_ROUTE, OTHER_ROUTE} for key in keys if key)

    def forget_routes(self) -> list[tuple[int, list[int]]]:
        """Count what has a route's name under OTHER_ROUTE, which is told: keys, and the cells with a key of 0.

        Called by the master alone, while the slot is vacant.
        """
        cells, told, kept = self.cells, [], []
        for number in range(SERIES):
            at = SERIES_AT + number * SERIES_CELLS
            if not (key := cells[at + S_KEY]):
                continue
            row = [0, *cells[at + S_SUM : at + SERIES_CELLS].tolist()]
            if _route_of(key) not in {NO_ROUTE, OTHER_ROUTE}:
                told.append((key, row))
                key |= OTHER_ROUTE << 32
            kept.append((key, row))
            cells[at : at + SERIES_CELLS] = _NO_SERIES
        self._series.clear()
        self._routes.clear()
        for key, row in kept:
            at = SERIES_AT + (SERIES - 1) * SERIES_CELLS if key == _IN_USE else self._allocate(key)
            cells[at + S_KEY] = key
            for offset in range(S_SUM, SERIES_CELLS):
                cells[at + offset] += row[offset]
        for number in range(ROUTES):
            self.memory[(ROUTES_AT + number * ROUTE_CELLS) * CELL] = 0
        for number in range(BUCKETS):  # they tell of a series by its key
            cells[EXEMPLARS_AT + number * EXEMPLAR_CELLS] = 0
        return told

    def record(self, method: str, status: int, duration_ns: int) -> None:
        """Count one answered request. Called by whoever holds the worker's loop."""
        cells = self.cells
        at = self.series(method, status)
        cells[at + S_SUM] += duration_ns
        cells[at + S_BUCKETS + bucket(duration_ns)] += 1
        cells[REQUESTS] += 1

    def keep_exemplar(self, series: int, duration_ns: int, trace_id: str, span_id: str, at_ns: int) -> None:
        """A request in the series that lies at `series` belongs to a trace. Called by whoever holds the loop."""
        ids = int(trace_id[:16], 16), int(trace_id[16:], 16), int(span_id, 16)
        self._put_exemplar(bucket(duration_ns), (at_ns, self.cells[series + S_KEY], duration_ns, *ids))

    def _put_exemplar(self, number: int, values: Sequence[int]) -> None:
        cells, at = self.cells, EXEMPLARS_AT + number * EXEMPLAR_CELLS
        cells[at] = 0
        for offset in range(1, EXEMPLAR_CELLS):
            cells[at + offset] = values[offset]
        cells[at] = values[0]

    def exemplars(self) -> list[Exemplar]:
        """Those that are whole."""
        found = []
        for number, written in enumerate(self._exemplar_times()):
            if written and (values := self._whole_exemplar(number)):
                at_ns, series, duration_ns, high, low, span = values
                found.append(Exemplar(series, duration_ns, f"{high:016x}{low:016x}", f"{span:016x}", at_ns))
        return found

    def _exemplar_times(self) -> list[int]:
        return self.cells[EXEMPLARS_AT : EXEMPLARS_AT + BUCKETS * EXEMPLAR_CELLS : EXEMPLAR_CELLS].tolist()

    def _whole_exemplar(self, number: int) -> list[int]:
        """Its cells; none if it is being written."""
        at = EXEMPLARS_AT + number * EXEMPLAR_CELLS
        values = self.cells[at : at + EXEMPLAR_CELLS].tolist()
        return values if values[E_AT] and values[E_AT] == self.cells[at + E_AT] else []

    def fold(self, other: Slot, seen: dict[int, list[int]]) -> None:
        """Add what `other` has counted since the last time; `seen` remembers it, by its first cell (empty at first).

        For counters that another process writes, and for slots that are given up.
        """
        cells = self.cells
        for offset, more in _grown(other.cells, COUNTERS.start, COUNTERS.stop, seen):
            cells[COUNTERS.start + offset] += more
        for number in range(SERIES):
            at = SERIES_AT + number * SERIES_CELLS
            key = other.cells[at + S_KEY]
            if not key:
                break
            if grown := _grown(other.cells, at + S_SUM, at + SERIES_CELLS, seen):
                mine = self._series_for(key, other) + S_SUM
                for offset, more in grown:
                    cells[mine + offset] += more
        times = zip(other._exemplar_times(), self._exemplar_times(), strict=True)
        for number, (theirs, ours) in enumerate(times):
            if theirs > ours and (values := other._whole_exemplar(number)):
                values[E_SERIES] = cells[self._series_for(values[E_SERIES], other) + S_KEY]
                self._put_exemplar(number, values)

    def set_back(self, seen: Mapping[int, Sequence[int]]) -> None:
        """Forget what another slot has seen by `fold`. For memory that is used again, when its process has ended."""
        for start, row in seen.items():
            self.cells[start : start + len(row)] = memoryview(bytes(len(row) * CELL)).cast("Q")

    def _series_for(self, key: int, other: Slot) -> int:
        """Our series for one of another slot, whose routes have numbers of its own."""
        route = _route_of(key)
        if route not in {NO_ROUTE, OTHER_ROUTE}:
            key = key & ~(OTHER_ROUTE << 32) | self.route(other.route_name(route)) << 32
        return self._series_at(key)

    def running(self) -> list[Running]:
        """The requests that the slot's threads are inside, in the order of threads."""
        found = []
        cells = self.cells
        for thread in range(MAX_THREADS):
            at = THREADS_AT + thread * THREAD_CELLS
            started = cells[at + T_START]
            if not started:
                break
            if cells[at + T_STATE] == RUNNING:
                method, path = _request_line(bytes(self.memory[(at + T_TEXT) * CELL :][:TEXT_BYTES]))
                found.append(Running(thread, started, method, path, self._request_id(at), cells[at + T_IDENT]))
        return found

    def _request_id(self, at: int) -> str:
        if number := self.cells[at + T_NUMBER]:
            return f"{self.cells[at + T_PREFIX]:016x}-{number}"
        given = bytes(self.memory[(at + T_GIVEN) * CELL :][:GIVEN_BYTES])
        return given.partition(b"\0")[0].decode("ascii", "replace")

    def show_given_id(self, at: int, request_id: str) -> None:
        """Put the id of a request that brought its own into the sub-slot at `at`."""
        data = request_id.encode("ascii", "replace").ljust(GIVEN_BYTES, b"\0")[:GIVEN_BYTES]
        self.memory[(at + T_GIVEN) * CELL : (at + T_GIVEN) * CELL + GIVEN_BYTES] = data
        self.cells[at + T_NUMBER] = 0


def count_closed(cells: memoryview[int], reason: Closed) -> None:
    """A connection is closed."""
    cells[CLOSED] += 1
    cells[CLOSED_BY + reason] += 1


def open_sockets(cells: Sequence[int]) -> int:
    """How many connections the application has taken over and not yet left."""
    return cells[SOCKETS_OPENED] - cells[SOCKETS_CLOSED]


def _grown(cells: memoryview[int], start: int, stop: int, seen: dict[int, list[int]]) -> list[tuple[int, int]]:
    """By how much which of these cells have grown since they were `seen`, where they are from now on."""
    now, before = cells[start:stop].tolist(), seen.get(start)
    if now == before:
        return []
    seen[start] = now
    return [(at, more) for at, more in enumerate(map(sub, now, before or repeat(0))) if more]


def bucket(duration_ns: int) -> int:
    """The histogram bucket of a duration: the first bound that is not below it (Prometheus' `le`)."""
    return bisect_left(BOUNDS_NS, duration_ns)


def series_labels(key: int) -> tuple[str, int, int]:
    """A series' method, status (0: the overflow series) and route number."""
    return METHODS[key & 0xFF], key >> 8 & 0xFFFFFF, _route_of(key)


def _route_of(key: int) -> int:
    return (key & ~_IN_USE) >> 32


def _request_line(text: bytes) -> tuple[str, str]:
    parts = text.split(b"\r", 1)[0].split(b"\0", 1)[0].split(b" ")
    method = parts[0].decode("latin-1")
    path = parts[1].split(b"?", 1)[0].decode("latin-1") if len(parts) > 1 else ""
    return method, path
