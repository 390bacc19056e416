"""The dashboard Workers: slot by slot. A slot's series go on when its worker is replaced."""

from __future__ import annotations

from typing import Any

from panels import (
    BLUE,
    GREEN,
    GREY,
    RED,
    YELLOW,
    AnyPanel,
    PromQueryFormat,
    Query,
    board,
    columns,
    gauges,
    graph,
    number,
    of,
    rate,
    summed,
    timeline,
)
from service import MARKS

STATES = {
    0: ("vacant", GREY),
    1: ("booting", BLUE),
    2: ("ready", GREEN),
    3: ("draining", YELLOW),
    4: ("stopping", RED),
}
SLOT = "{{instance}} slot {{slot}}"
UNWANTED = 'reason=~"crash|oom|timeout|wedge|hook|boot"'


def made() -> dict[str, Any]:
    """The dashboard, as JSON's types."""
    rows = {
        "Now": now(),
        "Coming and going": turnover(),
        "Memory and CPU": resources(),
        "Work": work(),
    }
    return board("miniwsgi-workers", "miniwsgi / Workers", "Worker by worker, by slot.", rows, MARKS)


def now() -> list[AnyPanel]:
    """States and a table."""
    ended = f"sum(increase({of('miniwsgi_worker_exits_total', UNWANTED)}[$__range]))"
    return [
        number("Ready", "Workers that take requests.", "short",
               Query(summed(of("miniwsgi_workers", 'state="ready"')))),
        number("Wanted", "Workers that there should be.", "short", Query(summed(of("miniwsgi_workers_target")))),
        number("Threads a worker", "Threads that may run the application at the same time.", "short",
               Query(f"max({of('miniwsgi_worker_threads')})")),
        number("Ended unasked", "Workers that crashed, were killed, did not boot or ran into a limit of time, within "
               "the time shown.", "short", Query(ended), limits=(1, 4)),
        number("Slowest boot", "The longest of the latest boots of the slots.", "s",
               Query(f"max({of('miniwsgi_worker_boot_seconds')})"), limits=(10, 60)),
        number("Oldest heartbeat", "How long the loop of a worker has not turned, at most. timeouts.wedge replaces "
               "it.", "s", Query(f"max({of('miniwsgi_worker_heartbeat_age_seconds')})"), limits=(5, 20)),
        timeline("States", "What each slot's worker was doing.", STATES, Query(of("miniwsgi_worker_state"), SLOT)),
        columns("Workers now", "A row for each slot.", *_table()),
    ]  # fmt: skip


def _table() -> tuple[list[tuple[str, str]], list[Query], list[str]]:
    found = [
        ("Leads", "short", "miniwsgi_leader"),
        ("Uptime", "s", "miniwsgi_worker_uptime_seconds"),
        ("Boot", "s", "miniwsgi_worker_boot_seconds"),
        ("Resident", "bytes", "miniwsgi_worker_resident_memory_bytes"),
        ("Proportional", "bytes", "miniwsgi_worker_proportional_memory_bytes"),
        ("CPU", "s", "miniwsgi_worker_cpu_seconds_total"),
        ("Requests", "short", "miniwsgi_worker_requests_total"),
        ("Busy threads", "short", "miniwsgi_worker_busy_threads"),
        ("Connections", "short", "miniwsgi_worker_connections"),
        ("Descriptors", "short", "miniwsgi_worker_open_fds"),
    ]
    queries = [
        Query(summed(of(family), "instance, slot"), "", instant=True, format=PromQueryFormat.TABLE)
        for _, _, family in found
    ]
    return [(name, unit) for name, unit, _ in found], queries, ["instance", "slot"]


def turnover() -> list[AnyPanel]:
    """Starts and ends."""
    exits = f"increase({of('miniwsgi_worker_exits_total')}[$__rate_interval])"
    return [
        graph("Workers by state", "How many are in each state.", "short",
              Query(summed(of("miniwsgi_workers"), "state"), "{{state}}"),
              stacked=True),
        graph("Exits by reason", "Why workers ended: reload, scale, restart, stop, requests, lifetime and rss are "
              "asked for; crash, oom, wedge, timeout and boot are not.", "short",
              Query(summed(exits, "reason"), "{{reason}}"), stacked=True, bars=True),
        gauges("Restarts by slot", "How often a slot's worker was replaced within the time shown.", "short",
               Query(f"resets({of('miniwsgi_worker_uptime_seconds')}[$__range])", SLOT), limits=(10, 100)),
        graph("Uptime", "How long each worker has been running. A saw tooth is recycling, or crashes.", "s",
              Query(of("miniwsgi_worker_uptime_seconds"), SLOT)),
        graph("Boot time", "From the fork to ready, of each slot's latest worker. Without preloading it contains the "
              "import of the application.", "s",
              Query(of("miniwsgi_worker_boot_seconds"), SLOT), limits=(10, 60)),
        graph("Age of heartbeats", "How long each worker's loop has not turned. Dashed: something holds it up; stuck.",
              "s", Query(of("miniwsgi_worker_heartbeat_age_seconds"), SLOT), limits=(5, 20)),
    ]  # fmt: skip


def resources() -> list[AnyPanel]:
    """What each worker costs."""
    return [
        graph("Resident memory (RSS)", "What each worker has in memory, pages that it shares with others included. "
              "recycle.max_rss, if set, replaces a worker beyond it.", "bytes",
              Query(of("miniwsgi_worker_resident_memory_bytes"), SLOT),
              Query(of("miniwsgi_worker_memory_limit_bytes"), "{{instance}} recycle.max_rss")),
        graph("Proportional memory (PSS)", "Shared pages divided by those who share them: the sum over workers is what "
              "they cost. Preloading keeps it far below RSS.", "bytes",
              Query(of("miniwsgi_worker_proportional_memory_bytes"), SLOT), stacked=True),
        graph("CPU", "Share of a CPU that each worker uses.", "percentunit",
              Query(rate("miniwsgi_worker_cpu_seconds_total"), SLOT), stacked=True),
        graph("File descriptors", "Open descriptors of each worker, connections among them.", "short",
              Query(of("miniwsgi_worker_open_fds"), SLOT)),
    ]  # fmt: skip


def work() -> list[AnyPanel]:
    """What each worker does."""
    return [
        graph("Busy threads", "Threads that run the application, in each worker; dashed for all: none is left.",
              "short",
              Query(of("miniwsgi_worker_busy_threads"), SLOT),
              Query(f"max({of('miniwsgi_worker_threads')})", "threads a worker")),
        graph("Requests", "Requests that the application answered, in each worker, in a second.", "reqps",
              Query(rate("miniwsgi_worker_requests_total"), SLOT)),
        graph("Connections", "Open connections of each worker.", "short",
              Query(of("miniwsgi_worker_connections"), SLOT)),
        graph("CPU for a request", "CPU time that a request costs, in each worker: a change of it is a change of the "
              "application.", "s",
              Query(f"{rate('miniwsgi_worker_cpu_seconds_total')} / "
                    f"({rate('miniwsgi_worker_requests_total')} > 0)", SLOT)),
    ]  # fmt: skip
