"""What a worker is, whatever its pool: settings, scoreboard slot, logs, application, and the orders it has.

Pools serve; what all of them need to do the same way (an environ, a record of an answered request, a refusal, an
order of the master) is done here once.
"""

from __future__ import annotations

import traceback
from dataclasses import replace
from enum import Enum
from typing import Any, NoReturn, Protocol

from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import Closed, Slot, bucket

from .. import __version__
from ..engine.call import Application, Exchange
from ..engine.environ import connection_environ, request_environ, server_software, worker_environ
from ..engine.proxy import Proxy
from ..engine.request_ids import RequestIds
from ..http.body import Spool
from ..http.connection import Connection
from ..http.errors import REASONS, ProtocolError
from ..http.head import Limits
from ..http.response import ServerFields, refusal
from ..log.access_log import AccessLog
from ..log.error_log import ErrorLog, ErrorStream
from ..settings import Listener, Settings
from ..unpatched import get_ident, os
from .variables import variables_of_the_import

_S_SUM, _S_BUCKETS = scoreboard.S_SUM, scoreboard.S_BUCKETS
_REQUESTS, _BYTES_OUT = scoreboard.REQUESTS, scoreboard.BYTES_OUT
_FIRST_BOUND_NS = scoreboard.BOUNDS_NS[0]
_RESPONSE_SIZES = tuple(scoreboard.RESPONSE_SIZES + bucket for bucket in scoreboard.SIZE_BUCKET)
_REQUEST_SIZES = tuple(scoreboard.REQUEST_SIZES + bucket for bucket in scoreboard.SIZE_BUCKET)
_REJECTED = {status: scoreboard.REJECTED_BY + at for at, status in enumerate(scoreboard.REJECTED_STATUSES)}
_REJECTED_OTHERWISE = scoreboard.REJECTED_BY + len(scoreboard.REJECTED_STATUSES)
_KEPT_SERIES = 1024

UNLIMITED_BYTES = 10**18  # more than a Content-Length can say
_LIMIT_KEYS = {
    "request_line_bytes": "limits.request_line",
    "field_bytes": "limits.field_size",
    "fields": "limits.fields",
    "fields_bytes": "limits.fields_size",
    "body_max_bytes": "limits.body_max",
    "head_timeout": "timeouts.head",
    "minimum_rate": "timeouts.minimum_rate",
}  # by the name in Settings, the key of the configuration

CLIENT_CLOSED = 499  # nginx's code for a client that left before its response
NANOSECONDS = 1_000_000_000
FLUSH_SECONDS = 1.0  # for the logs of a process that ends


class HasBody(Protocol):
    """A connection, as far as accounting goes. `closed` is why it will have been closed, if it is now."""

    body: Spool | None
    closed: Closed


def refusal_closes(error: ProtocolError | OSError) -> Closed:
    """Why a connection is closed after such an error."""
    late = isinstance(error, ProtocolError) and error.status == 408
    return Closed.TIMEOUT if late else Closed.REFUSED


class Duty(Enum):
    """What the master, or its absence, has ordered."""

    SERVE = "serve"
    CLOSING = "closing"  # serve, but each response is its connection's last
    EMPTY = "empty"  # accept what the kernel has queued, then drain
    DRAIN = "drain"  # accept nothing more, finish what runs, exit


class Context:
    """One worker's belongings. `slot.cells` is written by whoever holds the loop.

    To be made by the thread that imported the application: its context variables are what requests begin with.
    """

    def __init__(
        self,
        settings: Settings,
        board: Board,
        slot: int,
        log: ErrorLog,
        access: AccessLog | None,
        application: Application,
    ) -> None:
        self.settings = settings
        self.board = board
        self.slot = board.slot(slot)
        self.log = log
        self.access = access
        self.application = application
        self.partings: list[None] = []  # one for each connection that is to end with an answer; threads pop them
        self.duty = Duty.SERVE if settings.keep_alive_timeout else Duty.CLOSING
        self._lost_lines = 0
        self._access_log_fails = False
        self._logged = dict.fromkeys(scoreboard.LOG_LEVELS, 0)
        self._series: dict[tuple[str, str, str | None], int] = {}
        self.server_fields = ServerFields(settings.server_header, settings.request_id_header)
        self.request_ids = RequestIds()
        self.request_variables = variables_of_the_import()
        if settings.pool != "fork":  # where each child has a sub-slot, and the parent none
            self.slot.cells[self.slot.thread_cell(0) + scoreboard.T_IDENT] = get_ident()
        for thread in range(settings.threads + 1):
            self.slot.cells[self.slot.thread_cell(thread) + scoreboard.T_PREFIX] = self.request_ids.seed
        self.limits = Limits(
            settings.request_line_bytes,
            settings.field_bytes,
            settings.fields,
            settings.fields_bytes,
            settings.body_max_bytes or UNLIMITED_BYTES,
        )
        self._unix_limits = replace(self.limits, host_is_path=True)
        self.spool_directory = settings.spool_directory or None
        self.proxy = Proxy(settings.trusted, forwarded=settings.forwarded) if settings.trusted else None
        self._environ = worker_environ(
            pool=settings.pool,
            slot=slot,
            generation=settings.generation,
            multithread=settings.pool == "epoll" and settings.threads > 1,
            multiprocess=settings.pool != "single",
            errors=ErrorStream(log, settings.application_level),
            server=server_software(__version__),
        )

    def __repr__(self) -> str:
        return f"<Context slot={self.slot.index} {self.duty.value}>"

    def count_in(self, slot: Slot) -> None:
        """From now on count in another slot: the process has been forked, and has counters of its own."""
        self.slot = slot
        self._series = {}
        self._logged = dict(self.log.counts)
        self._lost_lines, self._access_log_fails = 0, False
        self.request_ids.start_afresh()

    # --- connections ---

    def base_environ(self, listener: Listener, address: Any) -> dict[str, Any]:
        """What every request of a new connection shares; `address` is what accept(2) gave."""
        host, port = ("", "") if listener.unix else (address[0], str(address[1]))
        if host.startswith("::ffff:") and "." in host:  # an IPv4 client of a dual-stack listener
            host = host[7:]
        return connection_environ(self._environ, listener.server_name, listener.server_port, host, port)

    def limits_for(self, base: dict[str, Any]) -> Limits:
        """What the client of a connection may send."""
        return self.limits if base["REMOTE_ADDR"] else self._unix_limits

    def proxy_for(self, base: dict[str, Any]) -> Proxy | None:
        """The trust to apply to a connection's requests, or None: the peer is not a trusted proxy."""
        proxy = self.proxy
        return proxy if proxy is not None and proxy.trusts(base["REMOTE_ADDR"]) else None

    # --- what happened ---

    def record(self, connection: HasBody, exchange: Exchange, environ: dict[str, Any], duration_ns: int) -> None:
        """An answered request: histogram, counters, access log. Called by whoever holds the loop."""
        cells = self.slot.cells
        status = exchange.status
        if exchange.aborted or exchange.failed:
            status = self._record_failure(exchange, connection.closed)
        labels = exchange.method, status, environ.get("miniwsgi.route")
        try:
            at = self._series.get(labels) or self._series_of(*labels)
        except TypeError:  # what cannot be hashed is no route
            at = self._series_of(exchange.method, status, [])
        cells[at + _S_SUM] += duration_ns
        cells[at + (_S_BUCKETS if duration_ns <= _FIRST_BOUND_NS else _S_BUCKETS + bucket(duration_ns))] += 1
        cells[_REQUESTS] += 1
        sent = exchange.sent
        cells[_RESPONSE_SIZES[(sent - 1).bit_length()]] += 1
        if sent:
            cells[_BYTES_OUT] += sent
        if connection.body is not None:
            size = connection.body.size
            cells[_REQUEST_SIZES[(size - 1).bit_length()]] += 1
            cells[scoreboard.BYTES_IN] += size
        if self.access is not None:
            self.access.log(environ, status, exchange.headers, exchange.sent, duration_ns)

    def record_unanswered(self, connection: Any, waited_ns: int) -> None:
        """A complete request whose client went before the application was called; as one left during its response."""
        environ = request_environ(connection, self.settings.script_name, connection.proxy)
        variables = self.request_variables()
        exchange = Exchange(connection, connection.line.method, False, False, self.server_fields, self, variables)
        exchange.aborted = True
        connection.closed = Closed.ABORTED
        if not connection.requests:
            self.slot.cells[scoreboard.FIRSTS] += 1
        connection.requests += 1
        self.record(connection, exchange, environ, waited_ns)
        self.slot.cells[scoreboard.QUEUE_SUM] += waited_ns
        self.slot.cells[scoreboard.QUEUE_BUCKETS + bucket(waited_ns)] += 1

    def _record_failure(self, exchange: Exchange, closed: Closed) -> str:
        """Count what went wrong; the status under which the request is recorded."""
        cells = self.slot.cells
        if exchange.failed:
            cells[scoreboard.ERRORS] += 1
        if exchange.aborted and not exchange.status.startswith("504"):
            self.count_aborted(closed)
            return f"{CLIENT_CLOSED} Client Closed Request"
        return exchange.status

    def count_aborted(self, closed: Closed) -> None:
        """A response is not complete, and `closed` is why its connection goes."""
        cells = self.slot.cells
        cells[scoreboard.ABORTED] += 1
        cells[scoreboard.SEND_TIMEOUTS if closed is Closed.TIMEOUT else scoreboard.CLIENTS_LEFT] += 1

    def _series_of(self, method: str, status: str, route: object) -> int:
        """Remembers where a series lies; reasons and routes are the application's, so not all are kept."""
        if route is not None and not isinstance(route, str):
            self.log.limited("route", "warning", f"miniwsgi.route is a {type(route).__name__}, not a str: ignored")
            route = None
        number = self.slot.route(route) if route else scoreboard.NO_ROUTE
        at = self.slot.series(method, int(status[:3]) if status else 0, number)
        if len(self._series) < _KEPT_SERIES:
            self._series[method, status, route] = at
        return at

    def refuse(self, connection: Connection, base: dict[str, Any], status: int, detail: str) -> bytes:
        """The server's own answer to a request that does not reach the application, counted and logged."""
        self.slot.cells[scoreboard.REJECTED] += 1
        self.slot.cells[_REJECTED.get(status, _REJECTED_OTHERWISE)] += 1
        peer = base["REMOTE_ADDR"] or "a Unix-socket client"
        self.log.limited(
            f"refused-{status}",
            "warning",
            f"refused a request with {status} {REASONS[status]}: {detail}",
            peer=peer,
        )
        answer = refusal(status, self.server_fields, head_only=_asks_head(connection))
        if self.access is not None:
            self.access.log(base, f"{status} {REASONS[status]}", [], len(REASONS[status]) + 5, 0)
        return answer

    def refuse_error(self, connection: Connection, base: dict[str, Any], error: ProtocolError | OSError) -> bytes:
        """The same for an error while a request was read; OSError: its body could not be kept."""
        if isinstance(error, ProtocolError):
            key = _LIMIT_KEYS.get(error.limit)
            detail = f"{error.detail}; the limit is {key}" if key else error.detail
            return self.refuse(connection, base, error.status, f"{detail} ({error.section})")
        what = f"a request body could not be kept: {error}; see server.spool_directory and limits.body_memory"
        self.log.limited(f"spool-{getattr(error, 'errno', 0)}", "error", what)
        return self.refuse(connection, base, 503, "its body could not be kept")

    def tidy(self) -> None:
        """Once a second: what the logs owe."""
        self.log.sweep()
        self._tell_of_access_log()
        lost = self.log.writer.lost + (self.access.writer.lost if self.access is not None else 0)
        if lost != self._lost_lines:
            self.slot.cells[scoreboard.LOG_LOST] += lost - self._lost_lines
            self._lost_lines = lost
        for at, level in enumerate(scoreboard.LOG_LEVELS, scoreboard.LOGGED):
            count = self.log.counts[level]
            self.slot.cells[at] += count - self._logged[level]
            self._logged[level] = count

    def _tell_of_access_log(self) -> None:
        """Once when it begins to lose lines, and once when it is over: when the notice of them could be written."""
        if self.access is None:
            return
        writer = self.access.writer
        if bool(writer.untold) is self._access_log_fails:
            return
        self._access_log_fails = bool(writer.untold)
        if self._access_log_fails:
            self.log.warning(f"the access log loses lines: {writer.reason}", access_log=self.settings.access_log)
        else:
            self.log.info("the access log is written again", access_log=self.settings.access_log, lost=writer.lost)

    def leave_at_once(self, status: int) -> NoReturn:
        """End this process from any thread; what the logs hold is written, the application is not asked."""
        self.tidy()
        self.log.flush(FLUSH_SECONDS)
        if self.access is not None:
            self.access.writer.flush(FLUSH_SECONDS)
        os._exit(status)

    # --- the Reporter of exchanges ---

    def exception(self, exchange: Exchange, error: BaseException) -> None:
        text = application_traceback(error)
        when = "before" if not exchange.aborted and exchange.sent == 0 else "during"
        what = f"the application raised {type(error).__name__} {when} its response\n{text}"
        self.log.error(what, request_id=exchange.request_id)

    def mistake(self, exchange: Exchange, what: str) -> None:
        line = f"the application's response: {what}"
        self.log.limited(f"mistake-{what[:24]}", "warning", line, request_id=exchange.request_id)


def application_traceback(error: BaseException) -> str:
    """As Python prints it, from the application's own first frame on: those above are of no help."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("miniwsgi.daemon."):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__)).rstrip()


def _asks_head(connection: Connection) -> bool:
    return connection.asked_head or (connection.line is not None and connection.line.method == "HEAD")
