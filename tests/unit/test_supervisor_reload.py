"""Reloads as histories: nothing old goes before what is new serves, and what fails leaves all as it was."""

from __future__ import annotations

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.operations import OperationState
from miniwsgi.daemon.master.supervising.supervisor import SupervisorState
from miniwsgi.daemon.master.supervising.worker_table import KEPT_REVISIONS, WorkerState
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import World, running


@pytest.fixture
def world() -> World:
    return running()


def test_a_reload_touches_nothing_before_the_first_new_worker_is_ready(world: World) -> None:
    world.ask(ch.Reload(who="SIGHUP"))
    assert world.supervisor.state is SupervisorState.RELOADING
    world.happen("prepare", "boot", "fork 4")
    assert world.ready(1) == 4
    assert not world.ordered(act.DrainWorker)
    world.happen("ready 4")
    assert world.states() == {0: "draining 1", 1: "ready 1", 2: "ready 1", 3: "ready 1", 4: "ready 2", 5: "forking 2"}


def test_a_reload_goes_slot_by_slot_and_ends_with_the_full_set_ready(world: World) -> None:
    operation = world.ask(ch.Reload(who="SIGHUP"))
    world.settle(but="drained")
    assert operation.state is OperationState.SUCCEEDED
    assert world.ready(2) == 4
    assert world.ready(1) == 0
    assert (operation.done, operation.total) == (4, 4)
    assert world.ordered(act.CommitGeneration) == [act.CommitGeneration(2)]
    assert world.ordered(act.RetireGeneration) == [act.RetireGeneration(1)]
    assert world.supervisor.state is SupervisorState.RUNNING
    assert set(world.launchers) == {1, 2}, "the old launcher stays with its draining workers"
    world.settle()
    assert set(world.launchers) == {2}
    assert list(world.table.generations) == [2]


def test_the_surge_is_a_quarter_of_the_target_or_as_configured() -> None:
    for workers, configured, surge in [(1, 0, 1), (4, 0, 1), (8, 0, 2), (8, 5, 5)]:
        world = World(plan=ev.Plan(workers=workers, surge=configured))
        world.start()
        world.do(ch.Reload(who="test"))
        world.happen("prepare", "boot")
        most = 0
        while world.pending:
            world.happen(world.pending[0][0])
            most = max(most, sum(worker.live for worker in world.table.workers()))
        assert most == workers + surge


def test_a_reload_with_code_that_does_not_import_leaves_everything_as_it_was(world: World) -> None:
    before = world.states()
    operation = world.ask(ch.Reload(who="SIGHUP"))
    world.happen("prepare")
    world.do(ev.LauncherFailed(2, Code.IMPORT_RAISED, "SyntaxError in shop/wsgi.py, line 3", "Traceback"))
    assert operation.state is OperationState.FAILED
    assert (operation.error, operation.traceback) == ("SyntaxError in shop/wsgi.py, line 3", "Traceback")
    assert operation.code == "MW2302"
    assert [line.code for line in world.logged("reload failed", "error")] == [Code.IMPORT_RAISED]
    assert world.ordered(act.DiscardGeneration) == [act.DiscardGeneration(2)]
    world.settle()
    assert world.states() == before
    assert world.exit is None
    assert world.supervisor.state is SupervisorState.RUNNING


def test_a_reload_with_a_wrong_configuration_never_boots(world: World) -> None:
    operation = world.ask(ch.Reload(who="SIGHUP"))
    world.do(ev.PrepareFailed(2, Code.WRONG_VALUE, "server.workers: a number expected"))
    assert operation.state is OperationState.FAILED
    assert not world.ordered(act.BootGeneration)
    world.do(ev.Prepared(2, world.plan))  # too late to matter
    assert not world.ordered(act.BootGeneration)


def test_a_configuration_that_cannot_be_read_in_time_fails_the_reload(world: World) -> None:
    operation = world.ask(ch.Reload(who="SIGHUP"))
    world.advance(61)
    assert operation.state is OperationState.FAILED
    assert "could not be read in time" in operation.error
    assert not world.ordered(act.KillLauncher)


def test_a_worker_that_breaks_while_it_serves_is_replaced_and_its_traceback_logged(world: World) -> None:
    world.do(ev.WorkerFailed(1, Code.IMPORT_RAISED, "the worker itself failed", "Traceback"))
    (line,) = world.logged("has failed: the worker itself failed", "error")
    assert line.traceback == "Traceback"
    world.settle()
    world.advance(0.1)
    world.settle()
    assert world.ready() == 4


def test_a_reload_whose_first_worker_is_late_fails_and_removes_it(world: World) -> None:
    operation = world.ask(ch.Reload(who="SIGHUP"))
    world.happen("prepare", "boot", "fork 4")
    world.advance(60)
    assert operation.state is OperationState.FAILED
    assert "timeouts.boot" in operation.error
    assert [action.slot for action in world.ordered(act.KillWorker) if action.stacks] == [4]
    world.settle()
    assert world.ready(1) == 4
    assert set(world.launchers) == {1}


def test_reloads_that_come_meanwhile_become_one_more(world: World) -> None:
    first = world.ask(ch.Reload(who="a"))
    world.happen("prepare")
    second = world.ask(ch.Reload(who="b"))
    for _ in range(100):
        assert world.ask(ch.Reload(who="c")) is second
    assert second is not first
    assert second.state is OperationState.WAITING
    world.settle()
    assert [operation.state for operation in (first, second)] == [OperationState.SUCCEEDED] * 2
    assert world.ready(3) == 4


def test_a_waiting_reload_starts_when_the_one_before_it_failed(world: World) -> None:
    world.ask(ch.Reload(who="a"))
    second = world.ask(ch.Reload(who="b"))
    world.do(ev.PrepareFailed(2, Code.IMPORT_RAISED, "broken"))
    assert second.state is OperationState.RUNNING
    world.settle()
    assert second.succeeded


def test_at_most_the_target_drains_and_the_reload_waits_for_the_rest(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.settle(but="drained")
    second = world.ask(ch.Reload(who="b"))
    world.settle(but="drained")
    draining = list(world.table.workers(WorkerState.DRAINING))
    assert len(draining) == 4
    assert second.state is OperationState.RUNNING
    world.settle()
    assert second.succeeded
    assert world.ready(3) == 4


def test_a_reload_does_not_wait_for_workers_that_have_only_jobs_left(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.settle(but="drained")
    for worker in world.table.workers(WorkerState.DRAINING):
        world.do(ev.OnlyJobsLeft(worker.slot))
    second = world.ask(ch.Reload(who="b"))
    world.settle(but="drained")
    assert len(list(world.table.workers(WorkerState.DRAINING))) == 8
    assert second.succeeded
    assert world.ready(3) == 4
    world.settle()
    assert not list(world.table.workers(WorkerState.DRAINING))


def test_drains_of_a_reload_end_together_and_are_enforced(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4", "fork 5")
    world.advance(20)
    world.settle(but="drained")
    first, *_rest = world.table.workers(WorkerState.DRAINING)
    assert first.deadline is not None
    assert first.deadline.at == world.now + 30, "one deadline, and nobody has less than graceful_timeout"
    world.advance(29)
    assert len(list(world.table.workers(WorkerState.DRAINING))) == 4
    world.advance(1)
    assert not list(world.table.workers(WorkerState.DRAINING))
    kills = world.ordered(act.KillWorker)
    assert len(kills) == 4
    assert all(kill.stacks for kill in kills)


def test_an_old_worker_that_crashes_before_the_new_code_proved_itself_is_replaced_by_old_code(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.happen("prepare")
    world.crash(2)
    world.advance(0.1)
    world.happen("fork 2")
    assert world.states()[2] == "booting 1"


def test_an_old_worker_that_crashes_while_the_new_code_rolls_is_replaced_by_new_code(world: World) -> None:
    operation = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4")
    world.crash(2)
    world.settle()
    assert operation.succeeded
    assert world.ready(2) == 4
    assert world.ready() == 4


def test_a_boot_of_the_old_generation_is_dropped_when_the_new_one_takes_over(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.happen("prepare", "boot")
    world.crash(2)
    world.advance(0.1)
    world.happen("fork 2", "fork 4", "ready 4")
    assert world.processes[2].state == "killed"


def test_a_later_worker_that_never_boots_fails_the_reload_and_preloaded_code_goes_back(world: World) -> None:
    survivors = {world.processes[slot].pid for slot in (1, 2, 3)}
    operation = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4", "drained 0")
    for _ in range(3):
        world.happen("fork 5")
        world.do(ev.WorkerFailed(5, Code.IMPORT_RAISED, "boot_check was answered 500"))
        assert operation.state is (OperationState.FAILED if _ == 2 else OperationState.RUNNING)
        world.happen("killed 5")
        world.advance(0.5)
    world.settle()
    assert "boot_check" in operation.error
    assert world.ready(1) == 4
    assert survivors < {process.pid for process in world.processes.values()}, "nobody else is disturbed"
    assert world.ready(2) == 0
    assert set(world.launchers) == {1}
    assert world.ordered(act.DiscardGeneration) == [act.DiscardGeneration(2)]


def test_without_preload_the_workers_that_run_stay_when_a_later_one_does_not_boot() -> None:
    world = World(preloaded=False)
    world.start()
    operation = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4", "drained 0")
    for _ in range(3):
        world.happen("fork 5")
        world.do(ev.WorkerFailed(5, Code.IMPORT_RAISED, "SyntaxError"))
        world.happen("killed 5")
        world.advance(0.5)
    assert operation.state is OperationState.FAILED
    world.settle()
    assert (world.ready(1), world.ready(2)) == (3, 1)
    assert world.supervisor.turnover.current is world.table.generations[1]
    third = world.ask(ch.Reload(who="b"))
    world.settle()
    assert third.succeeded
    assert world.ready(3) == world.ready() == 4


def test_new_code_that_crashes_soon_after_it_is_ready_fails_the_reload(world: World) -> None:
    operation = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4")
    for _ in range(20):
        if operation.ended:
            break
        for slot, process in list(world.processes.items()):
            if process.state == "ready" and process.generation == 2:
                world.crash(slot)
        world.advance(1)
        world.settle(but="ready 5")
    assert operation.state is OperationState.FAILED
    world.settle()
    assert world.ready(1) == 4


def test_the_new_launcher_dying_in_the_middle_fails_the_reload_and_goes_back(world: World) -> None:
    operation = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4", "drained 0")
    world.crash_launcher(2)
    assert operation.state is OperationState.FAILED
    world.settle()
    assert world.ready(1) == 4
    assert world.ready() == 4


def test_a_reload_that_changes_the_number_of_workers(world: World) -> None:
    for workers in (8, 2):
        world.next_plan = ev.Plan(workers=workers)
        operation = world.ask(ch.Reload(who="a"))
        world.settle()
        assert operation.succeeded
        assert world.ready() == workers


# --- revisions ----------------------------------------------------------------------------------------------


def test_a_verdict_tells_which_code_came_after_which() -> None:
    world = World()
    world.start()
    world.do(ev.RevisionRead(1, "one", "REVISION"))
    for read, told in (("two", "one → two"), ("two", "two as before"), (None, "two → an unknown revision")):
        operation = world.ask(ch.Reload(who="test"))
        world.happen("prepare")
        number = operation.generation
        assert number is not None
        world.do(ev.RevisionRead(number, read, "REVISION"))
        world.settle()
        assert operation.succeeded
        assert operation.revisions == told
        assert world.logged(f"s, {told} (operation {operation.id}, by test)")
        assert world.table.name_of(number) == f"generation {number}{f' ({read})' if read else ''}"


def test_what_the_import_has_shown_to_be_another_revision_is_unknown() -> None:
    world = World()
    world.start()
    world.do(ev.RevisionRead(1, "one", "REVISION"))
    world.do(ev.RevisionRead(1, None))
    world.do(ev.RevisionRead(7, "none of ours", ""))
    current = world.supervisor.turnover.current
    assert current is not None
    assert (current.name, current.revision, world.table.revisions) == ("generation 1", None, {})


def test_revisions_of_generations_that_are_gone_are_kept_but_not_all_of_them() -> None:
    table = World().table
    for number in range(1, KEPT_REVISIONS + 11):
        table.note_revision(table.new_generation(), f"r{number}", "git")
    assert len(table.revisions) == KEPT_REVISIONS
    assert (table.name_of(10), table.name_of(11)) == ("generation 10", "generation 11 (r11)")
