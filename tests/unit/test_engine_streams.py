"""Blocks of a stream that are put together: when they go out, by whom, and in which order with all else.

Every order is forced, and nothing is sent for its age, but where a test says so: see `turn_world`.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from miniwsgi.daemon.engine import choice
from miniwsgi.daemon.engine.contract import Outcome, Stage
from miniwsgi.metrics.scoreboard import ABORTED

from .turn_world import NEVER_NS, World

if "compiled" not in choice.available():
    pytest.skip("no compiled engine in this Python", allow_module_level=True)

BATCHES = 32  # held.h
LAST = b"0\r\n\r\n"
Step = Callable[[], object]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()


def chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


def body_of(answer: bytes) -> bytes:
    """What is behind the head, which is there once."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    return body


def stream(world: World, *blocks: bytes | Step, target: str = "/1") -> list[bytes]:
    """One client's answer; each call between two blocks is followed by a look at what the client has got by then."""
    seen: list[bytes] = []

    def give() -> Iterator[bytes]:
        for block in blocks:
            if callable(block):
                block()
                seen.append(world.got(target))
            else:
                yield block

    world.answers[target] = give
    world.client(target)
    return seen


def nothing() -> None:
    """For a look between two blocks."""


def test_blocks_that_come_quickly_go_out_together_with_the_end(world: World) -> None:
    seen = stream(world, b"one", nothing, b"two", nothing, b"three", nothing)
    assert world.serve(1)
    assert seen == [b"", b"", b""]
    assert body_of(world.got("/1")) == chunk(b"one") + chunk(b"two") + chunk(b"three") + LAST
    assert (world.settled, world.went_on) == (1, [])


def test_blocks_of_an_answer_with_a_length_go_out_with_the_last_one(world: World) -> None:
    world.headers = [("Content-Length", "6")]
    seen = stream(world, b"one", nothing, b"two", nothing)
    world.serve(1)
    assert seen[0] == b""
    assert body_of(seen[1]) == b"onetwo", "nothing follows that it would have to wait for"
    assert world.got("/1") == b""


@pytest.mark.parametrize("limit", ["short_ns", "old_ns"], ids=["was long in the making", "would find old ones"])
def test_a_block_goes_out_with_those_before_it_if_it(world: World, limit: str) -> None:
    held = world.turn.held
    seen = stream(
        world,
        *(b"one", lambda: setattr(held, limit, -1)),
        *(b"two", lambda: setattr(held, limit, NEVER_NS)),
        *(b"three", nothing),
    )
    world.serve(1)
    assert seen[0] == b""
    assert body_of(seen[1]) == chunk(b"one") + chunk(b"two")
    assert seen[2] == b""
    assert world.got("/1") == chunk(b"three") + LAST


def test_the_first_block_of_a_slow_application_goes_at_once(world: World) -> None:
    world.turn.held.short_ns = -1
    seen = stream(world, b"one", nothing)
    world.serve(1)
    assert body_of(seen[0]) == chunk(b"one")


def test_what_is_full_goes_out_before_the_next_block(world: World) -> None:
    blocks = [bytes([65 + number]) * 7000 for number in range(9)]
    seen = stream(world, *(each for block in blocks for each in (block, nothing)))
    world.serve(1)
    assert [bool(each) for each in seen] == [False] * 4 + [True] + [False] * 3 + [True]
    answer = b"".join(seen) + world.got("/1")
    assert body_of(answer) == b"".join(map(chunk, blocks)) + LAST


def test_a_large_block_comes_behind_small_ones(world: World) -> None:
    large = os.urandom(40_000)
    seen = stream(world, b"one", large, nothing, b"two", nothing)
    world.serve(1)
    assert body_of(seen[0]) == chunk(b"one") + chunk(large)
    assert seen[1] == b""
    assert world.got("/1") == chunk(b"two") + LAST


def test_an_empty_block_says_that_there_is_nothing_more_just_now(world: World) -> None:
    seen = stream(world, b"one", nothing, b"", nothing, b"two")
    world.serve(1)
    assert [seen[0], body_of(seen[1])] == [b"", chunk(b"one")]
    assert world.got("/1") == chunk(b"two") + LAST


def test_blocks_that_are_not_bytes_keep_their_place(world: World) -> None:
    stream(world, b"one", bytearray(b"two"), b"three")
    world.serve(1)
    assert body_of(world.got("/1")) == chunk(b"one") + chunk(b"two") + chunk(b"three") + LAST


def test_write_keeps_its_place_between_blocks(world: World) -> None:
    kept: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        kept.append(start_response("200 OK", []))
        kept[0](b"zero")
        return give()

    def give() -> Iterator[bytes]:
        yield b"one"
        kept[0](b"two")
        kept.append(world.got("/1"))
        yield b"three"

    world.context.site.application = application
    world.client("/1")
    world.serve(1)
    assert body_of(kept[1]) == chunk(b"zero") + chunk(b"one") + chunk(b"two")
    assert world.got("/1") == chunk(b"three") + LAST


def test_what_was_given_before_an_exception_is_sent_before_the_connection_is_cut(world: World) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    stream(world, b"one", b"two", fail)
    world.serve(1)
    assert body_of(world.got("/1")) == chunk(b"one") + chunk(b"two")
    assert world.went_on == [("/1", Outcome.LAST)]


@pytest.mark.parametrize("raises", [False, True])
def test_a_result_is_closed_when_its_last_block_is_out(world: World, raises: bool) -> None:
    seen: list[bytes] = []

    class Result:
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            yield b"two"
            if raises:
                raise ValueError("on purpose")

        def close(self) -> None:
            seen.append(world.got("/1"))

    world.answers["/1"] = Result
    world.client("/1")
    world.serve(1)
    assert body_of(seen[0]) == chunk(b"one") + chunk(b"two") + LAST * (not raises)


def _wait(world: World) -> None:
    poller = select.poll()
    poller.register(world.clients["/1"], select.POLLIN)
    assert poller.poll(20_000), "it was not sent"


def test_a_thread_sends_what_is_held_while_the_application_makes_the_next_block(world: World) -> None:
    world.turn.held.late_ns = 700_000
    seen = stream(world, b"one", lambda: _wait(world), b"two", lambda: _wait(world))
    world.serve(1)
    assert [body_of(seen[0]), seen[1]] == [chunk(b"one"), chunk(b"two")]
    assert world.got("/1") == LAST


def test_the_thread_sends_all_blocks_that_are_held(world: World) -> None:
    seen = stream(world, b"one", nothing, b"two", lambda: (world.hurry(), _wait(world)))
    world.serve(1)
    assert [seen[0], body_of(seen[1])] == [b"", chunk(b"one") + chunk(b"two")]
    assert world.got("/1") == LAST


def test_what_is_held_comes_before_the_end_of_a_request_that_lasts_too_long(world: World) -> None:
    def expire() -> None:
        conversation = world.by_target["/1"]
        assert conversation.expire(0, conversation.called_ns + 1)

    seen = stream(world, b"one", b"two", expire, b"three")
    world.serve(1)
    assert body_of(seen[0]) == chunk(b"one") + chunk(b"two")
    assert world.got("/1") == b""
    assert world.clients["/1"].recv(1) == b"", "it is cut"
    assert (world.settled, world.went_on) == (1, [("/1", Outcome.LAST)])


def test_a_child_of_the_application_sends_nothing_of_what_is_held(world: World) -> None:
    def fork() -> None:
        child = os.fork()
        if not child:
            try:
                conversation: Any = world.by_target["/1"]
                conversation.check_client()  # which lets out what is held
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    seen = stream(world, b"one", fork, b"two")
    world.serve(1)
    assert seen == [b""]
    assert body_of(world.got("/1")) == chunk(b"one") + chunk(b"two") + LAST


def test_the_client_has_left(world: World) -> None:
    def leave() -> None:
        world.clients["/1"].close()

    world.got = lambda target: b""  # type: ignore[method-assign]
    stream(world, b"one", leave, b"two")
    world.serve(1)
    assert world.went_on == [("/1", Outcome.GONE)]
    assert (world.settled, world.context.slot.cells[ABORTED]) == (1, 1)
    assert b'" 499 ' in world.lines.lines[0]


def _in_full(world: World, target: str) -> bytes:
    """What the client gets when it reads, and the pool does its part."""
    conversation, got = world.by_target[target], b""
    while True:
        got += world.got(target)
        match conversation.flush():
            case Outcome.RESUME:
                conversation.resume(world.owner, time.monotonic_ns())
                outcome = conversation.settle()
            case found:
                outcome = found
        if outcome not in {Outcome.UNSENT, Outcome.PAUSED}:
            return got + world.got(target)


@pytest.mark.parametrize("late_ns", [NEVER_NS, 1], ids=["sent by its own thread", "sent by the other"])
def test_a_client_that_does_not_read_stops_the_application(world: World, late_ns: int) -> None:
    world.turn.held.late_ns = late_ns
    blocks = [os.urandom(4000) for _ in range(200)]
    given: list[int] = []

    def give() -> Iterator[bytes]:
        for number, block in enumerate(blocks):
            given.append(number)
            yield block

    world.answers["/1"] = give
    slow = world.client("/1")
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    world.serve(1)
    assert world.went_on == [("/1", Outcome.PAUSED)]
    assert 60 < len(given) < 100, "256 KiB are kept, and no more"
    assert body_of(_in_full(world, "/1")) == b"".join(map(chunk, blocks)) + LAST
    assert world.settled == 1


def test_a_stream_goes_on_when_its_thread_has_lost_the_loop(world: World) -> None:
    def lose() -> None:
        world.calls.take(world.by_target["/1"])
        assert world.turn.settle(world.next_owner, time.monotonic_ns())

    seen = stream(world, b"one", lose, b"two", nothing, b"three")
    world.go_on = lambda conversation, outcome, now: 0
    assert world.serve(1) == 0
    assert world.went_on == [("/1", Outcome.TAKEN)]
    assert body_of(b"".join(seen) + world.got("/1")) == chunk(b"one") + chunk(b"two") + chunk(b"three") + LAST
    assert world.by_target["/1"].settle() is Outcome.IDLE


def test_more_streams_at_once_than_there_is_room_for_are_sent_as_they_come(world: World) -> None:
    count = BATCHES + 3
    targets = [f"/{number}" for number in range(count)]
    seen: dict[str, bytes] = {}

    def give(number: int) -> Iterator[bytes]:
        yield b"first"
        seen[targets[number]] = world.got(targets[number])
        if number + 1 < count:  # on another thread, so to say
            world.by_target[targets[number + 1]].serve(world.owner, time.monotonic_ns())
        yield b"second"

    for number, target in enumerate(targets):
        world.answers[target] = lambda number=number: give(number)
        world.client(target)
    world.epoll.unregister(world.by_target[targets[0]].sock)
    world.epoll.register(world.by_target[targets[0]].sock, select.EPOLLIN)
    for target in targets[1:]:
        world.epoll.unregister(world.by_target[target].sock)
    world.serve(1)
    assert [bool(seen[target]) for target in targets] == [False] * BATCHES + [True] * (count - BATCHES)
    for target in targets:
        assert body_of(seen[target] + world.got(target)) == chunk(b"first") + chunk(b"second") + LAST
    assert world.settled == count


def test_each_part_of_a_turn_is_sent_when_it_is_over(world: World) -> None:
    world.owner.turn_ends_ns = 1
    stream(world, b"one", b"two")
    paused = world.by_target["/1"]
    world.serve(1)
    assert world.went_on == [("/1", Outcome.PAUSED)]
    assert body_of(world.got("/1")) == chunk(b"one")
    for expected in (chunk(b"two"), LAST):
        assert paused.flush() is Outcome.RESUME
        outcome = paused.resume(world.owner, time.monotonic_ns())
        assert world.got("/1") == expected
        assert paused.settle() is (Outcome.PAUSED if outcome is Outcome.PAUSED else Outcome.IDLE)


def test_nothing_is_put_together_where_nothing_may_be_held(world: World) -> None:
    world.turn.holds = False
    seen = stream(world, b"one", nothing, b"two", nothing)
    world.serve(1)
    assert [body_of(seen[0]), seen[1]] == [chunk(b"one"), chunk(b"two")]


def test_an_answer_without_chunks_is_the_same(world: World) -> None:
    stream(world, b"one", b"two")
    world.by_target["/1"].sock.recv(1000)
    world.clients["/1"].send(b"GET /1 HTTP/1.0\r\n\r\n")
    world.serve(1)
    assert body_of(world.got("/1")) == b"onetwo"
    assert (world.by_target["/1"].stage, world.went_on) == (Stage.CLOSED, [])


def test_the_next_turn_does_not_put_off_the_thread_that_is_to_send_a_stream(world: World) -> None:
    held = world.turn.held
    held.late_ns = 700_000

    def lose() -> None:
        world.calls.take(world.by_target["/1"])
        held.late_ns = NEVER_NS
        for target in ("/2", "/3"):
            world.client(target)
        world.during["/3"] = lambda: _wait(world)
        world.turn.wait(1)
        assert world.turn.serve(world.next_owner, time.monotonic_ns())
        assert world.is_answered("/2")

    seen = stream(world, b"one", lose, b"two")
    world.go_on = lambda conversation, outcome, now: 0
    world.serve(1)
    assert body_of(seen[0]) == chunk(b"one")
    assert world.got("/1") == chunk(b"two") + LAST
