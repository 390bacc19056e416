"""The supervisor's first start: what ends it, and with which status. No process, no real time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.operations import OperationState
from miniwsgi.daemon.master.supervising.supervisor import SupervisorState
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import EXITED_1, World, running


@pytest.fixture
def world() -> World:
    return running()


def test_the_first_worker_is_ready_before_the_others_are_forked() -> None:
    world = World()
    world.do(ch.Start(who="test"))
    world.happen("prepare", "boot", "fork 0")
    assert world.states() == {0: "booting 1"}
    assert world.supervisor.state is SupervisorState.STARTING
    assert not world.ordered(act.Serving)
    world.happen("ready 0")
    assert len(world.ordered(act.Serving)) == 1
    assert world.states() == {0: "ready 1", 1: "forking 1", 2: "forking 1", 3: "forking 1"}
    assert world.supervisor.state is SupervisorState.STARTING  # until its verdict
    world.settle()
    assert world.ready() == 4
    assert [(o.kind, o.state) for o in world.verdicts] == [(ch.Start, OperationState.SUCCEEDED)]
    assert world.supervisor.state is SupervisorState.RUNNING


def test_an_application_that_does_not_import_ends_the_first_start_with_status_3() -> None:
    world = World()
    operation = world.ask(ch.Start(who="test"))
    world.happen("prepare")
    world.do(ev.LauncherFailed(1, Code.IMPORT_RAISED, "no module named 'shop'", "Traceback …"))
    assert world.exit == 3
    assert operation.state is OperationState.FAILED
    assert operation.traceback == "Traceback …"
    assert world.logged("no module named 'shop'", "error")


def test_a_launcher_that_vanishes_while_importing_ends_the_first_start_with_status_3() -> None:
    world = World()
    world.do(ch.Start(who="test"))
    world.happen("prepare")
    world.crash_launcher(1)
    assert world.exit == 3
    assert world.logged("the launcher was killed by SIGKILL before its first worker was ready")


@pytest.mark.parametrize("how", ["fails", "exits", "is late"])
def test_a_first_worker_that_does_not_boot_ends_the_first_start_with_status_3(how: str) -> None:
    world = World()
    world.do(ch.Start(who="test"))
    world.happen("prepare", "boot", "fork 0")
    if how == "fails":
        lose_three_times(
            world, lambda: world.do(ev.WorkerFailed(0, Code.IMPORT_RAISED, "boot_check /health was answered 500"))
        )
    elif how == "exits":
        lose_three_times(world, lambda: world.crash(0, EXITED_1))
    else:
        world.advance(60)
    assert world.exit == 3


def lose_three_times(world: World, lose: Callable[[], object]) -> None:
    """The worker in slot 0, which boots, and its two successors."""
    for attempt in range(3):
        assert world.exit is None, attempt
        lose()
        world.settle(but="launcher")
        world.advance(0.5)
        if attempt < 2:
            world.happen("fork 0")


def test_a_first_worker_that_boots_at_the_second_attempt_starts_the_daemon() -> None:
    world = World()
    operation = world.ask(ch.Start(who="test"))
    world.happen("prepare", "boot", "fork 0")
    world.do(ev.WorkerFailed(0, Code.IMPORT_RAISED, "the database is starting up"))
    assert world.supervisor.state is SupervisorState.STARTING
    world.settle()
    world.advance(0.1)
    world.settle()
    assert operation.succeeded
    assert world.ready() == 4


@pytest.mark.parametrize("how", ["fails", "is late", "launcher"])
def test_a_first_start_in_which_a_later_worker_does_not_boot_has_failed_and_those_that_serve_drain(how: str) -> None:
    world = World(ev.Plan(workers=2), preloaded=False)
    start = world.ask(ch.Start(who="test"))
    reload = world.ask(ch.Reload(who="SIGHUP"))
    scale = world.ask(ch.Scale(who="a", to=3))
    world.happen("prepare", "boot", "fork 0", "ready 0")
    if how == "fails":  # it finds the lock taken that worker 0 holds
        for _ in range(3):
            assert start.state is OperationState.RUNNING
            world.happen("fork 1")
            world.do(ev.WorkerFailed(1, Code.IMPORT_RAISED, "the lock is taken", "Traceback"))
            world.happen("killed 1")
            world.advance(0.5)
    elif how == "is late":  # it waits for the lock: once, as nobody is to wait three times as long for the verdict
        world.happen("fork 1")
        world.advance(60)
        world.happen("killed 1")
    else:
        world.crash_launcher(1)
    assert [operation.state for operation in (start, reload, scale)] == [OperationState.FAILED] * 3
    assert world.supervisor.state is SupervisorState.STOPPING
    assert world.exit is None
    assert world.states().get(0) == "draining 1"
    assert len(world.ordered(act.PrepareGeneration)) == 1
    world.settle()
    assert world.exit == 3
    assert not world.processes
    assert not world.supervisor.ledger.open()


def test_a_stop_while_a_first_start_rolls_is_a_clean_one() -> None:
    world = World()
    world.do(ch.Start(who="test"))
    world.happen("prepare", "boot", "fork 0", "ready 0")
    world.do(ch.Stop(who="SIGTERM"))
    world.settle()
    world.advance(1)
    world.settle()
    assert world.exit == 0


def test_a_launcher_that_imports_too_long_is_killed_with_its_stacks() -> None:
    world = World()
    world.do(ch.Start(who="test"))
    world.happen("prepare")
    world.advance(59)
    assert world.exit is None
    world.advance(2)
    (kill,) = world.ordered(act.KillLauncher)
    assert kill == act.KillLauncher(
        1, "generation 1 had no worker ready in time (timeouts.boot)", stacks=Code.BOOT_LATE
    )
    assert world.exit == 3


def test_a_stop_during_the_start_is_a_clean_one() -> None:
    world = World()
    world.do(ch.Start(who="test"))
    world.happen("prepare", "boot", "fork 0")
    world.do(ch.Stop(who="SIGTERM"))
    world.settle()
    assert world.exit == 0
