"""All orders in which a few threads can take their steps, one after the other, up to a number of preemptions.

Threads are real, but only one runs at a time: each asks for its next step with `Schedule.step`, and a schedule decides
who gets it. `explore` repeats a world until every decision has been made in every way. States that were met before are
not followed again. A preemption is taking the turn from a thread that could have gone on; two of them find nearly every
race (Musuvathi and Qadeer, "Iterative Context Bounding", PLDI 2007).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

STEPS = 2000  # of one schedule: more are an endless loop


class Over(BaseException):
    """Ends a thread whose schedule has been told."""


class World(Protocol):
    """What is explored. Its threads are spawned by its constructor, and call `step` before whatever others can see."""

    def state(self) -> object:
        """All that its threads share, as something hashable."""

    def name(self, thing: object) -> object:
        """What a local variable holds, as something hashable; None if it makes no difference."""

    def check(self) -> None:
        """Called after each step: what must always be so."""

    def rest(self) -> list[Callable[[], None]]:
        """Called when no thread can go on: check what must be so then; what may happen next."""


class Thread:
    """`ready` says whether it can take its next step."""

    def __init__(self, number: int, work: Callable[[], None], schedule: Schedule) -> None:
        self.number = number
        self.ready: Callable[[], object] | None = None
        self.ended = False
        self.turn = threading.Lock()
        self.turn.acquire()
        self._work = work
        self._schedule = schedule
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.turn.acquire()
        try:
            if not self._schedule.over:
                self._work()
        except Over:
            pass
        except BaseException as error:
            self._schedule.fail(error)
        self.ended = True
        self._schedule.leave()

    def frames(self) -> list[FrameType]:
        """Innermost first, without those of this module."""
        frame = sys._current_frames().get(self.thread.ident or 0)
        found = []
        while frame is not None:
            if frame.f_code.co_filename not in {__file__, threading.__file__}:
                found.append(frame)
            frame = frame.f_back
        return found


class Schedule:
    """One order. `decisions` are made as given, then always in the first way; `trail` says what there was to decide."""

    def __init__(self, decisions: list[int], preemptions: int, seen: set[object]) -> None:
        self.trail: list[tuple[int, int]] = []  # which, of how many
        self.over = False
        self._back = threading.Lock()
        self._back.acquire()
        self._world: World | None = None
        self._error: BaseException | None = None
        self._steps = 0
        self._decisions = decisions
        self._preemptions = preemptions
        self._seen = seen
        self._threads: list[Thread] = []
        self._current: Thread | None = None

    def spawn(self, work: Callable[[], None]) -> None:
        self._threads.append(Thread(len(self._threads), work, self))

    def run(self, world: World) -> None:
        """Raises what a thread or a check of the world raises."""
        self._world = world
        self._pass_on()
        self._back.acquire()
        self.over = True
        for thread in self._threads:
            if not thread.ended:
                thread.turn.release()
                thread.thread.join()
        if self._error is not None:
            raise self._error

    # --- in its threads ---

    def step(self, ready: Callable[[], object] | None = None) -> None:
        """Wait for the turn, and until `ready()`; in a thread of the world. Elsewhere it does nothing."""
        me = self._current
        if me is None or threading.get_ident() != me.thread.ident:
            return
        if self.over:
            raise Over
        me.ready = ready
        if self._pass_on() is not me:
            me.turn.acquire()
            if self.over:
                raise Over

    def leave(self) -> None:
        """A thread has ended."""
        if not self.over:
            self._pass_on()

    def fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error

    def _pass_on(self) -> Thread | None:
        """Choose who takes the next step, and let it if it is not the caller; None: the schedule has been told."""
        last = self._current
        chosen = None
        try:
            if self._error is None:
                chosen = self._choose(last)
        except BaseException as error:
            self.fail(error)
        if chosen is None:
            self.over = True
            self._back.release()
        elif chosen is not last:
            self._current = chosen
            chosen.turn.release()
        return chosen

    def _choose(self, last: Thread | None) -> Thread | None:
        assert self._world is not None
        self._world.check()
        self._steps += 1
        assert self._steps < STEPS, "it does not end"
        while True:
            able = [thread for thread in self._threads if not thread.ended and (not thread.ready or thread.ready())]
            if able:
                break
            happenings = self._world.rest()
            if not happenings:
                return None
            happenings[self._decide(len(happenings))]()
        if last in able:
            able.remove(last)
            able.insert(0, last)
            if not self._preemptions:
                able = able[:1]
        if len(able) > 1 and len(self.trail) >= len(self._decisions) and self._known(self._world, last):
            return None
        chosen = able[self._decide(len(able))]
        if chosen is not last and able[0] is last:
            self._preemptions -= 1
        return chosen

    def _decide(self, options: int) -> int:
        at = len(self.trail)
        chosen = self._decisions[at] if at < len(self._decisions) else 0
        self.trail.append((chosen, options))
        return chosen

    def _known(self, world: World, last: Thread | None) -> bool:
        """Whether this state has been met with as many preemptions left."""
        where: list[Any] = [world.state(), last and last.number, self._preemptions]
        for thread in self._threads:
            if thread.ended:
                where.append(None)
                continue
            for frame in thread.frames():
                held = tuple(map(world.name, frame.f_locals.values()))
                where.append((thread.number, frame.f_code.co_name, frame.f_lasti, held))
        key = tuple(where)
        if key in self._seen:
            return True
        self._seen.add(key)
        return False


def explore(make: Callable[[Schedule], World], preemptions: int) -> int:
    """Run every schedule of the world that `make` builds; how many there were. Raises what the first fault raises."""
    decisions: list[int] = []
    seen: set[object] = set()
    count = 0
    while True:
        schedule = Schedule(decisions, preemptions, seen)
        schedule.run(make(schedule))
        count += 1
        trail = schedule.trail
        while trail and trail[-1][0] + 1 == trail[-1][1]:
            trail.pop()
        if not trail:
            return count
        decisions = [chosen for chosen, _options in trail]
        decisions[-1] += 1
