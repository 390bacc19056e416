"""Workers that are replaced one by one, as histories: recycled, beyond their time, wedged, restarted, drained."""

from __future__ import annotations

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.exits import ExitReason
from miniwsgi.daemon.master.supervising.operations import OperationState
from miniwsgi.daemon.master.supervising.supervisor import SupervisorState
from miniwsgi.daemon.master.supervising.worker_table import WorkerState
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import World, running


@pytest.fixture
def world() -> World:
    return running()


# --- recycling, time-outs, wedges -------------------------------------------------------------------------------------


def test_recycling_starts_the_replacement_first(world: World) -> None:
    world.do(ev.RecycleAsked(2, "requests"))
    assert world.ready() == 4
    assert not world.ordered(act.DrainWorker)
    world.happen("fork 4")
    assert not world.ordered(act.DrainWorker)
    world.happen("ready 4")
    assert [action.slot for action in world.ordered(act.DrainWorker)] == [2]
    world.settle()
    assert world.ready() == 4


def test_a_worker_that_was_sent_sigterm_is_replaced_and_no_crash(world: World) -> None:
    world.do(ev.RecycleAsked(2, "signal"))
    world.settle()
    assert world.ready() == 4
    assert {reason: count for reason, count in world.table.exits.items() if count} == {ExitReason.RESTART: 1}


def test_all_workers_recycling_at_once_are_replaced_within_the_surge(world: World) -> None:
    for slot in range(4):
        world.do(ev.RecycleAsked(slot, "requests"))
    world.settle()
    assert world.ready() == 4
    assert not any(worker.leaving for worker in world.table.workers())


def test_a_request_beyond_its_time_gets_its_worker_replaced_and_the_others_time_to_finish(world: World) -> None:
    world.do(ev.RequestTimedOut(1, 30.2, "GET /report"))
    assert world.ordered(act.DumpStacks) == [
        act.DumpStacks(1, Code.REQUEST_TIMEOUT, "GET /report runs for 30.2 s (timeouts.request)")
    ]
    assert world.table.worker(1).state is WorkerState.STUCK  # type: ignore[union-attr]
    world.happen("fork 4", "ready 4")
    world.advance(29)
    assert not world.ordered(act.KillWorker)
    world.advance(1)
    assert [action.slot for action in world.ordered(act.KillWorker)] == [1]


def test_a_wedged_worker_is_killed_with_its_stacks_and_replaced_at_once(world: World) -> None:
    world.do(ev.Wedged(1, 30.5))
    assert world.ordered(act.KillWorker) == [act.KillWorker(1, "wedged", stacks=Code.WEDGED)]
    assert len(world.ordered(act.ForkWorker)) == 1
    world.settle()
    assert world.ready() == 4


def test_a_restart_counts_where_the_successor_is(world: World) -> None:
    world.do(ev.Wedged(1, 30.5))
    world.settle()
    world.do(ev.RequestTimedOut(2, 30.2, "GET /report"))
    world.settle()
    world.crash(3)
    world.advance(1)
    world.settle()
    assert world.ready() == 4
    restarted = {slot.index: (slot.restarts, slot.last_exit) for slot in world.table.slots if slot.restarts}
    assert restarted == {
        4: (1, "wedged"),
        1: (1, "timeouts.request"),
        3: (1, "was killed by SIGKILL (out of memory?)"),
    }
    world.do(ch.Scale(who="a", to=8))
    world.do(ch.Reload(who="a"))
    world.settle()
    assert sum(slot.restarts for slot in world.table.slots) == 3, "nothing else is a restart"


def test_a_wedged_worker_that_drains_is_killed_before_its_time(world: World) -> None:
    world.do(ch.Scale(who="a", to=3))
    world.do(ev.Wedged(3, 30.5))
    assert [action.slot for action in world.ordered(act.KillWorker)] == [3]


# --- restart, drain ---------------------------------------------------------------------------------------------------


def test_restarting_a_slot_replaces_its_worker_by_the_same_generation(world: World) -> None:
    operation = world.ask(ch.Restart(who="a", slot=2))
    world.happen("fork 4")
    assert operation.state is OperationState.RUNNING
    world.happen("ready 4")
    assert [action.slot for action in world.ordered(act.DrainWorker)] == [2]
    assert world.ready(1) == 4
    assert operation.state is OperationState.RUNNING, "the old process is there"
    assert (operation.done, operation.total) == (0, 1)
    world.happen("drained 2")
    assert operation.succeeded
    assert (operation.done, operation.total) == (1, 1)


def test_a_worker_that_does_not_respond_is_killed_by_its_restart_once_its_successor_is_ready(world: World) -> None:
    world.silent.update({2: 7.0})
    operation = world.ask(ch.Restart(who="a", slot=2))
    world.happen("fork 4")
    assert not world.ordered(act.KillWorker)
    world.happen("ready 4")
    assert world.ordered(act.KillWorker) == [act.KillWorker(2, "restart", stacks=Code.SILENT)]
    assert not world.ordered(act.DrainWorker), "it would not hear it"
    assert world.logged(
        "worker 2 (pid 103) has not responded for 7 s; its successor is ready, so it is killed", "warning"
    )
    assert operation.state is OperationState.RUNNING, "it burns its core until it is gone"
    world.happen("killed 2")
    assert operation.succeeded
    assert world.table.exits[ExitReason.RESTART] == 1


def test_a_restart_of_all_kills_those_that_do_not_respond_and_drains_the_others(world: World) -> None:
    world.silent.update({1: 7.0, 3: 7.0})
    operation = world.ask(ch.Restart(who="a"))
    world.settle()
    assert operation.succeeded
    assert sorted(action.slot for action in world.ordered(act.KillWorker)) == [1, 3]
    assert sorted(action.slot for action in world.ordered(act.DrainWorker)) == [0, 2]


def test_a_worker_that_does_not_respond_is_not_killed_by_a_reload(world: World) -> None:
    world.silent.update({2: 7.0})
    world.ask(ch.Reload(who="a"))
    world.settle()
    assert not world.ordered(act.KillWorker), "timeouts.wedge ends it"


def test_another_slot_can_be_restarted_while_the_old_worker_of_one_drains(world: World) -> None:
    first = world.ask(ch.Restart(who="a", slot=2))
    world.happen("fork 4", "ready 4")
    second = world.ask(ch.Restart(who="a", slot=1))
    world.settle(but="drained 2")
    assert second.succeeded
    assert first.state is OperationState.RUNNING
    world.settle()
    assert first.succeeded


def test_a_rolling_restart_replaces_all_and_a_second_one_is_refused(world: World) -> None:
    pids = {process.pid for process in world.processes.values()}
    operation = world.ask(ch.Restart(who="a"))
    (refused,) = world.do(ch.Restart(who="b"))
    assert isinstance(refused, act.ChangeDeclined)
    assert refused.operation is operation
    world.settle()
    assert operation.succeeded
    assert (operation.done, operation.total) == (4, 4)
    assert not pids & {process.pid for process in world.processes.values()}


def test_restarting_an_empty_slot_is_refused(world: World) -> None:
    (refused,) = world.do(ch.Restart(who="a", slot=7))
    assert isinstance(refused, act.ChangeDeclined)
    assert "slot 7 has no worker" in refused.reason


def test_drain_empties_the_daemon_and_undrain_fills_it_again(world: World) -> None:
    drain = world.ask(ch.Drain(who="a"))
    assert world.supervisor.state is SupervisorState.DRAINING
    assert len(world.ordered(act.DrainWorker)) == 4
    assert world.ask(ch.Drain(who="b")) is drain
    world.settle()
    assert drain.succeeded
    assert not world.processes
    assert world.exit is None
    undrain = world.ask(ch.Undrain(who="a"))
    world.settle()
    assert undrain.succeeded
    assert world.ready() == 4


def test_a_reload_while_drained_checks_the_new_code_and_stays_drained(world: World) -> None:
    world.do(ch.Drain(who="a"))
    world.settle()
    operation = world.ask(ch.Reload(who="a"))
    world.settle()
    assert operation.succeeded
    assert not world.processes
    world.do(ch.Undrain(who="a"))
    world.settle()
    assert world.ready(2) == 4


# --- at once ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_by_order_is_replaced_and_counts_as_no_crash(world: World) -> None:
    operation = world.ask(ch.Restart(2, now=True, who="alice"))
    assert world.ordered(act.KillWorker) == [act.KillWorker(2, "killed by alice", stacks=Code.KILLED_BY_ORDER)]
    assert not operation.ended
    world.settle()
    assert operation.succeeded
    assert operation.name == "restart of slot 2, at once"
    assert world.ready() == 4
    assert {reason: count for reason, count in world.table.exits.items() if count} == {ExitReason.RESTART: 1}


def test_one_that_drains_can_be_killed_too_and_one_that_is_gone_cannot(world: World) -> None:
    world.do(ev.RecycleAsked(1, "requests"))
    world.happen("fork 4", "ready 4")
    first = world.ask(ch.Restart(1, now=True, who="alice"))
    (declined,) = world.do(ch.Restart(1, now=True, who="alice"))
    assert declined == act.ChangeDeclined("slot 1 has no worker that can be killed")
    world.settle()
    assert first.succeeded
    assert isinstance(world.do(ch.Restart(99, now=True, who="alice"))[0], act.ChangeDeclined)
    assert world.ready() == 4
