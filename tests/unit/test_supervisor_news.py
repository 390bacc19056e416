"""News of processes that come too late, twice, or of nobody change nothing; and what is said of what has ended."""

from __future__ import annotations

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.supervisor import SupervisorState
from miniwsgi.daemon.master.supervising.worker_table import GenerationState, WorkerState
from miniwsgi.daemon.master.system.process_ends import from_returncode, from_wait_status
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import EXITED_0, EXITED_1, World


@pytest.fixture
def world() -> World:
    """Four workers of generation 1, all ready."""
    world = World()
    world.start()
    world.actions.clear()
    world.verdicts.clear()
    return world


# --- news that come too late, or of nobody ---------------------------------------------------------------------------

STALE = [
    ev.Prepared(1, ev.Plan(workers=9)),
    ev.Prepared(7, ev.Plan(workers=9)),
    ev.PrepareFailed(1, Code.IMPORT_RAISED, "broken"),
    ev.LauncherReady(1, True, "again"),
    ev.LauncherReady(7, True),
    ev.LauncherFailed(1, Code.IMPORT_RAISED, "broken"),
    ev.LauncherExited(7, "exited with status 0"),
    ev.WorkerForked(0, 99),
    ev.WorkerForked(7, 99),
    ev.ForkFailed(0, "no memory"),
    ev.ForkFailed(7, "no memory"),
    ev.WorkerReady(0),
    ev.WorkerReady(7),
    ev.WorkerFailed(7, Code.IMPORT_RAISED, "broken"),
    ev.WorkerDied(7),
    ev.WorkerExited(7, EXITED_0),
    ev.RecycleAsked(7, "requests"),
    ev.OnlyJobsLeft(7),
    ev.RequestTimedOut(7, 31, "GET /"),
    ev.Wedged(7, 31),
]


@pytest.mark.parametrize("event", STALE, ids=str)
def test_stale_news_change_nothing(world: World, event: ev.SupervisorEvent) -> None:
    before = repr(world.supervisor)
    assert not world.do(event)
    assert repr(world.supervisor) == before


@pytest.mark.parametrize("event", [ev.WorkerExited(4, EXITED_1), ev.WorkerReady(4), ev.Wedged(4, 31)], ids=str)
def test_a_worker_that_is_not_forked_yet_cannot_have_done_anything(world: World, event: ev.SupervisorEvent) -> None:
    world.do(ch.Scale(who="a", by=1))
    assert not world.do(event)
    world.settle()
    assert world.ready() == 5


def test_a_configuration_that_comes_after_its_reload_was_given_up_boots_nothing(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.advance(61)
    world.actions.clear()
    world.do(ev.Prepared(2, world.plan))
    world.do(ev.LauncherExited(2, "exited with status 0"))
    assert not world.actions


def test_a_worker_recycles_once(world: World) -> None:
    world.do(ev.RecycleAsked(2, "requests"))
    world.do(ev.RecycleAsked(2, "rss"))
    assert len(world.logged("it has reached recycle.max_requests")) == 1
    assert world.table.worker(2).leaving == "recycled (requests)"  # type: ignore[union-attr]


def test_a_draining_worker_that_breaks_says_so_and_nobody_takes_its_place(world: World) -> None:
    world.do(ch.Scale(who="a", to=3))
    world.do(ev.WorkerFailed(3, Code.IMPORT_RAISED, "the worker itself failed", "Traceback"))
    (line,) = world.logged("has failed: the worker itself failed", "error")
    assert line.traceback == "Traceback"
    world.settle()
    assert sorted(world.processes) == [0, 1, 2]


def test_a_worker_that_leaves_anyway_and_exceeds_its_time_is_not_replaced_twice(world: World) -> None:
    world.do(ev.RecycleAsked(1, "requests"))
    world.do(ev.RequestTimedOut(1, 31, "GET /report"))
    world.settle()
    assert world.ready() == 4
    assert len(world.ordered(act.ForkWorker)) == 1


def test_a_request_that_exceeds_its_time_on_a_draining_worker_has_its_stacks_logged_once_more(world: World) -> None:
    world.do(ch.Scale(who="a", to=3))
    world.do(ev.RequestTimedOut(3, 31, "GET /report"))
    assert [action.slot for action in world.ordered(act.DumpStacks)] == [3]
    assert world.table.worker(3).state is WorkerState.DRAINING  # type: ignore[union-attr]


def test_a_worker_that_leaves_anyway_and_is_wedged_is_not_replaced_twice(world: World) -> None:
    world.do(ev.RecycleAsked(1, "requests"))
    world.do(ev.Wedged(1, 31))
    world.settle()
    assert world.ready() == 4
    assert len(world.ordered(act.ForkWorker)) == 1


def test_a_worker_that_has_died_twice_is_waited_for_from_the_first_time(world: World) -> None:
    world.do(ev.WorkerDied(2))
    world.advance(3)
    world.do(ev.WorkerDied(2))
    world.advance(2.1)
    assert world.ordered(act.KillLauncher)


def test_signals_without_a_name_are_numbers() -> None:
    assert from_wait_status(40).told() == "was killed by signal 40"
    assert from_wait_status(9).told() == "was killed by SIGKILL (out of memory?)"
    assert from_wait_status(9).told(oom=True) == "was killed by SIGKILL (out of memory)"
    assert from_wait_status(9).told(oom=False) == "was killed by SIGKILL"  # by somebody
    assert from_wait_status(9).told(ours=True) == "was killed by SIGKILL"
    assert from_wait_status(11 | 0x80).told() == "was killed by SIGSEGV and dumped core"
    assert from_wait_status(3 << 8).told() == from_returncode(3).told() == "exited with status 3"
    assert from_returncode(-9) == from_wait_status(9)


def test_every_part_says_its_state(world: World) -> None:
    world.crash(1)
    world.do(ch.Reload(who="a"))
    supervisor = world.supervisor
    assert repr(world.table.slots[1]).startswith("<WorkerSlot 1 None restart_at=1000.1")
    assert repr(supervisor.turnover).startswith("<Turnover <Generation 1 serving preloaded> candidate=<Generation 2")
    assert repr(supervisor.stopping) == "<Stopping not asked>"
    world.do(ch.Scale(who="a", to=2))
    draining = next(world.table.workers(WorkerState.DRAINING))
    assert repr(draining.deadline) == "<Deadline 1030.000>"
    assert world.table.generations[2].state is GenerationState.PREPARING
    assert supervisor.state is SupervisorState.RELOADING
