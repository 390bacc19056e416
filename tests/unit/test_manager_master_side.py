"""What the master adds to the control API: the number that is kept, the event recorder, configurations as reports."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, get_args

import pytest
from miniwsgi.daemon.config import Config, load
from miniwsgi.daemon.master.control import config_report
from miniwsgi.daemon.master.control.event_recorder import EventRecorder
from miniwsgi.daemon.master.control.kept_scale import KeptScale
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.operations import OperationState
from miniwsgi.manager import changes as ch
from miniwsgi.manager.control.event_log import EventLog
from miniwsgi.manager.messages import EventKind, OperationKind

from tests.unit.supervisor_world import World

# --- the number of workers that is kept -----------------------------------------------------------------------------


def fits(_value: int) -> str:
    return ""


def test_what_is_written_is_read_by_the_next_daemon(tmp_path: Path) -> None:
    KeptScale(str(tmp_path)).write(8)
    kept = KeptScale(str(tmp_path))
    kept.read(fits)
    assert (kept.value, kept.error) == (8, "")
    assert [path.name for path in tmp_path.iterdir()] == ["scale.json"]
    kept.write(None)
    kept.write(None)
    assert list(tmp_path.iterdir()) == []


def test_nothing_kept_is_nothing_wrong(tmp_path: Path) -> None:
    for directory in (str(tmp_path), ""):
        kept = KeptScale(directory)
        kept.read(fits)
        assert (kept.value, kept.error) == (None, "")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"workers": "8"}', '{"workers": true}', '{"workers": 8.5}', "{}", "null", '"x"', "\0"]
)
def test_a_file_of_somebody_elses_is_not_used_and_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "scale.json").write_text(text)
    kept = KeptScale(str(tmp_path))
    kept.read(fits)
    assert kept.value is None
    assert "is not what was written there" in kept.error


def test_a_number_that_cannot_be_is_not_used(tmp_path: Path) -> None:
    KeptScale(str(tmp_path)).write(9999)
    kept = KeptScale(str(tmp_path))
    kept.read(lambda value: f"{value} do not fit")
    assert (kept.value, kept.error) == (None, "9999 do not fit")


def test_a_directory_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    kept = KeptScale(str(tmp_path / "missing"))
    with pytest.raises(OSError, match="No such file"):
        kept.write(3)
    assert (kept.value, kept.error) == (None, f"{kept.path} cannot be written: No such file or directory")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    kept = KeptScale(str(tmp_path))
    kept.write(3)
    (tmp_path / f"scale.json.{os.getpid()}").mkdir()
    with pytest.raises(OSError, match="directory"):
        kept.write(4)
    again = KeptScale(str(tmp_path))
    again.read(fits)
    assert again.value == 3
    assert not stat.S_IMODE((tmp_path / "scale.json").stat().st_mode) & 0o022


# --- the event recorder --------------------------------------------------------------------------------------------


class Told:
    """A supervisor's world whose events are written down."""

    def __init__(self) -> None:
        self.world = World(plan=ev.Plan(workers=2))
        self.event_log = EventLog()
        self.recorder = EventRecorder(self.event_log, self.world.supervisor)
        handle = self.world.supervisor.handle

        def noted(event: ev.Input) -> list[act.Action]:
            actions = handle(event)
            self.recorder.note(event, actions)
            return actions

        self.world.supervisor.handle = noted  # type: ignore[method-assign]
        self.world.do(ch.Start(who="the start"))
        self.world.settle()

    def kinds(self, since: int = 0) -> list[str]:
        return [event.kind for event in self.event_log.since(since).events]

    def messages(self, kind: str, since: int = 0) -> list[str]:
        return [event.message for event in self.event_log.since(since).events if event.kind == kind]


def test_a_start_is_told_from_the_beginning() -> None:
    told = Told()
    kinds = told.kinds()
    order = [
        "operation.started", "generation.preparing", "generation.booting", "generation.ready", "worker.started",
        "worker.ready", "daemon.serving", "generation.serving", "operation.ended",
    ]  # fmt: skip
    assert [kind for kind in dict.fromkeys(kinds) if kind in order] == order
    assert kinds.count("worker.ready") == 2
    ended = next(event for event in told.event_log.since(0).events if event.kind == "operation.ended")
    assert (ended.operation, ended.state, ended.generation) == (1, "succeeded", 1)
    assert ended.message.startswith("start succeeded after ")


def test_a_reload_tells_who_leaves_and_why() -> None:
    told = Told()
    before = told.event_log.last_id
    told.world.do(ch.Reload(who="alice (uid 1000, pid 712)"))
    told.world.settle()
    assert "reload is asked for by alice (uid 1000, pid 712)" in told.messages("operation.started", before)
    assert all("generation 2 takes over" in message for message in told.messages("worker.draining", before))
    assert [event.code for event in told.event_log.since(before).events if event.kind == "worker.exited"] == ["", ""]
    assert told.messages("generation.retired", before) == ["generation 1: forks no more"]


def test_an_exit_carries_pid_and_reason_of_the_worker_that_was() -> None:
    told = Told()
    worker = told.world.table.worker(0)
    assert worker is not None
    pid = worker.pid
    told.world.crash(0)
    (event,) = [event for event in told.event_log.since(0).events if event.kind == "worker.exited"]
    assert (event.slot, event.pid, event.generation, event.code) == (0, pid, 1, "MW3011")
    assert event.message == f"worker 0 (pid {pid}) has ended: was killed by SIGKILL (out of memory?)"
    told.world.do(ev.RecycleAsked(1, "requests"))
    (event,) = [event for event in told.event_log.since(0).events if event.kind == "worker.recycled"]
    assert event.pid is not None  # the others are still known


def test_a_joined_reload_is_one_operation() -> None:
    told = Told()
    for _ in range(4):
        told.world.do(ch.Reload(who="x"))
    told.world.settle()
    assert len(told.messages("operation.started")) == 3  # the start, the reload, and one more for all the others


@pytest.mark.parametrize("level", ["debug", None])
def test_the_log_level_is_an_operation_that_ends_at_once(level: str | None) -> None:
    told = Told()
    before = told.event_log.last_id
    actions = told.world.supervisor.handle(ch.SetLogLevel(who="x", level=level))
    assert isinstance(actions[0], act.ChangeAccepted)
    assert actions[0].operation.state is OperationState.SUCCEEDED
    assert act.OverrideLogLevel(level) in actions
    assert told.kinds(before) == ["operation.started", "operation.ended"]
    assert told.world.supervisor.ledger.open(ch.SetLogLevel) == []


def test_every_change_is_a_kind_of_operation_of_the_api() -> None:
    assert {change.name for change in ch.Change.__subclasses__()} == set(get_args(OperationKind))


def test_every_kind_of_the_event_recorder_is_one_of_the_api() -> None:
    source = Path(EventRecorder.note.__code__.co_filename).read_text("utf-8")
    named = {kind for kind in get_args(EventKind) if f'"{kind}"' in source}
    for what in ("failed", "failing", "exited", "preparing", "booting", "serving", "retired", "ready"):
        assert f'"{what}"' in source
        named.add(f"generation.{what}")
    assert named == set(get_args(EventKind)) - {"events.lost"}


# --- configurations -------------------------------------------------------------------------------------------------


def read(directory: Path, text: str = "") -> tuple[Config, Any]:
    """A configuration in force, and how it is read again."""
    path = directory / "miniwsgi.toml"
    path.write_text('[app]\nmodule = "shop"\nenv = { SECRET_KEY = "hunter2", PLAIN = "x" }\n' + text)
    flags = {"server.workers": "4"}

    def again(text: str | None = None) -> Config:
        return load(str(path), flags, {"MINIWSGI_LOG_FORMAT": "json"}, directory=str(directory), uid=0, text=text)

    return again(), again


def test_a_view_tells_values_origins_and_what_is_overridden(tmp_path: Path) -> None:
    config, _ = read(tmp_path, "[timeouts]\ngraceful = '5s'\n")
    view = config_report.view(config, {"server.workers": 8})
    values = {value.key: value for value in view.values}
    assert view.path == str(tmp_path / "miniwsgi.toml")
    assert (values["app.module"].value, values["app.module"].origin) == ("shop", "file")
    assert (values["timeouts.graceful"].value, values["timeouts.graceful"].text) == (5.0, '"5s"')
    assert (values["log.format"].value, values["log.format"].origin) == ("json", "environment")
    assert values["server.backlog"].origin == "default"
    workers = values["server.workers"]
    assert (workers.value, workers.origin, workers.configured) == (8, "runtime", 4)


def test_secrets_are_masked_in_views_and_comparisons(tmp_path: Path) -> None:
    config, again = read(tmp_path)
    assert "hunter2" not in str(config_report.view(config, {}))
    changed = '[app]\nmodule = "shop"\nenv = { SECRET_KEY = "hunter3", PLAIN = "y" }\n'
    report = config_report.check(again, changed, config)
    assert [change.key for change in report.changes] == ["app.env"]
    assert "hunter" not in str(report)
    assert "y" in report.changes[0].new


def test_a_check_says_what_a_reload_would_change_and_what_needs_a_restart(tmp_path: Path) -> None:
    config, again = read(tmp_path)
    text = '[app]\nmodule = "other"\n[server]\nworkers = 9\nuser = "root"\n[control]\nmode = "0600"\n'
    report = config_report.check(again, text, config)
    assert report.valid
    module = report.changes[0]
    assert (module.key, module.old, module.new) == ("app.module", '"shop"', '"other"')
    assert {change.key for change in report.changes} == {"app.module", "app.env"}  # the flag for workers still wins
    assert {change.key for change in report.restart} == {"server.user", "control.mode"}


def test_a_check_of_the_file_on_disk_sees_what_has_changed_there(tmp_path: Path) -> None:
    config, again = read(tmp_path)
    assert config_report.check(again, None, config).changes == []
    (tmp_path / "miniwsgi.toml").write_text('[app]\nmodule = "shop"\n[log]\nlevel = "debug"\n')
    assert [change.key for change in config_report.check(again, None, config).changes] == ["app.env", "log.level"]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    config, again = read(tmp_path)
    report = config_report.check(again, "[server]\nworkers = 0\nbidn = 'x'\n[logs]\nx = 1\n", config)
    assert not report.valid
    problems = {problem.key: problem.message for problem in report.problems}
    assert problems.keys() == {"server.workers", "server.bidn", "logs", "app.module"}
    assert "did you mean" in problems["server.bidn"]
    syntax = config_report.check(again, "workers = = 1", config)
    assert "line 1" in syntax.problems[0].message


def test_a_check_imports_and_executes_nothing(tmp_path: Path) -> None:
    config, again = read(tmp_path)
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    program.chmod(0o755)
    text = f'[app]\nmodule = "trap"\ndirectory = "{tmp_path}"\npython = "{program}"\n'
    assert config_report.check(again, text, config).valid
    assert not (tmp_path / "executed").exists()
