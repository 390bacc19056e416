"""The scoreboard: what every worker is doing and has done, in shared memory (a memfd).

Written by workers without locks, read by the master at any time. A cell is eight bytes, aligned, and is written only
through `memoryview.cast("Q")`, which is one store (struct.pack_into is not: it tears). Each cell has one writer at a
time: a slot's counters belong to whoever holds the worker's loop, a thread's cells to that thread. Counters are
cumulative over the workers that held the slot and are never set back. Times are `time.monotonic_ns()`.

    header | slot 0 | slot 1 | …      slot = counters | labelled series | names of routes | thread 0 | … | exemplars
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from enum import IntEnum
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
OVERFLOW_KEY = _IN_USE  # of the last series, where requests count for which none was left: method _OTHER, status 0
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


def count_closed(cells: memoryview[int], reason: Closed) -> None:
    """A connection is closed."""
    cells[CLOSED] += 1
    cells[CLOSED_BY + reason] += 1


def open_sockets(cells: Sequence[int]) -> int:
    """How many connections the application has taken over and not yet left."""
    return cells[SOCKETS_OPENED] - cells[SOCKETS_CLOSED]


def bucket(duration_ns: int) -> int:
    """The histogram bucket of a duration: the first bound that is not below it (Prometheus' `le`)."""
    return bisect_left(BOUNDS_NS, duration_ns)


def series_key(method: str, status: int, route: int) -> int:
    """Of the series of such requests; `route` is a number that the slot's `route` gave."""
    return _IN_USE | route << 32 | status << 8 | _METHOD_NUMBER.get(method, 0)


def series_labels(key: int) -> tuple[str, int, int]:
    """A series' method, status (0: the overflow series) and route number."""
    return METHODS[key & 0xFF], key >> 8 & 0xFFFFFF, route_of(key)


def route_of(key: int) -> int:
    """The number of a series' route in its slot."""
    return (key & ~_IN_USE) >> 32


def has_route(key: int) -> bool:
    """Whether it is that of a route with a name."""
    return route_of(key) not in {NO_ROUTE, OTHER_ROUTE}


def with_route(key: int, route: int) -> int:
    """The key of the same requests with another route."""
    return key & ~(OTHER_ROUTE << 32) | route << 32
