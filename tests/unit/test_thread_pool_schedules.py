"""Every order of the steps of the threads: somebody always owns the loop, no thread idles while work waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
from miniwsgi.daemon.engine.claim import Taken
from miniwsgi.daemon.worker.pools.epoll.threads import Thread, ThreadPool
from miniwsgi.metrics.board import Board

from .schedules import Schedule, explore

SLOT = Board.create().slot(0)


class Steps:
    """A list, a deque or a claim whose every use is a step."""

    def __init__(self, schedule: Schedule, kept: Any) -> None:
        self._schedule = schedule
        self.kept = kept

    def __getattr__(self, name: str) -> Any:
        self._schedule.step()
        return getattr(self.kept, name)

    def __len__(self) -> int:
        self._schedule.step()
        return len(self.kept)


class Gate:
    """A lock whose every use is a step."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.free = False

    def acquire(self) -> None:
        self._schedule.step(lambda: self.free)
        self.free = False

    def release(self) -> None:
        self._schedule.step()
        if self.free:
            raise RuntimeError("release unlocked lock")
        self.free = True


class Request:
    """`calls`: for each call or resumption, whether it blocks until it is let go. `given`: it is handed over.

    `eager`: its client waits for no rest: it asks right behind the one before, and reads at once.
    """

    def __init__(self, name: str, *calls: bool, given: bool = False, eager: bool = False) -> None:
        self.name = name
        self.calls = list(calls)
        self.given = given
        self.eager = eager
        self.thread: Thread | None = None
        self.free = False

    def __repr__(self) -> str:
        return f"{self.name}{len(self.calls)}{self.free:d}"


class Relief(Enum):
    """Whether a relief stands by at each call."""

    NONE = "none"
    BEFORE = "before"  # as in the loop: it may look too early, then the watcher takes the call
    ALONE = "alone"  # in the midst of the call, and nobody watches


class Pool(ThreadPool):
    """The threads with the loop of the epoll pool around it, without sockets.

    When all is at rest, the next client asks; once all have asked, calls end and clients read.
    """

    _reserve = False
    _left = 0
    _relieves: Thread | None = None

    def __init__(self, schedule: Schedule, size: int, asked: list[Request], relief: Relief = Relief.NONE) -> None:
        self.schedule = schedule
        self.relief = relief
        super().__init__(SLOT, size, 0, self._own, self._run, self._lose, self._ring, self._broke)  # type: ignore[arg-type]
        self._free: Any = Steps(schedule, self._free)
        self._parked: Any = Steps(schedule, self._parked)
        self.backlog: Any = Steps(schedule, self.backlog)
        self.calls: Any = Steps(schedule, self.calls)
        self.returned: Any = Steps(schedule, deque())
        self._instrument(self.threads[0])
        self.asked = asked
        self.arrived: deque[Request] = deque()
        self.readable: deque[Request] = deque()
        self.paused: list[Request] = []
        self.blocked: list[Request] = []
        self.outstanding = 0
        self.rung = False
        self.resting = False
        self.running: list[Request] = []
        self.owners: list[Thread] = []
        self.waiting: list[Thread] = []  # in the poll
        schedule.spawn(self.run)
        if relief is not Relief.ALONE:
            schedule.spawn(self._watcher)

    def __repr__(self) -> str:
        return f"<Pool {self.asked}>"  # without a step: it is told in the midst of one what is wrong

    @property
    def _reserved(self) -> bool:
        self.schedule.step()
        return self._reserve

    @_reserved.setter
    def _reserved(self, value: bool) -> None:
        self.schedule.step()
        self._reserve = value

    @property
    def _scarce(self) -> int:
        self.schedule.step()
        return self._left

    @_scarce.setter
    def _scarce(self, value: int) -> None:
        self.schedule.step()
        self._left = value

    @property
    def _relief(self) -> Thread | None:
        self.schedule.step()
        return self._relieves

    @_relief.setter
    def _relief(self, value: Thread | None) -> None:
        self.schedule.step()
        assert value is None or self._relieves is None, "a second relief is woken beside the first"
        self._relieves = value

    # --- the world ---

    def state(self) -> object:
        shared = (self._free, self._parked, self.backlog, self.returned, self.calls)
        members = tuple(
            (tuple(map(repr, m.mailbox.kept)), m.conversation and m.conversation.name, m.gate.free)
            for m in self.threads
        )  # type: ignore[attr-defined]
        own = (self.asked, self.arrived, self.readable, self.paused, self.blocked, self.running, self.owners)
        return (
            tuple(tuple(map(self.name, steps.kept)) for steps in shared),
            members,
            tuple(tuple(map(self.name, things)) for things in own),  # type: ignore[arg-type]
            (self._reserve, self.name(self._relieves), self.rung, self.outstanding, self.owner.number),
            (self._left, self.resting),
        )

    def name(self, thing: object) -> object:
        if isinstance(thing, Thread):
            return thing.number
        return repr(thing) if isinstance(thing, (Request, bool)) else None

    def check(self) -> None:
        assert len(self.owners) <= 1, "two own the loop"
        assert len(self.running) <= self._size, "one thread more than `threads` runs the application"

    def rest(self) -> list[Callable[[], None]]:
        assert len(self.waiting) == 1, "nobody owns the loop"
        idle = self._size - len(self.running)
        assert not (idle and self.resting), "the owner of the loop rests while a thread idles"
        assert not idle or not (self.backlog.kept or self.waiting[0].mailbox.kept), "a thread idles while work waits"  # type: ignore[attr-defined]
        assert not any(member.mailbox.kept for member in self._parked.kept), "a parked thread has results to go on with"
        assert not self.returned.kept
        assert self._relieves is None, "it is on its feet for good"
        if self.asked:
            return [self._ask]
        events: list[Callable[[], None]] = []
        events.extend(lambda request=request: self._let_go(request) for request in self.blocked)  # type: ignore[misc]
        events.extend(lambda request=request: self._reads(request) for request in self.paused)  # type: ignore[misc]
        return events

    def _ask(self) -> None:
        self.arrived.append(self.asked.pop(0))
        while self.asked and self.asked[0].eager:
            self.arrived.append(self.asked.pop(0))

    def _pause(self, request: Request) -> None:
        (self.readable if request.eager else self.paused).append(request)

    def _let_go(self, request: Request) -> None:
        request.free = True

    def _reads(self, request: Request) -> None:
        self.paused.remove(request)
        self.readable.append(request)

    # --- the pool ---

    def _instrument(self, member: Thread) -> None:
        member.gate = Gate(self.schedule)  # type: ignore[assignment]
        member.mailbox = Steps(self.schedule, member.mailbox)  # type: ignore[assignment]

    def _start(self, work: Callable[..., None], arguments: tuple[Thread, ...], name: str) -> None:
        self._instrument(*arguments)
        self.schedule.spawn(lambda: work(*arguments))

    def _watcher(self) -> None:
        while True:
            self.schedule.step(lambda: self.calls.kept)
            self._take_over(self.owner)

    def _broke(self, error: BaseException) -> None:
        raise error

    def _ring(self) -> None:
        self.schedule.step()
        self.rung = True

    def _lose(self, request: Request) -> None:
        self.schedule.step()
        assert len(self.owners) == 1, "the loop was free before it was told who lost it"
        self.outstanding += 1
        self.owners.clear()

    def _own(self, me: Thread) -> bool:
        self.owners.append(me)
        while True:
            again = bool(me.mailbox) and self.may_resume(self.outstanding - len(me.mailbox))
            self.waiting.append(me)
            if not again and not me.mailbox and self.may_rest():
                self.resting = True
                self.schedule.step(lambda: self.rung)  # it would rest for ever
                self.resting = False
                self.rested()
            elif not again:
                self.schedule.step(lambda: self.rung or self.returned.kept or self.arrived or self.readable)
            self.waiting.remove(me)
            self.rung = False
            while self.returned:
                request = self.returned.popleft()
                self.outstanding -= 1
                if request.calls:
                    self._pause(request)
            if me.mailbox:
                while me.mailbox and self.may_resume(self.outstanding - len(me.mailbox)):
                    self.outstanding -= 1
                    if not self._inline(me, me.mailbox.popleft()):  # type: ignore[arg-type]
                        return False
                if not me.mailbox:
                    self.release()
            while self.readable:
                self.outstanding += 1
                self.post(self.readable.popleft())  # type: ignore[arg-type]
            while self.arrived:
                request = self.arrived.popleft()
                if request.given or self.outstanding >= self._size:
                    self.outstanding += 1
                    self.submit(request)  # type: ignore[arg-type]
                elif not self._inline(me, request):
                    return False

    def _inline(self, me: Thread, request: Request) -> bool:
        if self.relief is Relief.BEFORE:
            self.stand_by()
        me.conversation = request
        self.calls.offer(request)
        if self.relief is Relief.ALONE:
            self.stand_by()
        self._call(me, request)
        try:
            self.calls.take(request)
        except Taken:
            me.conversation = None
            self.returned.append(request)
            return False
        me.conversation = None
        if request.calls:
            self._pause(request)
        return True

    def _run(self, me: Thread, request: Request) -> None:
        self._call(me, request)
        self.returned.append(request)

    def _call(self, me: Thread, request: Request) -> None:
        assert request.thread in {None, me}, "a result goes on in another thread"
        request.thread = me
        self.running.append(request)
        if request.calls.pop(0):
            self.blocked.append(request)
            self.schedule.step(lambda: request.free)
            request.free = False
            self.blocked.remove(request)
        else:
            self.schedule.step()
        self.running.remove(request)


def inline(*calls: bool) -> Callable[[str], Request]:
    return lambda name: Request(name, *calls)


def given(*calls: bool) -> Callable[[str], Request]:
    return lambda name: Request(name, *calls, given=True)


def eager(*calls: bool) -> Callable[[str], Request]:
    return lambda name: Request(name, *calls, given=True, eager=True)


def at_once(*calls: bool) -> Callable[[str], Request]:
    """In the same turn as the one before it."""
    return lambda name: Request(name, *calls, eager=True)


HELD, SHORT = True, False


@pytest.mark.parametrize(
    ("size", "preemptions", "asked"),
    [
        (1, 2, (inline(HELD), inline(SHORT))),
        (1, 3, (inline(SHORT), inline(SHORT))),  # a call may end wherever the watcher is about it
        (2, 3, (inline(SHORT), inline(HELD), inline(SHORT))),
        (1, 2, (given(SHORT), eager(SHORT, SHORT))),  # it comes, or goes on, wherever a thread is about to park
        (2, 1, (inline(HELD), inline(HELD), inline(SHORT))),
        (2, 1, (given(HELD), given(SHORT), inline(HELD))),
        (2, 1, (inline(SHORT, HELD), given(HELD), given(HELD))),  # the owner of the loop owns a result, too
        (2, 1, (inline(SHORT, SHORT), given(HELD), given(HELD), given(HELD))),
        (2, 1, (inline(SHORT, HELD), given(HELD), given(HELD), given(SHORT))),
        (2, 1, (inline(SHORT, HELD), given(SHORT, HELD), given(HELD))),
    ],
)
def test_in_every_order_somebody_owns_the_loop_and_no_thread_idles_while_work_waits(size, preemptions, asked):
    def world(schedule: Schedule) -> Pool:
        return Pool(schedule, size, [make(name) for name, make in zip("abcde", asked, strict=False)])

    assert explore(world, preemptions)


@pytest.mark.parametrize(
    ("size", "preemptions", "asked"),
    [
        (1, 2, (given(HELD), given(SHORT), given(SHORT))),
        (1, 1, (given(HELD), given(HELD), given(SHORT), given(SHORT))),
        (2, 1, (given(HELD), given(HELD), given(SHORT), given(SHORT))),
        (1, 1, (given(SHORT, SHORT), given(HELD), given(SHORT), given(SHORT))),
    ],
)
def test_an_owner_that_rests_is_woken_before_a_thread_idles(size, preemptions, asked):
    rested = []

    class Resting(Pool):
        def may_rest(self) -> bool:
            rested.append(super().may_rest())
            return rested[-1]

    def world(schedule: Schedule) -> Pool:
        return Resting(schedule, size, [make(name) for name, make in zip("abcde", asked, strict=False)])

    assert explore(world, preemptions)
    assert any(rested)


@pytest.mark.parametrize(
    ("size", "preemptions", "asked"),
    [
        (1, 2, (inline(HELD), inline(SHORT))),
        (2, 1, (inline(SHORT), inline(HELD), inline(SHORT))),
        (2, 1, (inline(HELD), inline(HELD), inline(SHORT))),
        (2, 1, (given(HELD), given(SHORT), inline(HELD))),  # the relief finds work, and the loop, at once
        (2, 1, (inline(SHORT, HELD), given(HELD), given(HELD))),
        (2, 1, (inline(SHORT), at_once(SHORT))),  # the relief of the first one may be on its way, then it is enough
    ],
)
def test_so_it_is_where_a_relief_stands_by_besides(size, preemptions, asked):
    def world(schedule: Schedule) -> Pool:
        requests = [make(name) for name, make in zip("abcde", asked, strict=False)]
        return Pool(schedule, size, requests, Relief.BEFORE)

    assert explore(world, preemptions)


@pytest.mark.parametrize(
    ("size", "preemptions", "asked"),
    [
        (1, 2, (inline(HELD), inline(SHORT))),  # by a thread that is new …
        (2, 2, (inline(SHORT), inline(HELD), inline(SHORT))),  # … and by one that has been a relief before
    ],
)
def test_a_relief_takes_the_loop_from_a_call_that_nobody_watches(size, preemptions, asked):
    def world(schedule: Schedule) -> Pool:
        requests = [make(name) for name, make in zip("abcde", asked, strict=False)]
        return Pool(schedule, size, requests, Relief.ALONE)

    assert explore(world, preemptions)
