"""The control API of a real daemon: what it says is what has happened."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.config.machine import oom_kills

from tests.support.control import Control, following
from tests.support.daemon import Daemon
from tests.support.service import HELD_IMPORT, HELLO, Service, get
from tests.support.waiting import PATIENCE_SECONDS

Start = Callable[..., tuple[Daemon, Control]]


@pytest.fixture
def start(service: Service, tmp_path: Path) -> Start:
    """A daemon with a control socket, and a client of it."""

    def start(*arguments: str, **more: Any) -> tuple[Daemon, Control]:
        path = tmp_path / "control.sock"
        daemon = service.start(*arguments, "--control", str(path), **more)
        control = Control(path)
        daemon.wait(lambda: _complete(control), "all workers are ready")
        return daemon, control

    return start


def _complete(control: Control) -> bool:
    status = control.status()
    return bool(status["workers"]["ready"] == status["workers"]["target"] and not status["operations"])


def _ready(control: Control) -> set[int]:
    return {worker["pid"] for worker in control.workers() if worker["state"] == "ready"}


# --- looking --------------------------------------------------------------------------------------------------------


def test_status_says_what_is(start: Start) -> None:
    daemon, control = start("--workers", "2")
    for _ in range(5):
        get(daemon)
    daemon.wait(lambda: control.status()["requests"]["total"] == 5, "all are counted")
    daemon.wait(lambda: control.status()["workers"]["busy"] == 0, "all are over")
    status = control.status()
    assert (status["pid"], status["state"], status["generation"]) == (daemon.process.pid, "running", 1)
    assert (status["application"], status["pool"], status["preloaded"]) == ("app", "epoll", True)
    assert status["workers"] == {
        "target": 2, "configured": 2, "override": None, "persisted": False,
        "booting": 0, "ready": 2, "busy": 0, "draining": 0, "stuck": 0,
        "not_responding": 0,
    }  # fmt: skip
    assert status["requests"]["total"] == 5
    assert status["duration"]["count"] == 5
    assert 0 < status["duration"]["p50"] <= status["duration"]["p99"] < 60
    (listener,) = status["listeners"]
    assert (listener["address"], listener["unix"], listener["queued"]) == (f"127.0.0.1:{daemon.port}", False, 0)
    assert listener["queue_limit"] >= 128
    assert status["role"] == "admin"


def test_workers_say_what_they_do(start: Start, service: Service) -> None:
    daemon, control = start("--workers", "2")
    service.hold()
    asking = threading.Thread(target=get, args=(daemon, "/hold?query"))
    asking.start()
    daemon.wait(lambda: service.has_begun() and control.status()["requests"]["in_flight"] == 1, "a request runs")
    status, workers = control.status(), control.workers()
    assert (status["workers"]["busy"], status["workers"]["ready"]) == (1, 2)
    (busy,) = [worker for worker in workers if worker["in_flight"]]
    (request,) = busy["in_flight"]
    assert (request["method"], request["path"]) == ("GET", "/hold")  # its query may be a secret
    assert request["age_seconds"] >= 0
    assert sorted(worker["pid"] for worker in workers) == sorted(daemon.workers())
    for worker in workers:
        assert worker["state"] == "ready"
        assert worker["uss_bytes"] <= worker["pss_bytes"] <= worker["rss_bytes"]
        assert worker["cpu_percent"] is not None
        assert control.get(f"/workers/{worker['slot']}")["pid"] == worker["pid"]
    stack = control.get(f"/workers/{busy['slot']}/stack")
    assert stack["answered"]
    assert "app.py" in stack["text"].partition("  # runs GET /hold for ")[2].partition("\n\n")[0]
    assert stack["in_flight"][0]["path"] == "/hold"
    service.release()
    asking.join()


def test_a_crash_is_counted_and_its_reason_told(start: Start) -> None:
    daemon, control = start("--workers", "1")
    (pid,) = daemon.workers()
    os.kill(pid, signal.SIGKILL)
    daemon.wait(lambda: [one["pid"] for one in control.workers() if one["state"] == "ready"] not in ([], [pid]), "new")
    (worker,) = control.workers()
    assert (worker["restarts"], worker["last_exit"].split(" (")[0]) == (1, "was killed by SIGKILL")
    kinds = {event["kind"]: event for event in control.get("/events")["events"] if event["pid"] == pid}
    assert kinds["worker.exited"]["message"].endswith(worker["last_exit"])
    assert worker["last_exit"].endswith(" (out of memory?)") == (oom_kills() is None)


def test_a_request_of_the_worker_is_not_one_of_its_predecessor(start: Start) -> None:
    daemon, control = start("--workers", "1")
    for _ in range(3):
        get(daemon)
    daemon.wait(lambda: control.workers()[0]["requests"] == 3, "all are counted")
    (pid,) = daemon.workers()
    os.kill(pid, signal.SIGKILL)  # the next one has the same slot
    daemon.wait(lambda: _ready(control) not in (set(), {pid}), "the next one")
    get(daemon)
    daemon.wait(lambda: control.workers()[0]["requests"] == 1, "it has counted its own")
    assert control.status()["requests"]["total"] == 4


# --- changes --------------------------------------------------------------------------------------------------------


def test_scale_is_in_force_when_it_is_answered(start: Start) -> None:
    daemon, control = start("--workers", "2")
    done = control.change("/scale", {"workers": 8})
    assert (done["detail"], done["done"], done["total"]) == ("to 8 workers", 8, 8)
    status = control.status()
    assert (status["workers"]["ready"], status["workers"]["override"], status["workers"]["configured"]) == (8, 8, 2)
    assert control.change("/scale", {"workers": "-5"})["total"] == 3
    assert control.change("/scale", {"workers": "+1"})["total"] == 4
    control.change("/reload")
    assert control.status()["workers"]["ready"] == 4  # it survives a reload
    control.change("/scale", {"reset": True})
    status = control.status()
    assert (status["workers"]["target"], status["workers"]["override"]) == (2, None)
    daemon.wait(lambda: len(daemon.workers()) == 2, "two are left")


@pytest.mark.parametrize("body", [{"workers": "-2"}, {"workers": 500}, {"workers": "-999"}])
def test_a_number_that_cannot_be_is_refused(start: Start, body: dict[str, Any]) -> None:
    _daemon, control = start("--workers", "2")
    assert control.post("/scale", body).status == 422
    assert control.status()["workers"]["target"] == 2


def test_a_change_is_an_operation_that_can_be_asked_for_later(start: Start) -> None:
    _daemon, control = start("--workers", "1")
    answer = control.post("/scale", {"workers": 2})
    assert answer.status in {200, 202}
    location = answer.headers["Location"]
    operation = control.get(location.removeprefix("/v1") + "?wait=30")
    assert operation["state"] == "succeeded"
    assert (operation["uid"], operation["pid"]) == (os.getuid(), os.getpid())
    assert operation["who"].endswith(f"(uid {os.getuid()}, pid {os.getpid()})")
    assert [one["kind"] for one in control.get("/operations")["operations"]] == ["scale", "start"]


def test_reload_brings_new_code_or_says_why_not(start: Start, service: Service) -> None:
    daemon, control = start("--workers", "2")
    service.write("raise RuntimeError('the shop is closed')\n")
    answer = control.post("/reload?wait=60")
    assert (answer.status, answer["state"]) == (200, "failed")
    assert "the shop is closed" in answer["error"]
    assert "app.py" in answer["traceback"]
    assert get(daemon).startswith("v1")
    last = control.status()["last_reload"]
    assert (last["operation"], last["result"], last["error"]) == (answer["id"], "failed", answer["error"])
    service.write(HELLO_2)
    assert control.change("/reload")["generation"] == 3
    daemon.wait(lambda: get(daemon) == "v2", "the old workers have heard that they drain")
    assert control.status()["last_reload"]["result"] == "succeeded"


HELLO_2 = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"v2"]
"""


def test_reloads_that_come_together_are_one_more(start: Start, service: Service) -> None:
    _daemon, control = start("--workers", "1")
    service.write(HELD_IMPORT + HELLO)
    service.hold_imports()
    first = control.post("/reload")
    others = [control.post("/reload") for _ in range(5)]
    service.release()
    assert {answer["id"] for answer in others} == {first["id"] + 1}
    assert [answer["joined"] for answer in others] == [False, True, True, True, True]
    assert control.get(f"/operations/{first['id'] + 1}?wait=60")["state"] == "succeeded"
    assert control.status()["generation"] == 3


def test_the_last_scale_wins(start: Start, service: Service) -> None:
    service.write(HELD_IMPORT + HELLO)
    _daemon, control = start("--workers", "1", "--preload", "false")
    service.hold_imports()
    numbers = [control.post("/scale", {"workers": number})["id"] for number in (2, 3, 4)]
    service.release()
    assert control.get(f"/operations/{numbers[2]}?wait=60")["state"] == "succeeded"
    assert [control.get(f"/operations/{number}")["state"] for number in numbers[:2]] == ["superseded"] * 2
    assert control.status()["workers"]["ready"] == 4


def test_a_restart_during_a_reload_is_a_conflict_that_names_it(start: Start, service: Service) -> None:
    _daemon, control = start("--workers", "1")
    service.write(HELD_IMPORT + HELLO)
    service.hold_imports()
    reload = control.post("/reload")
    answer = control.post("/restart")
    service.release()
    assert (answer.status, answer["operation"]) == (409, reload["id"])
    assert control.get(f"/operations/{reload['id']}?wait=60")["state"] == "succeeded"


def test_restart_replaces_processes_one_slot_or_all(start: Start) -> None:
    _daemon, control = start("--workers", "2")
    before = {worker["slot"]: worker["pid"] for worker in control.workers()}
    control.change("/workers/0/restart")
    ready = _ready(control)
    assert before[0] not in ready
    assert before[1] in ready
    control.change("/restart")
    assert len(_ready(control)) == 2
    assert not _ready(control) & {*before.values(), *ready}
    assert control.post("/workers/99/restart").status == 404


def test_drain_and_undrain(start: Start) -> None:
    daemon, control = start("--workers", "2")
    control.change("/drain")
    status = control.status()
    assert (status["state"], status["workers"]["ready"], status["workers"]["target"]) == ("draining", 0, 0)
    assert daemon.process.poll() is None
    control.change("/undrain")
    assert control.status()["state"] == "running"
    assert get(daemon).startswith("v1")


def test_stop_answers_before_it_is_over(start: Start) -> None:
    daemon, control = start("--workers", "2")
    answer = control.post("/stop?wait=30")
    assert (answer.status, answer["state"]) == (200, "succeeded")
    assert daemon.process.wait(PATIENCE_SECONDS) == 0
    assert not control.path.exists()


def test_a_second_graceful_stop_does_not_cut_off_what_runs_and_now_does(start: Start, service: Service) -> None:
    daemon, control = start("--workers", "1")
    service.hold()
    threading.Thread(target=_get_quietly, args=(daemon, "/hold"), daemon=True).start()
    daemon.wait(lambda: control.status()["requests"]["in_flight"] == 1, "a request runs")
    first = control.post("/stop")
    again = control.post("/stop")
    assert (again.status, again["id"], again["joined"]) == (202, first["id"], True)
    assert control.post("/reload").status == 409
    time.sleep(0.3)  # the subject of the test
    status = control.status()
    assert (status["state"], status["requests"]["in_flight"]) == ("stopping", 1)
    assert control.post("/stop", {"mode": "now"}).status in {200, 202}
    assert daemon.process.wait(PATIENCE_SECONDS) == 0


def _get_quietly(daemon: Daemon, path: str) -> None:
    try:
        get(daemon, path)
    except Exception:
        pass


def test_the_log_level_changes_in_master_and_workers_and_outlives_a_reload(start: Start) -> None:
    daemon, control = start("--workers", "1", "--log-level", "error")
    _send_garbage(daemon)
    assert REFUSED not in daemon.log()
    answer = control.call("PUT", "/log-level", {"level": "debug"})
    assert (answer.status, answer["level"], answer["configured"]) == (200, "debug", "error")
    assert answer["overridden"]
    assert control.get(f"/operations/{answer['operation']}")["kind"] == "log-level"
    # Orders and requests reach a worker by different ways: ask until it has read the order.
    daemon.wait(lambda: _send_garbage(daemon) or REFUSED in daemon.log(), "it is logged")
    for change in ("/restart", "/reload"):  # workers of a launcher that was told another level, and of another one
        control.change(change)
        daemon.wait(lambda: len(control.workers()) == 1, "the old one has left")
        before = daemon.log().count(REFUSED)
        _send_garbage(daemon)
        daemon.wait_for_log(REFUSED, before + 1)
    assert control.status()["log_level"] == "debug"
    origins = {one["key"]: one["origin"] for one in control.get("/config")["values"]}
    assert origins["log.level"] == "runtime"
    assert control.call("PUT", "/log-level", {"reset": True})["level"] == "error"


REFUSED = "refused a request with 400"  # a worker's warning


def _send_garbage(daemon: Daemon) -> None:
    with socket.create_connection(daemon.address, PATIENCE_SECONDS) as client:
        client.sendall(b"garbage\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")


def test_every_change_is_logged_with_uid_and_pid(start: Start) -> None:
    daemon, control = start("--workers", "1")
    control.change("/scale", {"workers": 2})
    name = "root" if os.getuid() == 0 else ""
    daemon.wait_for_log(f"scale to 2 workers is asked for by {name}")
    daemon.wait_for_log(f"(uid {os.getuid()}, pid {os.getpid()}) (operation 2)")


# --- what survives a restart ----------------------------------------------------------------------------------------


def test_a_persisted_scale_survives_a_restart_until_it_is_reset(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    environ = {"STATE_DIRECTORY": str(state)}
    daemon, control = start("--workers", "1", environ=environ)
    control.change("/scale", {"workers": 3, "persist": True})
    assert control.status()["workers"]["persisted"]
    assert (state / "scale.json").read_text() == '{"workers": 3}\n'
    control.change("/stop")
    daemon.process.wait(PATIENCE_SECONDS)

    daemon, control = start("--workers", "1", environ=environ)
    daemon.wait(lambda: control.status()["workers"]["ready"] == 3, "three are ready")
    workers = control.status()["workers"]
    assert (workers["override"], workers["configured"], workers["persisted"]) == (3, 1, True)
    daemon.wait_for_log("3 workers, as was asked for at runtime")
    control.change("/scale", {"workers": 2})
    assert not control.status()["workers"]["persisted"]
    control.change("/scale", {"reset": True})
    assert control.status()["workers"]["target"] == 1
    assert list(state.iterdir()) == []


def test_what_cannot_be_kept_is_refused_and_changes_nothing(start: Start) -> None:
    _daemon, control = start("--workers", "1")
    answer = control.post("/scale", {"workers": 3, "persist": True})
    assert answer.status == 409
    assert "control.state_directory" in answer["detail"]
    assert control.status()["workers"]["target"] == 1


def test_a_persisted_scale_that_fails_is_not_kept(start: Start, service: Service, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    daemon, control = start("--workers", "1", "--preload", "false", environ={"STATE_DIRECTORY": str(state)})
    service.write("raise RuntimeError('broken')\n")
    answer = control.post("/scale?wait=60", {"workers": 3, "persist": True})
    assert (answer["state"], control.status()["workers"]["ready"]) == ("failed", 1)
    daemon.wait(lambda: list(state.iterdir()) == [], "nothing is kept")


# --- broken code on disk --------------------------------------------------------------------------------------------


def test_scale_with_broken_code_on_disk_brings_the_running_code_when_preloaded(start: Start, service: Service) -> None:
    daemon, control = start("--workers", "1")
    service.write("raise RuntimeError('broken')\n")
    control.change("/scale", {"workers": "+2"})
    assert control.status()["workers"]["ready"] == 3
    assert {get(daemon).split()[0] for _ in range(12)} == {"v1"}


def test_without_preload_it_fails_after_its_retries_and_harms_nobody(start: Start, service: Service) -> None:
    daemon, control = start("--workers", "2", "--preload", "false")
    before = _ready(control)
    service.write("raise RuntimeError('broken')\n")
    answer = control.post("/scale?wait=60", {"workers": "+1"})
    assert (answer.status, answer["state"]) == (200, "failed")
    assert "broken" in answer["error"]
    assert "app.py" in answer["traceback"]
    status = control.status()["workers"]
    assert (status["ready"], status["target"]) == (2, 2)
    assert _ready(control) == before
    assert get(daemon).startswith("v1")


# --- configuration --------------------------------------------------------------------------------------------------


def test_the_configuration_and_what_a_reload_would_change(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    file = service.configure("[server]\nworkers = 1\n")
    service.start("-c", file, "--control", str(path))
    control = Control(path)
    view = control.get("/config").json
    values = {one["key"]: one for one in view["values"]}
    assert view["path"] == file
    assert (values["server.workers"]["value"], values["server.workers"]["origin"]) == (1, "file")
    service.configure('[server]\nworkers = 2\nuser = "root"\n')
    report = control.post("/config/check").json
    assert [one["key"] for one in report["changes"]] == ["server.workers"]
    assert [one["key"] for one in report["restart"]] == ["server.user"]
    assert not control.post("/config/check", {"toml": "[server]\nworkers = 'many'"})["valid"]
    assert control.status()["generation"] == 1


# --- events ---------------------------------------------------------------------------------------------------------


def test_events_come_as_they_happen(start: Start) -> None:
    daemon, control = start("--workers", "1")
    with following(control.path) as events:
        control.change("/scale", {"workers": 2})
        seen = []
        for event in events:
            seen.append(event)
            if event["kind"] == "operation.ended":
                break
    assert [event["kind"] for event in seen] == [
        "operation.started", "worker.started", "worker.ready", "operation.ended",
    ]  # fmt: skip
    assert seen[-1]["state"] == "succeeded"
    daemon.stop()


def test_followers_are_told_the_end(start: Start) -> None:
    daemon, control = start("--workers", "1")
    with following(control.path) as events:
        control.post("/stop")
        kinds = [event["kind"] for event in events]
    assert kinds[:2] == ["operation.started", "daemon.stopping"]
    assert kinds[-1] == "operation.ended"
    assert daemon.process.wait(PATIENCE_SECONDS) == 0


def test_a_slow_request_is_told_once_while_it_runs(start: Start, service: Service) -> None:
    daemon, control = start("--workers", "1", environ={"MINIWSGI_LOG_SLOW_REQUEST": "0.3s"})
    service.hold()
    asking = threading.Thread(target=_get_quietly, args=(daemon, "/hold"))
    with following(control.path) as events:
        asking.start()
        event = next(events)
        time.sleep(1.5)  # for the daemon to look at it again
    assert (event["kind"], event["slot"]) == ("request.slow", 0)
    assert "GET /hold" in event["message"]
    assert event["seconds"] >= 0.3
    service.release()
    asking.join()
    daemon.wait_for_log("(log.slow_request)")
    assert daemon.log().count("(log.slow_request)") == 1
    assert [one["kind"] for one in control.get("/events")["events"]].count("request.slow") == 1
