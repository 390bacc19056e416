"""The promises of the control API, in their short form; `control_storm` has the full one.

No call fails and none is slow while the daemon is scaled and reloaded under load; wedged workers, followers that never
read and clients that send nonsense disturb nobody; scaling loses no request.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control import Control
from tests.support.daemon import Daemon, suspend
from tests.support.load import Load
from tests.support.service import Service, get
from tests.support.waiting import PATIENCE_SECONDS

from .control_storm import APP, SPARE_FDS, Turmoil, Watch, followers, garbage, serving, storm

SLOW_MACHINE = 100  # how much slower than promised a machine may be that runs other tests, too


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple[Daemon, Path]]:
    """A daemon with the application for `Load`, and its control socket."""
    with serving(tmp_path) as (daemon, path):
        daemon.wait(lambda: Control(path).status()["workers"]["ready"] == 2, "two workers")
        yield daemon, path


# --- turmoil --------------------------------------------------------------------------------------------------------


def test_no_call_fails_while_the_daemon_is_scaled_and_reloaded_under_load(daemon: tuple[Daemon, Path]) -> None:
    running, path = daemon
    with Watch(running, path) as watch:
        with Load(running.address, connections=8) as load:
            with Turmoil(path) as turmoil:
                seen = storm(path, 2_000, 50)
                running.wait(turmoil.has_changed_much, "changes")
            report = load.stop()
        assert seen.failures == {}
        assert seen.calls == 2_000
        assert seen.status_p99 < 100 * SLOW_MACHINE, seen
        assert turmoil.failures == []
        assert report.lost == []
        assert report.answered > 100
    assert watch.last_fds <= watch.first_fds + SPARE_FDS, watch
    assert watch.last_rss < watch.first_rss + 8, watch
    assert "control API" not in running.log().partition("listens on")[2]  # nothing went wrong inside


def test_scaling_under_load_loses_no_request(daemon: tuple[Daemon, Path]) -> None:
    running, path = daemon
    control = Control(path)
    with Load(running.address, connections=8) as load:
        load.wait_for_more(200)
        for _ in range(3):
            control.change("/scale", {"workers": 8})
            assert control.status()["workers"]["ready"] == 8
            load.wait_for_more(200)
            control.change("/scale", {"workers": 2})
            load.wait_for_more(200)
        report = load.stop()
    assert report.lost == []


def test_new_workers_get_their_share_of_connections_that_are_kept_alive(daemon: tuple[Daemon, Path]) -> None:
    running, path = daemon
    control = Control(path)
    control.change("/scale", {"workers": 1})
    with Load(running.address, connections=8, renew=10**9, pausing=100) as load:
        load.wait_for_more(200)
        control.change("/scale", {"workers": 3})
        workers = set(running.workers())
        assert len(workers) == 3
        load.wait(lambda report: workers <= report.by_pid.keys(), "all three answer")
        running.wait(lambda: min(one["connections"] for one in control.get("/workers")["workers"]) >= 2, "a share each")
        announced = load.report.closes_announced
        load.wait_for_more(500)
        report = load.stop()
    assert report.lost == []
    assert report.closes_announced == announced, "it is over then"
    assert announced <= 6


# --- followers ------------------------------------------------------------------------------------------------------


def test_followers_that_never_read_hold_nobody_up(daemon: tuple[Daemon, Path]) -> None:
    running, path = daemon
    with Watch(running, path) as watch:
        with followers(path, 100, 100) as read:
            with Turmoil(path) as turmoil:
                seen = storm(path, 1_000, 20)
            last = Control(path).get("/events")["last_id"]
            running.wait(lambda: all(ids and ids[-1] >= last for ids in read), "all that read are up to date")
        assert (seen.failures, turmoil.failures) == ({}, [])
        assert seen.status_p99 < 100 * SLOW_MACHINE, seen
        for ids in read:
            assert ids == list(range(ids[0], ids[0] + len(ids)))  # none is lost, none comes twice
    assert watch.last_fds <= watch.first_fds + SPARE_FDS, watch
    assert watch.last_rss < watch.first_rss + 40, watch


# --- clients that are none ------------------------------------------------------------------------------------------


def test_garbage_and_idle_connections_are_answered_or_closed_and_disturb_nobody(daemon: tuple[Daemon, Path]) -> None:
    running, path = daemon
    with Watch(running, path) as watch:
        idle = []
        for _ in range(1_000):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE_SECONDS)
            sock.connect(str(path))
            idle.append(sock)
        half = [sock for sock in idle[::2] if _send_half(sock)]
        assert len(half) > 100
        seen = storm(path, 500, 20)
        assert seen.failures == {}
        assert seen.status_p99 < 100 * SLOW_MACHINE, seen
        assert garbage(path, 60) == 0
        for sock in idle:
            sock.close()
    assert watch.most_fds < 700
    assert watch.last_fds <= watch.first_fds + SPARE_FDS, watch
    assert get(running).startswith("v1")


def _send_half(sock: socket.socket) -> bool:
    try:
        sock.sendall(b"GET /v1/status HTT")
    except OSError:
        return False  # it was closed to make room
    return True


# --- stacks, wedged workers -----------------------------------------------------------------------------------------

WEDGES = {
    "sleep": "time.sleep(1000)",
    "busy loop": "while True: pass",
    "C code that holds the GIL": "ctypes.PyDLL(None).sleep(1000)",
}
WEDGING = """
import ctypes
import time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/wedge":
        {wedge}  # here
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""


@pytest.mark.parametrize("wedge", WEDGES)
def test_status_stack_and_restart_work_while_every_worker_is_wedged(
    service: Service, tmp_path: Path, wedge: str
) -> None:
    path = tmp_path / "control.sock"
    source = WEDGING.format(wedge=WEDGES[wedge])
    service.write(source)
    patient = ("--set", "timeouts.graceful=2s")  # the loops burn a processor each until they are killed
    daemon = service.start("--workers", "2", "--threads", "1", "--control", str(path), *patient)
    control = Control(path)
    daemon.wait(lambda: control.status()["workers"]["ready"] == 2, "two workers")
    for number in (1, 2):
        threading.Thread(target=_ask_quietly, args=(daemon, "/wedge"), daemon=True).start()
        daemon.wait(
            lambda number=number: control.status()["workers"]["busy"] == number,  # type: ignore[misc]
            f"{number} are wedged",
        )

    times = []
    for _ in range(40):
        started = time.monotonic()
        assert control.status()["requests"]["in_flight"] == 2
        times.append(time.monotonic() - started)
    assert sorted(times)[-2] < 0.1 * SLOW_MACHINE, times

    line = source[: source.index("  # here")].count("\n") + 1
    before = {}
    for worker in control.workers():
        before[worker["slot"]] = worker["pid"]
        assert [request["path"] for request in worker["in_flight"]] == ["/wedge"]
        stack = control.get(f"/workers/{worker['slot']}/stack")
        assert stack["answered"]
        assert f'app.py", line {line} in application' in stack["text"], stack["text"]
        assert stack["in_flight"][0]["path"] == "/wedge"

    control.change("/restart")
    ready = [worker for worker in control.workers() if worker["state"] == "ready"]
    assert len(ready) == 2
    assert not {worker["pid"] for worker in ready} & set(before.values())
    assert get(daemon) == "served"
    assert control.change("/stop", {"mode": "now"})


def test_stacks_of_busy_workers_do_them_no_harm(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    service.write(APP)
    daemon = service.start("--workers", "2", "--control", str(path))
    control = Control(path)
    daemon.wait(lambda: control.status()["workers"]["ready"] == 2, "two workers")
    before = set(daemon.workers())
    with Load(daemon.address, connections=8) as load:
        for number in range(600):
            assert control.get(f"/workers/{number % 2}/stack")["answered"]
        report = load.stop()
    assert set(daemon.workers()) == before  # faulthandler's signal handler crashes some of them
    assert report.lost == []


def test_the_stack_of_a_worker_that_is_stopped_says_so(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    daemon = service.start("--workers", "1", "--control", str(path))
    (pid,) = daemon.workers()
    control = Control(path)
    answers: list[str] = []

    def ask() -> None:
        answers.append(Control(path).get("/workers/0/stack")["text"])

    suspend(pid)
    try:
        started = time.monotonic()
        threads = [threading.Thread(target=ask) for _ in range(10)]
        for thread in threads:
            thread.start()
        assert control.status()["state"] == "running"
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 20  # one dump of 2.5 s serves all who ask meanwhile
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len(answers) == 10
    assert all("T (stopped)" in text for text in answers)


def _ask_quietly(daemon: Daemon, path: str) -> None:
    try:
        get(daemon, path)
    except Exception:
        pass
