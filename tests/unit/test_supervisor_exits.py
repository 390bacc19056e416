"""Under which reason each worker's exit is counted."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.exits import ExitReason, ProcessEnd
from miniwsgi.daemon.master.supervising.worker_table import WorkerState
from miniwsgi.manager import changes as ch

from .supervisor_world import World

KILLED, SEGFAULT, EXIT_0, EXIT_3 = (
    ProcessEnd(signal="SIGKILL"),
    ProcessEnd(signal="SIGSEGV"),
    ProcessEnd(0),
    ProcessEnd(3),
)


def exits(world: World) -> dict[str, int]:
    return {reason.value: count for reason, count in world.table.exits.items() if count}


def started(workers: int = 2) -> World:
    world = World(ev.Plan(workers=workers))
    world.start()
    return world


@pytest.mark.parametrize(
    ("end", "oom", "reason"),
    [
        (SEGFAULT, False, "crash"),
        (EXIT_3, False, "crash"),
        (EXIT_0, False, "crash"),
        (KILLED, False, "crash"),
        (KILLED, True, "oom"),
        (EXIT_3, True, "crash"),
    ],
)
def test_a_ready_worker_that_is_lost(end: ProcessEnd, oom: bool, reason: str) -> None:
    world = started()
    del world.processes[0]
    world.do(ev.WorkerExited(0, end, oom))
    assert exits(world) == {reason: 1}


def test_nothing_is_counted_before_anything_has_left() -> None:
    world = started()
    assert exits(world) == {}
    assert set(world.table.exits) == set(ExitReason)


def test_a_worker_that_ends_while_it_boots() -> None:
    world = started(1)
    world.ask(ch.Scale(who="test", to=2))
    world.happen("fork 1")
    world.crash(1)
    assert exits(world) == {"boot": 1}


def test_scaling_down() -> None:
    world = started(4)
    world.ask(ch.Scale(who="test", to=1))
    world.settle()
    assert exits(world) == {"scale": 3}


def test_a_reload() -> None:
    world = started(3)
    world.ask(ch.Reload(who="test"))
    world.settle()
    assert exits(world) == {"reload": 3}


def test_a_restart() -> None:
    world = started(3)
    world.ask(ch.Restart(who="test"))
    world.settle()
    assert exits(world) == {"restart": 3}


def test_a_stop() -> None:
    world = started(3)
    world.ask(ch.Stop(who="test"))
    world.settle()
    assert exits(world) == {"stop": 3}


def test_stopping_at_once() -> None:
    world = started(3)
    world.ask(ch.Stop(who="test", now=True))
    world.settle()
    assert exits(world) == {"stop": 3}


@pytest.mark.parametrize("reason", ["rss", "lifetime", "requests"])
def test_recycling(reason: str) -> None:
    world = started()
    world.do(ev.RecycleAsked(1, reason))
    world.settle()
    assert exits(world) == {reason: 1}


def test_a_worker_that_crashes_while_it_waits_for_its_successor_has_crashed() -> None:
    world = started()
    world.do(ev.RecycleAsked(1, "rss"))
    world.crash(1)
    assert exits(world) == {"crash": 1}


def test_a_worker_that_crashes_while_it_drains_has_crashed() -> None:
    world = started()
    world.ask(ch.Scale(who="test", to=1))
    [draining] = world.table.workers(WorkerState.DRAINING)
    world.pending.clear()
    world.crash(draining.slot, SEGFAULT)
    assert exits(world) == {"crash": 1}


def test_a_worker_that_is_killed_after_its_graceful_timeout_counts_as_what_it_left_for() -> None:
    world = started()
    world.ask(ch.Scale(who="test", to=1))
    world.pending.clear()  # it does not finish
    world.advance(world.plan.graceful_timeout + 1)
    world.settle()
    assert exits(world) == {"scale": 1}


def test_request_timeout_and_wedge() -> None:
    world = started()
    world.do(ev.RequestTimedOut(1, 30.2, "GET /report"))
    world.settle()
    assert exits(world) == {"timeout": 1}
    slot = next(iter(world.states()))
    world.do(ev.Wedged(slot, 31.0))
    world.settle()
    assert exits(world) == {"timeout": 1, "wedge": 1}


# --- and what the next worker of its slot is told of it ---


def told(world: World) -> list[tuple[int, bool]]:
    """The slot of each fork that was ordered, and whether its last worker crashed."""
    return [(order.slot, order.after_crash) for order in world.ordered(act.ForkWorker)]


@pytest.mark.parametrize(("end", "oom"), [(SEGFAULT, False), (EXIT_3, False), (KILLED, True)])
def test_a_successor_is_told_of_a_crash_and_the_next_one_of_none(end: ProcessEnd, oom: bool) -> None:
    world = started()
    del world.processes[1]
    world.do(ev.WorkerExited(1, end, oom))
    world.advance(1)
    world.settle()
    assert told(world) == [(0, False), (1, False), (1, True)]
    world.ask(ch.Reload(who="test"))
    world.settle()
    world.ask(ch.Reload(who="test"))
    world.settle()
    assert not any(crashed for _slot, crashed in told(world)[3:])


def test_where_a_worker_crashed_is_told() -> None:
    world = started()
    del world.processes[1]
    world.do(ev.WorkerExited(1, SEGFAULT, running="GET /a", crash="stacks", inside="miniwsgi's compiled engine"))
    told = "was killed by SIGSEGV inside miniwsgi's compiled engine while it ran GET /a"
    assert world.table.slots[1].last_exit == told
    assert any(told in line.message for line in world.ordered(act.LogLine))
