"""Health of a real daemon in each of its states, and the port that tells it: addresses, tokens, who holds it up."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.control import Control
from tests.support.daemon import ALONE, Daemon, suspend
from tests.support.metrics_client import Port, port_of
from tests.support.service import Service, get
from tests.support.waiting import PATIENCE_SECONDS, wait_for

TCP = "127.0.0.1:0"
# Importing it waits for a file, or for nothing while another one is missing.
WAITS = """
import os, time

while os.path.exists("{directory}/wait"):
    time.sleep(0.01)

def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/sleep"):
        time.sleep(float(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of the port's Unix socket."""
    return tmp_path / "m.sock"


@pytest.fixture
def gate(service: Service) -> Path:
    """A file: while it is there, the application's import does not end."""
    service.write(WAITS.replace("{directory}", str(service.directory)))
    return service.directory / "wait"


def until(daemon: Daemon, port: Port, reason: str) -> None:
    daemon.wait(lambda: port.reason() == reason, f"/readyz says {reason or 'ready'}")


# --- states --------------------------------------------------------------------------------------------------------


def test_a_start_is_told_from_its_beginning_to_its_end(service: Service, path: Path, gate: Path) -> None:
    gate.touch()
    port = Port(path)
    with ThreadPoolExecutor(1) as executor:
        starting = executor.submit(service.start, "--workers", "2", "--metrics-bind", f"unix:{path}")
        try:
            wait_for(path.exists, "somebody listens")
            assert port.statuses() == (200, 503, 503)
            assert port.reason() == "starting"
            assert port.get("/startupz")["reason"] == "no worker was ready yet"
            assert port.get("/status.json")["state"] == "starting"
            assert b"starting" in port.get("/").body
        finally:
            gate.unlink()
        daemon = starting.result()
    until(daemon, port, "")
    assert port.statuses() == (200, 200, 200)


def test_a_drain_is_not_ready_and_its_end_is(service: Service, path: Path, tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    daemon = service.start("--workers", "2", "--metrics-bind", f"unix:{path}", "--control", str(control))
    port = Port(path)
    with Control(control) as asked:
        asked.change("/drain")
        assert port.statuses() == (200, 200, 503)
        assert port.reason() == "draining"
        assert port.get("/status.json")["counts"]["target"] == 0
        assert asked.change("/reload")["state"] == "succeeded"
        assert port.reason() == "draining"
        asked.change("/undrain")
    until(daemon, port, "")


def test_a_reload_is_ready_all_the_time(service: Service, path: Path) -> None:
    daemon = service.start("--workers", "2", "--metrics-bind", f"unix:{path}")
    daemon.settle(2)
    port, over, seen = Port(path), threading.Event(), []

    def watch() -> None:
        while not over.is_set():
            seen.append(port.statuses())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        assert daemon.reload()
        assert daemon.reload()
    finally:
        over.set()
        watching.join()
    assert set(seen) == {(200, 200, 200)}


def test_a_stop_is_told_while_it_delays_and_while_it_finishes(service: Service, path: Path) -> None:
    file = service.configure("[server]\nstop_delay = '1h'\nworkers = 2\n")
    daemon = service.start("-c", file, "--metrics-bind", f"unix:{path}")
    port = Port(path)
    daemon.signal(signal.SIGTERM)
    until(daemon, port, "stopping")
    assert port.statuses() == (200, 200, 503)
    assert get(daemon).startswith("v1")  # it still accepts
    end(daemon)
    assert not path.exists()


def test_a_stop_is_told_while_a_request_runs(service: Service, path: Path, gate: Path) -> None:
    daemon = service.start("--workers", "1", "--metrics-bind", f"unix:{path}")
    port = Port(path)
    with Running(daemon, "/sleep?60"):
        daemon.wait(lambda: port.get("/status.json")["requests"]["in_flight"] == 1, "it runs")
        daemon.signal(signal.SIGTERM)
        until(daemon, port, "stopping")
        daemon.wait_for_log("stop is asked for")
        assert port.get("/status.json")["state"] == "stopping"
        assert port.statuses() == (200, 200, 503)
        end(daemon)


def end(daemon: Daemon) -> None:
    """At once, whatever runs."""
    daemon.signal(signal.SIGQUIT)
    assert daemon.process.wait(PATIENCE_SECONDS) == 0


def test_too_few_ready_workers_are_not_ready(service: Service, path: Path, gate: Path) -> None:
    file = service.configure("[server]\nworkers = 2\n[metrics]\nready_min = 2\n")
    daemon = service.start("-c", file, "--preload", "false", "--metrics-bind", f"unix:{path}")
    port = Port(path)
    daemon.settle(2)
    until(daemon, port, "")
    gate.touch()
    try:
        os.kill(daemon.workers()[0], signal.SIGKILL)
        until(daemon, port, "1 of 2 workers is ready, 2 needed")
        assert port.statuses() == (200, 200, 503)
    finally:
        gate.unlink()
    until(daemon, port, "")


def test_everything_answers_while_all_workers_are_stopped(service: Service, path: Path) -> None:
    file = service.configure("[server]\nworkers = 2\n[timeouts]\nwedge = 'off'\n")
    daemon = service.start("-c", file, "--metrics-bind", f"unix:{path}")
    daemon.settle(2)
    port = Port(path)
    workers = daemon.workers()
    for pid in workers:
        suspend(pid)
    try:
        assert port.statuses() == (200, 200, 200)
        assert port.get("/").status == 200
        assert {worker["pid"] for worker in port.get("/status.json")["workers"]} == set(workers)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


# --- what is told --------------------------------------------------------------------------------------------------


class Running:
    """A request that runs meanwhile."""

    def __init__(self, daemon: Daemon, target: str) -> None:
        self._connection = http.client.HTTPConnection(*daemon.address, timeout=60)
        self._target = target

    def __enter__(self) -> None:
        self._connection.request("GET", self._target)

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def test_what_runs_is_counted_and_its_path_is_not_told(service: Service, path: Path, gate: Path) -> None:
    daemon = service.start("--workers", "1", "--metrics-bind", f"unix:{path}")
    port = Port(path)
    with Running(daemon, "/sleep/s3cret?60"):
        daemon.wait(lambda: port.get("/status.json")["requests"]["in_flight"] == 1, "it runs")
        said = port.get("/status.json")
        page = port.get("/")
        end(daemon)
    assert said["workers"][0]["in_flight"] == 1
    assert 0 <= said["workers"][0]["oldest_seconds"] == said["oldest_seconds"]
    for body in (said.body, page.body):
        assert b"s3cret" not in body
        assert str(service.directory).encode() not in body
    assert not {"application", "operations", "last_reload"} & said.json.keys()


# --- where it is ---------------------------------------------------------------------------------------------------


def test_a_unix_socket_has_the_mode_of_the_others_and_is_removed(service: Service, path: Path) -> None:
    file = service.configure("[server]\nsocket_mode = '0640'\n")
    daemon = service.start("-c", file, "--metrics-bind", f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert Port(path).statuses() == (200, 200, 200)
    assert daemon.stop() == 0
    assert not path.exists()


def test_an_address_in_use_is_refused_with_the_remedy(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = service.run("--bind", TCP, "--metrics-bind", f"127.0.0.1:{port}")
    assert ended.returncode == 1
    assert f"metrics and health: cannot listen on 127.0.0.1:{port}: port {port} is in use" in ended.stderr
    assert "metrics.bind (--metrics-bind) names their address, off does without" in ended.stderr


def test_off_is_off(service: Service) -> None:
    daemon = service.start("--metrics-bind", "off")
    assert "metrics and health" not in daemon.log()


def test_pool_single_has_none_and_says_so_if_it_was_asked_for(service: Service, path: Path) -> None:
    service.write("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\ndef application(e, s): pass\n")
    said = service.run("--pool", "single", "--bind", TCP, "--metrics-bind", f"unix:{path}").stderr
    assert "metrics.bind (--metrics-bind) is not used by pool single" in said
    assert not path.exists()


def test_another_address_needs_a_restart_and_the_reload_says_so(
    service: Service, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ALONE, "MINIWSGI_METRICS_BIND")  # which would win over the file
    file = service.configure(f"[metrics]\nbind = 'unix:{path}'\n")
    daemon = service.start("-c", file)
    service.configure(f"[metrics]\nbind = 'unix:{path}.other'\n")
    assert not daemon.reload()
    daemon.wait_for_log(f'needs a restart; it is "unix:{path}" now (file)')
    assert Port(path).statuses() == (200, 200, 200)


# --- who may -------------------------------------------------------------------------------------------------------


def test_a_token_holds_from_the_reload_on_and_a_bad_one_changes_nothing(service: Service, path: Path) -> None:
    token = service.directory / "token"
    token.write_text("first\n")
    file = service.configure(f"[metrics]\ntoken_file = '{token}'\n")
    daemon = service.start("-c", file, "--metrics-bind", f"unix:{path}")
    port = Port(path)

    def status(given: str) -> int:
        return port.get("/status.json", Authorization=f"Bearer {given}").status

    assert (status("first"), status("second"), port.get("/status.json").status) == (200, 401, 401)
    assert port.statuses() == (200, 200, 200)
    token.write_text("second\n")
    assert daemon.reload()
    assert (status("first"), status("second")) == (401, 200)
    token.write_text(" \n")
    assert not daemon.reload()
    daemon.wait_for_log("metrics.token_file")
    assert (status("first"), status("second")) == (401, 200)
    daemon.wait_for_log("denied GET /status.json to a Unix socket")
    assert not any(f"{word}\n" in daemon.log() for word in ("first", "second"))


def own_address() -> str:
    """An address of this machine that is not loopback; "" without one. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
            found: str = sock.getsockname()[0]
        except OSError:
            return ""
    return "" if found.startswith("127.") else found


@pytest.mark.skipif(not own_address(), reason="this machine has no address but loopback")
def test_who_is_not_on_the_list_is_refused_and_told_in_the_log(service: Service) -> None:
    address = own_address()
    file = service.configure("[metrics]\nallow = ['203.0.113.0/24']\n")
    daemon = service.start("-c", file, "--metrics-bind", "0.0.0.0:0")
    local = port_of(daemon)
    assert isinstance(local.where, tuple)
    remote = Port((address, local.where[1]))
    assert local.statuses() == (200, 200, 200)
    assert remote.statuses() == (403, 403, 403)
    for _ in range(50):
        assert remote.get("/metrics").status == 403
    assert 0 < daemon.log().count(f"to {address}: metrics.allow does not have this address") < 20
    service.configure(f"[metrics]\nallow = ['203.0.113.0/24', '{address}']\n")
    assert daemon.reload()
    assert remote.statuses() == (200, 200, 200)
    assert remote.get("/status.json", Host="any.name.example").status == 200
    assert local.get("/status.json", Host="any.name.example").status == 421


# --- who holds it up -----------------------------------------------------------------------------------------------


def test_idle_connections_and_slow_readers_disturb_neither_health_nor_the_service(service: Service) -> None:
    daemon = service.start("--workers", "1", "--metrics-bind", TCP)
    port = port_of(daemon)
    assert isinstance(port.where, tuple)
    clients = []
    try:
        for number in range(600):
            client = socket.create_connection(port.where, 60)
            clients.append(client)
            try:
                if number % 3 == 1:
                    client.sendall(b"GET /status.json HT")
                elif number % 3 == 2:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
            except OSError:
                pass  # it was closed to make room
            if number % 100 == 99:
                assert port.statuses() == (200, 200, 200)
                assert get(daemon).startswith("v1")
    finally:
        for client in clients:
            client.close()
    daemon.wait(lambda: port.get("/status.json").status == 200, "the page is there again")
    assert "Traceback" not in daemon.log()
