"""What makes the epoll pool hand requests over: calls that block, and nothing else that makes a call long.

The machine is made of numbers: what takes time in it says whether the process computed, waited for a processor or for
something else, and whether the watcher could run meanwhile.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from miniwsgi.daemon.worker.pools.epoll import pace as pace_module
from miniwsgi.daemon.worker.pools.epoll import stalls as stalls_module
from miniwsgi.daemon.worker.pools.epoll.loop import CHECK_NS
from miniwsgi.daemon.worker.pools.epoll.pace import LONG_NS, PATIENCE_NS, Pace
from miniwsgi.daemon.worker.pools.epoll.stalls import Stalls, run_delay_ns

MS = 1_000_000


class Machine:
    """A worker's clocks, its watcher, which sleeps `pause_ns` at a time, and its pace."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pause_ns: int = 2 * MS) -> None:
        self.now = self.computed = self.delayed = 0
        self.requests = 0
        self.looks = 0
        clocks = SimpleNamespace(monotonic_ns=lambda: self.now, process_time_ns=lambda: self.computed)
        monkeypatch.setattr(pace_module, "time", clocks)
        monkeypatch.setattr(stalls_module, "time", clocks)
        self.stalls = Stalls()
        self.pace = self.new_pace()
        self._pause_ns = pause_ns
        self._due = 0
        self._sleep()

    def new_pace(self, *, relief: bool = False) -> Pace:
        return Pace(0, self.stalls, lambda: self.delayed, relief=relief)

    def _sleep(self) -> None:
        self._due = self.now + self._pause_ns
        self.stalls.expect(self.now, self._due)

    def pass_time(self, ns: int) -> None:
        """Time in which the watcher can run."""
        ends = self.now + ns
        while self._due <= ends:
            self.now = max(self.now, self._due)
            self.stalls.expect(self.now, self.now)
            self._sleep()
        self.now = ends

    # What takes time inside a call:

    def computes(self, ns: int) -> None:
        self.computed += ns
        self.pass_time(ns)

    def blocks(self, ns: int) -> None:
        self.pass_time(ns)

    def faults(self, ns: int) -> None:
        """It waits for pages from a disk; others have theirs."""
        self.pass_time(ns)

    def is_stopped(self, ns: int) -> None:
        """By SIGSTOP, the freezer, or a machine that is not run itself: no clock of the process goes on."""
        self.now += ns

    def is_throttled(self, ns: int) -> None:
        """By the quota of its cgroup: the same, and the kernel counts it as waiting for a processor."""
        self.delayed += ns
        self.now += ns

    def is_preempted(self, ns: int) -> None:
        """By a neighbour: this thread waits, the watcher gets its turn."""
        self.delayed += ns
        self.pass_time(ns)

    def holds_the_interpreter(self, ns: int) -> None:
        """Compiled code waits without letting go of it: other threads wait as well."""
        self.now += ns

    def call(self, *parts: tuple[Callable[[int], None], int], watcher_first: bool = False) -> None:
        """One request, answered after these parts; in a stall the watcher wakes only behind its end, or before."""
        began = self.now
        for part, ns in parts:
            part(ns)
        if watcher_first:
            self.pass_time(0)
        if self.now - began > LONG_NS:
            self.pace.long_call(began, self.now)
        self.requests += 1
        self.pass_time(0)

    def hello(self, count: int = 1) -> None:
        for _ in range(count):
            self.call((self.computes, 10_000))

    def look(self) -> bool:
        """When its time has come; whether requests are handed over from now on."""
        self.looks += 1
        self.pass_time(max(0, self.looks * CHECK_NS - self.now))
        self.pace.look(self.requests, self.now)
        return self.pace.slow


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


STALLS = ["is_stopped", "is_throttled", "holds_the_interpreter"]


@pytest.mark.parametrize("watcher_first", [False, True])
@pytest.mark.parametrize("milliseconds", [12, 60, 500])
@pytest.mark.parametrize("stall", STALLS)
def test_a_stall_among_few_requests_is_no_blocking(
    machine: Machine, stall: str, milliseconds: int, watcher_first: bool
) -> None:
    machine.hello(2)
    machine.call((machine.computes, 5_000), (getattr(machine, stall), milliseconds * MS), watcher_first=watcher_first)
    machine.hello(2)
    assert not machine.look()
    assert not machine.look()


@pytest.mark.parametrize("asleep", [0, 1, 3, 7])
def test_neither_when_the_watcher_sleeps_long_because_all_is_calm(monkeypatch, asleep: int) -> None:
    machine = Machine(monkeypatch, 8 * MS)
    machine.blocks(asleep * MS)  # outside of calls
    machine.call((machine.is_stopped, 60 * MS))
    assert not machine.look()


def test_neither_when_the_watcher_was_about_to_fall_asleep(machine: Machine) -> None:
    machine.stalls.expect(machine.now, machine.now)
    machine.call((machine.computes, 5_000), (machine.is_stopped, 60 * MS))
    assert not machine.look()


def test_a_watcher_at_rest_is_not_late(machine: Machine) -> None:
    machine.stalls.rest()
    machine.now += 60 * MS
    machine.stalls.expect(machine.now, machine.now)  # roused
    machine.call((machine.blocks, 10 * MS))
    assert machine.look()


def test_a_neighbour_that_takes_the_processor_is_no_blocking(machine: Machine) -> None:
    for _ in range(3):
        for _ in range(10):
            machine.call((machine.computes, 5 * MS), (machine.is_preempted, 5 * MS))
        assert not machine.look()


def test_a_single_turn_of_a_neighbour_among_few_requests_is_none_either(machine: Machine) -> None:
    machine.hello(2)
    machine.call((machine.computes, 5_000), (machine.is_preempted, 4 * MS))
    assert not machine.look()


@pytest.mark.parametrize("milliseconds", [1, 2, 10, 90])
@pytest.mark.parametrize("wait", ["blocks", "faults"])
def test_one_call_that_blocks_is_seen_at_the_next_look(machine: Machine, wait: str, milliseconds: int) -> None:
    machine.call((machine.computes, 50_000), (getattr(machine, wait), milliseconds * MS))
    assert machine.look()


@pytest.mark.parametrize("disturbance", [*STALLS, "is_preempted"])
def test_calls_that_block_are_seen_on_a_machine_that_is_disturbed_as_well(machine: Machine, disturbance: str) -> None:
    for _ in range(5):
        machine.call((machine.blocks, 10 * MS))
        machine.call((machine.blocks, 5 * MS), (getattr(machine, disturbance), 5 * MS), (machine.blocks, 5 * MS))
    assert machine.look()


def test_they_are_seen_where_every_wake_up_is_late(machine: Machine) -> None:
    for _ in range(4):
        machine.call(*[(machine.blocks, 2 * MS), (machine.is_stopped, 3 * MS)] * 4)
    assert machine.look()


def test_computing_is_none(machine: Machine) -> None:
    for _ in range(20):
        machine.call((machine.computes, 5 * MS))
    assert not machine.look()


def test_computing_with_the_interpreter_held_is_counted_once(machine: Machine) -> None:
    """The watcher wakes late for it: were it a stall as well, half of a load would pass for all of it."""

    def computes_alone(ns: int) -> None:
        machine.computed += ns
        machine.now += ns

    for _ in range(4):
        machine.call((computes_alone, 12 * MS), (machine.blocks, 12 * MS))
    assert machine.look()


def test_requests_are_run_by_the_loop_again_when_they_block_no_more(machine: Machine) -> None:
    machine.call((machine.blocks, 10 * MS))
    assert machine.look()
    for _ in range(PATIENCE_NS // CHECK_NS):
        machine.hello()
        assert machine.look()
    machine.hello()
    assert not machine.look()


@pytest.mark.parametrize(("hellos", "mixed"), [(0, False), (4, False), (5, True), (9, True)])
def test_where_few_calls_block_a_relief_stands_by_and_nothing_is_handed_over(
    machine: Machine, hellos: int, mixed: bool
) -> None:
    """Among as many that block, half of them at least, one way costs as much as the other."""
    machine.pace = machine.new_pace(relief=True)
    for _ in range(5):
        machine.call((machine.blocks, 10 * MS))
    machine.hello(hellos)
    assert machine.look() is not mixed
    assert machine.pace.mixed is mixed
    assert repr(machine.pace).startswith("<Pace mixed" if mixed else "<Pace slow")
    while machine.look() or machine.pace.mixed:
        machine.hello()
    assert machine.looks > PATIENCE_NS // CHECK_NS


def test_what_threads_waited_for_a_processor_while_requests_were_handed_over_is_forgotten(machine: Machine) -> None:
    machine.call((machine.blocks, 10 * MS))
    assert machine.look()
    machine.delayed += 10_000 * MS
    while machine.look():
        pass
    machine.call((machine.blocks, 10 * MS))
    assert machine.look()


def test_the_run_delay_is_the_kernels() -> None:
    import os
    import threading

    mine = threading.get_native_id()
    with open(f"/proc/self/task/{mine}/schedstat") as file:
        before = int(file.read().split()[1])
    gc.collect()  # or what other tests have left is closed meanwhile
    descriptors = len(os.listdir("/proc/self/fd"))
    assert before <= run_delay_ns([mine]) < before + 60_000 * MS
    assert run_delay_ns([2**22 + 1]) == 0  # above the largest that the kernel gives
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_only_the_last_stalls_are_kept(machine: Machine) -> None:
    for _ in range(100):
        machine.call((machine.is_stopped, 20 * MS))
    assert repr(machine.stalls).count("ms") == stalls_module._KEPT
