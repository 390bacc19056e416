"""The master's side: a directory of its own, and a merge that it never waits for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.config.endpoints import Endpoint
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.master.system import private_directory
from miniwsgi.daemon.master.system.private_directory import PrivateDirectory, runtime_directory
from miniwsgi.daemon.master.telemetry import merging
from miniwsgi.daemon.master.telemetry.merging import AppMetrics
from miniwsgi.daemon.temporary import make_directory, temporary_directory
from miniwsgi.metrics.value_files import build

HANG = "import time; time.sleep(600)"
OWNER = """
import sys, time
from miniwsgi.daemon.temporary import make_directory, temporary_directory
from miniwsgi.daemon.master.system.private_directory import PrivateDirectory
print(PrivateDirectory(sys.argv[1], "mine-").path, flush=True)
sys.stdin.read()
"""
REAPING = """
import asyncio, os, sys
from types import SimpleNamespace
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.master.telemetry import merging
from miniwsgi.daemon.master.running.reaper import Reaper

async def main():
    merging.MERGE_SECONDS = 60
    reaper, reaped = Reaper(), []
    metrics = merging.AppMetrics(ErrorLog(), {}, None, reaper.known, lambda: reaped.extend(reaper.reap()))
    metrics._directory, metrics._ours = SimpleNamespace(path=sys.argv[1]), lambda: True
    merge = asyncio.create_task(metrics.merged(False))
    while not merge.done():
        reaped.extend(reaper.reap())
        await asyncio.sleep(0)
    print(merge.result().decode().splitlines()[-1])
    print(metrics.errors, "reaped:", reaped)

asyncio.run(main())
"""


class Log(ErrorLog):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def _log(self, level: str, _code: object, message: str, *_more: object) -> None:
        self.lines.append(f"{level}: {message}")

    def _limited(self, _key: str, level: str, code: object, message: str, *_more: object) -> None:
        self._log(level, code, message)


class World:
    """An AppMetrics with a configuration that can be changed, and a value in its directory."""

    def __init__(self, base: Path) -> None:
        self.log = Log()
        self.known: set[int] = set()
        self.reaped = 0
        self.config = make_config()
        self.metrics = AppMetrics(
            self.log,
            {"RUNTIME_DIRECTORY": str(base)},
            lambda: SimpleNamespace(config=self.config, environment=self.config.app.env),  # type: ignore[arg-type,return-value]
            self.known,
            self.reap,
        )

    def reap(self) -> None:
        self.reaped += 1

    def open(self) -> Path:
        return Path(self.metrics.directory_for(self.config, {}))

    def count(self) -> None:
        (self.open() / "counter_slot0.db").write_bytes(build([(b'["n", "n_total", {}, "N."]', 3.0, 0.0)], True))


def make_config(*, bind: str = "127.0.0.1:9464", application: bool = True, **env: str) -> Any:
    return SimpleNamespace(
        metrics=SimpleNamespace(bind=Endpoint(address=bind), application=application),
        app=SimpleNamespace(env=env),
    )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Patient with merges: the machine may be busy."""
    monkeypatch.setattr(merging, "MERGE_SECONDS", 60)
    return World(tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started."""
    popen = subprocess.Popen
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **named: Any) -> subprocess.Popen[bytes]:
        processes.append(popen(*arguments, **named))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return processes


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


# --- merges ---------------------------------------------------------------------------------------


def test_a_merge_has_the_families_in_both_formats(world: World) -> None:
    world.count()
    assert run(world.metrics.merged(False)) == b"# HELP n_total N.\n# TYPE n_total counter\nn_total 3.0\n"
    assert run(world.metrics.merged(True)) == b"# HELP n N.\n# TYPE n counter\nn_total 3.0\n"
    assert 0 < world.metrics.merge_seconds < merging.MERGE_SECONDS
    assert world.reaped == 2, "a merge may have stood before an orphan"
    assert world.metrics.errors == {"timeout": 0, "failed": 0}
    assert world.known == set()


def test_without_values_no_process_is_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert run(world.metrics.merged(False)) == b""
    world.open()
    assert run(world.metrics.merged(False)) == b""
    assert world.metrics.errors == {"timeout": 0, "failed": 0}


def test_who_asks_at_the_same_time_shares_a_merge(world: World, started: list[subprocess.Popen[bytes]]) -> None:
    world.count()

    async def scrapes() -> list[bytes]:
        impatient = asyncio.create_task(world.metrics.merged(False))
        others = [asyncio.create_task(world.metrics.merged(False)) for _ in range(5)]
        await asyncio.sleep(0)
        impatient.cancel()
        return await asyncio.gather(*others)

    bodies = run(scrapes())
    assert len(started) == 1
    assert bodies == [b"# HELP n_total N.\n# TYPE n_total counter\nn_total 3.0\n"] * 5
    run(world.metrics.merged(False))
    assert len(started) == 2, "the next scrape has new numbers"


def test_a_merge_that_takes_too_long_is_killed_and_counted(
    world: World, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "PROGRAM", HANG)
    monkeypatch.setattr(merging, "MERGE_SECONDS", 0.3)
    world.count()
    assert run(world.metrics.merged(False)) == b""
    assert world.metrics.errors == {"timeout": 1, "failed": 0}
    assert "it took more than 0.3 s" in world.log.lines[-1]
    assert started[0].returncode == -signal.SIGKILL
    assert world.known == set()
    assert world.reaped == 1


def test_a_merge_may_take_two_seconds() -> None:
    assert merging.MERGE_SECONDS == 2


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit(1)", "before it had written anything"),
        ("print('no json')", "cannot be read"),
        ("""print('{"dropped": [], "damaged": [], "bytes": 9}')""", "before it had written everything"),
        ("""print('{"error": "no more memory"}')""", "no more memory"),
        ("import os; os.kill(os.getpid(), 9)", "before it had written anything"),
        ("import sys\nwhile True: sys.stdout.write('x' * 1000000)", "wrote more than"),
    ],
)
def test_a_merge_that_fails_is_counted(world: World, monkeypatch: pytest.MonkeyPatch, program: str, why: str) -> None:
    monkeypatch.setattr(merging, "PROGRAM", program)
    world.count()
    assert run(world.metrics.merged(False)) == b""
    assert world.metrics.errors == {"timeout": 0, "failed": 1}
    assert why in world.log.lines[-1]


def test_a_process_that_cannot_be_started_is_a_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    world.count()
    assert run(world.metrics.merged(False)) == b""
    assert world.metrics.errors == {"timeout": 0, "failed": 1}


def test_too_large_an_exposition_is_a_failure(world: World) -> None:
    text = "x" * 10_000
    entries = [(f'["n{number}", "n{number}_total", {{}}, "{text}"]'.encode(), 1.0, 0.0) for number in range(1700)]
    (world.open() / "counter_slot0.db").write_bytes(build(entries, True))
    assert run(world.metrics.merged(False)) == b""
    assert world.metrics.errors["failed"] == 1
    assert "at most 16777216 are served" in world.log.lines[-1]


def test_the_reaper_leaves_the_merge_alone(world: World) -> None:
    world.count()
    argv = [sys.executable, "-c", REAPING, str(world.open())]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=True)
    assert said.stdout.splitlines() == ["n_total 3.0", "{'timeout': 0, 'failed': 0} reaped: []"], said.stderr


def test_what_a_merge_leaves_out_is_logged_once(world: World) -> None:
    (world.open() / "counter_slot0.db").write_bytes(
        build([(b'["miniwsgi_x", "miniwsgi_x_total", {}, ""]', 1, 0)], True)
    )
    (world.open() / "counter_slot1.db").write_bytes(b"\xff" * 100)
    for _ in range(3):
        assert run(world.metrics.merged(False)) == b""
    assert len(world.log.lines) == 2
    assert "miniwsgi_x" in world.log.lines[0]
    assert "counter_slot1.db" in world.log.lines[1]


def test_the_end_leaves_neither_directory_nor_process(
    world: World, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "PROGRAM", HANG)
    world.count()
    directory = world.open()

    async def stop() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: pytest.fail(str(context)))
        merge = asyncio.create_task(world.metrics.merged(False))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        world.metrics.close()
        with pytest.raises(asyncio.CancelledError):
            await merge

    run(stop())
    assert not directory.exists()
    assert world.known == set()
    assert started[0].returncode == -signal.SIGKILL


# --- whose affair it is -----------------------------------------------------------------------------


def test_an_application_that_sees_to_it_itself_is_left_alone(world: World) -> None:
    world.count()
    assert run(world.metrics.merged(False))
    for name in merging.VARIABLES:
        assert world.metrics.directory_for(world.config, {name: "/elsewhere"}) == ""
        assert f"sets {name}" in world.log.lines[-1]
        world.config = make_config(**{name: "/elsewhere"})
        assert run(world.metrics.merged(False)) == b""
    world.config = make_config()
    assert run(world.metrics.merged(False))


@pytest.mark.parametrize("off", [{"bind": ""}, {"application": False}])
def test_switched_off_there_is_no_directory(world: World, tmp_path: Path, off: dict[str, Any]) -> None:
    world.config = make_config(**off)
    assert world.metrics.directory_for(world.config, {}) == ""
    assert run(world.metrics.merged(False)) == b""
    assert list(tmp_path.iterdir()) == []
    world.metrics.close()


def test_where_no_directory_can_be_made_the_daemon_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "runtime_directory", lambda _environ: "/nowhere")
    assert world.metrics.directory_for(world.config, {}) == ""
    assert world.metrics.directory_for(world.config, {}) == ""
    assert len(world.log.lines) == 1
    assert "no directory for the application's metrics" in world.log.lines[0]


def test_without_any_writable_directory_that_is_said_once_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(private_directory, "temporary_directory", nowhere)
    assert world.metrics.directory_for(world.config, {}) == ""
    assert world.metrics.directory_for(world.config, {}) == ""
    (line,) = world.log.lines
    assert "metrics: No usable temporary directory found in ['/tmp']; it is served all the same" in line


# --- the directory ----------------------------------------------------------------------------------


def test_generations_share_a_directory_and_daemons_do_not(world: World, tmp_path: Path) -> None:
    assert world.open() == world.open()
    other = World(tmp_path)
    assert other.open() != world.open()
    assert world.open().stat().st_mode & 0o777 == 0o700
    other.metrics.close()
    assert list(tmp_path.iterdir()) == [world.open()]


def test_what_a_killed_daemon_left_is_removed_by_the_next(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        left = Path(owner.stdout.readline().strip())
        (left / "counter_slot0.db").touch()
        PrivateDirectory(str(tmp_path), "mine-").remove()
        assert left.exists(), "its owner lives"
        owner.kill()
    (tmp_path / "mine-file").touch()
    (tmp_path / "mine-link").symlink_to(tmp_path)
    (tmp_path / "another").mkdir()
    directory = PrivateDirectory(str(tmp_path), "mine-")
    names = {"mine-file", "mine-link", "another", os.path.basename(directory.path)}
    assert {path.name for path in tmp_path.iterdir()} == names
    directory.remove()
    assert not os.path.exists(directory.path)


def test_a_directory_that_is_taken_for_abandoned_at_once_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make_and_lose(base: str, prefix: str) -> str:
        made.append(make_directory(base, prefix))
        if len(made) < 3:
            os.rmdir(made[-1])
        return made[-1]

    monkeypatch.setattr(private_directory, "make_directory", make_and_lose)
    assert PrivateDirectory(str(tmp_path), "mine-").path == made[2]


def test_the_runtime_directory_is_used_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime_directory({"RUNTIME_DIRECTORY": str(tmp_path)}) == str(tmp_path)
    assert runtime_directory({"RUNTIME_DIRECTORY": f"{tmp_path}/missing"}) == temporary_directory()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert runtime_directory({"RUNTIME_DIRECTORY": str(tmp_path)}) == temporary_directory()
