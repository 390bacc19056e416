"""The dashboard Capacity: how much is used of what there is, and how long it will last."""

from __future__ import annotations

from typing import Any

from panels import REQUESTS, AnyPanel, Query, board, graph, number, of, rate, summed
from service import IN_USE, MARKS

AHEAD_HOURS = 4
PAST = "1h"  # a forecast draws a line through an hour
BUSY = (0.7, 0.9)
THREADS = f"{of('miniwsgi_workers_target')} * on (job, instance) {of('miniwsgi_worker_threads')}"
MEMORY = (
    f"sum by (job, instance) ({of('miniwsgi_worker_proportional_memory_bytes')})"
    f" + on (job, instance) {of('process_resident_memory_bytes')}"
)


def made() -> dict[str, Any]:
    """The dashboard, as JSON's types."""
    rows = {
        "Now": now(),
        "Threads and workers": workers(),
        "Connections and the accept queue": connections(),
        "Memory, CPU, descriptors": resources(),
        f"In {AHEAD_HOURS} hours, if the last hour goes on": forecast(),
    }
    title, description = "miniwsgi / Capacity", "How much is used, how much is left."
    return board("miniwsgi-capacity", title, description, rows, MARKS)


def ahead(gauge: str) -> str:
    """What a gauge will be, going on in a straight line; no less than nothing."""
    return f"clamp_min(predict_linear({gauge}[{PAST}], {AHEAD_HOURS} * 3600), 0)"


def worked_out_ahead(expr: str) -> str:
    """The same for an expression, which is worked out every 15 s for it."""
    return ahead(f"({expr})").replace(f"[{PAST}]", f"[{PAST}:15s]")


def at_full_use() -> str:
    """The rate at which threads or CPU would be used up. Below 1 % of use there is nothing to reckon from."""
    busy = f"clamp_min(sum by (instance) (avg_over_time({of('miniwsgi_utilization_ratio')}[$__rate_interval])), 0.01)"
    return f"{summed(rate(REQUESTS), 'instance')} / {busy}"


def now() -> list[AnyPanel]:
    """One number each."""
    queue = (
        f"max({of('miniwsgi_listen_queue_length')} / on (job, instance, listener) "
        f"({of('miniwsgi_listen_queue_limit')} > 0))"
    )
    return [
        number("Utilisation", f"{IN_USE}.", "percentunit",
               Query(f"avg({of('miniwsgi_utilization_ratio')})"), limits=BUSY),
        number("Peak", "The highest utilisation within the time shown.", "percentunit",
               Query(f"max(max_over_time({of('miniwsgi_utilization_ratio')}[$__range]))"), limits=BUSY),
        number("Threads", "Requests that the application can run at the same time.", "short",
               Query(f"sum({THREADS})")),
        number("Fullest accept queue", "How full it is. Beyond 1 the kernel drops.", "percentunit", Query(queue),
               limits=(0.25, 0.5)),
        number("Dropped", "Attempts to connect that the kernel dropped, within the time shown; clients try again.",
               "short", Query(f"sum(increase({of('miniwsgi_listen_dropped_total')}[$__range]))"), limits=(1, 10)),
        number("Memory", "Of the control group's limit, where there is one.", "percentunit",
               Query(f"max(({MEMORY}) / on (job, instance) {of('miniwsgi_memory_limit_bytes')})"), limits=(0.8, 0.9)),
    ]  # fmt: skip


def workers() -> list[AnyPanel]:
    """Are there enough?"""
    return [
        graph("Utilisation", f"{IN_USE}, over 10 s. Above 0.8 waiting grows faster than load.",
              "percentunit", Query(of("miniwsgi_utilization_ratio")), limits=BUSY, top=1),
        graph("Requests at full use, estimated", "The rate at which threads or CPU would be used up if all requests "
              "cost what they cost now; beside it the rate now.", "reqps",
              Query(at_full_use(), "{{instance}} at full use"),
              Query(summed(rate(REQUESTS), "instance"), "{{instance}} now")),
        graph("Workers, wanted and ready", "They differ while workers boot; for longer if they cannot. A ready worker "
              "whose loop does not turn answers nobody.", "short",
              Query(of("miniwsgi_workers_target"), "{{instance}} wanted"),
              Query(of("miniwsgi_workers", 'state="ready"'), "{{instance}} ready"),
              Query(of("miniwsgi_workers_not_responding"), "{{instance}} not responding")),
        graph("Requests and threads", "Requests that run or wait, and the threads that there are for them.", "short",
              Query(summed(of("http_server_active_requests"), "instance"), "{{instance}} running"),
              Query(of("miniwsgi_requests_waiting"), "{{instance}} waiting"),
              Query(THREADS, "{{instance}} threads")),
    ]  # fmt: skip


def connections() -> list[AnyPanel]:
    """Before and between requests."""
    reused = f"{summed(rate('miniwsgi_connections_reused_total'))} / ({summed(rate(REQUESTS))} > 0)"
    return [
        graph("Accept queue", "Connections that wait to be accepted, and how many may: server.backlog, capped by the "
              "kernel.", "short",
              Query(of("miniwsgi_listen_queue_length"), "{{instance}} {{listener}}"),
              Query(of("miniwsgi_listen_queue_limit"), "{{instance}} {{listener}} limit")),
        graph("Dropped attempts to connect", "By the kernel, the accept queue being full, in a second. Attempts, not "
              "connections: a client tries several times.", "cps",
              Query(rate("miniwsgi_listen_dropped_total"), "{{instance}} {{listener}}"), limits=(0.001, 1)),
        graph("Connections", "Open connections.", "short", Query(of("miniwsgi_connections"))),
        graph("New connections", "Accepted in a second.", "cps",
              Query(summed(rate("miniwsgi_connections_accepted_total"), "instance"))),
        graph("Closed connections", "By reason, in a second.", "cps",
              Query(summed(rate("miniwsgi_connections_closed_total"), "reason"), "{{reason}}"), stacked=True),
        graph("Reuse of connections", "Share of requests that were not the first of their connection. Near 0 each "
              "request pays for a connection: let clients and proxies keep theirs.", "percentunit",
              Query(reused, "reused"), top=1),
        graph("WebSockets", "Connections that the application has taken over and that are open, each with a thread of "
              "its own; limits.sockets is the bound, a worker.", "short", Query(of("miniwsgi_sockets"))),
        graph("New WebSockets", "Opened in a second.", "cps",
              Query(summed(rate("miniwsgi_sockets_opened_total"), "instance"))),
        graph("Time of WebSockets", "Of those that have ended, added up, in a second: how many were open in the mean.",
              "short",
              Query(summed(rate("miniwsgi_sockets_seconds_total"), "instance"))),
    ]  # fmt: skip


def resources() -> list[AnyPanel]:
    """What the machine gives."""
    descriptors = (
        f"max by (job, instance) ({of('miniwsgi_worker_open_fds')}) / on (job, instance) {of('process_max_fds')}"
    )
    cpu = f"{summed(rate('miniwsgi_worker_cpu_seconds_total'), 'instance')}"
    return [
        graph("Memory", "Of workers (proportional) and master together, and the control group's limit.", "bytes",
              Query(MEMORY, "{{instance}}"),
              Query(of("miniwsgi_memory_limit_bytes"), "{{instance}} limit")),
        graph("CPU", "CPUs in use: by all workers, by the master.", "short",
              Query(cpu, "{{instance}} workers"), Query(rate("process_cpu_seconds_total"), "{{instance}} master")),
        graph("File descriptors", "Share of the limit that the worker with the most has open; and the master.",
              "percentunit", Query(descriptors, "{{instance}} workers"),
              Query(f"{of('process_open_fds')} / {of('process_max_fds')}", "{{instance}} master"), limits=(0.7, 0.9)),
        graph("Master's memory", "Resident memory of the master. It does not grow with load.", "bytes",
              Query(of("process_resident_memory_bytes"))),
        graph("Uptime of the master", "Since the daemon was started. Reloads do not end it.", "s",
              Query(f"time() - {of('process_start_time_seconds')}")),
    ]  # fmt: skip


def forecast() -> list[AnyPanel]:
    """Straight lines."""
    memory = f"sum by (instance) ({MEMORY})"
    return [
        graph("Utilisation", "Now, and in four hours. At 1 the workers can do no more.", "percentunit",
              Query(of("miniwsgi_utilization_ratio"), "{{instance}} now"),
              Query(f"clamp_max({ahead(of('miniwsgi_utilization_ratio'))}, 1)", "{{instance}} in 4 h"),
              limits=BUSY, top=1),
        graph("Requests", "Now, and in four hours.", "reqps",
              Query(summed(rate(REQUESTS), "instance"), "{{instance}} now"),
              Query(worked_out_ahead(summed(f"rate({of(REQUESTS)}[5m])", "instance")), "{{instance}} in 4 h")),
        graph("Memory", "Now, in four hours, and the control group's limit. A leak is a line that climbs.", "bytes",
              Query(memory, "{{instance}} now"), Query(worked_out_ahead(memory), "{{instance}} in 4 h"),
              Query(of("miniwsgi_memory_limit_bytes"), "{{instance}} limit")),
        graph("Connections", "Now, and in four hours.", "short",
              Query(of("miniwsgi_connections"), "{{instance}} now"),
              Query(ahead(of("miniwsgi_connections")), "{{instance}} in 4 h")),
    ]  # fmt: skip
