"""The rules of the threads, on real ones: one owner of the loop, no work forgotten, no thread too many.

The order of each race is in test_thread_pool_schedules.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from miniwsgi.daemon.worker.pools.epoll import stalls as stalls_module
from miniwsgi.daemon.worker.pools.epoll import threads as threads_module
from miniwsgi.daemon.worker.pools.epoll.threads import Thread, ThreadPool
from miniwsgi.metrics.board import Board

from tests.support.waiting import PATIENCE_SECONDS, wait_for

from . import thread_pool_world
from .thread_pool_world import Pool

SLOT = Board.create().slot(0)
SOON_ENOUGH_SECONDS = 15.0  # for what nobody else would do later


def nothing() -> None:
    pass


class Held:
    """A call that lasts until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.free = threading.Event()
        self.over = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.free.wait(PATIENCE_SECONDS)
        self.over.set()

    def let_go(self) -> None:
        self.free.set()


def test_what_is_fast_stays_with_the_owner(monkeypatch):
    monkeypatch.setattr(threads_module, "_WATCH_NS", 10**9)
    with Pool(4) as pool:
        tasks = [pool.do(nothing) for _ in range(100)]
        wait_for(lambda: all(task.done for task in tasks))
        assert {tuple(task.threads) for task in tasks} == {(0,)}
        assert len(pool.pool.threads) == 1


@pytest.mark.parametrize("calm", [True, False])
def test_a_call_that_lasts_costs_its_thread_the_loop_and_nothing_else(calm):
    with Pool(4) as pool:
        pool.pool.long_call_ns = 0 if calm else time.monotonic_ns() + 10**12
        held = Held()
        slow = pool.do(held)
        assert held.begun.wait(PATIENCE_SECONDS)
        other = pool.do(nothing)
        wait_for(lambda: other.done)
        assert not slow.done
        assert other.threads != slow.threads
        held.let_go()
        wait_for(lambda: slow.done)
        assert slow.runs == 1


def test_a_relief_takes_the_loop_from_a_call_that_blocks_whoever_watches(monkeypatch):
    monkeypatch.setattr(threads_module, "_WATCH_NS", 10**15)  # the watcher takes nothing
    with Pool(4) as pool:
        for losses in (1, 2):  # by a thread that is new, and by one that was parked
            held = Held()

            def call(held: Held = held) -> None:
                pool.pool.stand_by()  # here, so that the relief cannot come before the call
                held()

            slow = pool.do(call)
            other = pool.do(nothing)
            try:
                wait_for(lambda other=other: other.done, "the loop's being taken", SOON_ENOUGH_SECONDS)
                assert (slow.done, pool.losses) == (False, losses)
            finally:
                held.let_go()
            wait_for(lambda slow=slow: slow.done)
        assert len(pool.pool.threads) <= 3


def test_a_relief_that_finds_no_call_parks_again(monkeypatch):
    monkeypatch.setattr(threads_module, "_WATCH_NS", 10**15)
    with Pool(4) as pool:
        for _ in range(3):
            pool.pool.stand_by()
            wait_for(lambda: pool.pool._relief is None and len(pool.pool._parked) == 1)
            task = pool.do(nothing)
            wait_for(lambda task=task: task.done)
            assert task.threads == [0]
        assert (pool.losses, len(pool.pool.threads)) == (0, 2)


def test_an_owner_that_rests_is_woken_once_when_few_requests_are_left():
    woken: list[int] = []

    def work(_me: Thread, _request: object) -> None:
        if not pool.backlog:
            pool.end()

    def wake() -> None:
        woken.append(len(pool.backlog))

    pool = ThreadPool(SLOT, 8, 0, lambda _me: False, work, nothing, wake, nothing)  # type: ignore[arg-type]
    pool._free.clear()  # the owner, which rests, is another thread
    pool.backlog.extend(range(6))  # type: ignore[arg-type]
    assert pool.may_rest()
    pool._run_thread(pool.threads[0])
    assert woken == [2]


def test_two_who_hire_at_once_do_not_hire_the_same(monkeypatch):
    """The owner gives work away while the watcher looks for its successor."""
    entered = threading.Barrier(2)

    class SlowThread(Thread):
        __slots__ = ()

        def __init__(self, *arguments):
            super().__init__(*arguments)
            try:
                entered.wait(0.2)
            except threading.BrokenBarrierError:
                pass  # the other waits until this one is through

    pool = Pool(8)
    monkeypatch.setattr(threads_module, "Thread", SlowThread)
    hiring = [threading.Thread(target=pool.pool.unpark) for _ in range(2)]
    for thread in hiring:
        thread.start()
    for thread in hiring:
        thread.join()
    assert [member.number for member in pool.pool.threads] == [0, 1, 2]
    with pool:
        pass


@pytest.mark.parametrize("size", [2, 3, 8])
def test_given_work_is_done_by_as_many_threads_as_there_are_and_no_more(size):
    with Pool(size) as pool:
        calls = [Held() for _ in range(3 * size)]
        tasks = [pool.do(held, give=True) for held in calls]
        wait_for(lambda: sum(held.begun.is_set() for held in calls) == size)
        inline = pool.do(nothing, give=False)  # the owner is free
        wait_for(lambda: inline.done)
        for held in calls:
            held.let_go()
        wait_for(lambda: all(task.done for task in tasks))
        assert pool.most_running in {size, size + 1}  # the inline one beside them
        pool.most_running = size
        assert len(pool.pool.threads) == size + 1


@pytest.mark.parametrize("busy", [False, True])
def test_posted_work_goes_to_the_thread_that_owns_it(busy):
    with Pool(4) as pool:
        task = pool.do(nothing, give=True)
        wait_for(lambda: task.done)
        others = []
        if busy:
            others = [Held() for _ in range(3)]
            for held in others:
                pool.do(held, give=True)
            wait_for(lambda: all(held.begun.is_set() for held in others))
        pool.post(task)
        for held in others:
            held.let_go()
        wait_for(lambda: task.runs == 2)
        assert len(set(task.threads)) == 1


def test_an_owner_with_results_of_its_own_goes_on_with_them_once_a_thread_is_free_and_before_others_get_work():
    with Pool(2) as pool:
        mine = pool.do(nothing)
        wait_for(lambda: mine.done)
        calls = [Held() for _ in range(4)]
        for held in calls:
            pool.do(held, give=True)
        wait_for(lambda: pool.running == 2)
        assert pool.owning == mine.threads
        again = Held()
        mine.call = again
        pool.post(mine)
        wait_for(lambda: pool.pool._reserved)
        assert not again.begun.is_set()
        calls[0].let_go()
        assert again.begun.wait(PATIENCE_SECONDS)
        wait_for(lambda: pool.losses)
        other = pool.do(nothing, give=True)  # somebody leads beside it
        wait_for(lambda: pool.owning and pool.owning != mine.threads[:1])
        assert set(mine.threads) == {0}
        for held in (again, *calls):
            held.let_go()
        wait_for(lambda: mine.runs == 2 and other.done and all(held.over.is_set() for held in calls))


def test_the_watcher_sleeps_when_nothing_is_called_and_wakes_with_the_next_call(monkeypatch):
    monkeypatch.setattr(threads_module, "_IDLE_LOOKS", 2)
    with Pool(4) as pool:
        for _ in range(5):
            pool.do(nothing)
            wait_for(lambda: not pool.pool.watching)
            held = Held()
            task = pool.do(held)
            assert held.begun.wait(PATIENCE_SECONDS)
            other = pool.do(nothing)
            wait_for(lambda other=other: other.done)
            assert not task.done
            held.let_go()
            wait_for(lambda task=task: task.done)


class Looks:
    """The clock of a pool: it goes on while the watcher sleeps, by as much as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 10**12
        self._sleeps = threading.Semaphore(0)
        self._steps: list[int] = []
        self._wakes = threading.Semaphore(0)
        clock = SimpleNamespace(sleep=self._sleep, monotonic_ns=lambda: self.now, process_time_ns=lambda: 0)
        for module in (threads_module, stalls_module, thread_pool_world):
            monkeypatch.setattr(module, "time", clock)

    def _sleep(self, _seconds: float) -> None:
        self._sleeps.release()
        assert self._wakes.acquire(timeout=PATIENCE_SECONDS)
        self.now += self._steps.pop()

    def wait(self) -> None:
        """Until the watcher sleeps."""
        assert self._sleeps.acquire(timeout=PATIENCE_SECONDS)

    def look(self, milliseconds: float) -> None:
        """Have it wake after so long, and look."""
        self.wake(milliseconds)
        self.wait()

    def wake(self, milliseconds: float) -> None:
        self._steps.append(int(milliseconds * 1_000_000))
        self._wakes.release()


def test_a_call_in_which_the_process_was_stopped_does_not_last(monkeypatch):
    looks = Looks(monkeypatch)
    with Pool(4) as pool:
        held = Held()
        pool.do(held)
        assert held.begun.wait(PATIENCE_SECONDS)
        looks.wait()
        looks.look(62)
        assert pool.losses == 0
        looks.look(2)
        assert pool.losses == 0
        looks.look(2.1)
        assert pool.losses == 1
        held.let_go()
        pool.pool.end()
        looks.wake(2)


def test_a_call_that_lasts_is_seen_where_every_wake_up_is_late(monkeypatch):
    looks = Looks(monkeypatch)
    with Pool(4) as pool:
        held = Held()
        pool.do(held)
        assert held.begun.wait(PATIENCE_SECONDS)
        looks.wait()
        for _ in range(10):
            looks.look(100)
        assert pool.losses == 1
        held.let_go()
        pool.pool.end()
        looks.wake(2)


def test_the_watcher_looks_less_often_while_all_calls_are_short(monkeypatch):
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        time.sleep(seconds)

    monkeypatch.setattr(threads_module, "time", SimpleNamespace(sleep=sleep, monotonic_ns=time.monotonic_ns))
    with Pool(4) as pool:
        pool.pool.long_call_ns = 0
        for calm in (True, False, True):
            begun = len(pauses)
            expected = threads_module.CALM_WATCH_SECONDS if calm else threads_module.WATCH_SECONDS
            while len(pauses) < begun + 4:
                task = pool.do(nothing)
                wait_for(lambda task=task: task.done)
            assert set(pauses[begun + 1 :]) == {expected}  # the first may have been decided before
            pool.pool.long_call_ns = 10**30 if calm else 0


def test_all_threads_end_with_the_pool():
    with Pool(6) as pool:
        calls = [Held() for _ in range(6)]
        for held in calls:
            pool.do(held, give=True)
        wait_for(lambda: all(held.begun.is_set() for held in calls))
        for held in calls:
            held.let_go()
    wait_for(lambda: not set(threading.enumerate()) & set(pool.threads))
    assert len(pool.threads) == 6


def test_a_thread_that_breaks_is_told_of():
    pool = Pool(2)
    pool.__enter__()

    def broken():
        raise MemoryError("in the own code of the threads")

    pool.do(broken, give=True)
    wait_for(lambda: pool.deaths)
    assert isinstance(pool.deaths.pop(), MemoryError)
    pool.__exit__(None)


def test_work_waits_while_no_thread_can_be_started(monkeypatch):
    """As when the unit's TasksMax is reached: nothing is lost, and nobody is hired twice."""
    real, failing = threading.Thread.start, threading.Event()

    def start(thread):
        if failing.is_set() and thread.name.startswith("mw-"):
            raise RuntimeError("can't start new thread")
        real(thread)

    with Pool(3) as pool:
        monkeypatch.setattr(threading.Thread, "start", start)
        failing.set()
        held = Held()
        slow = pool.do(held)  # nobody watches, nobody takes the loop
        assert held.begun.wait(PATIENCE_SECONDS)
        given = pool.do(nothing, give=True)
        held.let_go()
        wait_for(lambda: slow.done and pool.refusals)
        assert not given.done
        assert [member.number for member in pool.pool.threads] == [0]
        failing.clear()
        later = pool.do(nothing, give=True)
        wait_for(lambda: later.done and given.done)
        held = Held()
        slow = pool.do(held)
        assert held.begun.wait(PATIENCE_SECONDS)
        other = pool.do(nothing)
        wait_for(lambda: other.done)
        held.let_go()


def test_no_relief_stands_by_while_no_thread_can_be_started(monkeypatch):
    def start(*_arguments, **_named):
        raise RuntimeError("can't start new thread")

    pool = Pool(4)
    monkeypatch.setattr(threads_module, "start_thread", start)
    pool.pool.stand_by()
    assert (pool.pool._relief, len(pool.pool.threads)) == (None, 1)
    monkeypatch.undo()
    pool.pool.stand_by()
    assert len(pool.pool.threads) == 2
    with pool:
        pass


def test_random_work_under_a_restless_scheduler():
    """Calls around the watcher's threshold, given, inline and posted; switches as often as the interpreter can."""
    interval = sys.getswitchinterval()
    generator = random.Random(7)
    sys.setswitchinterval(1e-6)
    try:
        with Pool(4) as pool:
            pool.size = 5  # an inline call may begin while four others run: this owner does not count
            tasks = []
            for number in range(1500):
                seconds = generator.choice([0, 0, 0.0005, 0.0019, 0.002, 0.0021, 0.003])
                tasks.append(pool.do(lambda seconds=seconds: time.sleep(seconds), give=generator.random() < 0.3))
                if number % 7 == 0 and tasks[number // 2].done:
                    pool.post(tasks[number // 2])
                if number % 50 == 0:
                    wait_for(lambda last=tasks[-1]: last.done)
            wait_for(lambda: all(task.done for task in tasks), f"{pool.pool}")
            assert pool.losses > 0
            assert all(len(set(task.threads)) == 1 for task in tasks)
            assert len(pool.pool.threads) <= 5
    finally:
        sys.setswitchinterval(interval)
