"""What metrics cost: of the requests that are counted while somebody scrapes, and of a scrape itself.

The scrapes ask as Prometheus does: OpenMetrics, packed, on a kept connection.
"""

from __future__ import annotations

import gzip
import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bench.cpu_time import sum_cpu
from bench.operations import Operation, Taken
from bench.processes import ServerError, free_port
from bench.servers import OURS
from bench.trial import Bench
from bench.workloads import PLAIN

ACCEPT = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "Accept-Encoding": "gzip",
}
SECONDS = 10.0  # for an answer
SLOTS = 64
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW")
STATUSES = (200, 201, 301, 302, 400, 403, 404, 500)  # with METHODS: 64 series
SCRAPES = 100


def scrape(connection: http.client.HTTPConnection) -> bytes:
    """A scrape, as it was sent: packed. Raises ServerError, OSError, http.client.HTTPException."""
    connection.request("GET", "/metrics", headers=ACCEPT)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise ServerError(f"/metrics answers {response.status}")
    return body


class Metered(Operation):
    """Hello-world with metrics served and scraped each second, against metrics off."""

    name = "metered"
    servers = (OURS,)
    estimate = 5.0

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        samples = {}
        workload = self.workload()
        for metrics in ("off", f"127.0.0.1:{free_port()}")[:: 1 if number % 2 else -1]:
            order = replace(bench.order(workload), metrics=metrics)
            with bench.serving(server, order, PLAIN) as running:
                if metrics == "off":
                    samples["off"] = bench.load(running, workload).sample
                else:
                    with _scraped_each_second(int(metrics.rpartition(":")[2])) as count:
                        samples["on"] = bench.load(running, workload).sample
                    if not count:
                        raise ServerError("nothing was scraped")
        if samples["on"].errors or samples["off"].errors:
            raise ServerError("errors")
        speed = samples["on"].speed(samples["off"])
        return [Taken(self.name, "× its speed without metrics", speed, note="hello-world, scraped each second")]


@contextmanager
def _scraped_each_second(port: int) -> Iterator[list[int]]:
    """Scrapes meanwhile; the list gets the size of each."""
    sizes: list[int] = []
    over = threading.Event()

    def run() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            while True:
                sizes.append(len(scrape(connection)))
                if over.wait(1.0):
                    return
        except (OSError, http.client.HTTPException, ServerError):
            sizes.clear()
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join(SECONDS)


class Scrape(Operation):
    """One scrape of a daemon with many slots and series."""

    name = "scrape"
    servers = (OURS,)
    estimate = 10.0
    rounds = 1

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        port = free_port()
        order = replace(bench.order(self.workload("bench_app:statuses", SLOTS)), metrics=f"127.0.0.1:{port}")
        with bench.serving(server, order, PLAIN, pinned=False) as running:  # one processor is too little for so many
            _fill(running.port)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
            try:
                text = gzip.decompress(scrape(connection)).decode()
                _check(text)
                master = [running.process.pid]
                before = sum_cpu(master)
                for _ in range(SCRAPES):
                    scrape(connection)
                spent = sum_cpu(master) - before
            finally:
                connection.close()
        note = f"{SLOTS} workers, {len(METHODS) * len(STATUSES)} series each"
        return [
            Taken(self.name, "s", spent.total / SCRAPES, note=f"the master's CPU; {note}"),
            Taken("scrape size", "bytes", len(text), note=f"before it is packed; {note}"),
        ]


def _fill(port: int) -> None:
    """Have every worker answer every combination. Connections are spread evenly, so some hundred reach all."""
    connections: dict[bytes, http.client.HTTPConnection] = {}
    deadline = time.monotonic() + 3 * SECONDS
    try:
        spare = []
        while len(connections) < SLOTS:
            if time.monotonic() > deadline:
                raise ServerError(f"only {len(connections)} of {SLOTS} workers have answered")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
            worker = _ask(connection, "GET", 200)
            if worker in connections:
                spare.append(connection)
            else:
                connections[worker] = connection
        for connection in connections.values():
            for method in METHODS:
                for status in STATUSES:
                    _ask(connection, method, status)
    finally:
        for connection in (*connections.values(), *spare):
            connection.close()


def _ask(connection: http.client.HTTPConnection, method: str, status: int) -> bytes:
    connection.request(method, f"/?{status}")
    return connection.getresponse().read()


def _check(text: str) -> None:
    """Raises ServerError if the scrape is not of what it is meant to be."""
    series = text.count("http_server_request_duration_seconds_count{")
    slots = text.count("miniwsgi_worker_requests_total{")
    if series < len(METHODS) * len(STATUSES) or slots < SLOTS:
        raise ServerError(f"{series} series and {slots} slots were scraped")
