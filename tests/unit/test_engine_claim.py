"""Who gets what several threads want: each order is forced, at every step of the one by the other.

A switch of threads may come between any two instructions. So the other does its part there, once for each place.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from miniwsgi.daemon.engine.claim import Claim, Taken
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.metrics.scoreboard import FIRSTS, REQUESTS, TIMED_OUT

from tests.conformance.case import get

from .conversation_world import NOW, World

WATCHED = ("engine/plain.py", "engine/call.py", "engine/wire.py")
NOWHERE = 10**9
PLACES = {"plain": 300, "compiled": 30}  # at least: compiled code is left only where it calls some that is not


def interrupted(run: Callable[[], Any], at: int, other: Callable[[], object]) -> tuple[Any, bool]:
    """Run, with the other's part before the instruction of this number; the result, and whether it came to that."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if count == at:
                sys.settrace(None)
                other()
                sys.settrace(trace)
            count += 1
        return trace

    sys.settrace(trace)
    try:
        result = run()
    finally:
        sys.settrace(None)
    return result, count > at


def every_place(engine: str, prepare: Callable[[World], object], check: Callable[[World, int], bool]) -> int:
    """`check` is given a world with a request, and a place; False when there was no such place. How many there were.

    The first round comes to no place: in it CPython 3.12.1 tells of no instruction in what compiled code has called.
    """
    at = NOWHERE
    while True:
        world = World(engine)
        prepare(world)
        world.send(get())
        try:
            if not check(world, at) and at != NOWHERE:
                return at
        finally:
            world.near.close()
            world.far.close()
        at = 0 if at == NOWHERE else at + 1


def streamed(world: World) -> None:
    world.answer = lambda: iter([b"one", b"two"])


@pytest.mark.parametrize("prepare", [lambda world: None, streamed], ids=["whole", "streamed"])
def test_the_loop_has_one_owner_wherever_the_watcher_takes_it(engine: str, prepare: Callable[[World], object]) -> None:
    orders = set()

    def check(world: World, at: int) -> bool:
        taken: list[bool] = []

        def watch() -> None:
            try:
                world.calls.take(world.thread.conversation)
            except Taken:
                taken.append(False)
            else:
                taken.append(True)

        outcome, came = interrupted(lambda: world.conversation.serve(world.thread, NOW), at, watch)
        if came:
            orders.update(taken)
            assert (outcome is Outcome.TAKEN) is taken[0]
            assert (outcome is Outcome.IDLE) is not taken[0]
        return came

    assert every_place(engine, prepare, check) > PLACES[engine]
    assert orders == {True, False} or (engine == "compiled" and orders == {True})


@pytest.mark.parametrize("prepare", [lambda world: None, streamed], ids=["whole", "streamed"])
def test_a_request_is_answered_once_wherever_it_expires(engine: str, prepare: Callable[[World], object]) -> None:
    orders = set()

    def check(world: World, at: int) -> bool:
        expired: list[bool] = []

        def expire() -> None:
            expired.append(world.conversation.expire(0, NOW + 10**15) is not None)

        outcome, came = interrupted(lambda: world.conversation.serve(world.thread, NOW), at, expire)
        if not came:
            return False
        orders.update(expired)
        received = world.far.recv(10_000)
        cells = world.context.slot.cells
        assert (cells[REQUESTS], cells[FIRSTS], cells[TIMED_OUT]) == (1, 1, expired[0])
        if not expired[0]:
            assert outcome is Outcome.IDLE
            assert received.startswith(b"HTTP/1.1 200 OK")
            assert received.endswith((b".", b"0\r\n\r\n"))
        elif received.startswith(b"HTTP/1.1 504"):
            assert outcome in {Outcome.LAST, Outcome.GONE}
            assert received.count(b"HTTP/1.1") == 1
        else:  # its head was out: it has no end
            assert outcome in {Outcome.LAST, Outcome.GONE}
            assert not received.endswith(b"0\r\n\r\n")
        assert not world.context.site.answers
        return True

    assert every_place(engine, prepare, check) > PLACES[engine]
    assert orders == {True, False} or (engine == "compiled" and orders == {True})


def test_what_expires_is_told_in_its_own_words_wherever_its_application_ends(engine: str) -> None:
    orders = set()

    def check(world: World, at: int) -> bool:
        conversation, begun, go_on = world.conversation, threading.Event(), threading.Event()
        world.during = lambda: (begun.set(), go_on.wait())
        assert conversation.receive(NOW) is Outcome.REQUEST
        thread = threading.Thread(target=conversation.answer, args=(world.thread, NOW))
        thread.start()
        begun.wait()

        def end() -> None:
            go_on.set()
            thread.join()
            conversation.settle()

        expired, came = interrupted(lambda: conversation.expire(0, NOW + 10**15), at, end)
        if not came:
            end()
            return False
        orders.add(expired is not None)
        assert expired is None or expired.request == "GET /"
        cells = world.context.slot.cells
        assert (cells[REQUESTS], cells[FIRSTS], cells[TIMED_OUT]) == (1, 1, expired is not None)
        assert not world.context.site.answers
        return True

    assert every_place(engine, lambda world: None, check) > 50
    assert orders == {True, False}


def test_of_many_threads_one_gets_it() -> None:
    claim: Claim[int] = Claim()
    got: list[int] = []
    start = threading.Barrier(4)

    def grab(name: int) -> None:
        start.wait()
        for thing in range(2000):
            try:
                claim.take(thing)
            except Taken:
                continue
            got.append(thing)

    for thing in range(2000):
        claim.offer(thing)
    threads = [threading.Thread(target=grab, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(2000))
    assert not claim
