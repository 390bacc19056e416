"""What is counted, shown and logged of requests: the only file that knows the scoreboard's cells of a request.

An `Account` is the worker's: its counters have one writer, the loop's owner. A `ThreadAccount` is one thread's: what it
runs, for all who look, in cells of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from miniwsgi.codes import Code
from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Closed, Handshake, bucket
from miniwsgi.metrics.slot import Slot

from ..http.head import RequestLine
from ..routes.choice import route_of_running
from ..routes.variables import CPU_NS, MOST_CPU_NS, ROUTE
from ..traceparent import VARIABLE as _TRACEPARENT
from ..traceparent import trace_of
from ..unpatched import get_ident, time
from .claim import Claim
from .logs import AccessLog, Headers, Log

CLIENT_CLOSED = "499 Client Closed Request"  # nginx's code for a client that left before its response
TIMED_OUT = "504 Gateway Timeout"
SWITCHED = "101 Switching Protocols"

_S_SUM, _S_BUCKETS = scoreboard.S_SUM, scoreboard.S_BUCKETS
_S_SENT, _S_QUEUED, _S_CPU = scoreboard.S_SENT, scoreboard.S_QUEUED, scoreboard.S_CPU
_T_STATE, _T_START, _T_TEXT, _T_NUMBER = scoreboard.T_STATE, scoreboard.T_START, scoreboard.T_TEXT, scoreboard.T_NUMBER
_RUNNING, _IDLE = scoreboard.RUNNING, scoreboard.IDLE
_CELL = scoreboard.CELL
_REQUESTS, _BYTES_OUT, _FIRSTS = scoreboard.REQUESTS, scoreboard.BYTES_OUT, scoreboard.FIRSTS
_QUEUE_SUM, _QUEUE_BUCKETS, _INLINE = scoreboard.QUEUE_SUM, scoreboard.QUEUE_BUCKETS, scoreboard.INLINE
_FIRST_BOUND_NS = scoreboard.BOUNDS_NS[0]
_RESPONSE_SIZES = tuple(scoreboard.RESPONSE_SIZES + bucket for bucket in scoreboard.SIZE_BUCKET)
_REQUEST_SIZES = tuple(scoreboard.REQUEST_SIZES + bucket for bucket in scoreboard.SIZE_BUCKET)
_REJECTED = {status: scoreboard.REJECTED_BY + at for at, status in enumerate(scoreboard.REJECTED_STATUSES)}
_REJECTED_OTHERWISE = scoreboard.REJECTED_BY + len(scoreboard.REJECTED_STATUSES)
_KEPT_SERIES = 1024
NEVER_NS = 1 << 62
OnSlow = Callable[[dict[str, Any], str, int, int], None]  # environ, status line, and the two times in ns


def _nobody(_environ: dict[str, Any], _status: str, _duration_ns: int, _queued_ns: int) -> None:
    """Who is told of slow requests where nobody keeps them."""


class Account:
    """Counts in one slot and writes the access log. All methods belong to the loop's owner."""

    def __init__(self, slot: Slot, log: Log, access: AccessLog | None) -> None:
        self.cells = slot.cells
        self._slot = slot
        self._log = log
        self.access = access
        self.slow_ns = NEVER_NS
        self.on_slow: OnSlow = _nobody
        self._series: dict[tuple[str, str, str | None], int] = {}

    def __repr__(self) -> str:
        return f"<Account slot={self._slot.index} requests={self.cells[_REQUESTS]}>"

    def tell_slow(self, slow_ns: int, on_slow: OnSlow) -> None:
        """Answers that take `slow_ns` or longer are told. To be settled before there is a conversation."""
        self.slow_ns, self.on_slow = slow_ns, on_slow

    def accepted(self) -> None:
        """A connection begins."""
        self.cells[scoreboard.ACCEPTED] += 1

    def closed(self, why: Closed) -> None:
        """A connection ends."""
        scoreboard.count_closed(self.cells, why)

    def shaken_hands(self, result: Handshake) -> None:
        """A TLS handshake has ended."""
        self.cells[scoreboard.HANDSHAKES + result] += 1

    def answered(
        self, method: str, status: str, headers: Headers, sent: int, environ: dict[str, Any], received: int,
        first: bool, duration_ns: int, queued_ns: int,
    ) -> None:  # fmt: skip
        """An answer of the application: `sent` bytes of its body and `received` of the request's (-1: it had none).

        `duration_ns` is all of its time, `queued_ns` what it had waited of it before the application was called.
        """
        cells = self.cells
        route = environ.get(ROUTE)
        if route is not None and type(route) is not str:
            route = self._plain_route(route)
        at = self._series.get((method, status, route)) or self.series(method, status, route)
        if route is not None:
            cells[at + _S_SENT] += sent
            cpu_ns = environ.get(CPU_NS)
            if type(cpu_ns) is int and 0 < cpu_ns < MOST_CPU_NS:
                cells[at + _S_CPU] += cpu_ns
        cells[at + _S_SUM] += duration_ns
        if queued_ns:  # it was handed over
            cells[at + _S_QUEUED] += queued_ns
        if duration_ns <= _FIRST_BOUND_NS:
            cells[at + _S_BUCKETS] += 1
        else:
            cells[at + _S_BUCKETS + bucket(duration_ns)] += 1
            if duration_ns >= self.slow_ns:
                self.on_slow(environ, status, duration_ns, queued_ns)
        cells[_REQUESTS] += 1
        cells[_RESPONSE_SIZES[(sent - 1).bit_length()]] += 1
        if sent:
            cells[_BYTES_OUT] += sent
        if first:
            cells[_FIRSTS] += 1
        if received >= 0:
            cells[_REQUEST_SIZES[(received - 1).bit_length()]] += 1
            cells[scoreboard.BYTES_IN] += received
        if _TRACEPARENT in environ:
            self.traced(at, environ, duration_ns)
        if self.access is not None:
            self.access.log(environ, status, headers, sent, duration_ns)

    def traced(self, series: int, environ: dict[str, Any], duration_ns: int) -> None:
        """The answer of a request that belongs to a trace: an example of its series, if that trace is kept."""
        trace = trace_of(environ)
        if trace is not None and trace.sampled:
            self._slot.keep_exemplar(series, duration_ns, trace.trace_id, trace.span_id, time.time_ns())

    def failed(self) -> None:
        """The application raised."""
        self.cells[scoreboard.ERRORS] += 1

    def aborted(self, why: Closed) -> None:
        """An answer is not complete, and `why` its connection is closed."""
        self.cells[scoreboard.ABORTED] += 1
        self.cells[scoreboard.SEND_TIMEOUTS if why is Closed.TIMEOUT else scoreboard.CLIENTS_LEFT] += 1

    def timed_out(self) -> None:
        """Somebody has answered in the application's place."""
        self.cells[scoreboard.TIMED_OUT] += 1

    def refused(self, status: int, line: str, environ: dict[str, Any], sent: int) -> None:
        """The server's own answer to a request that does not reach the application; `line` is its status line."""
        self.cells[scoreboard.REJECTED] += 1
        self.cells[_REJECTED.get(status, _REJECTED_OTHERWISE)] += 1
        if self.access is not None:
            self.access.log(environ, line, [], sent, 0)

    def socket_opened(self) -> None:
        """The application has taken a connection over."""
        self.cells[scoreboard.SOCKETS_OPENED] += 1

    def socket_closed(self, environ: dict[str, Any], failed: bool, open_ns: int) -> None:
        """It is over. Such a request is in no figure of answers: it would be the slowest of all."""
        cells = self.cells
        cells[scoreboard.SOCKETS_CLOSED] += 1
        cells[scoreboard.SOCKETS_NS] += open_ns
        cells[scoreboard.ERRORS] += failed
        if self.access is not None:
            self.access.log(environ, SWITCHED, [], 0, open_ns)

    def waited(self, waited_ns: int, requests: int = 1) -> None:
        """So many complete requests have each waited for so long until the application was called."""
        cells = self.cells
        cells[_QUEUE_SUM] += waited_ns * requests
        cells[_QUEUE_BUCKETS if waited_ns <= _FIRST_BOUND_NS else _QUEUE_BUCKETS + bucket(waited_ns)] += requests

    def served(self, turn_ns: int, requests: int) -> None:
        """So many requests were run to their end by the owner of the loop, in a turn of that length: each has waited
        for those before it, which are half of the others in the mean."""
        cells = self.cells
        cells[_INLINE] += requests
        if requests == 1:
            cells[_QUEUE_BUCKETS] += 1
        else:
            self.waited(turn_ns * (requests - 1) // (2 * requests), requests)

    def _plain_route(self, route: object) -> str | None:
        """Of an object of the application, whose own methods may do anything."""
        if issubclass(type(route), str):
            return str.__str__(route)
        told = f"miniwsgi.route is a {type(route).__name__}, not a str: ignored"
        self._log.limited("route", "warning", Code.ROUTE_NO_TEXT, told)
        return None

    def series(self, method: str, status: str, route: str | None = None) -> int:
        """Where a series lies, which is remembered; reasons and routes are the application's, so not all are kept."""
        number = self._slot.route(route) if route else scoreboard.NO_ROUTE
        at = self._slot.series(method, int(status[:3]) if status else 0, number)
        if len(self._series) < _KEPT_SERIES:
            self._series[method, status, route] = at
        return at


def routed_environ(environ: dict[str, Any], thread: ThreadAccount | None) -> dict[str, Any]:
    """What is counted of a request that still runs: its environ, in a copy with its route if that is known already."""
    if ROUTE in environ:
        return environ
    ident = thread.cells[thread.cell + scoreboard.T_IDENT] if thread is not None else 0
    route = route_of_running(environ, sys._current_frames().get(ident))
    return environ if route is None else {**environ, ROUTE: route}


threads: dict[int, ThreadAccount] = {}  # that run requests, by threading.get_ident()


def running_here() -> ThreadAccount | None:
    """What the calling thread is; None: no thread that runs requests."""
    return threads.get(get_ident())


class ThreadAccount:
    """What one thread runs. `cell` is where its cells begin in the scoreboard; written by this thread alone."""

    __slots__ = ("_slot", "calls", "cell", "cells", "conversation", "number", "text", "turn_ends_ns")

    def __init__(self, number: int, slot: Slot, seed: int, calls: Claim[Any] | None = None) -> None:
        """`seed` is that of the request ids that it shows by their numbers."""
        self.number = number
        self.cell = slot.thread_cell(number)
        self.calls = calls  # what `serve` offers while it is inside the application; None: nobody takes over
        self.conversation: Any = None  # whose request it runs; None: it runs nothing
        self.turn_ends_ns = 0  # for results that are pulled in parts; 0: never, nobody waits for this thread
        self._slot = slot
        self.cells = slot.cells
        self.text = b""  # the beginning of a request line, as it is shown
        self.cells[self.cell + scoreboard.T_PREFIX] = seed
        self.cells[self.cell + _T_START] = time.monotonic_ns()  # not 0: who looks at the slot stops at the first 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.conversation}>"

    def enter(self) -> None:
        """The calling thread is the one: that is how it is told in a dump of stacks."""
        self.cells[self.cell + scoreboard.T_IDENT] = get_ident()
        self.run_here()

    def run_here(self) -> None:
        """The same for what the application asks on this thread; a dump of stacks, if any, is another process's."""
        threads[get_ident()] = self

    def leave(self) -> None:
        """The calling thread runs nothing any more, and ends."""
        threads.pop(get_ident(), None)

    def begin(self, conversation: object, line: RequestLine, number: int, now: int) -> None:
        """From now on the request is seen as running; the last one's start must not be seen with it.

        `number` is that of its id, if it is one of this process's own; 0: `show_given_id` has been called.
        """
        cells, cell = self.cells, self.cell
        cells[cell + _T_START] = now
        cells[cell + _T_NUMBER] = number
        if self.text is not line.text:
            self.text = text = line.text
            start = (cell + _T_TEXT) * _CELL
            self._slot.memory[start : start + len(text)] = text
        self.conversation = conversation
        cells[cell + _T_STATE] = _RUNNING

    def show_given_id(self, request_id: str) -> None:
        """The id of the request that is to begin came with it."""
        self._slot.show_given_id(self.cell, request_id)

    def end(self) -> None:
        """It runs nothing any more."""
        self.cells[self.cell + _T_STATE] = _IDLE
        self.conversation = None
