"""What may block is not done on the master's loop: files of logs and sockets are opened and removed by threads."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon import unpatched
from miniwsgi.daemon.config import Config, load
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.master.control.control_server import ControlServer
from miniwsgi.daemon.master.control.control_socket import open_control
from miniwsgi.daemon.master.main import HELPERS_SECONDS
from miniwsgi.daemon.master.running.configurations import Configurations, PreparedConfig, addresses, socket_options
from miniwsgi.daemon.master.running.last_words import LastWords
from miniwsgi.daemon.master.running.open_logs import OpenLogs
from miniwsgi.daemon.master.sockets.listeners import open_listeners
from miniwsgi.daemon.master.sockets.unix_sockets import SocketFile
from miniwsgi.manager import changes as ch
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics.answers import Tally
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.route_counts import RouteHistory
from miniwsgi.metrics.scoreboard import Running
from miniwsgi.metrics.scoreboard_reading import History

from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.test_app_metrics_master import Log
from tests.unit.test_master_orders import Broken, started

RUNNING = Running(0, 0, "GET", "/report", 1, "1f-3")


@pytest.fixture
def off_the_loop(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Has functions of `os` say on which thread they were called with a path below a directory, and take `seconds`."""

    def watch(directory: Path, *names: str, seconds: float = 0.0) -> list[str]:
        seen: list[str] = []

        def watched(name: str) -> Callable[..., Any]:
            real: Any = vars(os)[name]

            def call(path: Any, *arguments: Any, **named: Any) -> Any:
                if str(path).startswith(str(directory)):
                    on_loop = threading.current_thread() is threading.main_thread()
                    seen.append(f"{name} {'on the loop' if on_loop else 'beside it'}")
                    time.sleep(seconds)
                return real(path, *arguments, **named)

            return call

        for name in names:
            call = watched(name)
            for module in (os, unpatched.os):
                monkeypatch.setattr(module, name, call)
        return seen

    return watch


def config(directory: Path, *binds: str, **others: str) -> Config:
    values: dict[str, Any] = {"app.module": "app", "app.directory": str(directory), "metrics.bind": "off"}
    return load(None, values | {"server.bind": list(binds or ["127.0.0.1:0"])} | others, {})


def test_the_access_log_of_a_worker_that_is_gone(tmp_path: Path, off_the_loop: Callable[..., list[str]]) -> None:
    worker: Any = SimpleNamespace(
        settings=SimpleNamespace(access_log=str(tmp_path / "access.log"), access_log_format="common"),
        log_memory=-1, killed=False, answered=set(), name="worker 0",
    )  # fmt: skip

    async def story() -> None:
        words = LastWords(Log(), DaemonThreads())
        first, second = words.write(worker, [RUNNING]), words.write(worker, [RUNNING])
        assert first is not None
        assert second is not None
        await asyncio.gather(first, second)

    seen = off_the_loop(tmp_path, "open")
    asyncio.run(story())
    assert seen == ["open beside it"]
    assert (tmp_path / "access.log").read_text().count('"GET /report') == 2


def test_a_socket_that_a_reload_has_retired(tmp_path: Path, off_the_loop: Callable[..., list[str]]) -> None:
    first, second = config(tmp_path, f"unix:{tmp_path}/old", "127.0.0.1:0"), config(tmp_path, "127.0.0.1:0")
    listeners = open_listeners(addresses(first), socket_options(first))
    configurations = Configurations(PreparedConfig.of(first, listeners, {}), lambda _text=None: second, {}, {})

    async def story() -> None:
        master = Broken(tmp_path, workers=1)
        master.configurations = configurations
        running = await started(master)
        assert (await master.verdict(ch.Reload(who="test"))).succeeded
        assert not (tmp_path / "old").exists(), "whoever waits for the reload finds it gone"
        await master.verdict(ch.Stop(who="test"))
        await running

    seen = off_the_loop(tmp_path, "unlink", seconds=0.1)
    try:
        asyncio.run(asyncio.wait_for(story(), PATIENCE_SECONDS))
    finally:
        configurations.close()
    assert seen == ["unlink beside it"]


def test_a_log_file_that_cannot_be_opened_again(tmp_path: Path, off_the_loop: Callable[..., list[str]]) -> None:
    """Why not takes looking at directories, and users' names."""
    log = Log()
    threads = DaemonThreads()
    logs = OpenLogs(log, LastWords(log, threads), threads)
    old, new = config(tmp_path), config(tmp_path, **{"log.file": str(tmp_path / "missing" / "log")})
    seen = off_the_loop(tmp_path, "open", "stat", "lstat", "access")
    asyncio.run(logs.change(old, new))
    assert "open beside it" in seen
    assert not [what for what in seen if what.endswith("on the loop")]
    (line,) = log.lines
    assert "there is no directory" in line


def test_the_last_reload_says_where_the_log_is_whichever_disk_answers_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, hanging, log, threads = threading.Event(), threading.Event(), Log(), DaemonThreads()
    logs = OpenLogs(log, LastWords(log, threads), threads)
    first, dead, last = (config(tmp_path, **{"log.file": f"{tmp_path}/{name}"}) for name in ("first", "dead", "last"))
    really = unpatched.os.open

    def opened(path: Any, *arguments: Any, **named: Any) -> int:
        if str(path) == dead.log.file:
            asked.set()
            hanging.wait(PATIENCE_SECONDS)
        return really(path, *arguments, **named)

    async def story() -> None:
        late = asyncio.create_task(logs.change(first, dead))
        assert await asyncio.to_thread(asked.wait, PATIENCE_SECONDS)
        await logs.change(dead, last)
        hanging.set()
        await late

    monkeypatch.setattr(unpatched.os, "open", opened)
    asyncio.run(story())
    assert log.writer.path == last.log.file


def test_an_access_log_that_is_opened_during_a_rotation_does_not_disturb_it() -> None:
    words = LastWords(Log(), DaemonThreads())
    reopened: list[str] = []

    def reopen() -> None:
        reopened.append("first")
        words._access["second", ""] = words._access["first", ""]

    words._access["first", ""] = SimpleNamespace(writer=SimpleNamespace(reopen=reopen))  # type: ignore[assignment]
    words.reopen()
    assert reopened == ["first"]


def test_a_log_that_nobody_will_make_after_a_rotation_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that stays root makes the files of the start, in directories where the daemon's user may not."""
    log = Log()
    threads = DaemonThreads()
    logs = OpenLogs(log, LastWords(log, threads), threads)
    logs.keeper = SimpleNamespace(log_paths=frozenset([f"{tmp_path}/access.log"]))  # type: ignore[assignment]
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **named: mode != os.W_OK | os.X_OK and may(path, mode, **named)
    )
    old = config(tmp_path)
    for name, told in (("access.log", 0), ("other.log", 1)):
        asyncio.run(logs.change(old, config(tmp_path, **{"log.access_log": f"{tmp_path}/{name}"})))
        assert sum("after a rotation it is missing" in line for line in log.lines) == told


def test_whether_the_control_socket_is_there(tmp_path: Path, off_the_loop: Callable[..., list[str]]) -> None:
    path = tmp_path / "control"
    values = config(tmp_path, **{"control.socket": str(path)})

    async def story(master: Any) -> None:
        control = ControlServer(master, place, ErrorLog())
        control._tick()
        assert control._look is not None
        await control._look
        assert place.file is not None
        control._timer.cancel()  # type: ignore[union-attr]

    place = open_control(values, {}, ErrorLog())
    seen = off_the_loop(tmp_path, "lstat")
    try:
        asyncio.run(_with_master(tmp_path, story))
    finally:
        place.close()
    assert seen[0] == "lstat beside it"


def test_who_waits_for_the_end_is_answered_though_the_disk_does_not_say_whether_the_control_socket_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, looked = threading.Event(), threading.Event()

    def is_missing(_file: SocketFile) -> bool:
        looked.set()
        return hanging.wait(PATIENCE_SECONDS)

    async def story(master: Any) -> None:
        control = ControlServer(master, place, ErrorLog())
        await control.start()
        await asyncio.to_thread(looked.wait, PATIENCE_SECONDS)
        async with asyncio.timeout(HELPERS_SECONDS):
            await control.stop()
        hanging.set()

    values = config(tmp_path, **{"control.socket": f"{tmp_path}/control"})
    place = open_control(values, {}, ErrorLog())
    monkeypatch.setattr(SocketFile, "is_missing", property(is_missing))
    try:
        asyncio.run(_with_master(tmp_path, story))
    finally:
        hanging.set()
        place.close()


async def _with_master(directory: Path, story: Callable[[Any], Any]) -> None:
    master = Broken(directory, workers=1)
    running = await started(master)
    await story(master)
    await master.verdict(ch.Stop(who="test"))
    await running


# --- the scoreboard ---------------------------------------------------------------------------------------------------


def test_what_reads_the_whole_scoreboard_does_so_one_a_second() -> None:
    """With 512 workers each reading takes some 50 ms, in which nobody is answered."""
    board = Board.create()
    history, tally, routes = History(board, 0.0), Tally(board), RouteHistory(board, 0.0)
    read: list[tuple[int, str]] = []

    def told(name: str, take: Callable[[float], bool]) -> Callable[[float], bool]:
        def taken(now: float) -> bool:
            found = take(now)
            if found:
                read.append((round(now), name))
            return found

        return taken

    control: Any = SimpleNamespace(
        managed=SimpleNamespace(
            overview=SimpleNamespace(history=SimpleNamespace(take=told("history", history.take))),
            routes_seen=SimpleNamespace(look=told("routes", routes.take)),
        ),
        _master=SimpleNamespace(fleet=SimpleNamespace(tally=SimpleNamespace(take=told("tally", tally.take)))),
    )
    for second in range(1, 61):
        ControlServer._look_at_board(control, float(second))
    assert len({second for second, _name in read}) == len(read)
    assert {name: sum(one == name for _second, one in read) >= 10 for name in ("history", "tally", "routes")} == {
        "history": True, "tally": True, "routes": True,
    }  # fmt: skip
