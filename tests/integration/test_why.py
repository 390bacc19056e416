"""`why` and `doctor` on real daemons. The problems of tests/support/staged.py under load are for the long run."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.control import Control
from tests.support.ctl import Tool
from tests.support.daemon import Daemon, suspend
from tests.support.staged import PROBLEMS, SHOP, Crowd, Problem
from tests.support.waiting import PATIENCE_SECONDS, wait_for

CLIENTS = 4
GATED = """
import threading

LOCK = threading.Lock()

def pass_gate():
    open("gate").close()

def application(environ, start_response):
    with LOCK:
        pass_gate()
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


class Shop:
    """A daemon with an application, its API and its tool."""

    def __init__(self, directory: Path, source: str, *arguments: str) -> None:
        (directory / "shop.py").write_text(source)
        os.utime(directory / "shop.py", (1_700_000_000, 1_700_000_000))
        self.gate = directory / "gate"
        os.mkfifo(self.gate)
        socket = directory / "control.sock"
        self.daemon = Daemon(
            directory, "shop", "--chdir", str(directory), "--set", f"control.socket={socket}", *arguments
        )
        self.tool = Tool(socket)
        self.control = Control(socket)

    def ask(self) -> None:
        connection = http.client.HTTPConnection(*self.daemon.address, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/")
        connection.getresponse().read()
        connection.close()

    @contextmanager
    def held_requests(self) -> Iterator[None]:
        """As many requests as there are clients are inside the application, until the end."""
        clients = [threading.Thread(target=self.ask, daemon=True) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            wait_for(self._all_inside, "all are inside")
            yield
        finally:
            wait_for(lambda: self._open_gate() or not any(client.is_alive() for client in clients), "all are answered")

    def _all_inside(self) -> bool:
        """One at the gate, and the others behind it."""
        stack = self.control.get("/workers/0/stack")["text"]
        return (stack.count(" in application"), stack.count(" in pass_gate")) == (CLIENTS, 1)

    def _open_gate(self) -> None:
        try:
            os.close(os.open(self.gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            pass  # nobody is there


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    found = Shop(tmp_path_factory.mktemp("why"), GATED, "--workers", "1")
    with found.daemon:
        yield found


@pytest.mark.full
def test_an_idle_daemon_is_said_to_be_so(shop: Shop) -> None:
    found = shop.control.get("/why?seconds=1").json
    assert [one["severity"] for one in found["findings"]] == ["note"]
    assert found["findings"][0]["sentence"].startswith(
        "Nothing is wrong to be seen: the daemon is idle, with no request"
    )
    assert (found["figures"]["answers"], found["figures"]["threads"]) == (0, 8)


def test_a_lock_is_named_with_its_holder_and_the_exit_status_tells_it(shop: Shop) -> None:
    with shop.held_requests():
        found = shop.tool("why", "--seconds", "1")
    assert found.status == 10, found
    assert found.out.splitlines()[0] == (
        "! 3 of 4 busy threads wait for the lock LOCK at shop.py:10, in GET /; the thread that took it at shop.py:10 "
        'is at shop.py:7 (open("gate").close()), in GET /. [lock]'
    )


def test_a_stopped_worker_is_seen_from_outside(shop: Shop) -> None:
    pid = shop.control.get("/workers/0")["pid"]
    suspend(pid)
    try:
        first, *_ = shop.control.get("/why?seconds=1")["findings"]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert first["sentence"] == "Worker 0 is stopped, by SIGSTOP or a debugger, and does nothing."
    assert (first["name"], first["severity"], first["remedy"]) == (
        "stopped", "critical", f"kill -CONT {pid} has them go on",
    )  # fmt: skip


def test_doctor_looks_at_this_host_and_this_configuration(shop: Shop) -> None:
    found = shop.control.get("/doctor").json
    risks = {risk["name"] for risk in found["risks"]}
    assert {"boot-check", "request-timeout", "single-worker"} <= risks
    assert ("root" in risks) == (os.geteuid() == 0)
    assert {"wedge", "upgraded", "backlog", "proxy"} <= {*found["passed"], *risks}
    assert shop.tool("doctor", *(word for name in risks for word in ("--ignore", name))).status == 0


@pytest.mark.full
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_the_first_sentence_names_the_problem(tmp_path: Path, problem: Problem) -> None:
    shop = Shop(tmp_path, SHOP, *problem.arguments)
    with shop.daemon, Crowd(shop.daemon.address, *problem.paths) as crowd:
        crowd.wait_until_busy()
        found = shop.control.get("/why?seconds=5").json
    # Where others have the CPUs of this host that is true, too, and may be told first.
    first = next(one for one in found["findings"] if one["name"] != "starved")
    assert (first["name"], problem.words in first["sentence"]) == (problem.finding, True), found["findings"]
