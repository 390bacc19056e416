"""The experiments of the quick run, by name, in the order of the table."""

from __future__ import annotations

from dataclasses import replace

from bench.experiments import (
    OURS,
    Against,
    BesideCpuBound,
    ColdStart,
    Experiment,
    Idle,
    Memory,
    Mixed,
    Reload,
    Throughput,
)
from bench.figures import Target
from bench.metrics_cost import Metered, Scrape
from bench.trial import Workload


def quick() -> dict[str, Experiment]:
    """A fresh set."""
    hello = Workload("hello", "bench_app:hello")
    trio = (OURS, "bjoern", "gunicorn-gthread")
    found: list[Experiment] = [
        Throughput(
            hello,
            "hello-world",
            trio,
            [
                Against("bjoern", Target(at_least=0.65)),
                Against("gunicorn-gthread", Target(at_least=6.0)),
            ],
        ),
        Throughput(
            replace(hello, name="browser", script="changing.lua"),
            "hello-world, 13 browser fields, values changing",
            trio,
            [Against("bjoern", Target(at_least=0.5))],
        ),
        Throughput(
            replace(hello, name="browser-same", script="browser.lua"),
            "hello-world, 13 browser fields, always the same",
            trio,
        ),
        Throughput(
            replace(hello, name="access-log", access_log=True),
            "hello-world, access log to a file",
            (OURS, "gunicorn-gthread"),
        ),
        Throughput(
            Workload("blocking", "bench_app:blocking", threads=32),
            "10 ms blocking, 32 threads",
            (OURS, "gunicorn-gthread"),
            [
                Against("gunicorn-gthread", Target(at_least=0.85)),
                Against("gunicorn-gthread", Target(at_most=0.5), cpu=True),
            ],
        ),
        Mixed("mixed", "1 in 50 sleeps 100 ms, 32 threads", (OURS, "gunicorn-gthread")),
        BesideCpuBound("beside-cpu", "a fast handler beside two CPU-bound", (OURS, "gunicorn-gthread")),
        Idle("idle", "5,000 idle connections"),
        Memory("memory", "memory", (OURS, "gunicorn-gthread")),
        ColdStart("cold-start", "start to first answer", (OURS, "gunicorn-gthread")),
        Reload("reload", "reload of 4 workers"),
        Metered("metered", "hello-world, scraped each second"),
        Scrape("scrape", "a scrape of 64 slots with 64 series each"),
    ]
    return {experiment.name: experiment for experiment in found}
