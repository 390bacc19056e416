"""The metrics of running daemons: exact counts, which never go backwards, whatever happens to workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.load import Failure, Load
from tests.support.metrics_client import OPENMETRICS, Metrics, Series, requests
from tests.support.service import HELLO, Service, get

LOADED = """
import os, time

def application(environ, start_response):
    token = environ["QUERY_STRING"].removeprefix("token=")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"v1 {os.getpid()} {token}\\n".encode()]
"""
SCRAPE_SECONDS = 0.005  # between two: a scrape is no load that is to be borne
EXITS = 'miniwsgi_worker_exits_total{{reason="{}"}}'


def exits(series: Series) -> dict[str, int]:
    """Workers that have gone, by reason."""
    found = {}
    for name, value in series.items():
        if name.startswith("miniwsgi_worker_exits_total") and value:
            found[name.split('"')[1]] = int(value)
    return found


@contextmanager
def scraping(metrics: Metrics) -> Iterator[list[str]]:
    """Scrape again and again in a thread; the list gets every counter that has fallen or gone."""
    wrong: list[str] = []
    over = threading.Event()

    def run() -> None:
        before: Series = {}
        while not over.wait(SCRAPE_SECONDS):
            now, growing = metrics.counted()
            wrong.extend(
                f"{name}: {value} and then {now.get(name)}"
                for name, value in before.items()
                if now.get(name, -1) < value
            )
            before = {name: value for name, value in now.items() if name in growing}

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield wrong
    finally:
        over.set()
        thread.join(30)


@pytest.mark.parametrize("pool", ["epoll", "prefork", "fork"])
def test_counters_are_exact_and_never_fall(service: Service, pool: str) -> None:
    metrics = Metrics(service.directory)
    path = service.directory / "control.sock"
    service.write(LOADED)
    configuration = service.configure("[server]\nworkers = 2\n")
    daemon = service.start("-c", configuration, "--pool", pool, "--control", str(path), *metrics.arguments)
    with Control(path) as control, scraping(metrics) as wrong:
        with Load(daemon.address, connections=4) as load:
            load.wait_for_more(100)
            control.change("/scale", {"workers": 4})
            load.wait_for_more(100)
            assert daemon.reload()
            control.change("/scale", {"workers": 1})
            load.wait_for_more(400)
            control.change("/restart")
            marks = control.get("/history")["marks"]
        report = load.stop()
        assert not report.lost, report
        daemon.wait(lambda: requests(metrics.scrape()) == report.answered, f"{report.answered} requests counted")
        daemon.wait(lambda: sum(exits(metrics.scrape()).values()) == 8, "eight exits")
        before = exits(metrics.scrape())
    assert not wrong
    assert [(mark["kind"], mark["workers"], mark["failed"]) for mark in marks if mark["workers"]] == [
        ("start", 2, False), ("scale", 4, False), ("reload", 4, False), ("scale", 1, False), ("restart", 1, False),
    ]  # fmt: skip
    assert before["scale"] == 3
    assert before["reload"] == 4
    assert before["restart"] == 1
    assert before.keys() == {"scale", "reload", "restart"}


def test_a_killed_worker_loses_only_what_it_ran(service: Service) -> None:
    metrics = Metrics(service.directory)
    service.write(LOADED)
    daemon = service.start("--workers", "2", *metrics.arguments)
    daemon.settle(2)
    with scraping(metrics) as wrong:
        with Load(daemon.address, connections=6) as load:
            load.wait_for_more(100)
            os.kill(daemon.workers()[0], signal.SIGKILL)
            load.wait_for_more(100)
        report = load.stop()
        assert {lost.kind for lost in report.lost} <= {Failure.CLOSED, Failure.RESET, Failure.TRUNCATED}
        daemon.settle(2)
        series = metrics.scrape()
    assert not wrong
    # A request may be counted whose answer was lost with the worker; counting follows the send, so that one may be
    # answered and not counted.
    assert report.answered - 1 <= requests(series) <= report.requests
    assert exits(series) == {"crash": 1}
    gone = series['miniwsgi_connections_closed_total{reason="worker_exit"}']
    opened = series["miniwsgi_connections_accepted_total"]
    closed = sum(value for name, value in series.items() if name.startswith("miniwsgi_connections_closed_total"))
    assert gone >= 1
    assert closed + series["miniwsgi_connections"] == opened


def test_what_runs_and_what_happened_is_told(service: Service) -> None:
    metrics = Metrics(service.directory)
    path = service.directory / "control.sock"
    configuration = service.configure(
        "[server]\nworkers = 2\n[timeouts]\nrequest = 2\ngraceful = 1\n"
        "[log]\nslow_request = 0.5\n[recycle]\nmax_rss = '1 GiB'\n"
    )
    daemon = service.start("-c", configuration, "--control", str(path), *metrics.arguments)
    daemon.settle(2)
    with Control(path) as control:
        control.status()
        assert control.get("/nothing").status == 404
    running = threading.Thread(target=lambda: get(daemon, "/sleep?100", seconds=60), daemon=True)
    running.start()

    def has_an_age() -> bool:
        series = metrics.scrape()
        return (
            series["miniwsgi_request_oldest_age_seconds"] > 0.1
            and series['http_server_active_requests{http_request_method="GET"}'] == 1
        )

    daemon.wait(has_an_age, "an age")
    daemon.wait(lambda: exits(metrics.scrape()) == {"timeout": 1}, "the worker's exit after request_timeout")
    running.join(30)
    daemon.settle(2)
    memory = "miniwsgi_worker_resident_memory_bytes"
    daemon.wait(lambda: sum(name.startswith(memory) for name in metrics.scrape()) == 2, "a sample of each worker")
    service.write("raise RuntimeError('broken')\n")
    assert not daemon.reload()
    service.write(HELLO)
    assert daemon.reload()
    series = metrics.scrape()
    expected = {
        'miniwsgi_requests_aborted_total{reason="request_timeout"}': 1,
        "miniwsgi_slow_requests_total": 1,
        'http_server_active_requests{http_request_method="GET"}': 0,
        "miniwsgi_request_oldest_age_seconds": 0,
        'miniwsgi_reloads_total{result="success"}': 1,
        'miniwsgi_reloads_total{result="failure"}': 1,
        'miniwsgi_control_requests_total{code="200",endpoint="/v1/status"}': 1,
        'miniwsgi_control_requests_total{code="404",endpoint="_OTHER"}': 1,
        "miniwsgi_workers_target": 2,
        "miniwsgi_worker_memory_limit_bytes": 1 << 30,
        "miniwsgi_draining": 0,
        "miniwsgi_ready": 1,
        'miniwsgi_workers{state="ready"}': 2,
    }
    assert {name: series[name] for name in expected} == expected
    assert abs(series["miniwsgi_reload_last_success_timestamp_seconds"] - time.time()) < 600
    assert series["miniwsgi_generation"] >= 2
    assert series["process_resident_memory_bytes"] > 1 << 20
    daemon.wait(lambda: exits(metrics.scrape()).get("reload") == 2, "the old workers' exits")


def test_both_formats_and_gzip(service: Service) -> None:
    metrics = Metrics(service.directory)
    service.start(*metrics.arguments)
    text = metrics.get("/metrics")
    assert text.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# EOF" not in text.body
    openmetrics = metrics.get("/metrics", Accept=OPENMETRICS)
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.body.endswith(b"# EOF\n")
    packed = metrics.get("/metrics", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.body) * 3 < len(text.body)


def test_a_wedged_worker_and_a_full_queue_do_not_keep_a_scrape_waiting(service: Service) -> None:
    service.write("import ctypes\n\ndef application(environ, start_response):\n    ctypes.PyDLL(None).sleep(100)\n")
    metrics = Metrics(service.directory)
    daemon = service.start("--workers", "1", "--threads", "1", *metrics.arguments)
    thread = threading.Thread(target=lambda: _give_up(daemon), daemon=True)
    thread.start()
    daemon.wait(lambda: metrics.scrape()['http_server_active_requests{http_request_method="GET"}'] == 1, "the request")
    series = metrics.scrape()
    assert series['miniwsgi_worker_busy_threads{slot="0"}'] == 1
    daemon.wait(lambda: metrics.scrape().get("miniwsgi_utilization_ratio", 0) > 0.5, "the load to show")
    daemon.signal(signal.SIGQUIT)
    daemon.process.wait(30)
    thread.join(30)


def _give_up(daemon: Daemon) -> None:
    try:
        get(daemon, "/", seconds=60)
    except OSError:
        pass
