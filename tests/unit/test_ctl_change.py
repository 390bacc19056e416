"""Changes: what is asked for, how it is waited for, and the exit status that its verdict earns."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from miniwsgi.manager import messages as ms

from tests.support.ctl_daemon import Asked, FakeDaemon, Raw, counts, event, operation, problem, run, status

DONE = operation(state="succeeded", done=4, seconds=1.31)
FAILED = operation(
    state="failed",
    seconds=0.41,
    error="cannot import shop: no module named 'flask'",
    traceback='Traceback (most recent call last):\n  File "shop.py", line 1\x1b[31m\n',
)


def reloading(*steps: ms.ResponseBody | Raw) -> dict[str, Any]:
    """A reload that goes through these steps."""
    return {"POST /reload": operation(), "GET /operations/7": [*steps]}


# --- scale -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["8"], {"workers": 8}),
        (["+2"], {"workers": "+2"}),
        (["-2"], {"workers": "-2"}),
        (["-2", "--persist"], {"workers": "-2", "persist": True}),
        (["--persist", "-12"], {"workers": "-12", "persist": True}),
        (["--no-wait", "-1", "--timeout", "5"], {"workers": "-1"}),
        (["--", "-2"], {"workers": "-2"}),
        (["--reset"], {"reset": True}),
    ],
)
def test_every_way_to_say_how_many(arguments: list[str], body: dict[str, Any], tmp_path: Path) -> None:
    scaled = operation(9, "scale", detail="to 8 workers", state="succeeded", seconds=0.2)
    with FakeDaemon(tmp_path / "s", {"POST /scale": scaled}) as daemon:
        found = daemon.run("scale", *arguments)
        assert daemon.bodies("POST", "/v1/scale") == [{"workers": None, "persist": False, "reset": False, **body}]
    assert (found.status, found.out) == (0, "scale to 8 workers: done in 200 ms (operation 9)\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["0"],
        ["201"],
        ["+0"],
        ["-0"],
        ["-00"],
        ["x"],
        ["1.5"],
        ["--", "--2"],
        ["8", "--reset"],
        ["--reset", "--persist"],
        ["8", "9"],
        ["-x"],
    ],
)
def test_what_is_no_number_of_workers_is_never_asked_for(arguments: list[str], tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        found = daemon.run("scale", *arguments)
        assert daemon.asked == []
    assert (found.status, found.out) == (2, "")
    assert "Usage: miniwsgictl scale" in found.err


def test_too_many_workers_are_told_how_many_there_may_be(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        assert "1000: expected 1 to 200 workers" in daemon.run("scale", "1000").err


# --- waiting ---------------------------------------------------------------------------------------------


def test_one_worker_is_killed_and_never_all_of_them(tmp_path: Path) -> None:
    answers = {"POST /workers/3/restart": operation(9, "restart", detail="of slot 3, at once", state="succeeded")}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("restart", "3", "--now")
        assert daemon.bodies("POST", "/v1/workers/3/restart") == [{"mode": "now"}]
        refused = daemon.run("restart", "--now")
    assert (found.status, found.out) == (0, "restart of slot 3, at once: done in 500 ms (operation 9)\n")
    assert (refused.status, "give its slot" in refused.err) == (2, True)


def test_a_reload_is_waited_for_and_its_steps_are_lines(tmp_path: Path) -> None:
    heard = [
        ms.EventList([], last_id=5, lost=0),
        ms.EventList([event(6, "generation.booting", "generation 8 boots")], last_id=6, lost=0),
        ms.EventList([event(7, message="worker 2 is ready"), event(8, "request.slow", "GET /")], last_id=8, lost=0),
        ms.EventList([event(9, "worker.exited", "worker 0 has exited\x1b")], last_id=9, lost=0),
        ms.EventList([], last_id=9, lost=0),
    ]
    done = msgspec.structs.replace(DONE, previous_revision="one", revision="two")
    answers = {**reloading(operation(done=0), operation(done=2), done), "GET /events": heard}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("reload")
        since = [asked.target for asked in daemon.asked if "events" in asked.target]
    assert (found.status, found.out) == (0, "reload: done in 1.3 s (generation 8, one → two, operation 7)\n")
    assert [line.split("  ", 1)[1] for line in found.err.splitlines()] == [
        "generation 8 boots",
        "worker 2 is ready",
        "worker 0 has exited\\x1b",
    ]
    assert since[:3] == [f"/v1/events?since={at}&limit={limit}" for at, limit in ((0, 0), (5, 1000), (6, 1000))]


def test_of_many_workers_the_count_is_told_and_what_goes_wrong(tmp_path: Path) -> None:
    usual = [event(6 + at, "worker.ready", f"worker {at} is ready") for at in range(60)]
    heard = [ms.EventList([], 5, 0), ms.EventList(usual, 65, 0)]
    heard += [ms.EventList([event(66, "worker.failed", "worker 9 did not boot")], 66, 0), ms.EventList([], 66, 0)]
    scaling = [operation(9, "scale", detail="to 64 workers", total=64, done=done) for done in (0, 60)]
    end = operation(9, "scale", detail="to 64 workers", total=64, done=64, state="succeeded", seconds=2.0)
    answers = {"POST /scale": scaling[0], "GET /operations/9": [*scaling, end], "GET /events": heard}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("scale", "64")
    said = [line.split("  ", 1)[1] for line in found.err.splitlines()]
    assert "worker 9 did not boot" in said
    assert said[-1] == "64 of 64 workers"
    assert len(said) <= 4


def test_a_reload_that_fails_prints_the_traceback(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", reloading(operation(), FAILED)) as daemon:
        found = daemon.run("reload")
        as_json = FakeDaemon.run(daemon, "reload", "-o", "json")
    assert (found.status, found.out) == (1, "")
    assert found.err.splitlines() == [
        "Traceback (most recent call last):",
        '  File "shop.py", line 1\\x1b[31m',
        "miniwsgictl: reload failed after 410 ms: cannot import shop: no module named 'flask'; "
        "what ran before goes on (operation 7)",
    ]
    assert (as_json.status, as_json.json["state"], as_json.json["error"]) == (1, "failed", FAILED.error)


def test_json_waits_without_a_word_in_one_long_poll(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", reloading(DONE)) as daemon:
        found = daemon.run("-o", "json", "reload")
        targets = [asked.target for asked in daemon.asked]
    assert (found.status, found.err, found.json["state"]) == (0, "", "succeeded")
    assert targets == ["/v1/reload", "/v1/operations/7?wait=30"]


def test_not_waiting_tells_the_number_of_the_operation(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", reloading(DONE)) as daemon:
        found = daemon.run("reload", "--no-wait")
        as_json = daemon.run("reload", "--no-wait", "-o", "json").json
        assert [asked.target for asked in daemon.asked] == ["/v1/reload"] * 2
    assert found.status == 0
    assert found.out == "reload: asked for as operation 7; miniwsgictl status shows how it goes on\n"
    assert (as_json["id"], as_json["state"]) == (7, "running")


def test_joining_what_runs_already_is_said(tmp_path: Path) -> None:
    answers = {**reloading(DONE), "POST /reload": operation(joined=True)}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("reload")
    assert found.status == 0
    assert "reload is under way already, asked for by alice (uid 1000, pid 712)" in found.err


def test_a_later_scale_takes_the_place_of_this_one(tmp_path: Path) -> None:
    later = operation(9, "scale", detail="to 8 workers", state="superseded", error="operation 10 took its place")
    with FakeDaemon(tmp_path / "s", {"POST /scale": later}) as daemon:
        found = daemon.run("scale", "8")
    assert found.status == 1
    assert "scale to 8 workers is not in force: operation 10 took its place (operation 9)" in found.err


def test_another_change_in_the_way(tmp_path: Path) -> None:
    conflict = problem(409, "a stop is under way", operation=12)
    with FakeDaemon(tmp_path / "s", {"POST /drain": conflict}) as daemon:
        found = daemon.run("drain")
    assert found.status == 1
    assert found.err == "miniwsgictl: a stop is under way (operation 12 is in the way)\n"


@pytest.mark.parametrize("output", ["table", "json"])
def test_time_is_up_while_it_goes_on(output: str, tmp_path: Path) -> None:
    def slow(asked: Asked) -> ms.ResponseBody:
        time.sleep(0.1)
        return operation(done=1)

    with FakeDaemon(tmp_path / "s", {"POST /reload": operation(), "GET /operations/7": slow}) as daemon:
        started = time.monotonic()
        found = daemon.run("reload", "--timeout", "3", "-o", output)
    assert found.status == 4
    assert time.monotonic() - started < 20
    assert (
        found.err
        == "miniwsgictl: MW6016 timed out; reload goes on in the daemon (operation 7): miniwsgictl status shows it\n"
    )


@pytest.mark.parametrize("output", ["table", "json"])
def test_the_daemon_goes_away_in_the_middle(output: str, tmp_path: Path) -> None:
    answers = reloading(operation(), operation(), Raw(b"HTTP/1.1 2"))
    if output == "json":
        answers = reloading(Raw(b""))
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("reload", "-o", output)
    assert found.status == 3
    assert "the daemon went away during reload (operation 7)" in found.err


def test_each_change_goes_to_its_own_path(tmp_path: Path) -> None:
    ended = {
        "POST /restart": operation(kind="restart", state="succeeded"),
        "POST /workers/3/restart": operation(kind="restart", detail="of slot 3", state="succeeded"),
        "POST /drain": operation(kind="drain", state="succeeded"),
        "POST /undrain": operation(kind="undrain", state="succeeded"),
    }
    with FakeDaemon(tmp_path / "s", dict(ended)) as daemon:
        assert daemon.run("restart").out == "restart: done in 500 ms (operation 7)\n"
        assert daemon.run("restart", "3").out == "restart of slot 3: done in 500 ms (operation 7)\n"
        assert daemon.run("drain").out == "drain: done in 500 ms (operation 7)\n"
        assert daemon.run("undrain").out == "undrain: done in 500 ms (operation 7)\n"
        assert daemon.run("restart", "4").status == 1
        assert daemon.run("restart", "x").status == 2


# --- stop: tests on a real process are integration tests ----------------------------------------------------


def test_a_stop_in_another_pid_namespace_is_over_when_the_socket_is_gone(tmp_path: Path) -> None:
    stopping = operation(11, "stop", total=0)
    answers: dict[str, Any] = {
        "GET /status": status(pid=2**22 + 1, workers=counts()),  # above kernel.pid_max: nobody
        "POST /stop": stopping,
        "GET /operations/11": [stopping, Raw(b"")],
    }
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("stop", "--now")
        assert daemon.bodies("POST", "/v1/stop") == [{"mode": "now"}]
    assert found.status == 0
    assert found.out.startswith("stopped after ")


def test_a_stop_that_does_not_end_in_time(tmp_path: Path) -> None:
    stopping = operation(11, "stop", total=0)
    answers: dict[str, Any] = {
        "GET /status": status(pid=1),
        "POST /stop": stopping,
        "GET /operations/11": stopping,
    }
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("stop", "--timeout", "0.4")
    assert found.status == 4
    assert "timed out; stop goes on in the daemon (operation 11): miniwsgictl stop --now cuts it short" in found.err


def test_the_common_options_may_stand_anywhere_and_the_later_ones_win(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s"):
        for arguments in (
            ["-s", f"{tmp_path}/s", "status", "-o", "json"],
            ["-s", "/nowhere", "-o", "table", "status", "-s", f"{tmp_path}/s", "-o", "json"],
            ["status", "--output=json", f"--socket={tmp_path}/s"],
        ):
            assert run(*arguments).json["pid"] == 4711


@pytest.mark.parametrize("value", ["0", "-1", "x", "nan", "inf"])
def test_a_timeout_is_a_number_of_seconds(value: str) -> None:
    assert run("--timeout", value, "status").status == 2
