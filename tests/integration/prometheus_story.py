"""A daemon's life that leaves a trace in every metric, and what a Prometheus that watched it must know afterwards.

    python -m tests.integration.prometheus_story

prints each expression of the dashboards and rules with the number of series that it returned, and what was counted.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.control import Control, control_of
from tests.support.daemon import Daemon
from tests.support.load import Load, Report
from tests.support.ports import free_port
from tests.support.promql import Expression, in_dashboards, in_rules, without_conditions
from tests.support.service import Service
from tests.unit.tls_world import issued

from .prometheus_server import Prometheus, filled_in

APPLICATION = """
import os, time
from prometheus_client import Counter

VERSION = "v1"
ORDERS = Counter("shop_orders", "Orders.")

def application(environ, start_response):
    began = time.perf_counter()
    path = environ["PATH_INFO"]
    environ["miniwsgi.route"] = path
    status, body = "200 OK", [f"{VERSION} {os.getpid()} {environ['QUERY_STRING'].removeprefix('token=')}\\n".encode()]
    if path == "/measured":
        environ["wsgi.input"].read()
        time.sleep(1)
        body = [b"%.9f" % (time.perf_counter() - began)]
    elif path == "/stuck":
        time.sleep(600)
    elif path == "/endless":
        body = (b"x" * 65536 for _ in range(100_000))
    elif path == "/order":
        body = [b"%d" % len(environ["wsgi.input"].read())]
        ORDERS.inc()
    elif path == "/missing":
        status = "404 Not Found"
    elif path == "/bug":
        raise ValueError("on purpose")
    start_response(status, [("Content-Type", "text/plain"), *LENGTH(body)])
    return body

def LENGTH(body):
    return [("Content-Length", str(len(body[0])))] if isinstance(body, list) else []
"""
CONFIGURATION = """
revision = "2026-11"

[server]
workers = 2
threads = 4

[timeouts]
request = "4s"
graceful = "5s"

[recycle]
max_rss = "4 GiB"

[log]
slow_request = "3500ms"  # as long as a machine may take that is busy: only /stuck takes longer

[metrics]
routes = ["/{}"]  # by which processor time is measured; the application names them itself
"""
ORDER_BYTES = 1000
REQUESTS = "http_server_request_duration_seconds_count"
MEASURED, AT_A_TIME = 20, 4  # of a second each: a rate is seen though a scrape is missed
ABSENT_ELSEWHERE = {"miniwsgi_memory_limit_bytes": "sum by (job, instance) (miniwsgi_build_info) * 4e9"}


@dataclass
class Tally:
    """What the clients counted and the operator did."""

    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # method, status, route
    measured_seconds: float = 0.0
    asked_seconds: float = 0.0  # that clients waited for those
    orders: int = 0
    body_bytes: int = 0
    bodies: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    aborted: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    reloads: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    load: Report | None = None

    @property
    def total(self) -> int:
        """Requests that reached the application."""
        return sum(self.requests.values())

    def by_status(self) -> dict[str, float]:
        """Those by status."""
        found: Counter[str] = Counter()
        for (_, status, _), count in self.requests.items():
            found[status] += count
        return dict(found)


@contextlib.contextmanager
def watched(service: Service) -> Iterator[tuple[Daemon, Prometheus]]:
    """A daemon and a Prometheus that has scraped it."""
    service.write(APPLICATION)
    service.write("def leader_start(): pass\n", "duties.py")
    target = f"127.0.0.1:{free_port()}"
    certificate = service.directory / "shop.pem"
    pair = issued("localhost")
    certificate.write_text(f"{pair.chain}{pair.key}", "utf-8")
    https = f'{{ address = "127.0.0.1:{free_port()}", certificate = "{certificate}" }}'
    arguments = ("-c", service.configure(CONFIGURATION), "--hooks", "duties", "--metrics-bind", target, "--bind", https)
    daemon = service.start(*arguments, "--control", str(service.directory / "control.sock"))
    daemon.settle(2)
    with urllib.request.urlopen(f"http://{target}/metrics", timeout=30) as response:
        families = {line.split()[2] for line in response.read().decode().splitlines() if line.startswith("# TYPE ")}
    missing = {name: text for name, text in ABSENT_ELSEWHERE.items() if name not in families}
    with Prometheus(service.directory / "prometheus", target, missing) as prometheus:
        prometheus.wait_for_value("up", 1)
        yield daemon, prometheus


def live(service: Service, daemon: Daemon, prometheus: Prometheus) -> Tally:
    """Everything that can happen to a daemon, one thing after another; what was done and counted."""
    tally = Tally()
    with Control(control_of(daemon)) as control:
        _under_load(service, daemon, control, tally, prometheus)
    _mixed(daemon, tally)
    _measured(daemon, tally)
    _stuck(daemon, tally)
    _killed(daemon, tally)
    return tally


def _under_load(service: Service, daemon: Daemon, control: Control, tally: Tally, prometheus: Prometheus) -> None:
    """Reloads, one of them broken, and scaling, while clients ask."""
    load = Load(daemon.address, connections=8, path="/page")
    with load:
        load.wait_for_more(500)
        service.write(APPLICATION.replace('"v1"', '"v2"'))
        control.change("/reload")
        load.wait_for_version("v2")
        service.write("raise RuntimeError('broken on purpose')")
        assert control.post("/reload?wait=60")["state"] == "failed"
        service.write(APPLICATION.replace('"v1"', '"v2"'))
        control.change("/scale", {"workers": 3})
        load.wait_for_more(500)
        control.change("/scale", {"workers": 2})
        load.wait_for_more(500)
        control.status()
        rate = f"sum(rate({REQUESTS}[8s]))"
        prometheus.wait(lambda: prometheus.value(rate) > 0, lambda: rate)  # it has scraped twice amid the load
        report = load.stop()
    assert not report.lost, report
    tally.load = report
    tally.requests["GET", "200", "/page"] += report.answered
    tally.reloads.update(success=1, failure=1)
    tally.exits.update(reload=2, scale=1)
    daemon.settle(2)


def _mixed(daemon: Daemon, tally: Tally) -> None:
    """Answers of every kind on a kept connection, mistakes, and a client that goes away."""
    connection = http.client.HTTPConnection(*daemon.address, timeout=30)
    for _ in range(5):
        connection.request("POST", "/order", b"x" * ORDER_BYTES)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"%d" % ORDER_BYTES)
        tally.requests["POST", "200", "/order"] += 1
        tally.orders += 1
        tally.bodies += 1
        tally.body_bytes += ORDER_BYTES
    for path, status in [("/missing", 404)] * 3 + [("/bug", 500)] * 2:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        tally.requests["GET", str(status), path] += 1
        tally.errors += status == 500
    connection.close()
    for request, code in [(b"no request\r\n\r\n", "400")] * 3 + [(b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", "505")]:
        with socket.create_connection(daemon.address, 30) as sock:
            sock.sendall(request)
            assert sock.recv(100).split()[1].decode() == code
        tally.rejected[code] += 1
    with socket.create_connection(daemon.address, 30) as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
    tally.requests["GET", "499", "/endless"] += 1
    tally.aborted["client"] += 1


def _stuck(daemon: Daemon, tally: Tally) -> None:
    """A request beyond timeouts.request: its worker is replaced."""
    connection = http.client.HTTPConnection(*daemon.address, timeout=60)
    connection.request("GET", "/stuck")
    assert connection.getresponse().status == 504
    connection.close()
    tally.requests["GET", "504", "/stuck"] += 1
    tally.aborted["request_timeout"] += 1
    tally.exits["timeout"] += 1
    daemon.wait_for_log("has left: timeouts.request")
    daemon.settle(2)


def _measured(daemon: Daemon, tally: Tally) -> None:
    """Requests that say for themselves how long they took; they have bodies, of which some come in each scrape."""

    def ask() -> None:
        connection = http.client.HTTPConnection(*daemon.address, timeout=30)
        for _ in range(MEASURED // AT_A_TIME):
            began = time.perf_counter()
            connection.request("POST", "/measured", b"x" * ORDER_BYTES)
            response = connection.getresponse()
            assert response.status == 200
            said.append(float(response.read()))
            took.append(time.perf_counter() - began)
        connection.close()

    said: list[float] = []
    took: list[float] = []
    clients = [threading.Thread(target=ask) for _ in range(AT_A_TIME)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(said) == MEASURED
    tally.requests["POST", "200", "/measured"] += len(said)
    tally.bodies += len(said)
    tally.body_bytes += len(said) * ORDER_BYTES
    tally.measured_seconds = sum(said)
    tally.asked_seconds = sum(took)


def _killed(daemon: Daemon, tally: Tally) -> None:
    """A worker is killed, while it has nothing to do."""
    os.kill(daemon.workers()[0], signal.SIGKILL)
    daemon.wait_for_log("was killed by SIGKILL")
    daemon.settle(2)
    tally.exits["crash"] += 1


# --- what Prometheus must know -----------------------------------------------------------------------------------


def compare(prometheus: Prometheus, tally: Tally) -> list[str]:
    """That the numbers agree, once Prometheus has scraped them; what was compared. Raises AssertionError."""
    count = "http_server_request_duration_seconds_count"
    prometheus.wait_for_value(f"sum({count})", tally.total)
    prometheus.wait_for_series(f"sum by (http_response_status_code) ({count})", tally.by_status(), _STATUS)
    for (method, status, route), number in tally.requests.items():
        labels = f'http_request_method="{method}", http_response_status_code="{status}", http_route="{route}"'
        prometheus.wait_for_value(f"{count}{{{labels}}}", number)
    prometheus.wait_for_value("http_server_request_body_size_bytes_count", tally.bodies)
    prometheus.wait_for_value("http_server_request_body_size_bytes_sum", tally.body_bytes)
    prometheus.wait_for_value("http_server_response_body_size_bytes_count", tally.total)
    prometheus.wait_for_value("miniwsgi_application_errors_total", tally.errors)
    prometheus.wait_for_value("miniwsgi_slow_requests_total", 1)
    prometheus.wait_for_value("shop_orders_total", tally.orders)
    prometheus.wait_for_value("miniwsgi_generation", 2)
    for family, label, wanted in (
        ("miniwsgi_requests_rejected_total", "status", tally.rejected),
        ("miniwsgi_requests_aborted_total", "reason", tally.aborted),
        ("miniwsgi_worker_exits_total", "reason", tally.exits),
        ("miniwsgi_reloads_total", "result", tally.reloads),
    ):
        prometheus.wait_for_series(family, dict(wanted), label)
    prometheus.wait_for_value("miniwsgi_connections", 0)
    prometheus.wait_for_value("miniwsgi_connections_accepted_total - sum(miniwsgi_connections_closed_total)", 0)
    took = prometheus.value_of('sum(http_server_request_duration_seconds_sum{http_route="/measured"})')
    most = max(tally.measured_seconds * 1.02, tally.asked_seconds)  # on a busy machine threads are late
    assert tally.measured_seconds <= took <= most, tally
    assert prometheus.set_back() == []
    return [
        f"requests: {tally.total:,} by the clients, {prometheus.value_of(f'sum({count})'):,.0f} by Prometheus",
        f"by status: {tally.by_status()}",
        f"duration of {MEASURED}: {tally.measured_seconds:.4f} s by the application, {took:.4f} s by Prometheus "
        f"({(took / tally.measured_seconds - 1) * 100:+.3f} %)",
        f"exits: {dict(tally.exits)}, reloads: {dict(tally.reloads)}, aborted: {dict(tally.aborted)}, "
        f"rejected: {dict(tally.rejected)}",
    ]


_STATUS = "http_response_status_code"


def expressions(target: str) -> list[Expression]:
    """All that is asked for, as it is asked for: variables filled in, nothing left out by a condition."""
    found = []
    for one in [*in_dashboards(), *in_rules()]:
        text = filled_in(one.text, target)
        if one.kind in {"alert", "annotation"}:
            text = without_conditions(text)
        found.append(Expression(one.kind, one.where, text))
        if one.kind == "record":
            found.append(Expression("recorded", one.where, one.where))
    return found


def evaluate(prometheus: Prometheus, start: float) -> list[tuple[Expression, int]]:
    """Each expression, with the number of its series that have a number. Raises AssertionError if one has none."""
    found = []
    for one in expressions(prometheus.target):
        # Those that draw a line through the past need more of it than has been.
        series = prometheus.wait(
            lambda text=one.text: prometheus.over(text, start),  # type: ignore[misc]
            lambda one=one: f"nothing for {one}",  # type: ignore[misc]
        )
        found.append((one, len(series)))
    return found


def main() -> int:
    """Print the evidence; the exit status."""
    with tempfile.TemporaryDirectory(prefix="miniwsgi-prometheus-") as directory:
        service = Service(Path(directory))
        start = time.time()
        try:
            with watched(service) as (daemon, prometheus):
                tally = live(service, daemon, prometheus)
                lines = compare(prometheus, tally)
                found = evaluate(prometheus, start)
        finally:
            service.close()
    for one, count in found:
        print(f"{count:4}  {one.kind:10} {one.where}\n      {one.text}")
    print(f"\n{len(found)} expressions, each with data\n", *lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
