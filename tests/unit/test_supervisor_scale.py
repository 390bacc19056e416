"""Scaling as histories: who comes, who goes, and when that is done. No process, no real time."""

from __future__ import annotations

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.operations import OperationState
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import World, running


@pytest.fixture
def world() -> World:
    return running()


def test_scaling_up_forks_into_the_lowest_free_slots(world: World) -> None:
    operation = world.ask(ch.Scale(who="test", to=6))
    world.settle()
    assert operation.succeeded
    assert sorted(world.processes) == [0, 1, 2, 3, 4, 5]


def test_scaling_down_takes_the_idle_first_then_the_highest(world: World) -> None:
    world.busy = {3, 1}
    operation = world.ask(ch.Scale(who="test", to=1))
    assert [action.slot for action in world.ordered(act.DrainWorker)] == [2, 0, 3]
    world.happen("drained 2", "drained 0")
    assert operation.state is OperationState.RUNNING, "one has not left"
    world.happen("drained 3")
    assert operation.succeeded


def test_a_scale_down_is_done_when_what_does_not_finish_in_time_is_killed_and_reaped(world: World) -> None:
    operation = world.ask(ch.Scale(who="test", to=3))
    world.advance(30)
    assert [action.slot for action in world.ordered(act.KillWorker)] == [3]
    assert operation.state is OperationState.RUNNING
    world.happen("killed 3")
    assert operation.succeeded


def test_a_second_scale_down_waits_for_those_of_the_first_and_a_scale_up_does_not(world: World) -> None:
    first = world.ask(ch.Scale(who="a", to=2))
    again = world.ask(ch.Scale(who="b", to=2))
    assert first.state is OperationState.SUPERSEDED
    assert again.state is OperationState.RUNNING
    world.happen("drained 3")
    assert again.state is OperationState.RUNNING
    up = world.ask(ch.Scale(who="c", to=3))
    world.settle(but="drained")
    assert up.succeeded
    assert world.states() == {0: "ready 1", 1: "ready 1", 2: "draining 1", 3: "ready 1"}


def test_a_scale_down_waits_for_a_worker_that_was_still_to_boot(world: World) -> None:
    world.ask(ch.Scale(who="a", to=5))
    world.happen("fork 4")
    down = world.ask(ch.Scale(who="b", to=4))
    assert down.state is OperationState.RUNNING
    world.happen("killed 4")
    assert down.succeeded


def test_a_reload_does_not_have_a_scale_up_wait_for_the_old_workers(world: World) -> None:
    world.ask(ch.Reload(who="a"))
    scale = world.ask(ch.Scale(who="b", to=5))
    world.settle(but="drained")
    assert scale.succeeded
    assert world.ready(2) == 5


def test_ttin_and_ttou_during_a_reload_outlive_it(world: World) -> None:
    reload = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4")
    world.do(ch.Scale(who="SIGTTIN", by=1))
    world.do(ch.Scale(who="SIGTTIN", by=1))
    world.do(ch.Scale(who="SIGTTOU", by=-1))
    world.settle()
    assert reload.succeeded
    assert world.ready(2) == world.ready() == 5
    world.do(ch.Reload(who="b"))
    world.settle()
    assert world.ready(3) == world.ready() == 5
    world.do(ch.Scale(who="test"))
    world.settle()
    assert world.ready() == 4, "reset to what is configured"


def test_the_last_of_two_scales_wins(world: World) -> None:
    first = world.ask(ch.Scale(who="a", to=9))
    second = world.ask(ch.Scale(who="b", to=2))
    assert first.state is OperationState.SUPERSEDED
    world.settle()
    assert second.succeeded
    assert world.ready() == 2


@pytest.mark.parametrize("to", [0, -1, 512, 500])
def test_a_scale_out_of_range_is_refused(world: World, to: int) -> None:
    (refused,) = world.do(ch.Scale(who="a", to=to))
    assert isinstance(refused, act.ChangeDeclined)
    assert world.supervisor.sizing.target == 4


def test_a_scale_that_does_not_boot_fails_after_two_retries_and_harms_nobody() -> None:
    world = World(preloaded=False)
    world.start()
    operation = world.ask(ch.Scale(who="a", by=1))
    for _ in range(3):
        assert operation.state is OperationState.RUNNING
        world.happen("fork 4")
        world.do(ev.WorkerFailed(4, Code.IMPORT_RAISED, "ImportError: no module named 'new'", "Traceback"))
        world.happen("killed 4")
        world.advance(1)
    assert operation.state is OperationState.FAILED
    assert operation.traceback == "Traceback"
    assert world.supervisor.sizing.target == 4
    assert world.ready() == 4
    assert not world.pending


def test_a_partly_successful_scale_keeps_the_workers_that_run() -> None:
    world = World(preloaded=False)
    world.start()
    operation = world.ask(ch.Scale(who="a", to=7))
    world.happen("fork 4", "ready 4", "fork 5", "fork 6")
    for _ in range(3):
        world.do(ev.WorkerFailed(5, Code.IMPORT_RAISED, "ImportError"))
        world.happen("killed 5")
        world.advance(1)
        if not operation.ended:
            world.happen("fork 5")
    assert operation.state is OperationState.FAILED
    world.settle()
    assert world.ready() == 5
