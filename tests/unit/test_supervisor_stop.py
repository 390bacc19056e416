"""The end of the daemon as histories. No process, no real time."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.supervisor import SupervisorState
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import World, running


@pytest.fixture
def world() -> World:
    return running()


def test_a_stop_lets_workers_finish_what_waits_and_what_runs(world: World) -> None:
    operation = world.ask(ch.Stop(who="SIGTERM"))
    assert world.supervisor.state is SupervisorState.STOPPING
    kinds = [type(action) for action in world.actions if not isinstance(action, act.LogLine)]
    assert kinds[:7] == [act.ChangeAccepted, act.AnnounceStop, act.ShrinkBacklogs, *[act.FinishWorker] * 4]
    world.settle()
    assert world.exit == 0
    assert operation.succeeded
    assert not world.ordered(act.KillWorker)
    assert world.supervisor.state is SupervisorState.STOPPED


def test_a_stop_goes_on_accepting_for_its_delay() -> None:
    world = World(plan=ev.Plan(workers=2, stop_delay=5))
    world.start()
    world.do(ch.Stop(who="SIGTERM"))
    world.advance(4.9)
    assert not world.ordered(act.FinishWorker)
    assert world.ready() == 2
    world.advance(0.2)
    assert len(world.ordered(act.FinishWorker)) == 2


def test_what_does_not_finish_in_time_is_killed(world: World) -> None:
    world.do(ch.Stop(who="SIGTERM"))
    world.advance(29)
    assert not world.ordered(act.KillWorker)
    world.advance(1.1)
    assert len(world.ordered(act.KillWorker)) == 4
    assert world.logged("timeouts.graceful", "warning")
    world.settle()
    assert world.exit == 0


def test_a_second_stop_is_at_once(world: World) -> None:
    operation = world.ask(ch.Stop(who="SIGTERM"))
    assert world.ask(ch.Stop(who="SIGTERM")) is operation
    assert len(world.ordered(act.KillWorker)) == 4
    world.settle()
    assert world.exit == 0


def test_quit_is_at_once(world: World) -> None:
    world.do(ch.Stop(who="SIGQUIT", now=True))
    assert len(world.ordered(act.KillWorker)) == 4
    world.settle()
    assert world.exit == 0


@pytest.mark.parametrize("steps", range(12))
def test_a_stop_at_any_point_of_a_reload_ends_it_and_the_daemon(world: World, steps: int) -> None:
    reload = world.ask(ch.Reload(who="a"))
    waiting = world.ask(ch.Reload(who="b"))
    for _ in range(steps):
        if world.pending:
            world.happen(world.pending[0][0])
    world.do(ch.Stop(who="SIGTERM"))
    world.settle()
    assert world.exit == 0
    assert reload.ended
    assert waiting.ended
    assert not world.processes
    assert not world.launchers


def test_a_crash_during_a_stop_is_not_replaced(world: World) -> None:
    world.do(ch.Stop(who="SIGTERM"))
    world.crash(1)
    world.settle()
    assert world.exit == 0
    assert not world.ordered(act.ForkWorker)


def test_asks_during_a_stop_are_refused(world: World) -> None:
    world.do(ch.Stop(who="SIGTERM"))
    for ask in (ch.Reload(who="a"), ch.Scale(who="a", by=1), ch.Drain(who="a")):
        (refused, *_rest) = world.do(ask)
        assert isinstance(refused, act.ChangeDeclined)
        assert refused.reason == "the daemon is stopping"


def test_a_launcher_that_survives_the_stop_is_killed_and_nothing_is_waited_for_twice(world: World) -> None:
    world.do(ch.Stop(who="SIGQUIT", now=True))
    world.settle(but="launcher exits")
    assert world.exit is None
    world.advance(5)
    assert [action.generation for action in world.ordered(act.KillLauncher)] == [1]
    world.advance(5)
    assert world.exit == 0
    assert world.logged("left behind", "error")


def test_every_repr_says_its_state(world: World) -> None:
    world.do(ev.RecycleAsked(0, "requests"))
    text = repr(world.supervisor)
    assert "running" in text
    assert "<Worker 0 ready leaving (recycled (requests)) pid=" in text
    assert "<Generation 1 serving preloaded>" in text
    assert repr(world.ask(ch.Reload(who="a"))).startswith("<Operation 2 reload running")
