"""What the master keeps for its page: which events are marks, and what it may tell of the host's other daemons."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.master.supervising.exits import ExitReason
from miniwsgi.daemon.master.supervising.operations import Operation, OperationState
from miniwsgi.daemon.master.telemetry import neighbours as neighbours_module
from miniwsgi.daemon.master.telemetry.history_keeper import HistoryKeeper
from miniwsgi.daemon.master.telemetry.neighbours import Neighbours, look_around
from miniwsgi.manager import changes as ch
from miniwsgi.manager import messages as ms
from miniwsgi.manager.client import socket_paths
from miniwsgi.manager.client.client import TransportError, _decode, _problem
from miniwsgi.manager.client.unix_http import HttpResponse
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.manager.port.public_page import Neighbour
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.history import Mark, MarkKind

from tests.support.ctl_daemon import FakeDaemon, event, problem, status
from tests.support.waiting import wait_in_loop

# --- marks -----------------------------------------------------------------------------------------------------------


class World:
    """A keeper whose supervisor is what a test says."""

    def __init__(self) -> None:
        self.operations: dict[int, Operation] = {}
        self.exits = dict.fromkeys(ExitReason, 0)
        supervisor: Any = SimpleNamespace(
            table=SimpleNamespace(exits=self.exits),
            ledger=SimpleNamespace(get=self.operations.get),
            sizing=SimpleNamespace(target=4),
        )
        master: Any = SimpleNamespace(fleet=SimpleNamespace(board=Board.create()), supervisor=supervisor)
        measuring: Any = SimpleNamespace(on_look=[])
        self.keeper = HistoryKeeper(master, measuring)

    def told(self, kind: ms.EventKind, **fields: Any) -> list[Mark]:
        """The marks that an event has become."""
        before = len(self.keeper.timeline.marks)
        self.keeper.note(event(1, kind, **fields))
        return list(self.keeper.timeline.marks)[before:]

    def ended(self, change: ch.Change, state: OperationState, **fields: Any) -> list[Mark]:
        self.operations[7] = Operation(7, change, asked_at=0.0, state=state, revision="abc")
        return self.told("operation.ended", operation=7, state=state.value, **fields)


def test_changes_are_marked_with_what_came_of_them() -> None:
    world = World()
    (mark,) = world.ended(ch.Reload(), OperationState.SUCCEEDED, generation=8, seconds=1.5)
    assert mark == Mark(mark.at, MarkKind.RELOAD, False, None, 8, "abc", 4, 1.5)
    (mark,) = world.ended(ch.Reload(), OperationState.FAILED, generation=9, seconds=0.5)
    assert (mark.kind, mark.failed, mark.workers) == (MarkKind.RELOAD, True, None)
    (mark,) = world.ended(ch.Scale(to=4), OperationState.SUCCEEDED)
    assert (mark.kind, mark.workers) == (MarkKind.SCALE, 4)


def test_what_changes_no_figure_is_no_mark() -> None:
    world = World()
    assert world.ended(ch.SetLogLevel(level="debug"), OperationState.SUCCEEDED) == []
    assert world.ended(ch.Reload(), OperationState.SUPERSEDED) == []
    assert world.told("worker.ready", slot=1) == world.told("generation.booting", generation=2) == []
    assert world.told("operation.ended", operation=99, state="succeeded") == []  # forgotten


@pytest.mark.parametrize("reason", ExitReason)
def test_exits_are_marked_by_their_reason_if_a_worker_was_lost(reason: ExitReason) -> None:
    world = World()
    world.exits[reason] += 1
    kinds = [mark.kind.value for mark in world.told("worker.exited", slot=3)]
    lost = reason.value in {"crash", "oom", "timeout", "wedge", "boot", "hook"}
    assert kinds == ([reason.value] if lost else [])
    assert world.told("worker.exited", slot=3) == []  # it counts once


def test_trouble_is_marked_and_certificates_that_are_no_good_have_failed() -> None:
    world = World()
    (mark,) = world.told("request.slow", slot=2, seconds=5.0)
    assert (mark.kind, mark.slot, mark.seconds) == (MarkKind.SLOW, 2, 5.0)
    assert [mark.failed for kind in ("certificate.renewed", "certificate.failed") for mark in world.told(kind)] == [
        False,
        True,
    ]


# --- the host's other daemons ----------------------------------------------------------------------------------------


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one directory where sockets are looked for."""
    found = tmp_path / "miniwsgi"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr(socket_paths, "SYSTEM_DIRECTORY", str(tmp_path / "none"))
    for name in ("shop", "closed", "own", "dead", "left"):
        (found / name).mkdir(parents=True)
    return found


def test_those_are_told_that_are_there_and_as_far_as_they_let_us_look(runtime: Path) -> None:
    degraded = status(verdict=ms.Verdict("degraded", ["secret reason"]), application="secret:app")
    with (
        FakeDaemon(runtime / "shop" / "control.sock", {"GET /status": degraded}),
        FakeDaemon(runtime / "closed" / "control.sock", {"GET /status": problem(403, "not granted")}),
        FakeDaemon(runtime / "own" / "control.sock", {"GET /status": status(pid=os.getpid())}),
        socket.socket(socket.AF_UNIX) as dead,
    ):
        dead.bind(str(runtime / "dead" / "control.sock"))  # nobody listens
        (runtime / "left" / "control.sock").touch()  # no socket
        found = look_around()
    assert found == [
        Neighbour("closed", "no access", "denied"),
        Neighbour("shop", "running, degraded", "degraded", 2, 2, 11520.0, "0.1.0"),
    ]
    assert "secret" not in repr(found)


@pytest.mark.parametrize("body", [b'{"a":' * 9000, b"[" * 9000, b"\xff"])
def test_what_nonsense_one_answers_is_told_of_none(body: bytes) -> None:
    with pytest.raises(TransportError):
        _decode(body, ms.Status)
    with pytest.raises(TransportError):
        _problem(HttpResponse(500, {}, body))


def test_they_are_looked_for_only_while_somebody_looks_and_not_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_module, "LOOK_SECONDS", 1e9)
    looks = []

    def look() -> list[Neighbour]:
        looks.append(1)
        return [Neighbour("shop", "running", "healthy")]

    async def body() -> None:
        neighbours = Neighbours(DaemonThreads(), look)
        assert looks == []
        assert neighbours.known() == []
        await wait_in_loop(lambda: neighbours.known() != [], "a look")
        assert neighbours.known() == [Neighbour("shop", "running", "healthy")]
        neighbours.stop()

    asyncio.run(body())
    assert looks == [1]
