"""The dashboard Service: what clients get. Rate, errors, duration, waiting, and what the server did meanwhile."""

from __future__ import annotations

from typing import Any

from panels import (
    BLUE,
    GREEN,
    GREY,
    RED,
    REQUESTS,
    AnyPanel,
    Mark,
    Query,
    board,
    graph,
    heat,
    number,
    of,
    quantile,
    quantiles,
    rate,
    summed,
)

DURATION = "http_server_request_duration_seconds"
QUEUE = "miniwsgi_request_queue_seconds"
FAILED = 'http_response_status_code=~"5.."'
OVERLOAD = rate("miniwsgi_requests_rejected_total", 'status="503"')
OPINION = (0.001, 0.01)  # shares of errors: the objective of the alerts, and ten times that
SLOW = (0.5, 1.0)  # seconds
IN_USE = "Share of their threads or, if that is more, of their CPU that the ready workers use"

FAILED_RELOADS = of("miniwsgi_reloads_total", 'result="failure"')
KNOWN_REVISIONS = of("miniwsgi_generation_info", 'revision!=""')
REVISIONS = "count by (instance, revision) ({})"
WITH_ROUTE = 'http_route!=""'

MARKS = (
    Mark(
        "Reload",
        f"{of('miniwsgi_reload_last_success_timestamp_seconds')} * 1000",
        BLUE,
        "{{instance}} started or was reloaded",
        is_time=True,
    ),
    Mark(
        "Reload failed",
        f"sum by (instance) (increase({FAILED_RELOADS}[2m])) > 0",
        RED,
        "{{instance}} runs on with what it had",
    ),
    Mark(
        "Revision",
        f"{REVISIONS.format(KNOWN_REVISIONS)} unless {REVISIONS.format(f'{KNOWN_REVISIONS} offset 2m')}",
        GREEN,
        "{{instance}} runs {{revision}}",
    ),
)


def made() -> dict[str, Any]:
    """The dashboard, as JSON's types."""
    rows = {
        "Now": now(),
        "Requests": requests(),
        "Duration": duration(),
        "Routes": routes(),
        "Waiting and saturation": waiting(),
        "Refused, aborted, transferred": refused(),
        "TLS": tls(),
        "What the server did": server(),
    }
    return board("miniwsgi-service", "miniwsgi / Service", "What clients get.", rows, MARKS)


def error_ratio() -> str:
    """5xx of the application and 503 of the server, of all that reached either; 0 without any."""
    failed = f"({summed(rate(REQUESTS, FAILED))} or vector(0)) + ({summed(OVERLOAD)} or vector(0))"
    return f"({failed}) / ({summed(rate(REQUESTS))} + ({summed(OVERLOAD)} or vector(0)) > 0)"


def now() -> list[AnyPanel]:
    """One number each."""
    ready = {0: ("Not ready", RED), 1: ("Ready", GREEN)}
    return [
        number("Ready", "What /readyz says: the worst of the chosen instances.", "none",
               Query(f"min({of('miniwsgi_ready')})"), names=ready, width=3),
        number("Requests", "Requests that the application answered, in a second.", "reqps",
               Query(summed(rate(REQUESTS))), width=3),
        number("Errors", "Share of requests that were answered 5xx, by the application or, too many being in flight, "
               "by the server.", "percentunit", Query(error_ratio()), limits=OPINION, width=3),
        number("p95", "95 of 100 requests took at most this long.", "s",
               Query(quantile(0.95, DURATION)), limits=SLOW, width=3),
        number("Utilisation", f"{IN_USE}: the highest of the instances.",
               "percentunit", Query(f"max({of('miniwsgi_utilization_ratio')})"), limits=(0.7, 0.9), width=3),
        number("Running", "Requests inside the application now.", "short",
               Query(summed(of("http_server_active_requests"))), width=3),
        number("Waiting", "Complete requests that wait for a thread now.", "short",
               Query(summed(of("miniwsgi_requests_waiting"))), limits=(1, 10), width=3),
        number("Version", "What runs: miniwsgi, Python, pool, engine.", "none",
               Query(f"count by (version, python_version, pool, engine) ({of('miniwsgi_build_info')})",
                     "{{version}}, Python {{python_version}}, {{pool}}, {{engine}}"), is_text=True, width=3),
    ]  # fmt: skip


def requests() -> list[AnyPanel]:
    """Rate and errors."""
    by_class = f'label_replace({rate(REQUESTS)}, "class", "${{1}}xx", "http_response_status_code", "(.).*")'
    return [
        graph("Requests by status class", "Requests that the application answered, in a second. _xx: counted without "
              "their status, as there were more than 256 kinds in a worker.", "reqps",
              Query(summed(by_class, "class"), "{{class}}"), stacked=True),
        graph("Requests by method", "Requests that the application answered, in a second. _OTHER: methods that are not "
              "in the standard.", "reqps",
              Query(summed(rate(REQUESTS), "http_request_method"), "{{http_request_method}}"), stacked=True),
        graph("Error ratio", "Share of requests that were answered 5xx, by the application or, too many being in "
              "flight, by the server. Dashed: the objective of the alerts.", "percentunit",
              Query(error_ratio(), "5xx"), limits=OPINION),
        graph("Errors", "Answers with 5xx by status, exceptions of the application, and 503 of the server, in a "
              "second.", "reqps",
              Query(summed(rate(REQUESTS, FAILED), "http_response_status_code"), "{{http_response_status_code}}"),
              Query(summed(rate("miniwsgi_application_errors_total")), "exceptions"),
              Query(f"{summed(OVERLOAD)} or vector(0)", "too many in flight")),
        graph("Requests by instance", "Requests that the application answered, in a second.", "reqps",
              Query(summed(rate(REQUESTS), "instance"))),
    ]  # fmt: skip


def duration() -> list[AnyPanel]:
    """How long the application takes."""
    mean = f"{summed(rate(f'{DURATION}_sum'))} / ({summed(rate(REQUESTS))} > 0)"
    return [
        graph("Duration", "From the call of the application to the end of its response. Quantiles are interpolated "
              "within buckets.", "s", *quantiles(DURATION), Query(mean, "mean"), limits=SLOW),
        heat("Duration, all of it", "How many requests took how long.", DURATION),
        graph("p95 by instance", "95 of 100 requests took at most this long.", "s",
              Query(quantile(0.95, DURATION, by="instance")), limits=SLOW),
        graph("Slow requests", "Requests beyond log.slow_request, in a second; the log names them.", "reqps",
              Query(summed(rate("miniwsgi_slow_requests_total"), "instance"))),
        graph("Age of the oldest running request", "How long the longest-running request has been running. One that "
              "keeps growing does not end, and holds a thread.", "s",
              Query(of("miniwsgi_request_oldest_age_seconds")), limits=(60, 300)),
    ]  # fmt: skip


def ten(most: str) -> Query:
    """The ten routes that have most of it."""
    return Query(f"topk(10, {most})", "{{http_route}}")


def routes() -> list[AnyPanel]:
    """What each route asks for, fails, takes and computes; the ten that have most of it."""
    total = summed(rate(REQUESTS, WITH_ROUTE), "http_route")
    slowest = quantile(0.95, DURATION, WITH_ROUTE, by="http_route")
    failed = f"({summed(rate(REQUESTS, WITH_ROUTE, FAILED), 'http_route')} or 0 * {total}) / ({total} > 0)"
    taken = summed(rate(f"{DURATION}_sum", WITH_ROUTE), "http_route")
    computed, queued, sent = (
        summed(rate(f"miniwsgi_route_{name}_total"), "http_route")
        for name in ("cpu_seconds", "queue_seconds", "response_bytes")
    )
    return [
        graph("Requests by route", "The ten busiest routes, in a second. _OTHER: those beyond the first 64 of a "
              "worker.", "reqps", ten(total)),
        graph("p95 by route", "The ten slowest routes.", "s", ten(slowest), limits=SLOW),
        graph("Error ratio by route", "Share of a route's requests that were answered 5xx, of the ten with the "
              "highest.", "percentunit", ten(failed), limits=OPINION),
        graph("Threads taken by route", "How many threads a route's requests keep busy, on the average: it is what a "
              "route that waits costs.", "short", ten(taken)),
        graph("CPU by route", "CPUs that threads compute on inside the application.", "short", ten(computed)),
        graph("Time in the queue by route", "How long a request waited for a thread, on the average.", "s",
              ten(f"{queued} / ({total} > 0)"), limits=(0.1, 0.25)),
        graph("Bytes by route", "Bodies of responses, in a second.", "Bps", ten(sent)),
    ]  # fmt: skip


def waiting() -> list[AnyPanel]:
    """Between a complete request and the application."""
    return [
        graph("Time in the queue", "From a complete request to the call of the application: what threads and workers "
              "are short of.", "s", *quantiles(QUEUE), limits=(0.1, 0.25)),
        heat("Time in the queue, all of it", "How many requests waited how long.", QUEUE),
        graph("Running and waiting", "Requests inside the application by method, and those that wait for a thread.",
              "short",
              Query(summed(of("http_server_active_requests"), "http_request_method"), "{{http_request_method}}"),
              Query(summed(of("miniwsgi_requests_waiting")), "waiting")),
        graph("Utilisation", f"{IN_USE}, over 10 s.", "percentunit",
              Query(of("miniwsgi_utilization_ratio")), limits=(0.7, 0.9), top=1),
        graph("Connections", "Open connections.", "short", Query(of("miniwsgi_connections"))),
        graph("How requests were run", "By the thread that holds the loop (inline), given to another thread, or inline "
              "and then so slow that another thread took the loop; in a second.", "reqps",
              Query(summed(rate("miniwsgi_requests_inline_total")), "inline"),
              Query(summed(rate("miniwsgi_requests_handed_over_total")), "handed over"),
              Query(summed(rate("miniwsgi_requests_taken_over_total")), "taken over")),
    ]  # fmt: skip


def refused() -> list[AnyPanel]:
    """What never reached the application, what was cut off, and bytes."""
    size = "http_server_{}_body_size_bytes"
    return [
        graph("Refused requests", "Answered by the server, by status, in a second: mistakes against HTTP, limits, and "
              "503 with too many in flight.", "reqps",
              Query(summed(rate("miniwsgi_requests_rejected_total"), "status"), "{{status}}"), stacked=True),
        graph("Aborted requests", "By their client, for not taking the response, or beyond timeouts.request; in a "
              "second.", "reqps",
              Query(summed(rate("miniwsgi_requests_aborted_total"), "reason"), "{{reason}}"), stacked=True),
        graph("Bytes", "Bodies of requests and responses, in a second.", "Bps",
              Query(summed(rate(size.format("request") + "_sum")), "requests"),
              Query(summed(rate(size.format("response") + "_sum")), "responses")),
        graph("Size of bodies", "95 of 100 bodies were at most this large; of requests, only those that have one.",
              "bytes",
              Query(quantile(0.95, size.format("request")), "requests, p95"),
              Query(quantile(0.95, size.format("response")), "responses, p95")),
    ]  # fmt: skip


def tls() -> list[AnyPanel]:
    """Empty where none is spoken."""
    renewals = f"increase({of('miniwsgi_tls_renewals_total')}[$__rate_interval])"
    return [
        graph("Until certificates expire", "How long each certificate is good for. It is renewed about 30 days before, "
              "and then taken up without a reload.", "s",
              Query(f"{of('miniwsgi_tls_certificate_not_after_seconds')} - time()",
                    "{{instance}} {{listener}} {{certificate}}")),
        graph("Renewals of certificates", "By result. After a failure the old certificate is still served: "
              "`miniwsgictl events` says why.", "short", Query(summed(renewals, "result"), "{{result}}"), bars=True),
        graph("TLS handshakes", "By result, in a second.", "ops",
              Query(summed(rate("miniwsgi_tls_handshakes_total"), "result"), "{{result}}"), stacked=True),
    ]  # fmt: skip


def server() -> list[AnyPanel]:
    """Lifecycle, log, management."""
    states = {0: ("No", GREEN), 1: ("Yes", GREY)}
    reloads = f"increase({of('miniwsgi_reloads_total')}[$__rate_interval])"
    return [
        number("Draining", "Whether any of the instances is stopping.", "none",
               Query(f"max({of('miniwsgi_draining')})"), names=states),
        number("Generation", "1, and one more for each reload.", "none",
               Query(f"max({of('miniwsgi_generation')})")),
        number("Last reload", "How long ago the oldest of the instances was started or reloaded.", "s",
               Query(f"time() - min({of('miniwsgi_reload_last_success_timestamp_seconds')})")),
        number("Duration of the last reload", "From the order to the last worker's end.", "s",
               Query(f"max({of('miniwsgi_reload_last_duration_seconds')})"), limits=(60, 300)),
        number("Log lines lost", "Dropped in a second: the disk was full, or nobody read them.", "short",
               Query(summed(rate("miniwsgi_log_messages_lost_total"))), limits=(0.001, 1)),
        number("Requests without their own series", "More than 256 kinds of method and status, or 64 routes, in a "
               "worker: counted under _OTHER.", "short",
               Query(summed(rate("miniwsgi_series_overflow_total"))), limits=(0.001, 1)),
        graph("Reloads", "By result.", "short", Query(summed(reloads, "result"), "{{result}}"), bars=True),
        graph("Log lines", "By level, in a second.", "short",
              Query(summed(rate("miniwsgi_log_messages_total"), "level"), "{{level}}"), stacked=True),
        graph("Control requests", "Calls of the control API by endpoint and status, in a second.", "reqps",
              Query(summed(rate("miniwsgi_control_requests_total"), "endpoint, code"), "{{endpoint}} {{code}}")),
        graph("The master's loop", "How late the loop of the master is, the worst of 10 s. It answers control calls, "
              "health checks and scrapes.", "s",
              Query(of("miniwsgi_master_loop_lag_seconds")), limits=(0.1, 1)),
        graph("The application's own metrics", "How long their merge took, and how often it failed, in a second.", "s",
              Query(of("miniwsgi_application_metrics_merge_seconds"), "{{instance}} merge"),
              Query(summed(rate("miniwsgi_application_metrics_errors_total"), "reason"), "errors: {{reason}}")),
    ]  # fmt: skip
