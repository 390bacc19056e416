"""Every metric family that miniwsgi has: the one place for names, kinds, labels and meanings.

`metrics.collector` fills them; docs/metrics.md is made from `DECLARED`. Names and units are Prometheus', for HTTP
OpenTelemetry's semantic conventions. Labels are bounded: a slot is a place for a worker, never a pid.
"""

from __future__ import annotations

from . import scoreboard as sb
from .families import Declaration, Kind
from .health import NOT_RESPONDING_SECONDS
from .route_names import KNOWN_ROUTES

DECLARED: list[Declaration] = []
A_SLOT = "slots used"
A_ROUTE = f"routes in use, at most {KNOWN_ROUTES} and `_OTHER`"


def _declare(name: str, kind: Kind, help: str, *labels: str, series: str = "1", unit: str | None = None) -> Declaration:
    if unit is None:
        stem = name.removesuffix("_total")
        unit = next((unit for unit in ("seconds", "bytes", "ratio") if stem.endswith(f"_{unit}")), "")
    made = Declaration(name, kind, help, labels, series, unit=unit)
    DECLARED.append(made)
    return made


# --- HTTP ------------------------------------------------------------------------------------------------------------
REQUEST_DURATION = _declare(
    "http_server_request_duration_seconds",
    "histogram",
    "Time from a request's start in the application to the end of its response. http_route is there if "
    "the route is known: see Routes.",
    "http_request_method",
    "http_response_status_code",
    "http_route",
    series=f"methods × statuses × routes in use, at most {sb.SERIES} a slot",
)
ROUTE_SENT = _declare(
    "miniwsgi_route_response_bytes_total",
    "counter",
    "Bytes of response bodies, by route.",
    "http_route",
    series=A_ROUTE,
)
ROUTE_QUEUED = _declare(
    "miniwsgi_route_queue_seconds_total",
    "counter",
    "Time that requests have waited for a thread, by route.",
    "http_route",
    series=A_ROUTE,
)
ROUTE_CPU = _declare(
    "miniwsgi_route_cpu_seconds_total",
    "counter",
    "CPU time of threads inside the application, until its result is there, by route. Beyond 500 requests a second a "
    "worker measures one in eight, which counts eightfold.",
    "http_route",
    series=A_ROUTE,
)
ACTIVE_REQUESTS = _declare(
    "http_server_active_requests",
    "gauge",
    "Requests inside the application now.",
    "http_request_method",
    series="methods in use, at most 10",
)
REQUEST_SIZE = _declare(
    "http_server_request_body_size_bytes", "histogram", "Sizes of request bodies, of requests that have one."
)
RESPONSE_SIZE = _declare("http_server_response_body_size_bytes", "histogram", "Sizes of response bodies.")
QUEUE_TIME = _declare(
    "miniwsgi_request_queue_seconds",
    "histogram",
    "Time between a complete request and its start in the application. What waits in the kernel is not in it: "
    "see miniwsgi_listen_queue_length.",
)
OLDEST_REQUEST = _declare(
    "miniwsgi_request_oldest_age_seconds", "gauge", "Age of the request that has been running for longest; 0 without."
)
WAITING = _declare("miniwsgi_requests_waiting", "gauge", "Complete requests that wait for a thread now.")
INLINE = _declare(
    "miniwsgi_requests_inline_total", "counter", "Requests that the thread which keeps the loop ran to their end."
)
HANDED_OVER = _declare(
    "miniwsgi_requests_handed_over_total", "counter", "Requests given to another thread before the call."
)
TAKEN_OVER = _declare(
    "miniwsgi_requests_taken_over_total", "counter", "Calls during which another thread took the loop over."
)
ABORTED = _declare(
    "miniwsgi_requests_aborted_total",
    "counter",
    "Requests without a complete response: the client left (client) or did not read (send_timeout), or "
    "timeouts.request was over (request_timeout).",
    "reason",
    series="3",
)
REJECTED = _declare(
    "miniwsgi_requests_rejected_total",
    "counter",
    "Requests that the server answered itself: malformed, too large, too slow, too many.",
    "status",
    series=str(len(sb.REJECTED_STATUSES) + 1),
)
ERRORS = _declare("miniwsgi_application_errors_total", "counter", "Exceptions that the application let through.")
SLOW = _declare("miniwsgi_slow_requests_total", "counter", "Requests that ran for longer than log.slow_request.")
OVERFLOW = _declare(
    "miniwsgi_series_overflow_total",
    "counter",
    "Combinations of labels for which a worker had no series left: they count under _OTHER.",
)

# --- connections -----------------------------------------------------------------------------------------------------
CONNECTIONS = _declare("miniwsgi_connections", "gauge", "Connections open now.")
ACCEPTED = _declare("miniwsgi_connections_accepted_total", "counter", "Connections accepted.")
CLOSED = _declare(
    "miniwsgi_connections_closed_total",
    "counter",
    "Connections closed: by the client or as it asked (client), by the server or the application (server), after "
    "keep_alive (idle), after another timeout (timeout), after an error answer (refused), in the middle of a response "
    "(aborted), with the worker's process (worker_exit), without the PROXY header that has to come first (opening).",
    "reason",
    series=str(len(sb.Closed)),
)
HANDSHAKES = _declare(
    "miniwsgi_tls_handshakes_total",
    "counter",
    "TLS handshakes: complete, with the keys of an earlier session (resumed), without a version, cipher or client "
    "certificate in common (refused), plain HTTP sent to the port (plain), not in timeouts.handshake (timeout), given "
    "up by the client (left).",
    "result",
    series=str(len(sb.Handshake)),
)
REUSED = _declare(
    "miniwsgi_connections_reused_total", "counter", "Requests that were not the first of their connection."
)
SOCKETS = _declare(
    "miniwsgi_sockets",
    "gauge",
    "Connections that the application has taken over (WebSockets) and that are open now; in no other figure.",
)
SOCKETS_OPENED = _declare(
    "miniwsgi_sockets_opened_total", "counter", "Connections that the application has taken over."
)
SOCKETS_SECONDS = _declare(
    "miniwsgi_sockets_seconds_total", "counter", "How long those that are over were open, in all."
)
LISTEN_QUEUE = _declare(
    "miniwsgi_listen_queue_length",
    "gauge",
    "Connections that wait in the kernel to be accepted.",
    "listener",
    series="listeners",
)
LISTEN_LIMIT = _declare(
    "miniwsgi_listen_queue_limit", "gauge", "How many connections may wait so.", "listener", series="listeners"
)
LISTEN_DROPPED = _declare(
    "miniwsgi_listen_dropped_total",
    "counter",
    "Attempts to connect that the kernel dropped, mostly because the queue was full. A client tries several times for "
    "one connection. TCP only.",
    "listener",
    series="TCP listeners",
)

# --- workers ---------------------------------------------------------------------------------------------------------
WORKERS = _declare("miniwsgi_workers", "gauge", "Workers by state.", "state", series="4")
TARGET = _declare("miniwsgi_workers_target", "gauge", "How many workers there are to be.")
NOT_RESPONDING = _declare(
    "miniwsgi_workers_not_responding",
    "gauge",
    f"Ready workers whose loop has not turned for {NOT_RESPONDING_SECONDS:g} s: they answer nobody.",
)
THREADS = _declare("miniwsgi_worker_threads", "gauge", "Requests that a worker can run at a time.")
STATE = _declare(
    "miniwsgi_worker_state",
    "gauge",
    "A slot's state: 0 vacant, 1 booting, 2 ready, 3 draining, 4 stopping.",
    "slot",
    series=A_SLOT,
)
LEADER = _declare(
    "miniwsgi_leader",
    "gauge",
    "Whether the slot's worker leads: 1 between leader_start and leader_stop, else 0; absent without these hooks.",
    "slot",
    series=A_SLOT,
)
BUSY = _declare("miniwsgi_worker_busy_threads", "gauge", "Threads inside the application.", "slot", series=A_SLOT)
WORKER_CONNECTIONS = _declare("miniwsgi_worker_connections", "gauge", "Connections open.", "slot", series=A_SLOT)
WORKER_REQUESTS = _declare(
    "miniwsgi_worker_requests_total", "counter", "Requests answered by the slot's workers.", "slot", series=A_SLOT
)
WORKER_CPU = _declare(
    "miniwsgi_worker_cpu_seconds_total", "counter", "CPU time of the slot's workers.", "slot", series=A_SLOT
)
WORKER_RSS = _declare(
    "miniwsgi_worker_resident_memory_bytes",
    "gauge",
    "Memory of the worker, with what it shares with others.",
    "slot",
    series=A_SLOT,
)
WORKER_PSS = _declare(
    "miniwsgi_worker_proportional_memory_bytes",
    "gauge",
    "Memory of the worker, with its share of what it shares: the sum over workers is what they cost.",
    "slot",
    series=A_SLOT,
)
WORKER_FDS = _declare("miniwsgi_worker_open_fds", "gauge", "Open file descriptors.", "slot", series=A_SLOT)
UPTIME = _declare("miniwsgi_worker_uptime_seconds", "gauge", "Age of the slot's worker.", "slot", series=A_SLOT)
BOOT = _declare(
    "miniwsgi_worker_boot_seconds", "gauge", "How long the slot's latest worker took to boot.", "slot", series=A_SLOT
)
HEARTBEAT = _declare(
    "miniwsgi_worker_heartbeat_age_seconds",
    "gauge",
    "Time since the worker's loop last turned, once it has booted; timeouts.wedge is the limit.",
    "slot",
    series=A_SLOT,
)
WORKER_MEMORY_LIMIT = _declare(
    "miniwsgi_worker_memory_limit_bytes", "gauge", "recycle.max_rss; absent when off.", series="0 or 1"
)
MEMORY_LIMIT = _declare(
    "miniwsgi_memory_limit_bytes", "gauge", "What the cgroup lets the service have; absent without.", series="0 or 1"
)
EXITS = _declare(
    "miniwsgi_worker_exits_total",
    "counter",
    "Workers that have gone: by themselves (crash), by the kernel (oom), after timeouts.request (timeout), wedged "
    "(wedge), not booted (boot), late with leader_start (hook), recycled (rss, lifetime, requests), or as was asked "
    "for (scale, reload, restart, stop).",
    "reason",
    series="13",
)
UTILIZATION = _declare(
    "miniwsgi_utilization_ratio",
    "gauge",
    "How much of their capacity the ready workers use, 0 to 1, over the last 10 s: the busier of threads and CPU.",
)

# --- TLS -------------------------------------------------------------------------------------------------------------
CERTIFICATE_END = _declare(
    "miniwsgi_tls_certificate_not_after_seconds",
    "gauge",
    "When a certificate expires, since the epoch. There is none without TLS.",
    "listener",
    "certificate",
    series="certificates",
)
RENEWALS = _declare(
    "miniwsgi_tls_renewals_total",
    "counter",
    "Renewed files of certificates by result: taken up, or no good, so that the old ones stay.",
    "result",
    series="2",
)

# --- the daemon ------------------------------------------------------------------------------------------------------
GENERATION = _declare("miniwsgi_generation", "gauge", "The generation in force: 1, and one more for each reload.")
GENERATION_INFO = _declare(
    "miniwsgi_generation_info",
    "gauge",
    "1 for each generation that is in force, boots or still has workers; revision: of its code, empty if unknown "
    "(insight.md).",
    "generation",
    "revision",
    series="generations in use, mostly 1",
)
RELOADS = _declare("miniwsgi_reloads_total", "counter", "Reloads by result.", "result", series="2")
RELOAD_TIME = _declare(
    "miniwsgi_reload_last_success_timestamp_seconds", "gauge", "When code was last put into force, since the epoch."
)
RELOAD_SECONDS = _declare(
    "miniwsgi_reload_last_duration_seconds", "gauge", "How long the last reload took; 0 before the first."
)
DRAINING = _declare("miniwsgi_draining", "gauge", "1 while the daemon is drained or stops.")
READY = _declare("miniwsgi_ready", "gauge", "1 while /readyz says so.")
BUILD_INFO = _declare(
    "miniwsgi_build_info",
    "gauge",
    "1. engine is what the workers of the generation in force say that they run; empty until one was ready. "
    "engine_note: why it is not a faster one.",
    "version",
    "python_version",
    "pool",
    "engine",
    "engine_note",
)
LOGGED = _declare(
    "miniwsgi_log_messages_total", "counter", "Entries of the error log.", "level", series=str(len(sb.LOG_LEVELS))
)
LOG_LOST = _declare(
    "miniwsgi_log_messages_lost_total",
    "counter",
    "Lines of the logs that were dropped: the disk was full, or nobody read them.",
)
CONTROL_CALLS = _declare(
    "miniwsgi_control_requests_total",
    "counter",
    "Calls of the control API.",
    "endpoint",
    "code",
    series="endpoints × codes in use",
)
LOOP_LAG = _declare(
    "miniwsgi_master_loop_lag_seconds", "gauge", "How late the master's loop was, at worst, in the last 10 s."
)
APPLICATION_ERRORS = _declare(
    "miniwsgi_application_metrics_errors_total",
    "counter",
    "Scrapes without the application's own metrics.",
    "reason",
    series="2",
)
APPLICATION_SECONDS = _declare(
    "miniwsgi_application_metrics_merge_seconds", "gauge", "How long merging the application's own metrics took."
)
PROCESS_CPU = _declare("process_cpu_seconds_total", "counter", "CPU time of the master.")
PROCESS_RSS = _declare("process_resident_memory_bytes", "gauge", "Memory of the master.")
PROCESS_FDS = _declare("process_open_fds", "gauge", "Open file descriptors of the master.")
PROCESS_MAX_FDS = _declare("process_max_fds", "gauge", "How many it may have.")
PROCESS_START = _declare("process_start_time_seconds", "gauge", "When the master was started, since the epoch.")
