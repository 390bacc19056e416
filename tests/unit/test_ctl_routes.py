"""`miniwsgictl routes`: a table in the order that was asked for, and what programs get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniwsgi.manager import messages as ms
from miniwsgi.manager.client import options

from tests.support.ctl_daemon import FakeDaemon, latency, problem, route

NOBODY_KNOWS = ms.Percentiles("≤ 2.5 ms", "> 60 s", "> 60 s")
ROUTES = ms.RouteList(
    window_seconds=60.0,
    routes=[
        route("/busy", rate=100.0, error_share=0.0, cpu_percent=1.0),
        route("/slow", rate=1.0, error_share=0.0, cpu_percent=2.0, duration=latency(p95=9.0)),
        route("/stuck", rate=0.1, cpu_percent=0.0, duration=latency(p95=None, p99=None, shown=NOBODY_KNOWS)),
        route("/broken", rate=2.0, error_share=0.5),
        route("/hot", rate=3.0, error_share=0.001, cpu_percent=90.0),
        route(None, rate=0.2, response_bytes=None, cpu_seconds=None, cpu_percent=None, error_share=None),
    ],
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "control.sock", {"GET /routes": ROUTES}) as found:
        yield found


@pytest.mark.parametrize(
    ("sort", "first"), [("rate", "/busy"), ("p95", "/stuck"), ("errors", "/broken"), ("cpu", "/hot")]
)
def test_what_is_asked_for_comes_first(daemon: FakeDaemon, sort: str, first: str) -> None:
    done = daemon.run("routes", "--sort", sort)
    heading, *rows = done.out.splitlines()
    assert heading.split()[:5] == ["REQ/S", "5XX%", "P50", "P95", "P99"]
    assert rows[0].split()[-1] == first
    assert len(rows) == len(ROUTES.routes)


def test_what_is_not_known_is_said_to_be_so(daemon: FakeDaemon) -> None:
    rows = {line.split()[-1]: line for line in daemon.run("routes").out.splitlines()}
    assert "> 60 s" in rows["/stuck"]
    assert rows["(none)"].split().count("-") == 3  # share of errors, CPU, bytes


def test_programs_get_what_the_daemon_says(daemon: FakeDaemon) -> None:
    found = json.loads(daemon.run("routes", "-o", "json").out)
    assert [one["name"] for one in found["routes"]][-1] is None


def test_a_narrow_terminal_keeps_what_tells(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = daemon.run("--no-color", "routes", terminal=True).out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert {"REQ/S", "5XX%", "P95", "CPU", "ROUTE"} <= set(lines[0].split())


def test_a_name_cannot_steer_the_terminal(daemon: FakeDaemon) -> None:
    daemon.answers = {"GET /routes": ms.RouteList(window_seconds=1.0, routes=[route("/\x1b[2J\u202e")])}
    assert "\\x1b[2J\\u202e" in daemon.run("routes").out


def test_watching_goes_on_as_long_as_there_are_answers(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "WATCH_SECONDS", 0.001)
    daemon.answers = {"GET /routes": [ROUTES, ROUTES, problem(503, "it ends")]}
    done = daemon.run("routes", "-w", "-o", "json")
    assert done.status != 0
    assert [json.loads(line)["window_seconds"] for line in done.out.splitlines()] == [60.0, 60.0]


def test_nothing_yet_is_said(daemon: FakeDaemon) -> None:
    daemon.answers = {"GET /routes": ms.RouteList(window_seconds=1.0, routes=[])}
    assert daemon.run("routes").out == "no requests yet\n"


def test_that_routes_are_off_is_said(daemon: FakeDaemon) -> None:
    for routes, first in ([], "no requests yet"), ([route(None)], "REQ/S"):
        daemon.answers = {"GET /routes": ms.RouteList(window_seconds=1.0, routes=routes, looked_for=False)}
        lines = daemon.run("routes").out.splitlines()
        assert lines[0].strip().startswith(first)
        assert lines[-1].startswith("metrics.routes is off: ")
    assert json.loads(daemon.run("routes", "-o", "json").out)["looked_for"] is False
