"""The end of a daemon: what runs and what waits is answered, and a second signal ends it at once."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import Daemon
from tests.support.service import Service, get
from tests.support.waiting import PATIENCE_SECONDS, wait_for

REQUEST = b"GET /sleep?%s HTTP/1.1\r\nHost: x\r\n\r\n"


def ask(daemon: Daemon, seconds: bytes) -> socket.socket:
    """A request, sent; its answer is not read yet."""
    sock = socket.create_connection(daemon.address, timeout=PATIENCE_SECONDS)
    sock.sendall(REQUEST % seconds)
    return sock


def answer(sock: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    with sock, sock.makefile("rb") as file:
        return file.read()


def wait_until_accepted(daemon: Daemon, count: int) -> None:
    daemon.wait(lambda: daemon.accepted() >= count, f"{count} accepted connections")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_runs(service: Service, number: signal.Signals) -> None:
    daemon = service.start("--workers", "2")
    sock = ask(daemon, b"1")
    wait_until_accepted(daemon, 1)
    daemon.signal(number)
    assert answer(sock).startswith(b"HTTP/1.1 200 OK\r\n")
    assert daemon.process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("pool", ["epoll", "prefork"])
def test_a_stop_answers_what_waits_in_the_accept_queue(service: Service, pool: str) -> None:
    daemon = service.start("--workers", "1", "--threads", "1", "--pool", pool)
    running = ask(daemon, b"0.5")
    wait_until_accepted(daemon, 1)
    waiting = [ask(daemon, b"0") for _ in range(5)]
    daemon.signal(signal.SIGTERM)
    for sock in (running, *waiting):
        assert answer(sock).startswith(b"HTTP/1.1 200 OK\r\n")
    assert daemon.process.wait(PATIENCE_SECONDS) == 0


def test_a_second_stop_is_at_once(service: Service) -> None:
    daemon = service.start("--workers", "2")
    sock = ask(daemon, b"1000")
    wait_until_accepted(daemon, 1)
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("stop is asked for by SIGTERM")
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(PATIENCE_SECONDS) == 0
    sock.close()


def test_quit_is_at_once(service: Service) -> None:
    daemon = service.start("--workers", "2")
    sock = ask(daemon, b"1000")
    wait_until_accepted(daemon, 1)
    daemon.signal(signal.SIGQUIT)
    assert daemon.process.wait(PATIENCE_SECONDS) == 0
    sock.close()


def test_what_does_not_finish_in_time_is_killed_and_shown(service: Service) -> None:
    daemon = service.start("-c", service.configure("[server]\nworkers = 1\n[timeouts]\ngraceful = 0.5\n"))
    sock = ask(daemon, b"1000")
    wait_until_accepted(daemon, 1)
    assert daemon.stop() == 0  # long before the request would have ended
    sock.close()


def test_a_stop_goes_on_accepting_for_its_delay(service: Service) -> None:
    daemon = service.start("-c", service.configure("[server]\nworkers = 1\nstop_delay = 1000\n"))
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("stop is asked for")
    connection = http.client.HTTPConnection(*daemon.address, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.status == 200
    assert response.getheader("Connection") == "close"
    connection.close()
    daemon.signal(signal.SIGTERM)  # the second one does not wait for the delay
    assert daemon.process.wait(PATIENCE_SECONDS) == 0


def test_a_stop_ends_after_its_delay(service: Service) -> None:
    daemon = service.start("-c", service.configure("[server]\nworkers = 1\nstop_delay = 0.3\n"))
    assert daemon.stop() == 0


def test_a_stop_during_a_reload_that_hangs(service: Service) -> None:
    daemon = service.start("--workers", "2")
    service.write("import time\ntime.sleep(1000)\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait(lambda: len(daemon.launchers()) == 2, "the new launcher")
    assert daemon.stop() == 0
    assert "reload failed: the daemon is stopping" in daemon.log()


def test_a_stop_during_the_start(service: Service, tmp_path: Path) -> None:
    service.write("import time\ntime.sleep(1000)\n")
    failure: list[AssertionError] = []

    def start() -> None:
        try:
            service.start("--workers", "2")
        except AssertionError as error:
            failure.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    wait_for(lambda: service.daemons and hasattr(service.daemons[0], "process"), "it is started")
    daemon = service.daemons[0]
    daemon.wait(lambda: "boots app" in daemon.log() and daemon.launchers(), "the launcher imports")
    os.kill(daemon.process.pid, signal.SIGTERM)
    thread.join(PATIENCE_SECONDS)
    assert "exit status 0" in str(failure[0])


def test_nothing_is_left_after_a_stop(service: Service, tmp_path: Path) -> None:
    daemon = service.start("--workers", "3", "--bind", f"unix:{tmp_path}/http.sock")
    daemon.wait(lambda: len(daemon.workers()) == 3, "three workers")
    processes = daemon.processes()
    memory = {name for name in os.listdir("/dev/shm") if "miniwsgi" in name}
    assert daemon.stop() == 0
    psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)
    assert not daemon.survivors()
    assert not (tmp_path / "http.sock").exists()
    assert not memory
    with pytest.raises(ConnectionRefusedError):
        get(daemon)
