"""The supervisor's decisions as histories: what happened, and what it made of it. No process, no real time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.exits import ExitReason
from miniwsgi.daemon.master.supervising.operations import OperationState
from miniwsgi.daemon.master.supervising.supervisor import SupervisorState
from miniwsgi.daemon.master.supervising.worker_table import WorkerState
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import EXITED_1, World


@pytest.fixture
def world() -> World:
    """Four workers of generation 1, all ready."""
    world = World()
    world.start()
    world.actions.clear()
    world.verdicts.clear()
    return world


# --- the first start -------------------------------------------------------------------------------------------------


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
    world.do(ev.LauncherFailed(1, "no module named 'shop'", "Traceback …"))
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
        lose_three_times(world, lambda: world.do(ev.WorkerFailed(0, "boot_check /health was answered 500")))
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
    world.do(ev.WorkerFailed(0, "the database is starting up"))
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
            world.do(ev.WorkerFailed(1, "the lock is taken", "Traceback"))
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
    assert kill == act.KillLauncher(1, "generation 1 had no worker ready in time (timeouts.boot)", stacks=True)
    assert world.exit == 3


def test_a_stop_during_the_start_is_a_clean_one() -> None:
    world = World()
    world.do(ch.Start(who="test"))
    world.happen("prepare", "boot", "fork 0")
    world.do(ch.Stop(who="SIGTERM"))
    world.settle()
    assert world.exit == 0


# --- reload ----------------------------------------------------------------------------------------------------------


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
    world.do(ev.LauncherFailed(2, "SyntaxError in shop/wsgi.py, line 3", "Traceback"))
    assert operation.state is OperationState.FAILED
    assert (operation.error, operation.traceback) == ("SyntaxError in shop/wsgi.py, line 3", "Traceback")
    assert world.ordered(act.DiscardGeneration) == [act.DiscardGeneration(2)]
    world.settle()
    assert world.states() == before
    assert world.exit is None
    assert world.supervisor.state is SupervisorState.RUNNING


def test_a_reload_with_a_wrong_configuration_never_boots(world: World) -> None:
    operation = world.ask(ch.Reload(who="SIGHUP"))
    world.do(ev.PrepareFailed(2, "server.workers: a number expected"))
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
    world.do(ev.WorkerFailed(1, "the worker itself failed", "Traceback"))
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
    world.do(ev.PrepareFailed(2, "broken"))
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
        world.do(ev.WorkerFailed(5, "boot_check was answered 500"))
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
        world.do(ev.WorkerFailed(5, "SyntaxError"))
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


# --- scale -----------------------------------------------------------------------------------------------------------


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
        world.do(ev.WorkerFailed(4, "ImportError: no module named 'new'", "Traceback"))
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
        world.do(ev.WorkerFailed(5, "ImportError"))
        world.happen("killed 5")
        world.advance(1)
        if not operation.ended:
            world.happen("fork 5")
    assert operation.state is OperationState.FAILED
    world.settle()
    assert world.ready() == 5


# --- crashes ---------------------------------------------------------------------------------------------------------


def test_a_crashed_worker_is_replaced_in_its_slot_after_a_back_off_with_one_log_line(world: World) -> None:
    world.advance(10)
    world.crash(1)
    assert 1 not in world.processes
    assert len(world.logged("was killed by SIGKILL", "error")) == 1
    world.advance(0.09)
    assert 1 not in world.processes
    world.advance(0.02)
    assert world.processes[1].state == "forking"
    assert sorted(world.processes) == [0, 1, 2, 3], "no other slot takes over: that would dodge the back-off"


def test_the_back_off_doubles_to_ten_seconds_and_ends_when_a_worker_lives(world: World) -> None:
    delays = []
    for _ in range(9):
        world.crash(1)
        delays.append(round(world.table.slots[1].restart_at - world.now, 3))  # type: ignore[operator]
        world.advance(delays[-1])
        world.happen("fork 1", "ready 1")
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    world.advance(6)
    world.crash(1)
    assert world.table.slots[1].restart_at == pytest.approx(world.now + 0.1)
    assert len(world.logged("the next one in", "error")) == 10


def test_a_crash_loop_of_all_workers_never_ends_the_daemon(world: World) -> None:
    for _ in range(30):
        for slot in [slot for slot, process in world.processes.items() if process.state == "ready"]:
            world.crash(slot, EXITED_1)
        world.advance(11)
        world.settle()
    assert world.exit is None
    assert world.ready() == 4


def test_the_traceback_of_a_crash_loop_is_logged_once() -> None:
    world = World(preloaded=False)
    world.start()
    world.crash(0)
    for _ in range(4):
        world.advance(2)
        world.happen("fork 0")
        world.do(ev.WorkerFailed(0, "SyntaxError", "Traceback …"))
        world.happen("killed 0")
    lines = world.logged("SyntaxError", "error")
    assert len(lines) == 4
    assert [bool(line.traceback) for line in lines] == [False, False, False, False] or sum(
        bool(line.traceback) for line in lines
    ) == 1


def test_a_fork_that_fails_is_tried_again(world: World) -> None:
    world.do(ch.Scale(who="a", by=1))
    del world.processes[4], world.pending[0]
    world.do(ev.ForkFailed(4, "[Errno 12] Cannot allocate memory"))
    assert world.logged("could not be forked: [Errno 12] Cannot allocate memory")
    world.advance(0.1)
    world.settle()
    assert world.ready() == 5


def test_a_worker_that_boots_too_long_is_killed_and_replaced() -> None:
    world = World()
    world.start()
    world.crash(3)
    world.advance(0.1)
    world.happen("fork 3")
    world.advance(60)
    assert world.ordered(act.KillWorker)[-1].stacks
    world.happen("killed 3")
    world.advance(0.2)
    world.settle()
    assert world.ready() == 4


def test_a_slot_is_not_given_out_before_its_worker_is_reaped(world: World) -> None:
    world.do(ev.Wedged(2, 31.0))
    world.settle(but="killed")
    assert world.states() == {0: "ready 1", 1: "ready 1", 2: "killed 1", 3: "ready 1", 4: "ready 1"}
    world.settle()
    world.do(ch.Scale(who="a", by=1))
    world.settle()
    assert sorted(world.processes) == [0, 1, 2, 3, 4]


# --- launchers -------------------------------------------------------------------------------------------------------


def test_the_workers_of_a_dead_launcher_serve_on_until_a_new_one_replaces_them(world: World) -> None:
    world.advance(60)
    world.crash_launcher(1)
    assert world.ready(1) == 4
    assert world.logged("its workers serve on", "error")
    world.advance(0.1)
    assert world.ordered(act.PrepareGeneration) == [act.PrepareGeneration(2, reread=False)]
    world.settle()
    assert world.ready(2) == world.ready() == 4
    assert [(o.kind, o.state) for o in world.verdicts] == [(ch.Recover, OperationState.SUCCEEDED)]


def test_a_launcher_that_does_not_boot_again_is_tried_with_back_off_and_logged_once_in_full(world: World) -> None:
    world.crash_launcher(1)
    times = []
    for _ in range(9):
        before = len(world.ordered(act.PrepareGeneration))
        while len(world.ordered(act.PrepareGeneration)) == before:
            wakeup = world.supervisor.next_wakeup()
            assert wakeup is not None
            times.append(round(wakeup - world.now, 3))
            world.now = wakeup
            world.do(ev.Tick())
        world.happen("prepare")
        world.do(ev.LauncherFailed(world.supervisor.turnover.candidate.number, "SyntaxError", "Traceback"))  # type: ignore[union-attr]
        world.settle()
    assert times == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert world.ready(1) == 4
    assert sum(bool(line.traceback) for line in world.logged("SyntaxError")) == 1


def test_a_scale_while_no_launcher_boots_fails(world: World) -> None:
    world.crash_launcher(1)
    scale = world.ask(ch.Scale(who="a", by=1))
    world.advance(0.1)
    world.happen("prepare")
    world.do(ev.LauncherFailed(2, "SyntaxError"))
    assert scale.state is OperationState.FAILED
    assert "no launcher boots" in scale.error
    assert world.supervisor.sizing.target == 4


def test_a_reload_takes_the_place_of_a_recovery(world: World) -> None:
    world.crash_launcher(1)
    world.advance(0.1)
    world.happen("prepare")
    operation = world.ask(ch.Reload(who="a"))
    world.settle()
    assert operation.succeeded
    assert world.verdicts[0].state is OperationState.SUPERSEDED
    assert world.ready(3) == world.ready() == 4


def test_a_failed_reload_over_a_dead_launcher_goes_on_recovering(world: World) -> None:
    world.crash_launcher(1)
    operation = world.ask(ch.Reload(who="a"))
    world.do(ev.PrepareFailed(2, "broken"))
    assert operation.state is OperationState.FAILED
    world.advance(1)
    world.settle()
    assert world.ready(3) == world.ready() == 4


def test_a_launcher_that_does_not_answer_an_order_to_fork_is_killed(world: World) -> None:
    world.do(ch.Scale(who="a", by=1))
    world.advance(10)
    assert [action.generation for action in world.ordered(act.KillLauncher)] == [1]
    world.happen("launcher killed")
    world.advance(0.2)
    world.settle()
    assert world.ready() == 5


def test_a_launcher_that_does_not_reap_its_worker_is_killed(world: World) -> None:
    world.do(ev.WorkerDied(2))
    world.advance(4.9)
    assert not world.ordered(act.KillLauncher)
    world.advance(0.2)
    assert [action.generation for action in world.ordered(act.KillLauncher)] == [1]


def test_a_retired_launcher_that_does_not_exit_is_killed(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.settle(but="launcher exits")
    world.advance(5)
    assert [action.generation for action in world.ordered(act.KillLauncher)] == [1]


# --- recycling, time-outs, wedges ------------------------------------------------------------------------------------


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
    assert world.ordered(act.DumpStacks) == [act.DumpStacks(1, "GET /report runs for 30.2 s (timeouts.request)")]
    assert world.table.worker(1).state is WorkerState.STUCK  # type: ignore[union-attr]
    world.happen("fork 4", "ready 4")
    world.advance(29)
    assert not world.ordered(act.KillWorker)
    world.advance(1)
    assert [action.slot for action in world.ordered(act.KillWorker)] == [1]


def test_a_wedged_worker_is_killed_with_its_stacks_and_replaced_at_once(world: World) -> None:
    world.do(ev.Wedged(1, 30.5))
    assert world.ordered(act.KillWorker) == [act.KillWorker(1, "wedged", stacks=True)]
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


# --- restart, drain --------------------------------------------------------------------------------------------------


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
    assert world.ordered(act.KillWorker) == [act.KillWorker(2, "restart", stacks=True)]
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


# --- stop ------------------------------------------------------------------------------------------------------------


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
