"""What the access log costs: hello-world with it, as text and as JSON, beside hello-world without."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from bench.operations import Operation, Taken
from bench.processes import ServerError
from bench.servers import OURS
from bench.steps import turn
from bench.trial import Bench, Sample
from bench.workloads import PLAIN

FORMATS = {OURS: ("text", "json"), "peregrine": ("text", "json"), "gunicorn-gthread": ("text",)}
WITHOUT = ""
WRITE_SECONDS = 5.0  # lines may be written in batches


class Logged(Operation):
    """Hello-world with an access log, against without."""

    name = "logged"
    servers = tuple(FORMATS)
    estimate = 6.0

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        formats = FORMATS[server]
        samples = {kind: self._sample(bench, server, kind) for kind in turn((WITHOUT, *formats), number)}
        if any(sample.errors for sample in samples.values()):
            raise ServerError("errors")
        note = "hello-world, every request in the log"
        return [
            Taken(f"{self.name} as {kind}", "× its speed without", samples[kind].speed(samples[WITHOUT]), note=note)
            for kind in formats
        ]

    def _sample(self, bench: Bench, server: str, kind: str) -> Sample:
        """Hello-world with this kind of log. Raises ServerError when requests are not in it."""
        workload = self.workload()
        order = bench.order(workload)
        if kind != WITHOUT:
            order = replace(order, access_log=order.scratch / "access.log", log_format=kind if kind != "text" else "")
        with bench.serving(server, order, PLAIN) as running:
            loaded = bench.load(running, workload)
            if order.access_log is not None:
                # who has no file for it writes to its standard output
                log = order.access_log if order.access_log.exists() else running.output
                look_for_lines(log, loaded.load.requests)
        return loaded.sample


def look_for_lines(log: Path, least: int, seconds: float = WRITE_SECONDS) -> None:
    """Wait until a log has that many lines. Raises ServerError when it does not get them."""
    deadline = time.monotonic() + seconds
    while (lines := log.read_bytes().count(b"\n")) < least:
        if time.monotonic() > deadline:
            raise ServerError(f"{lines:,} lines in the log for {least:,} requests")
        time.sleep(0.05)
