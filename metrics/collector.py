"""The metric families of a running daemon: the scoreboard, read once, and what the daemon says of itself.

Counters are sums over all slots ever used, whose cells only grow, so none of them goes backwards. Nothing here waits
for a worker, or for anything else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import add

from msgspec.structs import replace

from . import declared as d
from . import scoreboard as sb
from .board import Board
from .facts import WORKER_STATES, DaemonFacts, WorkerFacts
from .families import Exemplar, Family, Histogram, Sample
from .route_names import OTHER
from .scoreboard import Running
from .scoreboard_reading import series_by_labels
from .slot import Slot

NANOSECONDS = 1e9
# What is told of the scoreboard's bounds: OpenTelemetry's, and those below its first only if they are wanted. All of
# them for each series would be five times as many samples.
FINE_SECONDS = (0.0005, 0.001, 0.0025)
TOLD_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PLACES = {
    bounds: tuple(sb.bucket(round(bound * NANOSECONDS)) + 1 for bound in bounds)
    for bounds in (TOLD_SECONDS, FINE_SECONDS + TOLD_SECONDS)
}
SIZES = tuple(float(bound) for bound in sb.SIZE_BOUNDS)

SeriesKey = tuple[str, str, str]  # method, status, route or ""
RunningBySlot = Mapping[int, Sequence[Running]]


class Collector:
    """Reads the board whenever somebody asks."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._reused = 0

    def __repr__(self) -> str:
        return f"<Collector {self._board}>"

    def collect(self, facts: DaemonFacts, *, fine: bool = False) -> list[Family]:
        """All families. `fine`: duration buckets below 5 ms, too."""
        slots = list(self._board.used())
        cells = [0] * sb.COUNTERS.stop
        for slot in slots:
            cells = list(map(add, cells, slot.cells[: sb.COUNTERS.stop].tolist()))
        running = {slot.index: slot.running() for slot in slots}
        return [
            *self._http(slots, cells, running, fine),
            *_requests(cells, running, facts),
            *_connections(cells, facts, self._count_reused(cells)),
            *_workers(slots, running, facts),
            *_certificates(facts),
            *_daemon(cells, facts),
        ]

    def _count_reused(self, cells: Sequence[int]) -> int:
        """Requests on connections that had one before: a difference of two, counted one after the other."""
        self._reused = max(self._reused, cells[sb.REQUESTS] - cells[sb.FIRSTS])
        return self._reused

    # --- requests by method, status and route ---

    def _http(
        self, slots: Sequence[Slot], cells: Sequence[int], running: RunningBySlot, fine: bool
    ) -> Iterator[Family]:
        found, exemplars = self._series(slots), self._exemplars(slots)
        yield d.REQUEST_DURATION.family(
            Sample(_series_labels(key), _with(exemplars.get(key), _durations(row[sb.S_BUCKETS :], row[sb.S_SUM], fine)))
            for key, row in sorted(found.items())
        )
        yield from _by_route(found)
        active = dict.fromkeys(sorted({"GET", *(method for method, _status, _route in found)}), 0)
        for one in chain.from_iterable(running.values()):
            method = one.method if one.method in sb.METHODS else OTHER
            active[method] = active.get(method, 0) + 1
        yield d.ACTIVE_REQUESTS.by(active.items())
        yield d.REQUEST_SIZE.single(_sizes(cells, sb.REQUEST_SIZES, sb.BYTES_IN))
        yield d.RESPONSE_SIZE.single(_sizes(cells, sb.RESPONSE_SIZES, sb.BYTES_OUT))
        yield d.QUEUE_TIME.single(
            _durations(cells[sb.QUEUE_BUCKETS : sb.QUEUE_BUCKETS + sb.BUCKETS], cells[sb.QUEUE_SUM], fine)
        )

    def _series(self, slots: Iterable[Slot]) -> dict[SeriesKey, list[int]]:
        found = series_by_labels(self._board, slots)
        return {(method, _status(status), route): row for (method, status, route), row in found.items()}

    def _exemplars(self, slots: Iterable[Slot]) -> dict[SeriesKey, list[Exemplar]]:
        """Requests of traces, by the labels of their series."""
        found: dict[SeriesKey, list[Exemplar]] = {}
        for slot in slots:
            if kept := slot.exemplars():
                routes = slot.route_names()
                for one in kept:
                    ids = (("trace_id", one.trace_id), ("span_id", one.span_id))
                    shown = Exemplar(ids, one.duration_ns / NANOSECONDS, one.at_ns / NANOSECONDS)
                    method, status, route = self._board.routes.labels(one.series, routes)
                    found.setdefault((method, _status(status), route), []).append(shown)
        return found


def _status(status: int) -> str:
    return str(status) if status else OTHER


def _by_route(found: Mapping[SeriesKey, Sequence[int]]) -> Iterator[Family]:
    totals: dict[str, list[int]] = {}
    for (_method, _status, route), row in found.items():
        if route:
            part = [row[sb.S_SENT], row[sb.S_QUEUED], row[sb.S_CPU]]
            totals[route] = list(map(add, totals[route], part)) if route in totals else part
    rows = sorted(totals.items())
    yield d.ROUTE_SENT.by((route, sent) for route, (sent, _queued, _cpu) in rows)
    yield d.ROUTE_QUEUED.by((route, queued / NANOSECONDS) for route, (_sent, queued, _cpu) in rows)
    yield d.ROUTE_CPU.by((route, cpu / NANOSECONDS) for route, (_sent, _queued, cpu) in rows if cpu)


def _series_labels(key: SeriesKey) -> tuple[tuple[str, str], ...]:
    method, status, route = key
    labels = (("http_request_method", method), ("http_response_status_code", status))
    return (*labels, ("http_route", route)) if route else labels


def _with(exemplars: Sequence[Exemplar] | None, durations: Histogram) -> Histogram:
    return replace(durations, exemplars=tuple(exemplars)) if exemplars else durations


def _durations(counts: Sequence[int], total_ns: int, fine: bool) -> Histogram:
    bounds = FINE_SECONDS + TOLD_SECONDS if fine else TOLD_SECONDS
    ends = (*_PLACES[bounds], len(counts))
    told = tuple(sum(counts[start:end]) for start, end in zip((0, *ends), ends, strict=False))
    return Histogram(bounds, told, total_ns / NANOSECONDS)


def _sizes(cells: Sequence[int], at: int, total: int) -> Histogram:
    return Histogram(SIZES, tuple(cells[at : at + sb.SIZE_BUCKETS]), cells[total])


def _requests(cells: Sequence[int], running: RunningBySlot, facts: DaemonFacts) -> Iterator[Family]:
    now = time.monotonic_ns()
    oldest = min((one.started_ns for one in chain.from_iterable(running.values())), default=now)
    yield d.OLDEST_REQUEST.single(max(0, now - oldest) / NANOSECONDS)
    yield d.WAITING.single(cells[sb.WAITING])
    yield d.INLINE.single(cells[sb.INLINE])
    yield d.HANDED_OVER.single(cells[sb.HANDED_OVER])
    yield d.TAKEN_OVER.single(cells[sb.TAKEN_OVER])
    yield d.ABORTED.by(
        [
            ("client", cells[sb.CLIENTS_LEFT]),
            ("send_timeout", cells[sb.SEND_TIMEOUTS]),
            ("request_timeout", cells[sb.TIMED_OUT]),
        ]
    )
    statuses = [*map(str, sb.REJECTED_STATUSES), OTHER]
    yield d.REJECTED.by(zip(statuses, cells[sb.REJECTED_BY : sb.REJECTED_BY + len(statuses)], strict=True))
    yield d.ERRORS.single(cells[sb.ERRORS])
    yield d.SLOW.single(facts.slow_requests)
    yield d.OVERFLOW.single(cells[sb.SERIES_LOST])


def _connections(cells: Sequence[int], facts: DaemonFacts, reused: int) -> Iterator[Family]:
    yield d.CONNECTIONS.single(cells[sb.CONNECTIONS])
    yield d.ACCEPTED.single(cells[sb.ACCEPTED])
    yield d.CLOSED.by((reason.name.lower(), cells[sb.CLOSED_BY + reason]) for reason in sb.Closed)
    yield d.REUSED.single(reused)
    yield d.SOCKETS.single(sb.open_sockets(cells))
    yield d.SOCKETS_OPENED.single(cells[sb.SOCKETS_OPENED])
    yield d.SOCKETS_SECONDS.single(cells[sb.SOCKETS_NS] / NANOSECONDS)
    if facts.certificates:  # else nobody speaks TLS
        yield d.HANDSHAKES.by((result.name.lower(), cells[sb.HANDSHAKES + result]) for result in sb.Handshake)
    listeners = facts.listeners
    yield d.LISTEN_QUEUE.by((one.name, one.queued) for one in listeners if one.queued is not None)
    yield d.LISTEN_LIMIT.by((one.name, one.limit) for one in listeners if one.limit is not None)
    yield d.LISTEN_DROPPED.by((one.name, one.dropped) for one in listeners if one.dropped is not None)


def _workers(slots: Sequence[Slot], running: RunningBySlot, facts: DaemonFacts) -> Iterator[Family]:
    now = time.monotonic_ns()
    held: dict[str, WorkerFacts] = {str(worker.slot): worker for worker in facts.workers}
    states = [worker.state for worker in facts.workers]
    yield d.WORKERS.by((state, states.count(state)) for state in WORKER_STATES)
    yield d.TARGET.single(facts.target)
    yield d.NOT_RESPONDING.single(facts.not_responding)
    yield d.THREADS.single(facts.threads)
    named = [(str(slot.index), slot) for slot in slots]
    yield d.STATE.by((name, WORKER_STATES.index(held[name].state) + 1 if name in held else 0) for name, _slot in named)
    if facts.may_lead:
        yield d.LEADER.by((name, int(worker.slot == facts.leader)) for name, worker in held.items())
    yield d.BUSY.by((name, len(running[slot.index])) for name, slot in named)
    yield d.WORKER_CONNECTIONS.by((name, slot.cells[sb.CONNECTIONS]) for name, slot in named)
    yield d.WORKER_REQUESTS.by((name, slot.cells[sb.REQUESTS]) for name, slot in named)
    usage = [(str(index), taken) for index, taken in sorted(facts.usage.items())]
    yield d.WORKER_CPU.by((name, taken.cpu_seconds) for name, taken in usage)
    yield d.WORKER_RSS.by((name, taken.rss) for name, taken in usage if taken.rss is not None)
    yield d.WORKER_PSS.by((name, taken.pss) for name, taken in usage if taken.pss is not None)
    yield d.WORKER_FDS.by((name, taken.fds) for name, taken in usage if taken.fds is not None)
    yield d.UPTIME.by((name, worker.uptime_seconds) for name, worker in held.items())
    yield d.BOOT.by((str(index), seconds) for index, seconds in sorted(facts.boot_seconds.items()))
    # While a worker boots its loop is not to turn yet.
    turning = {name for name, worker in held.items() if worker.state in {"ready", "draining"}}
    beats = [(name, slot.cells[sb.HEARTBEAT]) for name, slot in named if name in turning]
    yield d.HEARTBEAT.by((name, max(0, now - beat) / NANOSECONDS) for name, beat in beats if beat)
    if facts.worker_memory_limit is not None:
        yield d.WORKER_MEMORY_LIMIT.single(facts.worker_memory_limit)
    if facts.memory_limit is not None:
        yield d.MEMORY_LIMIT.single(facts.memory_limit)
    yield d.EXITS.by(facts.exits.items())
    if facts.utilization is not None:
        yield d.UTILIZATION.single(facts.utilization)


def _certificates(facts: DaemonFacts) -> Iterator[Family]:
    if facts.certificates:
        yield d.CERTIFICATE_END.family(
            Sample((("listener", one.listener), ("certificate", one.file)), one.not_after) for one in facts.certificates
        )
        yield d.RENEWALS.by(facts.renewals.items())


def _daemon(cells: Sequence[int], facts: DaemonFacts) -> Iterator[Family]:
    yield d.GENERATION.single(facts.generation)
    yield d.GENERATION_INFO.family(
        Sample((("generation", str(number)), ("revision", revision)), 1)
        for number, revision in sorted(facts.revisions.items())
    )
    yield d.RELOADS.by(facts.reloads.items())
    if facts.reloaded_at is not None:
        yield d.RELOAD_TIME.single(facts.reloaded_at)
    yield d.RELOAD_SECONDS.single(facts.reload_seconds)
    yield d.DRAINING.single(facts.draining)
    yield d.READY.single(facts.ready)
    build = (facts.version, facts.python_version, facts.pool, facts.engine, facts.engine_note)
    yield d.BUILD_INFO.family([Sample(tuple(zip(d.BUILD_INFO.labels, build, strict=True)), 1)])
    yield d.LOGGED.by(
        (level, cells[at] + facts.logged.get(level, 0)) for at, level in enumerate(sb.LOG_LEVELS, sb.LOGGED)
    )
    yield d.LOG_LOST.single(cells[sb.LOG_LOST] + facts.log_lost)
    yield d.CONTROL_CALLS.family(
        Sample((("endpoint", endpoint), ("code", code)), count)
        for (endpoint, code), count in sorted(facts.control_calls.items())
    )
    yield d.LOOP_LAG.single(facts.loop_lag)
    yield d.APPLICATION_ERRORS.by(facts.application_errors.items())
    if facts.application_seconds is not None:
        yield d.APPLICATION_SECONDS.single(facts.application_seconds)
    master = facts.master
    yield d.PROCESS_CPU.single(master.cpu_seconds)
    yield d.PROCESS_RSS.single(master.rss)
    yield d.PROCESS_FDS.single(master.fds)
    yield d.PROCESS_MAX_FDS.single(master.max_fds)
    yield d.PROCESS_START.single(master.started_at)
