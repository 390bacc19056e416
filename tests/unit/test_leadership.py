"""Which worker leads, in each order of what can happen to it: never two, and the next one at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.exits import ExitReason
from miniwsgi.daemon.master.supervising.leadership import LeaderPhase, Leadership
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import World


@pytest.fixture
def world() -> World:
    """Three workers that can lead; the one in slot 0 does. Its invariant: nobody is asked while another may lead."""
    world = World(plan=ev.Plan(workers=3), may_lead=True)
    world.start()
    world.actions.clear()
    return world


def leadership(world: World) -> Leadership:
    return world.supervisor.leadership


def leads(world: World) -> tuple[LeaderPhase, int | None]:
    """The phase, and the slot."""
    found = leadership(world)
    return found.phase, found.worker.slot if found.worker is not None else None


def test_the_first_worker_that_is_ready_leads_and_no_other_is_asked(world: World) -> None:
    assert leads(world) == (LeaderPhase.LEADING, 0)
    world.do(ev.WorkerReady(1, True))
    assert not world.ordered(act.LeadWorker)


def test_without_hooks_of_a_leader_there_is_none() -> None:
    world = World()
    world.start()
    assert leads(world) == (LeaderPhase.NOBODY, None)
    assert not leadership(world).wanted
    assert not leadership(world).failing


def test_the_next_one_begins_when_leader_stop_is_over_and_not_before(world: World) -> None:
    world.ask(ch.Restart(who="t", slot=0))
    world.happen("fork 3", "ready 3")
    assert leads(world) == (LeaderPhase.STOPPING, 0)
    world.advance(25)
    assert leads(world) == (LeaderPhase.STOPPING, 0)
    now = world.now
    world.happen("stop leading 0")
    assert leads(world) == (LeaderPhase.STARTING, 1)
    assert world.now == now
    world.happen("lead 1")
    assert leads(world) == (LeaderPhase.LEADING, 1)


@pytest.mark.parametrize(
    "end",
    [
        lambda world: world.crash(0),
        lambda world: (world.do(ev.Wedged(0, 31)), world.happen("killed 0")),
        lambda world: (world.do(ev.WorkerFailed(0, Code.IMPORT_RAISED, "broken")), world.happen("killed 0")),
    ],
    ids=["killed", "wedged", "failed"],
)
def test_the_next_one_begins_when_the_process_is_reaped(world: World, end: Callable[[World], object]) -> None:
    end(world)
    assert leads(world) == (LeaderPhase.STARTING, 1)
    assert 0 not in world.leaders()


def test_a_process_that_has_ended_and_is_not_reaped_leads_still(world: World) -> None:
    world.do(ev.WorkerDied(0))
    world.do(ev.Wedged(0, 31))
    world.advance(1)
    assert leads(world) == (LeaderPhase.STOPPING, 0)


def test_during_a_reload_the_old_leader_goes_on_until_it_drains_and_the_next_is_of_the_new_code(world: World) -> None:
    world.ask(ch.Reload(who="r"))
    world.happen("prepare", "boot", "fork 3")
    assert leads(world) == (LeaderPhase.LEADING, 0)  # the new generation boots beside it
    world.happen("ready 3")
    assert leads(world) == (LeaderPhase.STOPPING, 0)
    world.settle()
    phase, slot = leads(world)
    assert phase is LeaderPhase.LEADING
    assert slot is not None
    assert world.processes[slot].generation == 2
    assert len(world.ordered(act.LeadWorker)) == 1  # one hand-over a reload


def test_a_reload_that_fails_changes_no_leader(world: World) -> None:
    world.ask(ch.Reload(who="r"))
    world.happen("prepare", "boot", "fork 3")
    world.do(ev.WorkerFailed(3, Code.IMPORT_RAISED, "broken"))
    world.settle()
    assert leads(world) == (LeaderPhase.LEADING, 0)
    assert not world.ordered(act.LeadWorker)


def test_scaling_down_keeps_the_leader(world: World) -> None:
    world.crash(0)
    world.happen("lead 1")
    world.settle()
    world.advance(1)
    world.settle()
    world.ask(ch.Scale(who="s", to=1))
    world.settle()
    assert world.states() == {1: "ready 1"}
    assert leads(world) == (LeaderPhase.LEADING, 1)


def test_what_leader_start_raises_is_told_once_tried_elsewhere_with_backoff_and_fails_nothing() -> None:
    world = World(plan=ev.Plan(workers=3), may_lead=True)
    start = world.ask(ch.Start(who="test"))
    world.settle(but="lead")
    tried = []
    for delay in (0.1, 0.2, 0.4, 0.8):
        (slot,) = world.leaders()
        tried.append(slot)
        world.pending.clear()
        world.give_up_lead(slot, lambda slot: ev.LeaderFailed(slot, "no database", "Traceback: x"))
        assert leads(world) == (LeaderPhase.NOBODY, None)
        assert leadership(world).failing
        assert leadership(world).retry_at == pytest.approx(world.now + delay)
        world.advance(delay - 0.01)
        assert not world.leaders()
        world.advance(0.01)
    assert tried == [0, 1, 2, 0]
    assert start.succeeded
    assert [line.traceback for line in world.logged("cannot lead: no database")] == ["Traceback: x", "", "", ""]
    assert world.ready() == 3
    world.settle()
    assert leads(world) == (LeaderPhase.LEADING, 1)
    assert not leadership(world).failing


def test_nobody_is_asked_before_the_start_has_its_verdict() -> None:
    world = World(plan=ev.Plan(workers=3), may_lead=True)
    start = world.ask(ch.Start(who="test"))
    world.settle(but="ready 2")
    assert world.ready() == 2
    assert not world.ordered(act.LeadWorker)
    world.happen("ready 2")
    assert start.succeeded
    assert world.leaders() == [0]


def test_processes_that_end_inside_leader_start_are_followed_with_backoff_and_others_serve() -> None:
    world = World(plan=ev.Plan(workers=3), may_lead=True)
    start = world.ask(ch.Start(who="test"))
    world.settle(but="lead")
    for delay in (0.1, 0.2, 0.4, 0.8):
        (slot,) = world.leaders()
        world.pending.clear()
        world.crash(slot)
        assert leads(world) == (LeaderPhase.NOBODY, None)
        assert leadership(world).retry_at == pytest.approx(world.now + delay)
        assert leadership(world).failing
        world.settle(but="lead")
        assert world.ready() >= 2
        world.advance(delay)
        world.settle(but="lead")
    assert start.succeeded
    assert len(world.logged("its process ended inside leader_start; another one is tried")) == 4
    world.settle()
    assert leads(world)[0] is LeaderPhase.LEADING
    assert not leadership(world).failing


def test_new_code_is_asked_at_once_whatever_the_old_one_has_failed(world: World) -> None:
    for slot in (0, 1, 2, 0, 1):
        world.give_up_lead(slot, lambda slot: ev.LeaderFailed(slot, "no database"))
        world.advance(4)
        world.pending.clear()
    world.give_up_lead(2, lambda slot: ev.LeaderFailed(slot, "no database"))
    world.ask(ch.Reload(who="r"))
    world.happen("prepare", "boot", "fork 3")
    assert not world.leaders()
    world.happen("ready 3")
    assert world.leaders() == [3]
    world.give_up_lead(3, lambda slot: ev.LeaderFailed(slot, "no database"))
    assert leadership(world).retry_at == pytest.approx(world.now + 0.1)  # anew


def test_a_leader_that_is_late_is_replaced_and_leads_until_it_is_gone() -> None:
    world = World(plan=ev.Plan(workers=2), may_lead=True)
    world.do(ch.Start(who="test"))
    world.settle(but="lead")
    world.pending.clear()
    world.do(ev.LeaderLate(0, "leader_start has not returned", "Traceback: x"))
    assert leads(world) == (LeaderPhase.LATE, 0)
    assert leadership(world).failing
    world.settle()
    assert sorted(world.processes) == [1, 2]  # drained, another one first
    assert leads(world) == (LeaderPhase.LEADING, 1)
    assert not leadership(world).failing
    assert world.table.exits[ExitReason.HOOK] == 1


def test_a_late_leader_that_does_not_end_is_killed_with_the_drain_and_only_then_followed() -> None:
    world = World(plan=ev.Plan(workers=2, graceful_timeout=10), may_lead=True)
    world.do(ch.Start(who="test"))
    world.settle(but="lead")
    world.pending.clear()
    world.do(ev.LeaderLate(0, "leader_start has not returned"))
    world.happen("fork 2", "ready 2")
    assert world.processes[0].state == "draining"
    world.pending.clear()  # it does not end
    world.advance(9)
    assert leads(world) == (LeaderPhase.LATE, 0)
    world.advance(2)
    assert world.processes[0].state == "killed"
    assert leads(world) == (LeaderPhase.LATE, 0)
    world.happen("killed 0")
    assert leads(world)[0] is LeaderPhase.STARTING


def test_a_drained_service_has_no_leader_and_one_again_afterwards(world: World) -> None:
    world.ask(ch.Drain(who="d"))
    world.settle()
    assert leads(world) == (LeaderPhase.NOBODY, None)
    assert not leadership(world).failing
    world.ask(ch.Undrain(who="u"))
    world.settle()
    assert leads(world)[0] is LeaderPhase.LEADING


def test_a_stop_asks_nobody(world: World) -> None:
    world.do(ch.Stop(who="SIGTERM"))
    world.settle()
    assert world.exit == 0
    assert not world.ordered(act.LeadWorker)


def test_who_gives_the_lead_back_while_it_stays_is_asked_again_with_backoff(world: World) -> None:
    for process in (0, 1, 2):
        world.give_up_lead(process, ev.LeaderStopped)
        assert leads(world) == (LeaderPhase.NOBODY, None)
        world.advance(1)
        world.settle()
    assert leads(world) == (LeaderPhase.LEADING, 0)


def test_what_another_worker_says_changes_nothing(world: World) -> None:
    before = repr(leadership(world))
    for kind in (ev.LeaderStarted, ev.LeaderStopped):
        world.do(kind(1))
    for failing in (ev.LeaderFailed, ev.LeaderLate):
        world.do(failing(2, "x"))
    assert repr(leadership(world)) == before
