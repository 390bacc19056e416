"""Every command of `miniwsgictl` on a running daemon: its exit status, its table, its JSON, where its words go."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ctl import Tool
from tests.support.daemon import Daemon
from tests.support.service import HELD_IMPORT, HELLO, Service, get
from tests.support.waiting import PATIENCE_SECONDS

from .relay import Relay

ESCAPE = "\x1b["
BROKEN = "import nonsense_that_is_nowhere\n"


@contextmanager
def holding(service: Service, daemon: Daemon) -> Iterator[None]:
    """A request that runs until `Service.release`, which comes at the end if not before."""
    service.hold()
    thread = threading.Thread(target=get, args=(daemon, "/hold"))
    thread.start()
    try:
        daemon.wait(service.has_begun, "a request that runs")
        yield
    finally:
        service.release()
        thread.join()


def start(service: Service, *arguments: str, directory: Path | None = None) -> tuple[Daemon, Tool]:
    socket = (directory or service.directory) / "control.sock"
    daemon = service.start("--workers", "2", "--control", str(socket), *arguments)
    daemon.wait_for_log("start: done")
    return daemon, Tool(socket)


def test_status_workers_ping(service: Service) -> None:
    daemon, ctl = start(service)
    pid = daemon.process.pid
    assert get(daemon).startswith("v1")
    daemon.wait(lambda: ctl("status", "-o", "json").json["requests"]["total"] == 1, "it is counted")

    status = ctl("status")
    assert (status.status, status.err) == (0, "")
    verdict, headline, *_rest = status.out.splitlines()
    assert verdict == "healthy: 2 of 2 workers ready"
    assert headline.startswith("app: running, up ")
    assert f"pid {pid}, pool epoll, 8 threads a worker" in status.out
    assert "2 of 2 ready" in status.out
    assert f"http://127.0.0.1:{daemon.port}" in status.out
    assert ESCAPE not in status.out
    found = ctl("-o", "json", "status").json
    assert (found["pid"], found["state"], found["workers"]["ready"], found["requests"]["total"]) == (
        pid,
        "running",
        2,
        1,
    )
    assert "since the start" in ctl("status", "-o", "wide").out

    workers = ctl("workers")
    assert workers.status == 0
    assert [line.split()[0] for line in workers.out.splitlines()] == ["SLOT", "0", "1"]
    pids = {worker["pid"] for worker in ctl("workers", "-o", "json").json["workers"]}
    assert pids == set(daemon.workers())
    assert "USS" in ctl("workers", "-o", "wide").out
    assert ctl("workers", "1", "-o", "json").json["slot"] == 1
    assert "state:         ready" in ctl("workers", "1").out

    ping = ctl("ping")
    assert (ping.status, f"(pid {pid}) is running, answered in " in ping.out) == (0, True)
    assert ctl("ping", "-o", "json").json["pid"] == pid


def test_a_request_that_runs_is_seen_with_its_stack(service: Service) -> None:
    daemon, ctl = start(service)
    with holding(service, daemon):
        assert "GET /hold" in ctl("workers").out
        [worker] = [worker for worker in ctl("workers", "-o", "json").json["workers"] if worker["in_flight"]]
        slot = str(worker["slot"])
        assert worker["in_flight"][0]["path"] == "/hold"
        assert "1 running" in ctl("status").out
        stack = ctl("stack", slot)
        assert stack.status == 0
        assert "runs GET /hold for" in stack.out
        assert 'app.py", line' in stack.out
        assert ctl("stack", slot, "-o", "json").json["answered"] is True
        page = service.directory / "profile.html"
        profile = ctl("profile", "-d", "0.2", "--file", str(page))
        assert profile.status == 0
        assert "(app.py:" in profile.out
        assert "app.py" in page.read_text("utf-8")
        memory = ctl("memory", slot, "--for", "0.1", "--pause", "5s", "-o", "json")
        assert (memory.status, memory.json["tracing"]) == (0, "ours")
        assert memory.json["objects"] > 100
        assert {"Rss", "Pss"} <= {kind["name"] for kind in memory.json["kinds"]}
        assert ctl("memory", "7").status == 1


def test_scale_up_down_relative_and_back(service: Service) -> None:
    daemon, ctl = start(service)
    up = ctl("scale", "4")
    assert (up.status, up.out.startswith("scale to 4 workers: done in ")) == (0, True)
    assert up.err.count("is ready") == 2
    assert len(daemon.workers()) == 4
    assert "scaled to 4, until a restart; configured are 2" in ctl("status").out
    down = ctl("scale", "-2", "-o", "json")
    assert (down.status, down.err, down.json["state"]) == (0, "", "succeeded")
    assert ctl("scale", "+1").status == 0
    assert ctl("status", "-o", "json").json["workers"]["target"] == 3
    assert ctl("scale", "--reset").status == 0
    assert ctl("status", "-o", "json").json["workers"]["override"] is None
    later = ctl("scale", "3", "--no-wait")
    assert (later.status, "asked for as operation" in later.out) == (0, True)
    daemon.wait(lambda: ctl("status", "-o", "json").json["workers"]["ready"] == 3, "three workers")
    for wrong in ("0", "513", "many"):
        assert ctl("scale", wrong).status == 2


def test_a_scale_that_is_to_persist_needs_a_place(service: Service) -> None:
    _, ctl = start(service)
    found = ctl("scale", "3", "--persist")
    assert (found.status, "state_directory" in found.err) == (1, True)


def test_a_scale_persists(service: Service) -> None:
    state = service.directory / "state"
    state.mkdir()
    daemon, ctl = start(service, "--set", f"control.state_directory={state}")
    assert ctl("scale", "3", "--persist").status == 0
    assert "scaled to 3, also across a restart" in ctl("status").out
    assert daemon.stop() == 0
    _, ctl = start(service, "--set", f"control.state_directory={state}")
    assert ctl("status", "-o", "json").json["workers"]["target"] == 3
    assert ctl("scale", "--reset").status == 0
    assert list(state.iterdir()) == []


def test_reload_puts_new_code_live(service: Service) -> None:
    daemon, ctl = start(service)
    service.write((service.directory / "app.py").read_text().replace("v1", "v2"))
    found = ctl("reload")
    assert (found.status, found.out.startswith("reload: done in ")) == (0, True)
    assert "(generation 2, operation " in found.out
    assert found.err.count("generation 2 boots") == 2
    daemon.wait(lambda: get(daemon).startswith("v2"), "the old workers have heard that they drain")
    assert ctl("reload", "-o", "json").json["generation"] == 3


def test_reload_of_broken_code_fails_with_its_traceback_and_the_old_code_serves(service: Service) -> None:
    daemon, ctl = start(service)
    service.write(BROKEN)
    found = ctl("reload")
    assert (found.status, found.out) == (1, "")
    assert "Traceback (most recent call last):" in found.err
    assert "import nonsense_that_is_nowhere" in found.err
    assert found.err.splitlines()[-1].startswith("miniwsgictl: MW2301 reload failed after ")
    assert "what ran before goes on" in found.err
    assert get(daemon).startswith("v1")
    as_json = ctl("reload", "-o", "json")
    assert (as_json.status, as_json.json["state"]) == (1, "failed")
    assert "nonsense_that_is_nowhere" in as_json.json["traceback"]
    assert "failed" in next(line for line in ctl("status").out.splitlines() if "last reload:" in line)


def test_restart_of_one_and_of_all(service: Service) -> None:
    daemon, ctl = start(service)
    before = set(daemon.workers())
    one = ctl("restart", "0")
    assert (one.status, one.out.startswith("restart of slot 0: done in ")) == (0, True)
    daemon.wait(lambda: len(before & set(daemon.workers())) == 1, "one of the former workers is gone")
    assert ctl("restart").status == 0
    daemon.wait(lambda: not before & set(daemon.workers()), "no former worker")
    assert get(daemon).startswith("v1")


def test_drain_and_undrain(service: Service) -> None:
    daemon, ctl = start(service)
    drained = ctl("drain")
    assert (drained.status, drained.out.startswith("drain: done in ")) == (0, True)
    assert ctl("status").out.startswith("down: drained, as was asked for (MW2403)\napp: draining")
    daemon.wait(lambda: not daemon.workers(), "no worker is left")
    assert ctl("undrain").status == 0
    assert get(daemon).startswith("v1")


def test_stop_waits_for_the_end(service: Service) -> None:
    daemon, ctl = start(service)
    with holding(service, daemon):
        tool = ctl.start("stop")
        daemon.wait_for_log("stop is asked for")
        assert daemon.process.poll() is None
        service.release()
        out, err = tool.communicate(timeout=PATIENCE_SECONDS)
        assert daemon.process.wait(PATIENCE_SECONDS) == 0
    assert tool.returncode == 0
    assert out.startswith("stopped after ")
    assert f"stopping pid {daemon.process.pid}; 1 request running" in err
    assert ctl("status").status == 3


def test_stop_now_and_in_json(service: Service) -> None:
    daemon, ctl = start(service)
    found = ctl("stop", "--now", "-o", "json")
    assert (found.status, found.err) == (0, "")
    assert (found.json["pid"], found.json["state"]) == (daemon.process.pid, "stopped")
    assert daemon.process.wait(PATIENCE_SECONDS) == 0


def test_config_show_check_diff(service: Service) -> None:
    path = service.configure('env = { SECRET_KEY = "hunter2" }\n[server]\nworkers = 2\n')
    socket = service.directory / "control.sock"
    service.start("-c", path, "--control", str(socket), "--threads", "4")
    ctl = Tool(socket)
    shown = ctl("config")
    assert (shown.status, "hunter2" in shown.out) == (0, False)
    rows = {line.split()[0]: line.split()[-1] for line in shown.out.splitlines() if "." in line.split(" ")[0]}
    assert (rows["server.workers"], rows["server.threads"], rows["server.backlog"]) == ("file", "flag", "default")
    values = {value["key"]: value for value in ctl("config", "-o", "json").json["values"]}
    assert values["server.threads"]["value"] == 4

    assert "It is what is in force." in ctl("config", "check").out
    service.configure("[server]\nworkers = 3\n")
    check = ctl("config", "check")
    assert (check.status, "server.workers = 2 → 3" in check.out) == (0, True)
    diff = ctl("config", "diff")
    assert (diff.status, "-server.workers = 2\n+server.workers = 3\n" in diff.out) == (0, True)
    assert ctl("config", "check", "-o", "json").json["valid"] is True

    service.configure('[server]\nworkers = "many"\nwrokers = 3\n')
    wrong = ctl("config", "check")
    assert (wrong.status, wrong.out) == (1, "")
    assert "2 mistakes in " in wrong.err
    sent = ctl("config", "check", "-", stdin='[app]\nmodule = "other:app"\n')
    assert (sent.status, 'app.module = "app" → "other:app"' in sent.out) == (0, True)
    assert ctl("config", "check", "/nowhere.toml").status == 2
    assert ctl("config", "nonsense").status == 2


def test_the_log_level_changes_while_it_runs(service: Service) -> None:
    _, ctl = start(service)
    assert ctl("log-level").out == "info\n"
    assert ctl("log-level", "debug").out == "debug (configured: info)\n"
    assert ctl("log-level", "-o", "json").json == {
        "level": "debug",
        "configured": "info",
        "overridden": True,
        "operation": None,
    }
    assert ctl("log-level", "--reset").out == "info\n"
    assert ctl("log-level", "loud").status == 2


def test_events_of_the_past_and_as_they_happen(service: Service) -> None:
    daemon, ctl = start(service)
    past = ctl("events")
    assert past.status == 0
    assert "daemon.serving" in past.out
    objects = [json.loads(line) for line in ctl("events", "-o", "json", "-n", "3").out.splitlines()]
    assert [found["id"] for found in objects] == sorted(found["id"] for found in objects)
    assert len(objects) == 3
    follower = ctl.start("events", "-f", "-o", "json", "-n", "1")
    assert follower.stdout is not None
    try:
        assert json.loads(follower.stdout.readline())["id"] >= objects[-1]["id"]
        assert ctl("restart", "0").status == 0
        kinds = set[str]()
        while "worker.exited" not in kinds:
            kinds.add(json.loads(follower.stdout.readline())["kind"])
        assert kinds >= {"operation.started", "worker.started", "worker.ready", "worker.exited"}
        assert daemon.stop() == 0
        rest, said = follower.communicate(timeout=PATIENCE_SECONDS)
        assert (follower.returncode, said) == (0, "the daemon has stopped\n")
        assert "daemon.stopping" in rest
    finally:
        follower.kill()
        follower.communicate()


def test_list_and_instances(service: Service) -> None:
    runtime = service.directory / "miniwsgi" / "shop"
    runtime.mkdir(parents=True)
    daemon, ctl = start(service, directory=runtime)
    ctl.environ["XDG_RUNTIME_DIR"] = str(service.directory)
    found = [entry for entry in ctl("list", "-o", "json").json if entry["pid"] == daemon.process.pid]
    assert [(entry["instance"], entry["state"]) for entry in found] == [("shop", "running")]
    assert str(ctl.socket) in ctl("list").out


def test_completion_prints_a_script(service: Service) -> None:
    ctl = Tool(service.directory / "nowhere")
    for shell in ("bash", "zsh", "fish"):
        found = ctl("completion", shell)
        assert (found.status, "miniwsgictl" in found.out) == (0, True)


# --- terminals -------------------------------------------------------------------------------------------


def test_colours_on_a_terminal_unless_they_are_unwanted(service: Service) -> None:
    _, ctl = start(service)

    def shown(*arguments: str, **environ: str) -> str:
        with ctl.on_terminal(*arguments, **environ) as terminal:
            assert terminal.end() == 0
            return terminal.text

    assert ESCAPE in shown("status")
    assert ESCAPE in shown("workers")
    assert ESCAPE not in shown("status", NO_COLOR="1")
    assert ESCAPE not in shown("status", "--no-color")
    assert ESCAPE not in shown("status", TERM="dumb")


def test_a_change_on_a_terminal_shows_each_slot_and_leaves_one_line(service: Service) -> None:
    service.write(HELD_IMPORT + HELLO)
    _, ctl = start(service, "--preload", "false")
    service.hold_imports()
    with ctl.on_terminal("reload") as terminal:
        terminal.wait_for("booting")
        service.admit()
        terminal.wait_for("1 of 2")
        service.release()
        assert terminal.end() == 0
        assert terminal.is_clean()
        assert "0○" in terminal.text.replace(ESCAPE, "").replace("2m", "").replace("0m", "")
        assert terminal.text.splitlines()[-1].lstrip("\r").endswith(")")
        assert "reload: done in " in terminal.text.splitlines()[-1]
    with ctl.on_terminal("reload", NO_COLOR="1") as terminal:
        assert terminal.end() == 0
        assert "[32m" not in terminal.text


@pytest.mark.parametrize("arguments", [["restart"], ["-o", "json", "restart"]])
def test_ctrl_c_ends_the_waiting_and_not_the_change(arguments: list[str], service: Service) -> None:
    service.write(HELD_IMPORT + HELLO)
    daemon, ctl = start(service, "--preload", "false")
    service.hold_imports()
    relayed = Tool(service.directory / "relay.sock")
    with Relay.at(relayed.socket, ctl.socket) as relay, relayed.on_terminal(*arguments) as terminal:
        daemon.wait(lambda: relay.asked("GET /v1/operations/2"), "it waits for the restart")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert terminal.is_clean()
        assert "restart goes on in the daemon (operation 2)" in terminal.text.replace("\r\n", " ")
    service.release()
    daemon.wait_for_log("restart: done")
