"""An application that counts with prometheus_client, in real daemons: exact sums, whatever happens to workers."""

from __future__ import annotations

import http.client
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from miniwsgi.metrics import value_files, value_merge
from prometheus_client.parser import text_string_to_metric_families

from tests.support.daemon import Daemon
from tests.support.effort import effort
from tests.support.service import Service

APP = """
import os, signal, threading
from flask import Flask
from prometheus_client import Counter, Gauge, Histogram, Summary

MODES = ("all", "min", "max", "sum", "mostrecent", "liveall", "livemin", "livemax", "livesum", "livemostrecent")
app = Flask(__name__)
IMPORTS = Counter("app_imports", "Imports of this module.")
REQUESTS = Counter("app_requests", "Requests.", ["kind"])
SECONDS = Histogram("app_seconds", "Seconds.", buckets=(0.1, 1.0, 10.0))
BYTES = Summary("app_bytes", "Bytes.")
GAUGES = [Gauge(f"app_{mode}", f"A gauge, {mode}.", multiprocess_mode=mode) for mode in MODES]
VERSION = Gauge("app_version", "Set by the import.", multiprocess_mode="max")
IMPORTS.inc()
VERSION.set(7)

@app.get("/count")
def count():
    REQUESTS.labels("count").inc()
    SECONDS.observe(0.5)
    BYTES.observe(3)
    return str(os.getpid())

@app.get("/set/<value>")
def set_all(value):
    for gauge in GAUGES:
        gauge.set(float(value))
    return str(os.getpid())
"""
THREAD = """
import time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
"""
KINDS = len(value_files.KINDS)  # APP has one of each
POOLS = ("epoll", "prefork", "fork")


class Counted:
    """A daemon with that application, and what is in its directory of values."""

    def __init__(self, service: Service, *arguments: str, source: str = APP, **environ: str) -> None:
        service.write(source)
        self.base = service.directory / "run"
        self.base.mkdir(exist_ok=True)
        self.sent = 0
        self.daemon: Daemon = service.start(
            *("--metrics-bind", f"unix:{service.directory}/m{len(service.daemons)}.sock"),
            *arguments,
            environ={"RUNTIME_DIRECTORY": str(self.base), **environ},
        )

    @property
    def directory(self) -> Path:
        (found,) = self.base.glob("miniwsgi-app-metrics-*")
        return found

    def count(self, times: int) -> None:
        for _ in range(times):
            ask(self.daemon, "/count")
        self.sent += times

    def samples(self) -> dict[str, float]:
        """All samples of a merge that finds nothing amiss, as 'name{labels}'."""
        body, report = value_merge.merge(str(self.directory), False)
        assert (report.dropped, report.damaged) == ([], [])
        found = {}
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    def assert_exact(self) -> None:
        """Every request is counted once, in each kind of metric."""
        found = self.samples()
        expected = {
            "app_requests_total{kind=count}": self.sent,
            "app_seconds_count": self.sent,
            "app_seconds_sum": self.sent / 2,
            "app_seconds_bucket{le=0.1}": 0,
            "app_seconds_bucket{le=1.0}": self.sent,
            "app_bytes_count": self.sent,
            "app_bytes_sum": self.sent * 3,
        }
        assert {name: found.get(name) for name in expected} == expected

    def labels(self, name: str) -> set[str]:
        """Whose values a gauge that is shown for each process has."""
        return {key.split("=")[1][:-1] for key in self.samples() if key.startswith(f"{name}{{pid=")}

    def identities(self) -> set[str]:
        """Whoever has a file."""
        return {parts[1] for path in self.directory.iterdir() if (parts := value_files.split_name(path.name))}

    def booted(self) -> int:
        """How many workers have ever been ready."""
        return len(set(re.findall(r"\(pid (\d+)\) of generation \d+ is ready", self.daemon.log())))


def ask(daemon: Daemon, path: str) -> str:
    """The body of a 200 on a connection of its own, which the worker is done with."""
    connection = http.client.HTTPConnection(*daemon.address, timeout=60)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read().decode()
        assert response.status == 200, body
        return body
    finally:
        connection.close()


@contextmanager
def busy(counted: Counted, clients: int = 4) -> Iterator[None]:
    """Clients that count as fast as they can. Raises what any of them raised."""
    over = threading.Event()
    sent = [0] * clients
    errors: list[BaseException] = []

    def client(number: int) -> None:
        try:
            while not over.is_set():
                ask(counted.daemon, "/count")
                sent[number] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
        counted.sent += sum(sent)
    if errors:
        raise errors[0]


def recycling(service: Service, pool: str, preload: str) -> Counted:
    """Four workers that are replaced after every other request; clients may be slow to send theirs."""
    path = service.configure(
        f"""
        preload = "{preload}"
        [server]
        pool = "{pool}"
        workers = 4
        threads = 4
        surge = 4
        [timeouts]
        drain_idle = 30
        [recycle]
        max_requests = 2
        max_requests_jitter = 0
        """
    )
    return Counted(service, "-c", path)


# --- counts ---------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("pool", "preload", "exits"),
    [
        ("prefork", "true", effort(20, 100)),
        ("epoll", "true", effort(6, 20)),
        ("fork", "true", effort(6, 20)),
        ("prefork", "false", effort(3, 10)),
        pytest.param("epoll", "false", 10, marks=pytest.mark.full),
        ("fork", "false", effort(3, 10)),
    ],
)
def test_sums_are_exact_whatever_workers_come_and_go(service: Service, pool: str, preload: str, exits: int) -> None:
    counted = recycling(service, pool, preload)
    with busy(counted):
        counted.daemon.wait(lambda: counted.booted() >= 4 + exits, f"{exits} workers have gone", 250)
    counted.assert_exact()
    imports = counted.samples()["app_imports_total"]
    if preload == "true":
        assert imports == 1
    else:
        assert 1 <= imports <= counted.booted() + 8, "workers import it: those that were ready, or about to be"
    places = counted.identities()
    assert {place.partition("-")[0] for place in places} <= {"boot0", *(f"slot{slot}" for slot in range(12))}
    if pool == "fork":  # four connections at a time, and those of a worker that is draining
        assert {place.partition("-")[2] for place in places} <= {"", *map(str, range(8))}
    else:
        assert not [place for place in places if "-" in place]
    assert len(list(counted.directory.glob("*.db"))) <= KINDS * len(places)


@pytest.mark.parametrize("preload", ["true", "false"])
def test_sums_are_exact_when_workers_are_killed(service: Service, preload: str) -> None:
    counted = Counted(service, "--workers", "2", "--preload", preload)
    for _ in range(3):
        counted.daemon.settle(2)
        counted.count(10)
        for pid in counted.daemon.workers():
            counted.daemon.processes()
            signal_process(counted.daemon, pid)
    counted.daemon.settle(2)
    counted.count(10)
    counted.assert_exact()


def signal_process(daemon: Daemon, pid: int) -> None:
    """SIGKILL to a worker, and wait until the master knows."""
    for process in daemon.processes():
        if process.pid == pid:
            process.kill()
    daemon.wait(lambda: re.search(rf"\(pid {pid}\) (?!of generation)", daemon.log()), f"{pid} is known to be dead")


def test_generations_leave_no_files_behind(service: Service) -> None:
    counted = Counted(service, "--workers", "2", "--preload", "true")
    reloads = 5
    with busy(counted, clients=2):
        for _ in range(reloads):
            assert counted.daemon.reload()
    counted.daemon.settle(2)
    counted.assert_exact()
    found = counted.samples()
    assert found["app_imports_total"] == 1 + reloads
    assert found["app_version"] == 7
    assert counted.identities() <= {*(f"boot{number}" for number in range(3)), *(f"slot{slot}" for slot in range(6))}


def test_an_import_that_was_given_up_is_counted_and_sets_nothing(service: Service) -> None:
    counted = Counted(service, "--workers", "1", "--preload", "auto", source=APP + THREAD)
    counted.daemon.wait_for_log("the import left")
    counted.count(3)
    counted.assert_exact()
    found = counted.samples()
    assert found["app_imports_total"] == 2, "the launcher's, and the worker's"
    assert found["app_version"] == 7, "the worker's"
    assert counted.labels("app_all") == {"0"}


def test_scaling_down_takes_nothing_from_the_sums(service: Service) -> None:
    counted = Counted(service, "--workers", "4", "--pool", "prefork")
    counted.daemon.settle(4)
    with busy(counted):
        counted.daemon.wait(lambda: len(counted.labels("app_all")) == 4, "all four have counted")
    counted.assert_exact()
    for left in (3, 2, 1):
        counted.daemon.signal(signal.SIGTTOU)
        counted.daemon.settle(left)
    counted.assert_exact()
    assert len(counted.labels("app_all")) == 4
    counted.daemon.wait(lambda: len(counted.labels("app_liveall")) == 1, "live gauges of one worker")
    for wanted in (2, 3, 4):
        counted.daemon.signal(signal.SIGTTIN)
        counted.daemon.settle(wanted)
    counted.count(20)
    counted.assert_exact()
    assert counted.labels("app_all") == {"0", "1", "2", "3"}


def test_connections_at_the_same_time_in_pool_fork_do_not_get_in_each_others_way(service: Service) -> None:
    counted = Counted(service, "--workers", "1", "--pool", "fork", "--threads", "8")
    connections = [http.client.HTTPConnection(*counted.daemon.address, timeout=60) for _ in range(8)]
    for _ in range(5):
        for connection in connections:
            connection.request("GET", "/count")
        for connection in connections:
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            counted.sent += 1
    counted.assert_exact()
    assert counted.identities() - {"boot0"} == {f"slot0-{number}" for number in range(8)}
    assert counted.labels("app_liveall") == {f"0-{number}" for number in range(8)}
    for connection in connections:
        connection.close()
    counted.daemon.wait(lambda: not counted.labels("app_liveall"), "no live gauges without a connection")
    counted.assert_exact()


# --- gauges ---------------------------------------------------------------------------------------


def test_gauges_of_each_mode_when_their_worker_is_replaced(service: Service) -> None:
    counted = Counted(service, "--workers", "1", "--preload", "true")
    ask(counted.daemon, "/set/5")
    modes = ("min", "max", "sum", "mostrecent")
    found = counted.samples()
    assert {found[f"app_{mode}"] for mode in modes} == {5.0}
    assert {found[f"app_live{mode}"] for mode in modes} == {5.0}
    assert found["app_all{pid=0}"] == found["app_liveall{pid=0}"] == 5.0
    (pid,) = counted.daemon.workers()
    signal_process(counted.daemon, pid)
    counted.daemon.settle(1)
    found = counted.samples()
    assert {found[f"app_{mode}"] for mode in modes} == {5.0}
    assert found["app_all{pid=0}"] == 5.0
    assert not [name for name in found if name.startswith("app_live")]
    assert not list(counted.directory.glob("gauge_live*_slot*.db"))
    ask(counted.daemon, "/set/3")
    found = counted.samples()
    assert {found[f"app_live{mode}"] for mode in modes} == {3.0}
    assert counted.labels("app_liveall") == {"0"}
    assert found["app_version"] == 7.0


# --- the directory --------------------------------------------------------------------------------


def test_the_directory_goes_with_the_daemon(service: Service) -> None:
    counted = Counted(service, "--workers", "1")
    counted.count(1)
    assert counted.directory.stat().st_mode & 0o777 == 0o700
    assert counted.daemon.stop() == 0
    assert list(counted.base.iterdir()) == []


def test_a_daemon_that_was_killed_leaves_nothing_that_the_next_one_does_not_clear(service: Service) -> None:
    counted = Counted(service, "--workers", "1")
    counted.count(3)
    left = counted.directory
    counted.daemon.processes()
    counted.daemon.process.kill()
    counted.daemon.process.wait()
    counted.daemon.wait(lambda: not counted.daemon.survivors(), "its workers have gone, too")
    again = Counted(service, "--workers", "1")
    assert again.directory != left
    again.count(1)
    again.assert_exact()


def test_two_daemons_in_one_runtime_directory_do_not_meet(service: Service) -> None:
    first = Counted(service, "--workers", "1")
    first.count(2)
    directory = first.directory
    second = Counted(service, "--workers", "1")
    second.count(3)
    second.daemon.stop()
    assert first.directory == directory
    first.assert_exact()


@pytest.mark.parametrize("how", ["app.env", "the daemon's environment"])
def test_an_application_that_sees_to_its_metrics_itself_is_left_alone(service: Service, how: str) -> None:
    own = service.directory / "own"
    own.mkdir()
    if how == "app.env":
        counted = Counted(service, "--workers", "1", "--env", f"PROMETHEUS_MULTIPROC_DIR={own}")
    else:
        counted = Counted(service, "--workers", "1", PROMETHEUS_MULTIPROC_DIR=str(own))
    pid = ask(counted.daemon, "/count")
    assert (own / f"counter_{pid}.db").exists()
    assert list(counted.base.iterdir()) == []
    counted.daemon.wait_for_log("sets PROMETHEUS_MULTIPROC_DIR: its metrics are left to it")


def test_metrics_application_switches_it(service: Service) -> None:
    path = service.configure("[metrics]\napplication = false\n")
    counted = Counted(service, "-c", path)
    ask(counted.daemon, "/count")
    assert list(counted.base.iterdir()) == []
