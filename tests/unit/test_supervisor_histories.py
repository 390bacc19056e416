"""Histories of what goes wrong in the middle of something else: each one a decision that no other test reaches."""

from __future__ import annotations

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.operations import KEPT, OperationState
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import World


@pytest.fixture
def world() -> World:
    """Four workers of generation 1, all ready."""
    world = World()
    world.start()
    world.actions.clear()
    world.verdicts.clear()
    return world


def fail_boot(world: World, slot: int) -> None:
    """The worker that is being forked into a slot cannot boot, and is gone."""
    world.happen(f"fork {slot}")
    world.do(ev.WorkerFailed(slot, Code.IMPORT_RAISED, "broken", "Traceback"))
    world.happen(f"killed {slot}")


# --- one operation fails within another ------------------------------------------------------------------------------


def test_a_restart_that_fails_during_a_reload_does_not_bring_the_old_code_back(world: World) -> None:
    restart = world.ask(ch.Restart(who="a"))
    for _ in range(2):
        fail_boot(world, 4)
        world.advance(0.3)
    world.happen("fork 4")
    reload = world.ask(ch.Reload(who="b"))
    world.happen("prepare", "boot")
    world.do(ev.WorkerFailed(4, Code.IMPORT_RAISED, "broken", "Traceback"))
    assert restart.state is OperationState.FAILED
    world.settle()
    world.advance(1)
    world.settle()
    assert reload.succeeded
    assert world.ready(2) == world.ready() == 4


def test_a_restart_that_fails_after_the_new_code_took_over_does_not_keep_the_old(world: World) -> None:
    restart = world.ask(ch.Restart(who="a"))
    for _ in range(2):
        fail_boot(world, 4)
        if _ == 0:
            world.advance(0.3)
    reload = world.ask(ch.Reload(who="b"))
    world.happen("prepare", "boot", "fork 5", "ready 5")
    fail_boot(world, 4)
    assert restart.state is OperationState.FAILED
    assert not reload.ended
    world.advance(1)
    world.settle()
    assert reload.succeeded, "the workers of the old code are still to be replaced"
    assert world.ready(2) == world.ready() == 4


def test_a_first_start_that_fails_ends_what_waits_for_it() -> None:
    world = World()
    start = world.ask(ch.Start(who="test"))
    reload = world.ask(ch.Reload(who="SIGHUP"))
    scale = world.ask(ch.Scale(who="SIGTTIN", by=1))
    world.happen("prepare of generation 1")
    world.do(ev.LauncherFailed(1, Code.IMPORT_RAISED, "SyntaxError"))
    assert world.exit == 3
    assert [operation.state for operation in (start, reload, scale)] == [OperationState.FAILED] * 3
    assert "SyntaxError" in reload.error
    assert not world.supervisor.ledger.open()
    assert len(world.ordered(act.PrepareGeneration)) == 1, "nothing is begun that nobody will see"


def test_a_restart_that_fails_leaves_the_workers_that_run(world: World) -> None:
    before = {slot: process.pid for slot, process in world.processes.items()}
    operation = world.ask(ch.Restart(who="a"))
    for _ in range(3):
        fail_boot(world, 4)
        world.advance(1)
    assert operation.state is OperationState.FAILED
    assert operation.error == "worker 4 (pid 107) did not boot: broken"
    world.settle()
    world.advance(12)
    world.settle()
    assert {slot: process.pid for slot, process in world.processes.items()} == before
    assert not any(worker.leaving for worker in world.table.workers())


def test_an_undrain_whose_workers_do_not_boot_fails_and_goes_on_trying(world: World) -> None:
    world.ask(ch.Drain(who="a"))
    world.settle()
    operation = world.ask(ch.Undrain(who="a"))
    for _ in range(3):
        fail_boot(world, 0)
        world.advance(0.5)
    assert operation.state is OperationState.FAILED
    world.advance(12)
    world.settle()
    assert world.ready() == 4, "it is not drained any more"


def test_a_scale_down_whose_workers_crash_fails_and_stays_down(world: World) -> None:
    for slot in range(4):
        world.crash(slot)
    operation = world.ask(ch.Scale(who="a", to=2))
    for _ in range(3):
        world.advance(1)
        fail_boot(world, 0)
    assert operation.state is OperationState.FAILED
    assert world.supervisor.sizing.target == 2
    world.advance(12)
    world.settle()
    assert world.ready() == 2


def test_a_drain_and_an_undrain_take_each_others_place(world: World) -> None:
    drain = world.ask(ch.Drain(who="a"))
    undrain = world.ask(ch.Undrain(who="b"))
    assert world.ask(ch.Undrain(who="c")) is undrain
    assert drain.state is OperationState.SUPERSEDED
    again = world.ask(ch.Drain(who="d"))
    assert undrain.state is OperationState.SUPERSEDED
    world.settle()
    assert again.succeeded
    assert not world.processes


def test_a_stop_fails_every_change_that_is_under_way(world: World) -> None:
    operations = [world.ask(ask) for ask in (ch.Restart(who="a"), ch.Scale(who="b", by=2))]
    world.ask(ch.Stop(who="SIGTERM"))
    assert [operation.state for operation in operations] == [OperationState.FAILED] * 2
    assert {operation.error for operation in operations} == {"the daemon is stopping"}


def test_a_stop_fails_a_drain_that_is_under_way(world: World) -> None:
    operation = world.ask(ch.Drain(who="a"))
    world.do(ch.Stop(who="SIGTERM"))
    assert operation.state is OperationState.FAILED
    world.settle()
    assert world.exit == 0


def test_a_stop_while_a_generation_rolls_ends_its_operation(world: World) -> None:
    reload = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4")
    world.do(ch.Stop(who="SIGTERM"))
    assert reload.state is OperationState.FAILED
    world.settle()
    assert world.exit == 0


# --- a launcher that ends at an awkward time -------------------------------------------------------------------------


def test_a_reload_takes_the_place_of_a_recovery_that_rolls(world: World) -> None:
    world.crash_launcher(1)
    world.advance(0.1)
    world.happen("prepare", "boot", "fork 4", "ready 4")
    reload = world.ask(ch.Reload(who="a"))
    assert world.verdicts[0].kind is ch.Recover
    assert world.verdicts[0].state is OperationState.SUPERSEDED
    world.settle()
    assert reload.succeeded
    assert world.ready(3) == world.ready() == 4


def test_a_recovery_goes_on_trying_when_its_workers_do_not_boot(world: World) -> None:
    world.crash_launcher(1)
    world.advance(0.1)
    world.happen("prepare", "boot", "fork 4", "ready 4")
    for _ in range(5):
        fail_boot(world, 5)
        world.advance(10)
    assert not world.verdicts
    assert world.ready() >= 4
    world.settle()
    assert [operation.state for operation in world.verdicts] == [OperationState.SUCCEEDED]


def test_a_reload_that_fails_has_nothing_to_go_back_to_when_the_old_launcher_is_gone(world: World) -> None:
    reload = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4", "drained 0")
    world.crash_launcher(1)
    assert not reload.ended
    for _ in range(3):
        fail_boot(world, 5)
        world.advance(1)
    assert reload.state is OperationState.FAILED
    assert world.ordered(act.CommitGeneration) == [act.CommitGeneration(2)]
    world.advance(1)
    world.settle()
    assert world.ready(2) == world.ready() == 4, "the new code is all there is"


def test_both_launchers_gone_in_the_middle_of_a_reload_are_succeeded_by_a_third(world: World) -> None:
    reload = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4")
    world.crash_launcher(1)
    world.crash_launcher(2)
    assert reload.state is OperationState.FAILED
    assert world.ready() == 4
    world.advance(0.2)
    world.settle()
    assert world.ready(3) == world.ready() == 4


def test_going_back_keeps_what_is_wanted_and_nothing_else(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4")
    world.do(ev.RecycleAsked(3, "requests"))
    world.happen("ready 4")
    assert world.table.worker(1).leaving == "generation 2 takes over"  # type: ignore[union-attr]
    world.crash_launcher(2)
    assert not world.table.worker(1).leaving  # type: ignore[union-attr]
    assert world.table.worker(3).leaving == "recycled (requests)"  # type: ignore[union-attr]
    world.settle()
    assert world.ready(1) == world.ready() == 4
    assert 3 not in world.processes


def test_a_launcher_that_is_killed_already_when_its_time_is_over_is_not_killed_again(world: World) -> None:
    reload = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot")
    world.advance(11)  # it does not answer the order to fork, nor does it end
    world.advance(60)
    assert reload.state is OperationState.FAILED
    assert [action.generation for action in world.ordered(act.KillLauncher)] == [2]


def test_a_launcher_that_lived_long_is_tried_again_at_once(world: World) -> None:
    for number in (1, 2, 3):
        world.advance(60)
        world.crash_launcher(number)
        wakeup = world.supervisor.next_wakeup()
        assert wakeup == pytest.approx(world.now + 0.1)
        world.advance(0.1)
        world.settle()
    assert world.ready(4) == 4


def test_the_launcher_of_a_generation_that_is_given_up_ends_without_a_word(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.happen("prepare")
    world.advance(61)
    world.actions.clear()
    world.crash_launcher(2)
    assert not world.actions
    assert list(world.table.generations) == [1]


def test_a_launcher_is_ordered_to_be_killed_once(world: World) -> None:
    world.do(ch.Scale(who="a", by=1))
    world.do(ev.WorkerDied(0))
    world.advance(11)
    world.advance(11)
    assert [action.generation for action in world.ordered(act.KillLauncher)] == [1]


def test_a_stop_at_once_kills_what_does_not_end_and_leaves_behind_what_the_kernel_keeps(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.settle(but="drained")
    world.do(ch.Stop(who="SIGQUIT", now=True))
    world.pending.clear()  # nothing of it ends
    world.advance(5)
    assert sorted(action.generation for action in world.ordered(act.KillLauncher)) == [1, 2]
    assert world.exit is None
    world.advance(5)
    assert world.exit == 0
    (line,) = world.logged("left behind", "error")
    assert line.message.count("worker") == 8
    assert "the launcher of generation 1" in line.message


def test_a_third_stop_changes_nothing(world: World) -> None:
    operation = world.ask(ch.Stop(who="SIGTERM"))
    world.ask(ch.Stop(who="SIGTERM"))
    world.actions.clear()
    assert world.ask(ch.Stop(who="SIGTERM")) is operation
    assert [type(action) for action in world.actions] == [act.ChangeAccepted]
    world.settle()
    assert world.exit == 0
    assert world.ask(ch.Stop(who="SIGTERM")) is operation


def test_a_stop_at_once_during_the_delay_shrinks_the_backlogs_first() -> None:
    world = World(plan=ev.Plan(workers=2, stop_delay=5))
    world.start()
    world.do(ch.Stop(who="SIGTERM"))
    assert not world.ordered(act.ShrinkBacklogs)
    world.do(ch.Stop(who="SIGTERM"))
    assert len(world.ordered(act.ShrinkBacklogs)) == 1
    assert len(world.ordered(act.KillWorker)) == 2


def test_workers_that_boot_during_a_stop_are_killed_as_they_appear(world: World) -> None:
    world.do(ch.Scale(who="a", by=1))
    world.do(ch.Stop(who="SIGTERM"))
    assert world.processes[4].state == "forking"
    world.happen("fork 4")
    assert [action.slot for action in world.ordered(act.KillWorker)] == [4]
    world.settle()
    assert world.exit == 0


# --- plans that change under way -------------------------------------------------------------------------------------


def test_a_probe_waits_until_there_is_room_for_it(world: World) -> None:
    world.do(ch.Restart(who="a"))  # its replacement has the only place beyond the target
    world.do(ch.Reload(who="b"))
    world.happen("prepare", "boot")
    assert not any(process.generation == 2 for process in world.processes.values())
    world.happen("fork 4", "ready 4")
    assert world.states()[5] == "forking 2", "before the next of the restart: it has a deadline"
    world.settle()
    assert world.ready(2) == world.ready() == 4
    assert [operation.state for operation in world.verdicts] == [OperationState.SUCCEEDED] * 2


def test_a_probe_that_finds_no_room_in_time_fails_the_reload(world: World) -> None:
    world.do(ch.Restart(who="a"))
    world.happen("fork 4")
    reload = world.ask(ch.Reload(who="b"))
    world.happen("prepare", "boot")
    world.table.worker(4).since = world.now + 100  # type: ignore[union-attr]  # boot_timeout does not help
    world.advance(61)
    assert reload.state is OperationState.FAILED
    assert [kill.stacks for kill in world.ordered(act.KillLauncher)] == [Code.BOOT_LATE]


def test_a_reload_to_fewer_workers_takes_away_what_is_surplus_at_once(world: World) -> None:
    world.next_plan = ev.Plan(workers=1)
    world.do(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4")
    assert world.ready() <= 2
    world.settle()
    assert world.ready(2) == world.ready() == 1


def test_a_stray_of_a_failed_generation_is_the_first_to_go_when_scaling_down() -> None:
    world = World(preloaded=False)
    world.start()
    world.do(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4", "drained 0")
    for _ in range(3):
        fail_boot(world, 5)
        world.advance(0.5)
    world.settle()
    assert (world.ready(1), world.ready(2)) == (3, 1)
    world.busy = {1, 2, 3}
    world.do(ch.Scale(who="a", to=3))
    assert world.ready(2) == 0
    assert world.ready(1) == 3


def test_a_note_of_the_launcher_is_logged(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.happen("prepare")
    world.do(ev.LauncherReady(2, False, "a thread was left running"))
    assert world.logged("each worker imports the application by itself: a thread was left running", "warning")


def test_the_log_level_is_an_operation_like_any_other(world: World) -> None:
    for level, detail in (("debug", "debug"), (None, "as configured")):
        operation = world.ask(ch.SetLogLevel(who="a", level=level))
        assert operation.succeeded
        assert operation.detail == detail
        assert world.ordered(act.OverrideLogLevel)[-1] == act.OverrideLogLevel(level)


@pytest.mark.parametrize("ask", [ch.Scale(who="a", to=0), ch.Scale(who="a", by=-4)])
def test_no_workers_at_all_is_refused(world: World, ask: ch.Scale) -> None:
    (refused,) = world.do(ask)
    assert isinstance(refused, act.ChangeDeclined)
    assert "at least 1 worker" in refused.reason


def test_more_workers_than_slots_are_refused(world: World) -> None:
    (refused,) = world.do(ch.Scale(who="a", to=100_000))
    assert isinstance(refused, act.ChangeDeclined)
    assert "do not fit" in refused.reason


def test_operations_are_remembered_by_number_and_then_forgotten(world: World) -> None:
    first = world.ask(ch.SetLogLevel(who="a", level="debug"))
    ledger = world.supervisor.ledger
    assert ledger.get(first.id) is first
    assert ledger.get(first.id + 1) is None
    for _ in range(KEPT):
        last = world.ask(ch.SetLogLevel(who="a", level="debug"))
    assert ledger.get(first.id) is None
    assert next(iter(ledger)) is last


# --- what is counted, and how long it may take -----------------------------------------------------------------------


def test_a_slots_losses_are_counted_on_whatever_becomes_of_its_reservation(world: World) -> None:
    for times in (1, 2, 3):
        world.crash(1)
        assert (world.table.slots[1].restarts, world.table.slots[1].failures) == (times, times)
        world.advance(1)
        world.settle()
    world.crash(1)
    world.do(ch.Scale(who="a", to=1))
    assert (world.table.slots[1].restarts, world.table.slots[1].failures) == (4, 0), "released: a clean record"


def test_what_ends_during_the_delay_of_a_stop_is_not_succeeded() -> None:
    world = World(plan=ev.Plan(workers=2, stop_delay=5))
    world.start()
    world.do(ch.Stop(who="SIGTERM"))
    world.crash(1)
    world.crash_launcher(1)
    assert not world.table.reserved()
    assert not world.logged("the next one in")
    assert not world.logged("a new one boots")
    world.advance(6)
    world.settle()
    assert world.exit == 0
    assert not world.ordered(act.PrepareGeneration)[1:]


@pytest.mark.parametrize("how", ["time out", "are wedged"])
def test_new_workers_that_hang_again_and_again_fail_the_reload(world: World, how: str) -> None:
    reload = world.ask(ch.Reload(who="a"))
    world.happen("prepare", "boot", "fork 4", "ready 4")
    for _ in range(12):  # three times the target
        assert not reload.ended
        slot = next(slot for slot, process in world.processes.items() if process.generation == 2)
        while world.processes[slot].state != "ready":
            world.happen(f"{'fork' if world.processes[slot].state == 'forking' else 'ready'} {slot}")
        world.do(ev.RequestTimedOut(slot, 31, "GET /") if how == "time out" else ev.Wedged(slot, 31))
        world.happen(f"{'drained' if how == 'time out' else 'killed'} {slot}")
        if reload.ended:
            break
    assert reload.state is OperationState.FAILED
    world.settle()
    assert world.ready(1) == world.ready() == 4


def test_a_retired_launcher_has_its_time_from_its_last_worker_on(world: World) -> None:
    world.do(ch.Reload(who="a"))
    world.settle(but="drained")
    world.advance(20)
    world.settle(but="launcher exits")
    world.advance(4.9)
    assert not world.ordered(act.KillLauncher)
    world.advance(0.2)
    assert [action.generation for action in world.ordered(act.KillLauncher)] == [1]


def test_a_graceful_stop_ends_too_when_the_kernel_does_not_let_workers_go(world: World) -> None:
    world.do(ch.Stop(who="SIGTERM"))
    world.pending.clear()  # they are told to finish, and later killed: nothing helps
    world.advance(30)
    assert len(world.ordered(act.KillWorker)) == 4
    assert world.exit is None
    world.advance(10)
    assert world.exit == 0
    assert world.logged("left behind", "error")
