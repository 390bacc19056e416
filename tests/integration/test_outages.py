"""Three staged outages, a wedged, a failing and an overloaded service: every screen, endpoint, verdict and exit status
says so, and none does of a service that is merely busy.
"""

from __future__ import annotations

import contextlib
import html
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.control import Control
from tests.support.ctl import Tool
from tests.support.daemon import Daemon
from tests.support.metrics_client import Port
from tests.support.service import Service, get

WEDGING = r"""
import ctypes

def application(environ, start_response):
    if environ["PATH_INFO"] == "/wedge":
        ctypes.PyDLL(None).sleep(1000)  # it holds the interpreter, as an endless regular expression would
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""
FLASK = """
import flask

application = flask.Flask(__name__)

@application.get("/")
def fine():
    return "fine"

@application.get("/boom")
def boom():
    raise RuntimeError("boom")
"""
DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

def boom(request):
    raise RuntimeError("boom")

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None)
urlpatterns = [path("", lambda request: HttpResponse("fine")), path("boom", boom)]
application = get_wsgi_application()
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A daemon, and all that tells of it."""

    daemon: Daemon
    control: Control
    tool: Tool
    port: Port

    def announced(self) -> str:
        """What the service manager was told since the last time."""
        found = ""
        self.daemon.notify.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found += self.daemon.notify.recv(65536).decode()
        return found

    @property
    def status(self) -> Any:
        """As status.json has it."""
        return self.port.get("/status.json").json

    def page(self) -> str:
        """Its text, as somebody without a script sees it."""
        shown = self.port.get("/").body.decode().partition("<template")[0].partition("<body>")[2]
        visible = re.sub(r"<(\w+)[^>]* hidden>.*?</\1>", "", shown)
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", visible)).replace("\u00a0", " ").split())

    def metric(self, name: str) -> float:
        return self.port.scrape()[name]

    def top(self, *what: str) -> None:
        """`top` shows all of that."""
        with self.tool.on_terminal("top", "-d", "0.2") as terminal:
            for text in what:
                terminal.wait_for(text)
            assert terminal.quit() == 0


@pytest.fixture
def stage(service: Service, tmp_path: Path) -> Callable[[str], Stage]:
    def make(text: str) -> Stage:
        control, port = tmp_path / "c.sock", tmp_path / "m.sock"
        flags = ("-c", service.configure(text), "--control", str(control), "--metrics-bind", f"unix:{port}")
        found = Stage(service.start(*flags), Control(control), Tool(control), Port(port))
        found.daemon.wait(lambda: found.status["verdict"]["level"] == "healthy", "all is well")
        return found

    return make


def ask(daemon: Daemon, path: str) -> None:
    """Without waiting for the answer."""

    def asking() -> None:
        with contextlib.suppress(OSError, Exception):
            get(daemon, path)

    threading.Thread(target=asking, daemon=True).start()


@contextlib.contextmanager
def connections(daemon: Daemon, number: int) -> Iterator[None]:
    """Clients that wait to be accepted."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(daemon.address))
        yield


def test_workers_that_do_not_respond_are_told_by_every_screen_and_kill_nobody(
    service: Service, stage: Callable[[str], Stage]
) -> None:
    service.write(WEDGING)
    found = stage("[server]\nworkers = 2\n[timeouts]\nwedge = 0\n")
    daemon, tool = found.daemon, found.tool
    pids = sorted(daemon.workers())
    for number in (1, 2):
        ask(daemon, "/wedge")
        daemon.wait(lambda number=number: found.status["counts"]["busy"] == number, "it runs")  # type: ignore[misc]
        daemon.wait(lambda number=number: found.status["counts"]["not_responding"] == number, "it is silent")  # type: ignore[misc]
        ready = found.port.get("/readyz")
        assert (ready.status, ready["workers"]["responding"]) == ((200, 1) if number == 1 else (503, 0))
    with connections(daemon, 3):
        daemon.wait(lambda: found.status["listeners"][0]["queued"] == 3, "three clients wait")
        checked = tool("status", "--check")
        level = "down" if checked.status == 2 else "degraded"  # down after 10 s: on a slow machine that is now
        said = rf"{level}: 2 of 2 workers not responding for \d+ s, 3 connections queued"
        assert checked.status == {"degraded": 1, "down": 2}[level]
        assert re.fullmatch(said + r" \(MW3022\)\n", checked.out)
        assert re.match(said.replace(level, r"\w+", 1), tool("status").out)
        assert re.search(said.partition(": ")[2], found.page())
    assert tool("workers").out.count("  not responding  ") == 2
    assert all(worker["not_responding_seconds"] >= 3 for worker in found.control.workers())
    assert found.port.reason() == "0 of 2 ready workers respond, 1 needed"
    assert found.page().count("ready not responding") == 2
    assert (found.metric("miniwsgi_workers_not_responding"), found.metric("miniwsgi_ready")) == (2, 0)
    found.top("not responding for", "2 not responding", " not responding ")
    daemon.wait(lambda: found.status["verdict"]["level"] == "down", "it is down after a while")
    daemon.wait(lambda: "down: 2 of 2 workers not responding" in found.announced(), "systemctl status tells it")
    assert tool("status", "--check").status == 2
    assert sorted(daemon.workers()) == pids, "it is no reason to kill"
    assert [event["kind"] for event in found.control.get("/events")["events"]].count("worker.silent") == 2
    assert "does not respond: its loop has not turned for " in daemon.log()
    assert found.control.change("/stop", {"mode": "now"})


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_errors_that_a_framework_answers_are_told_by_every_screen(
    service: Service, stage: Callable[[str], Stage], framework: str
) -> None:
    pytest.importorskip(framework)
    service.write(FLASK if framework == "flask" else DJANGO)
    found = stage("[server]\nworkers = 1\n")
    for number in range(40):
        said = get(found.daemon, "/boom" if number % 8 == 0 else "/nowhere" if number == 1 else "/")
        assert said.startswith("500 " if number % 8 == 0 else "404 " if number == 1 else "fine"), said
    found.daemon.wait(lambda: found.status["requests"]["total"] == 40, "all are counted")
    requests = found.status["requests"]
    assert (requests["4xx"], requests["5xx"], requests["errors"]) == (1, 5, 0)
    assert requests["last_60s"] == {"answers": 40, "4xx": 0.025, "5xx": 0.125}
    assert found.status["workers"][0]["5xx"] == found.status["generations"][0]["5xx"] == 5
    verdict = "degraded: 12 % of the last minute's 40 answers were 5xx (MW5006)\n"
    checked = found.tool("status", "--check")
    assert (checked.status, checked.out) == (1, verdict)
    status = found.tool("status").out
    assert status.startswith(verdict)
    assert "1 4xx, 5 5xx; last minute 2.5% 4xx, 12.5% 5xx" in status
    assert " 12.5% " in found.tool("workers").out
    assert "5xx, last minute 12.5 %" in found.page()
    found.top("degraded: 12 %", "5xx 5 (12.5%)")
    assert found.port.get("/readyz").status == 200  # it answers
    assert found.daemon.reload()
    get(found.daemon)
    found.daemon.wait(lambda: [one["answers"] for one in found.status["generations"]] == [40, 1], "by generation")
    assert [one["5xx"] for one in found.status["generations"]] == [5, 0]


def test_a_long_call_alone_is_busy_and_clients_that_wait_for_it_are_told(
    service: Service, stage: Callable[[str], Stage]
) -> None:
    found = stage('[server]\nworkers = 1\npool = "prefork"\nbacklog = 8\n')
    service.hold()
    ask(found.daemon, "/hold")

    def age() -> float:
        return float(found.status["oldest_seconds"] or 0.0)

    found.daemon.wait(lambda: age() > 4, "a long call")
    assert found.tool("status", "--check").out == "healthy: 1 of 1 workers ready\n"
    assert (found.status["counts"]["busy"], found.status["counts"]["not_responding"]) == (1, 0)
    with connections(found.daemon, 6):
        found.daemon.wait(lambda: found.status["listeners"][0]["queued"] == 6, "six clients wait")
        checked = found.tool("status", "--check")
        assert (checked.status, checked.out) == (
            1,
            "degraded: an accept queue is 75 % full, 6 connections queued (MW3059)\n",
        )
        assert "an accept queue is 75 % full" in found.page()
        found.top("an accept queue is 75 % full")
    service.release()
