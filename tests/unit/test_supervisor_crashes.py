"""Crashes of workers and launchers as histories: replaced, with back-off, and told once. No process, no real time."""

from __future__ import annotations

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.operations import OperationState
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import EXITED_1, World, running


@pytest.fixture
def world() -> World:
    return running()


# --- crashes ----------------------------------------------------------------------------------------------------------


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
        world.do(ev.WorkerFailed(0, Code.IMPORT_RAISED, "SyntaxError", "Traceback …"))
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


# --- launchers --------------------------------------------------------------------------------------------------------


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
        world.do(
            ev.LauncherFailed(
                world.supervisor.turnover.candidate.number, Code.IMPORT_RAISED, "SyntaxError", "Traceback"
            )
        )  # type: ignore[union-attr]
        world.settle()
    assert times == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert world.ready(1) == 4
    assert sum(bool(line.traceback) for line in world.logged("SyntaxError")) == 1


def test_a_scale_while_no_launcher_boots_fails(world: World) -> None:
    world.crash_launcher(1)
    scale = world.ask(ch.Scale(who="a", by=1))
    world.advance(0.1)
    world.happen("prepare")
    world.do(ev.LauncherFailed(2, Code.IMPORT_RAISED, "SyntaxError"))
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
    world.do(ev.PrepareFailed(2, Code.IMPORT_RAISED, "broken"))
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
