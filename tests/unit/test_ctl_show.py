"""What the commands that look print, of answers with everything in them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from miniwsgi.manager import messages as ms

from tests.support.ctl_daemon import FakeDaemon, Raw, counts, event, operation, problem, run, running, status, worker

ESCAPE = "\x1b["


def subjects(out: str) -> dict[str, list[str]]:
    """The lines of `status` by subject."""
    found: dict[str, list[str]] = {}
    subject = ""
    for line in out.splitlines()[2:]:
        subject = line[2:16].strip().rstrip(":") or subject
        found.setdefault(subject, []).append(line[16:])
    return found


# --- status ----------------------------------------------------------------------------------------------


def test_status_tells_the_daemon_at_a_glance(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        found = daemon.run("status")
    assert (found.status, found.err) == (0, "")
    assert found.out.splitlines()[:2] == [
        "healthy: 2 of 2 workers ready",
        "shop.wsgi:application: running, up 3h12m",
    ]
    said = subjects(found.out)
    assert said["daemon"] == ["miniwsgi 0.1.0, pid 4711, pool epoll, 8 threads a worker"]
    assert said["engine"] == ["plain"]
    assert said["workers"] == ["2 of 2 ready, 1 busy"]
    assert said["listeners"] == ["http://127.0.0.1:8000  0 of 2048 queued"]
    assert said["requests"] == ["123456; 812/s over 1 s, 790/s over 10 s", "3 running, 1 waiting for a thread"]
    assert said["duration"] == ["p50 ≤ 2.5 ms  p95 ≤ 10 ms  p99 ≤ 250 ms  over 1m"]
    assert said["queue time"] == ["none over 1m"]
    assert said["answers"] == ["345 4xx, 0 5xx; last minute 0.2% 4xx, 0% 5xx"]
    assert "last reload" not in said
    assert ESCAPE not in found.out
    assert max(map(len, found.out.splitlines())) <= 80


def test_status_tells_what_is_not_as_configured_or_not_well(tmp_path: Path) -> None:
    ended = datetime.now(UTC) - timedelta(seconds=200.5)
    said = status(
        workers=counts(override=4, target=4, ready=3, booting=1, persisted=True),
        last_reload=ms.LastReload(7, ended, 1.3, "failed", "cannot import shop\x1b[31m", 8, "SIGHUP"),
        operations=[operation(9, "scale", detail="to 4 workers", done=3)],
        persist_error="/var/lib/miniwsgi: permission denied",
        metrics_error="cannot listen on 127.0.0.1:9464: in use",
    )
    with FakeDaemon(tmp_path / "s", {"GET /status": said}) as daemon:
        found = subjects(daemon.run("status").out)
    assert found["workers"] == [
        "3 of 4 ready, 1 busy, 1 booting",
        "scaled to 4, also across a restart; configured are 2",
        "not kept: /var/lib/miniwsgi: permission denied",
    ]
    assert found["last reload"] == [r"failed 3m20s ago, took 1.3 s, by SIGHUP: cannot import shop\x1b[31m"]
    assert found["under way"] == ["scale to 4 workers, 3 of 4, for 500 ms (operation 9, by alice (uid 1000, pid 712))"]
    assert found["metrics"] == ["off: cannot listen on 127.0.0.1:9464: in use"]


@pytest.mark.parametrize(
    ("leader", "line"),
    [
        ((("leading", 1, 4701, 7, 65.0, "", None)), "worker 1 (pid 4701), for 1m5s"),
        ((("stopping", 1, 4701, 7, 2.0, "", None)), "worker 1 (pid 4701), stopping, for 2s"),
        (
            (("nobody", None, None, None, 2.0, "app.hooks: no database", 0.4)),
            "nobody, for 2s: app.hooks: no database; another one is tried in 400 ms",
        ),
    ],
)
def test_status_tells_who_leads(tmp_path: Path, leader: tuple[Any, ...], line: str) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /status": status(leader=ms.Leader(*leader))}) as daemon:
        assert subjects(daemon.run("status").out)["leader"] == [line]


def test_hooks_are_told_while_they_run_and_the_leader_is_marked(tmp_path: Path) -> None:
    hooks = [ms.RunningHook("loaded", None, 8, 2.5), ms.RunningHook("worker_start", 1, 8, 0.4)]
    one = worker(1, hooks=hooks[1:], leader="leading")
    answers = {
        "GET /status": status(hooks=hooks),
        "GET /workers": ms.WorkerList([worker(0), one]),
        "GET /workers/1": one,
    }
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        assert subjects(daemon.run("status").out)["under way"] == [
            "hook loaded of the launcher of generation 8 for 2.5 s",
            "hook worker_start of worker 1 for 400 ms",
        ]
        assert [line.split()[0] for line in daemon.run("workers").out.splitlines()] == ["SLOT", "0", "*1"]
        found = daemon.run("workers", "1").out
    assert re.search(r"^leader: +leading$", found, flags=re.MULTILINE)
    assert "hook worker_start of worker 1 for 400 ms" in found


def test_status_before_the_first_worker(tmp_path: Path) -> None:
    said = status(state="starting", generation=None, workers=counts(ready=0, busy=0, booting=2))
    with FakeDaemon(tmp_path / "s", {"GET /status": said}) as daemon:
        found = daemon.run("status")
    assert found.out.splitlines()[1].startswith("shop.wsgi:application: starting,")
    assert subjects(found.out)["generation"] == ["none yet"]
    assert subjects(found.out)["workers"] == ["0 of 2 ready, 2 booting"]


def test_wide_adds_what_is_seldom_asked_for(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        found = subjects(daemon.run("status", "-o", "wide").out)
    assert len(found["duration"]) == 2
    assert found["log level"] == ["info"]
    assert found["requests"][2] == "0 uncaught exceptions, 0 rejected, 0 cut off by clients, 0 timed out"


def test_json_is_what_the_daemon_said_also_what_this_version_does_not_know(tmp_path: Path) -> None:
    body = b'{"later":1,' + msgspec.json.encode(status())[1:]
    raw = Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    with FakeDaemon(tmp_path / "s", {"GET /status": raw}) as daemon:
        found = daemon.run("-o", "json", "status").json
    assert found["later"] == 1
    assert found["workers"]["ready"] == 2


def test_colours_are_for_terminals_that_want_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with FakeDaemon(tmp_path / "s") as daemon:
        assert ESCAPE in daemon.run("status", terminal=True).out
        assert ESCAPE not in daemon.run("status").out
        assert ESCAPE not in daemon.run("status", "--no-color", terminal=True).out
        assert ESCAPE not in daemon.run("--no-color", "status", terminal=True).out
        assert ESCAPE not in daemon.run("-o", "json", "status", terminal=True).out
        monkeypatch.setenv("TERM", "dumb")
        assert ESCAPE not in daemon.run("status", terminal=True).out
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        assert ESCAPE not in daemon.run("status", terminal=True).out


# --- workers ---------------------------------------------------------------------------------------------

BUSY = worker(0, in_flight=[running("/x", 0.02, 2), running("/report\x1b[2J", 12.3)], waiting=2)
WAITING = worker(1, state="waiting", pid=None, generation=None, age_seconds=None, next_in_seconds=9.5, restarts=3,
                 rss_bytes=None, cpu_percent=None, last_exit="killed by SIGKILL (out of memory?)")  # fmt: skip


def test_workers_are_a_table_with_the_oldest_request_of_each(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /workers": ms.WorkerList([BUSY, WAITING])}) as daemon:
        found = daemon.run("workers")
        wide = daemon.run("workers", "-o", "wide")
        listed = daemon.run("workers", "-o", "json").json
    header, first, second = found.out.splitlines()
    assert " ".join(header.split()) == (
        "SLOT PID GEN STATE AGE REQUESTS REQ/S 4XX 4XX% 5XX 5XX% RUN WAIT CONN RSS CPU RUNNING"
    )
    assert " ".join(first.split()) == (
        r"0 4700 7 ready 1h2m 1200 12.5 12 1.0% 0 0% 2 2 3 34.0 MiB 41% 12.3 s GET /report\x1b[2J +1"
    )
    assert second.split()[:5] == ["1", "-", "-", "waiting", "9.5"]
    assert "killed by SIGKILL" in wide.out
    assert [entry["slot"] for entry in listed["workers"]] == [0, 1]


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (80, "SLOT PID GEN STATE REQ/S 5XX% RUN RSS CPU RUNNING"),
        (200, "SLOT PID GEN STATE AGE REQUESTS REQ/S 4XX 4XX% 5XX 5XX% RUN WAIT CONN RSS CPU RUNNING"),
    ],
)
def test_a_terminal_gets_the_columns_that_it_has_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int, shown: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    crowd = ms.WorkerList([worker(0, in_flight=[running("/" + "long" * 50)]), worker(1, state="booting")])
    with FakeDaemon(tmp_path / "s", {"GET /workers": crowd}) as daemon:
        table = daemon.run("workers", terminal=True).out.splitlines()
        piped = daemon.run("workers").out.splitlines()
    assert " ".join(table[0].split()) == shown
    assert len(table[1]) == columns
    assert len(piped[1]) > 200


WEDGED = status(
    verdict=ms.Verdict("degraded", ["2 of 2 workers not responding for 5 s, 3 connections queued"]),
    workers=counts(not_responding=2),
)
FAILING = status(
    verdict=ms.Verdict("degraded", ["12 % of the last minute's 800 answers were 5xx"]),
    requests=msgspec.structs.replace(
        status().requests, server_errors=100, client_errors=8, last_60s=ms.LastMinute(800, 0.01, 0.125)
    ),
    generations=[
        ms.GenerationCounts(6, 0, 700, 8, 0, ms.LastMinute(0, None, None)),
        ms.GenerationCounts(7, 2, 800, 0, 100, ms.LastMinute(800, 0.01, 0.125)),
    ],
)


def test_workers_that_do_not_respond_are_told_everywhere(tmp_path: Path) -> None:
    silent = worker(0, not_responding_seconds=5.2, in_flight=[running()])
    answers = {"GET /status": WEDGED, "GET /workers": ms.WorkerList([silent]), "GET /workers/0": silent}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        out = daemon.run("status").out
        table, one = daemon.run("workers").out, daemon.run("workers", "0").out
        pinged = daemon.run("ping").out
    assert out.splitlines()[0] == "degraded: 2 of 2 workers not responding for 5 s, 3 connections queued"
    assert subjects(out)["workers"] == ["2 of 2 ready, 1 busy, 2 not responding"]
    assert "  not responding  " in table
    assert "responding:    not for 5.2 s" in one
    assert "is running, degraded, answered" in pinged


def test_which_code_runs_is_told_beside_each_generation(tmp_path: Path) -> None:
    last = ms.LastReload(7, datetime.now(UTC), 1.3, "succeeded", "", 8, "SIGHUP", "two", "one\x1b")
    answers = {
        "GET /status": status(revision="two", revision_source="git in /srv\x1b", last_reload=last),
        "GET /workers": ms.WorkerList([worker(0, revision="two"), worker(1, revision="two")]),
        "GET /workers/0": worker(0, revision="two"),
    }
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found, wide = (subjects(daemon.run("status", *more).out) for more in ((), ("-o", "wide")))
        one = daemon.run("workers", "0").out
        table, narrow = (daemon.run("workers", terminal=at).out.splitlines()[0].split() for at in (False, True))
    assert found["generation"] == ["7 (two), preloaded: its code is fixed"]
    assert found["last reload"][0].endswith(", took 1.3 s, one\\x1b → two, by SIGHUP")
    assert wide["revision"] == ["two, from git in /srv\\x1b"]
    assert "revision:      two\n" in one
    assert ("REVISION" in table, "REVISION" in narrow) == (True, False)


def test_workers_that_run_different_code_say_so_on_a_narrow_screen_and_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "66")
    monkeypatch.setenv("NO_COLOR", "1")
    busy = worker(0, revision="a1b2c3d4e5f6", in_flight=[running("/" + "long" * 50)])
    mixed = ms.WorkerList([busy, worker(1, revision="f6e5d4c3b2a1")])
    with FakeDaemon(tmp_path / "s", {"GET /workers": mixed}) as daemon:
        table = daemon.run("workers", terminal=True).out.splitlines()
    assert "REVISION" in table[0].split()
    assert len(table[1]) == 66
    assert len(table[1].rpartition("  ")[2]) >= 16  # of the request


def test_errors_are_told_in_all_and_by_generation(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /status": FAILING}) as daemon:
        out = daemon.run("status").out
        told = daemon.run("status", "-o", "json").json
    assert subjects(out)["answers"] == [
        "8 4xx, 100 5xx; last minute 1.0% 4xx, 12.5% 5xx",
        "generation 6, 0 workers: 700 answers, 8 4xx, 0 5xx",
        "generation 7, 2 workers: 800 answers, 0 4xx, 100 5xx; last minute 1.0% 4xx, 12.5% 5xx",
    ]
    assert (told["requests"]["4xx"], told["requests"]["5xx"]) == (8, 100)
    assert told["requests"]["last_60s"] == {"answers": 800, "4xx": 0.01, "5xx": 0.125}


@pytest.mark.parametrize(
    ("judged", "said", "code"),
    [
        (ms.Verdict("healthy", ["2 of 2 workers ready"]), "healthy: 2 of 2 workers ready", 0),
        (
            ms.Verdict("degraded", ["1 of 2 workers ready", "saturated"], ["MW3015", "MW3051"]),
            "degraded: 1 of 2 workers ready (MW3015); saturated (MW3051)",
            1,
        ),
        (ms.Verdict("down", ["stopping"]), "down: stopping", 2),  # of a daemon whose reasons had no codes yet
    ],
)
def test_the_verdict_is_an_exit_status(tmp_path: Path, judged: ms.Verdict, said: str, code: int) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /status": status(verdict=judged)}) as daemon:
        found = daemon.run("status", "--check")
        as_json = daemon.run("status", "--check", "-o", "json")
        plain = daemon.run("status")
    assert (found.status, found.out, found.err) == (code, f"{said}\n", "")
    assert (as_json.status, as_json.json["verdict"]) == (code, msgspec.to_builtins(judged))
    assert plain.status == 0


def test_a_daemon_that_is_not_there_is_down_and_one_that_is_forbidden_is_not(tmp_path: Path) -> None:
    absent = run("--socket", str(tmp_path / "none"), "status", "--check")
    assert (absent.status, absent.out) == (2, "")
    assert absent.err.startswith("miniwsgictl: MW6011 down: no daemon listens on ")
    assert run("--socket", str(tmp_path / "none"), "status").status == 3
    with FakeDaemon(tmp_path / "s", {"GET /status": problem(403, "uid 7 is granted nothing")}) as daemon:
        assert daemon.run("status", "--check").status == 5


def test_one_worker_with_every_request(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /workers/0": BUSY, "GET /workers/1": WAITING}) as daemon:
        out = daemon.run("workers", "0").out
        waiting = daemon.run("workers", "1").out
        absent = daemon.run("workers", "9")
    assert r"thread 1:    12.3 s GET /report\x1b[2J" in out
    assert out.index("thread 1:") < out.index("thread 2:")
    assert "next worker:   in 9.5 s" in waiting
    assert "last exit:     killed by SIGKILL" in waiting
    assert (absent.status, absent.out) == (1, "")


# --- events ----------------------------------------------------------------------------------------------

PAST = ms.EventList([event(1), event(2, "worker.exited", "worker 1 was killed\x1b[31m")], last_id=2, lost=0)


def test_events_are_a_line_each(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /events": PAST}) as daemon:
        plain, wide = daemon.run("events"), daemon.run("events", "-o", "wide")
        objects = daemon.run("events", "-o", "json", "-n", "5").out.splitlines()
        targets = [asked.target for asked in daemon.asked]
    assert [line.split("  ", 1)[1] for line in plain.out.splitlines()] == [
        "worker.ready           worker 0 is ready",
        r"worker.exited          worker 1 was killed\x1b[31m",
    ]
    assert wide.out.splitlines()[0].split()[0] == "1"
    assert [json.loads(line)["id"] for line in objects] == [1, 2]
    assert targets == ["/v1/events?since=0&limit=1000", "/v1/events?since=0&limit=1000", "/v1/events?since=0&limit=5"]


def test_following_begins_with_the_last_ones_and_ends_with_the_daemon(tmp_path: Path) -> None:
    later = [event(3, message="worker 2 is ready"), event(4, "events.lost", "12 events were lost", lost=12)]
    answers = {"GET /events": lambda asked: later if "follow" in asked.target else PAST}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("events", "-f")
        targets = [asked.target for asked in daemon.asked]
    assert found.status == 0
    assert [line[37:] for line in found.out.splitlines()] == [
        "worker 0 is ready",
        r"worker 1 was killed\x1b[31m",
        "worker 2 is ready",
        "12 events were lost",
    ]
    assert "the daemon has stopped" in found.err
    assert targets == ["/v1/events?since=0&limit=10", "/v1/events?follow=1&since=2"]


# --- config ----------------------------------------------------------------------------------------------

VIEW = ms.ConfigView(
    path="/etc/miniwsgi/shop.toml",
    values=[
        ms.ConfigValue("server.workers", 4, "4", "file"),
        ms.ConfigValue("server.threads", 8, "8", "default"),
        ms.ConfigValue("log.level", "debug", '"debug"', "runtime", "info"),
    ],
    file_variables=["SECRET_KEY"],
    notes=["something to know"],
)
CHANGE = ms.ConfigChange("server.workers", "4", "8")
RESTART = ms.ConfigChange("control.socket", '"/a"', '"/b"')
MISTAKE = ms.ConfigProblem(
    "server.workers", "0", "1 or more", "file x.toml", "server.workers = 0 (file x.toml): expected 1 or more"
)


def report(**changed: object) -> ms.ConfigReport:
    found = ms.ConfigReport(valid=True, problems=[], changes=[], restart=[], notes=[])
    return msgspec.structs.replace(found, **changed)


def test_the_configuration_in_force_and_where_it_comes_from(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /config": VIEW}) as daemon:
        found = daemon.run("config").out.splitlines()
        assert daemon.run("config", "show").out.splitlines() == found
        assert daemon.run("config", "-o", "json").json["values"][0]["origin"] == "file"
        assert daemon.run("config", "show", "file.toml").status == 2
    assert found[0] == "# /etc/miniwsgi/shop.toml"
    assert [line.split("  ")[0] for line in found[2:6]] == ["KEY", "server.workers", "server.threads", "log.level"]
    assert found[5].endswith('"debug" (configured: info)  runtime')
    assert found[-2:] == ["# from app.env_files: SECRET_KEY", "# something to know"]


def test_checking_what_is_on_disk(tmp_path: Path) -> None:
    reports: list[ms.ResponseBody] = [report(), report(changes=[CHANGE], restart=[RESTART], notes=["n"]), report()]
    answers = {"POST /config/check": reports, "GET /config": VIEW}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        same, other = daemon.run("config", "check"), daemon.run("config", "check")
        assert daemon.run("config", "check", "-o", "json").json["valid"] is True
        assert daemon.bodies("POST", "/v1/config/check")[0] == {"toml": None}
    assert same.out.splitlines() == ["/etc/miniwsgi/shop.toml: valid", "It is what is in force."]
    assert other.status == 0
    assert "A reload would change\n  server.workers = 4 → 8\n" in other.out
    assert 'Only a restart would change; a reload is refused\n  control.socket = "/a" → "/b"\n' in other.out


def test_checking_a_file_sends_it(tmp_path: Path) -> None:
    (tmp_path / "new.toml").write_text("[server]\nworkers = 0\n")
    wrong = report(valid=False, problems=[MISTAKE])
    with FakeDaemon(tmp_path / "s", {"POST /config/check": wrong}) as daemon:
        found = daemon.run("config", "check", str(tmp_path / "new.toml"))
        as_json = daemon.run("config", "check", "-", "-o", "json", stdin="x = 1\n")
        unreadable = daemon.run("config", "check", str(tmp_path / "none.toml"))
        bodies = daemon.bodies("POST", "/v1/config/check")
    assert bodies == [{"toml": "[server]\nworkers = 0\n"}, {"toml": "x = 1\n"}]
    assert found.status == 1
    assert f"1 mistake in {tmp_path}/new.toml\n  {MISTAKE.message}" in found.err
    assert (as_json.status, as_json.json["valid"]) == (1, False)
    assert (unreadable.status, "cannot be read: No such file" in unreadable.err) == (2, True)


def test_the_difference(tmp_path: Path) -> None:
    answers = {"POST /config/check": report(changes=[CHANGE], restart=[RESTART]), "GET /config": VIEW}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("config", "diff")
    assert found.status == 0
    assert found.out.splitlines() == [
        "-server.workers = 4",
        "+server.workers = 8",
        '-control.socket = "/a"',
        '+control.socket = "/b"  # needs a restart',
    ]


# --- ping, log-level -------------------------------------------------------------------------------------


def test_ping(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        found, as_json = daemon.run("ping"), daemon.run("ping", "-o", "json").json
    assert found.out.startswith("miniwsgi 0.1.0 (pid 4711) is running, answered in ")
    assert (as_json["pid"], as_json["state"], as_json["seconds"] < 5) == (4711, "running", True)


def test_the_log_level(tmp_path: Path) -> None:
    changed = ms.LogLevel(level="debug", configured="info", overridden=True, operation=3)
    with FakeDaemon(tmp_path / "s", {"PUT /log-level": changed}) as daemon:
        assert daemon.run("log-level").out == "info\n"
        assert daemon.run("log-level", "debug").out == "debug (configured: info)\n"
        assert daemon.run("log-level", "--reset", "-o", "json").json["overridden"] is True
        assert daemon.run("log-level", "loud").status == 2
        assert daemon.run("log-level", "debug", "--reset").status == 2
        bodies = daemon.bodies("PUT", "/v1/log-level")
    assert bodies == [{"level": "debug", "reset": False}, {"level": None, "reset": True}]


def test_top_wants_a_terminal(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        assert daemon.run("top").status == 2
        assert daemon.run("top", "-o", "json").status == 2


def test_what_is_refused_is_said(tmp_path: Path) -> None:
    said = problem(403, "this takes the role admin, yours is read")
    with FakeDaemon(tmp_path / "s", {"GET /config": said}) as daemon:
        found = daemon.run("config")
    assert (found.status, found.out) == (5, "")
    assert found.err == "miniwsgictl: denied: this takes the role admin, yours is read\n"
