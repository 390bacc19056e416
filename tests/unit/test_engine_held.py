"""Answers of one turn that wait for each other: when they are sent, by whom, and what is done after that.

Every order is forced, and nothing is sent for its age, but where a test says so: see `turn_world`.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.engine import choice
from miniwsgi.daemon.engine.contract import Conversation, Outcome, Stage
from miniwsgi.metrics.scoreboard import ABORTED

from tests.conformance.case import get
from tests.support.waiting import wait_for

from .turn_world import NEVER_NS, World

if "compiled" not in choice.available():
    pytest.skip("no compiled engine in this Python", allow_module_level=True)

THREAD = "mw-held"
TIMER = "anon_inode:[timerfd]"
SIGNALS = (1 << 64) - 1
UNBLOCKABLE = (1 << 8) | (1 << 18) | (1 << 31) | (1 << 32)  # SIGKILL, SIGSTOP, and what the C library keeps for itself


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()


def see(world: World, target: str, into: list[object]) -> Callable[[], object]:
    """For a call: whether another client has its answer, and how many are settled."""
    return lambda: into.append((world.is_answered(target), world.settled))


def test_answers_are_sent_and_then_settled_in_their_order_when_the_turn_ends(world: World) -> None:
    seen: list[object] = []
    for target in ("/1", "/2", "/3"):
        world.client(target)
    world.during["/3"] = lambda: [see(world, target, seen)() for target in ("/1", "/2")]
    assert world.serve(3)
    assert seen == [(False, 0), (False, 0)]
    assert all(world.is_answered(target) for target in ("/1", "/2", "/3"))
    assert [line.split(b'"')[1] for line in world.lines.lines] == [b"GET /%d HTTP/1.1" % each for each in (1, 2, 3)]
    assert {each.stage for each in world.by_target.values()} == {Stage.READING}
    assert (world.settled, world.turn.served, world.went_on, world.held()) == (3, 3, [], 0)


def test_an_answer_by_an_iterator_of_one_block_is_held_too(world: World) -> None:
    seen: list[object] = []
    world.headers = [("Content-Length", "2")]
    world.answers["/1"] = lambda: iter([b"/1"])
    world.client("/1")
    world.client("/2")
    world.during["/2"] = see(world, "/1", seen)
    world.serve(2)
    assert seen == [(False, 0)]
    assert world.is_answered("/1")


@pytest.mark.parametrize(
    "answer", [lambda: iter([b"/", b"1"]), lambda: [bytes(8193) + b"/1"]], ids=["more blocks than one", "large"]
)
def test_other_answers_are_not_held(world: World, answer: Callable[[], Any]) -> None:
    seen: list[object] = []
    world.answers["/1"] = answer
    world.client("/1")
    world.client("/2")
    world.during["/2"] = lambda: seen.append((bool(world.got("/1")), world.settled))
    world.serve(2)
    assert seen == [(True, 1)]


@pytest.mark.parametrize(
    "change",
    [
        lambda world: setattr(world.turn, "holds", False),
        lambda world: setattr(world.turn.held, "short_ns", 0),
        lambda world: setattr(world.turn.held, "tiny_ns", NEVER_NS),
    ],
    ids=["not wished", "calls are long", "calls are tiny"],
)
def test_nothing_is_held(world: World, change: Callable[[World], None]) -> None:
    seen: list[object] = []
    change(world)
    world.client("/1")
    world.client("/2")
    world.during["/2"] = see(world, "/1", seen)
    world.serve(2)
    assert seen == [(True, 1)]


def test_nothing_is_held_when_there_is_nothing_to_wait_for(world: World) -> None:
    seen: list[object] = []

    class Result(list[bytes]):
        def close(self) -> None:
            see(world, "/1", seen)()

    world.answers["/1"] = lambda: Result([b"/1"])
    world.client("/1")
    world.serve(1)
    assert seen == [(True, 0)]


def test_old_answers_are_sent_before_the_next_call(world: World) -> None:
    seen: list[object] = []
    world.turn.held.old_ns = 0
    for target in ("/1", "/2", "/3"):
        world.client(target)
    world.during["/2"] = see(world, "/1", seen)
    world.during["/3"] = see(world, "/1", seen)
    world.serve(3)
    assert seen == [(False, 0), (True, 2)]


def test_held_answers_come_before_what_is_the_pools(world: World) -> None:
    seen: list[object] = []
    world.client("/1")
    other = world.client("/2")
    other.stage = Stage.ANSWERED
    world.unusual = see(world, "/1", seen)
    world.serve(2)
    assert seen == [(True, 1)]


def test_held_answers_are_out_when_the_pool_looks_at_what_is_no_conversations(world: World) -> None:
    world.client("/1")
    other = world.client("/2").sock.fileno()
    del world.conversations[other]
    world.serve(2)
    assert (world.turn.others, world.is_answered("/1"), world.settled) == ([other], True, 1)


def test_held_answers_come_before_the_end_of_one_that_is_not(world: World) -> None:
    world.client("/1")
    world.client("/2", fields=(b"Connection: close",))
    world.client("/3")
    seen: list[object] = []
    world.go_on = lambda conversation, outcome, now: seen.append((world.is_answered("/1"), world.settled)) or now
    world.serve(3)
    assert seen == [(True, 2)]
    assert world.went_on == [("/2", Outcome.END)]
    assert [line.split(b'"')[1][5:6] for line in world.lines.lines] == [b"1", b"2", b"3"]


def test_what_else_comes_of_an_event_is_told_behind_held_answers(world: World) -> None:
    seen: list[object] = []
    world.client("/1")
    world.client("/2").sock.recv(1000)
    world.clients["/2"].send(b"GET / HT")
    world.go_on = lambda conversation, outcome, now: seen.append((world.is_answered("/1"), world.settled)) or now
    world.serve(2)
    assert seen == [(True, 1)]
    assert world.went_on == [("/2", Outcome.MORE)]


def test_what_comes_of_an_event_is_not_lost_with_the_loop(world: World) -> None:

    class Result(list[bytes]):
        def close(self) -> None:
            world.clients["/1"].close()

    world.answers["/1"] = lambda: Result([b"/1"])
    world.client("/1")
    world.client("/2").sock.recv(1000)
    world.clients["/2"].send(b"GET / HT")
    world.go_on = lambda conversation, outcome, now: 0
    assert world.serve(2) == 0
    world.go_on = lambda conversation, outcome, now: now
    assert world.turn.settle(world.next_owner, time.monotonic_ns())
    assert world.went_on == [("/1", Outcome.GONE), ("/2", Outcome.MORE)]


def test_a_thread_sends_what_is_held_when_a_call_lasts(world: World) -> None:
    """The call ends only when the other client has its answer, which is settled when the call is over."""
    seen: list[object] = []
    world.turn.held.late_ns = 900_000
    world.client("/1")
    world.client("/2")

    def wait() -> None:
        poller = select.poll()
        poller.register(world.clients["/1"], select.POLLIN)
        assert poller.poll(20_000), "it was not sent"
        see(world, "/1", seen)()

    world.during["/2"] = wait
    world.serve(2)
    assert seen == [(True, 0)]
    assert world.got("/1") == b""
    assert world.is_answered("/2")
    assert (world.settled, world.turn.served) == (2, 2)


def test_the_thread_of_a_turn_gets_no_signals_and_ends_with_its_worker() -> None:
    gc.collect()
    before = _threads()
    world = World()
    world.client("/1")
    world.client("/2")
    world.serve(2)
    (thread,) = wait_for(lambda: _threads() - before)  # it gives itself its name
    (timer,) = world.turn.descriptors()
    assert os.readlink(f"/proc/self/fd/{timer}") == TIMER
    status = Path(f"/proc/self/task/{thread}/status").read_text()
    blocked = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk"))
    assert blocked | UNBLOCKABLE == SIGNALS
    world.end()
    del world
    gc.collect()
    wait_for(lambda: not _threads() - before)  # /proc shows a thread for a moment longer than it can be joined


def _threads() -> set[str]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            if (task / "comm").read_text().strip() == THREAD:
                found.add(task.name)
        except OSError:
            pass
    return found


def test_who_takes_the_loop_sends_and_settles_what_is_held(world: World) -> None:
    seen: list[object] = []
    world.client("/1")
    slow = world.client("/2")

    def lose() -> None:
        world.calls.take(slow)
        assert world.turn.settle(world.next_owner, time.monotonic_ns())
        see(world, "/1", seen)()

    world.during["/2"] = lose
    world.go_on = lambda conversation, outcome, now: 0
    assert world.serve(2) == 0
    assert seen == [(True, 1)]
    assert world.went_on == [("/2", Outcome.TAKEN)]
    assert world.is_answered("/2"), "nobody would send it"
    assert (slow.stage, world.settled, world.held()) == (Stage.ANSWERED, 1, 0)
    assert slow.settle() is Outcome.IDLE


def test_an_answer_whose_own_call_loses_the_loop_is_sent_but_settled_when_it_is_given_back(world: World) -> None:
    seen: list[object] = []
    world.client("/1")
    slow = world.client("/2")

    class Result(list[bytes]):
        def close(self) -> None:
            see(world, "/2", seen)()
            world.calls.take(slow)
            assert world.turn.settle(world.next_owner, time.monotonic_ns())
            see(world, "/2", seen)()

    world.answers["/2"] = lambda: Result([b"/2"])
    world.go_on = lambda conversation, outcome, now: 0
    assert world.serve(2) == 0
    assert seen == [(False, 0), (True, 1)]
    assert (slow.stage, world.settled, world.held()) == (Stage.ANSWERED, 1, 0)
    assert slow.settle() is Outcome.IDLE
    assert world.settled == 2


def test_what_is_not_settled_when_the_pool_loses_the_loop_is_the_next_owners(world: World) -> None:
    first = world.client("/1")
    second = world.client("/2")
    world.during["/2"] = world.clients["/1"].close
    world.go_on = lambda conversation, outcome, now: 0
    assert world.serve(2) == 0
    assert world.went_on == [("/1", Outcome.GONE)]
    assert (first.stage, second.stage, world.settled) == (Stage.OVER, Stage.ANSWERED, 1)
    assert world.is_answered("/2")
    assert world.turn.settle(world.next_owner, time.monotonic_ns())
    assert (second.stage, world.settled, world.held()) == (Stage.READING, 2, 0)
    assert world.turn.settle(world.next_owner, 7) == 7


@pytest.mark.parametrize("ends_ns", [0, NEVER_NS], ids=["by the pool", "in the turn"])
def test_a_pipeline_is_answered_in_its_order_and_holds_nothing(world: World, ends_ns: int) -> None:
    seen: list[object] = []
    world.turn.ends_ns = ends_ns
    world.client("/1", get(b"/a"), get(b"/b"))
    world.client("/2")
    world.during["/2"] = lambda: seen.append(world.settled)

    def go_on(conversation: Conversation, outcome: Outcome, now: int) -> int:
        while outcome is Outcome.REQUEST:
            outcome = conversation.serve(world.owner, now)
        return now

    world.go_on = go_on
    world.serve(2)
    assert [part[-2:] for part in world.got("/1").split(b"HTTP/1.1 200")[1:]] == [b"/1", b"/a", b"/b"]
    assert seen == [3]
    assert world.settled == 4


def test_a_child_of_the_application_sends_nothing_of_what_is_held(world: World) -> None:
    seen: list[object] = []
    world.client("/1")
    world.client("/2")

    def fork() -> None:
        child = os.fork()
        if not child:
            try:
                world.turn.settle(world.owner, time.monotonic_ns())
                world.turn = None
                gc.collect()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        see(world, "/1", seen)()

    world.during["/2"] = fork
    world.serve(2)
    assert seen == [(False, 0)]
    assert world.is_answered("/1")
    assert world.is_answered("/2")


def test_a_client_that_has_left_meanwhile_is_counted_as_gone(world: World) -> None:
    world.client("/1")
    world.client("/2")
    world.during["/2"] = world.clients["/1"].close
    world.serve(2)
    assert world.went_on == [("/1", Outcome.GONE)]
    assert world.is_answered("/2")
    assert (world.settled, world.context.slot.cells[ABORTED]) == (2, 1)
    assert b'" 499 ' in world.lines.lines[0]


@pytest.mark.parametrize("room", [0, 1], ids=["nothing", "a part"])
def test_what_a_client_does_not_take_is_kept(world: World, room: int) -> None:
    slow = world.client("/1")
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    filled = 0
    try:
        while not room:
            filled += slow.sock.send(bytes(65536))
    except BlockingIOError:
        pass
    body = os.urandom(4000) * 2
    world.answers["/1"] = lambda: [body]
    world.client("/2")
    world.serve(2)
    assert world.went_on == [("/1", Outcome.UNSENT)]
    assert slow.unsent > 0
    assert (slow.unsent < len(body)) is bool(room)
    got = b""
    while True:
        got += world.got("/1")
        outcome = slow.flush()
        if outcome is not Outcome.UNSENT:
            break
    got += world.got("/1")
    assert outcome is Outcome.IDLE
    assert got[filled:].startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"\r\n\r\n" + body)
    assert got.count(b"HTTP/1.1") == 1


def test_what_is_closed_is_forgotten(world: World) -> None:
    held = world.client("/1")
    world.client("/2")
    world.during["/2"] = held.close
    world.serve(2)
    assert world.got("/1") == b""
    assert world.is_answered("/2")
    assert (held.stage, world.settled, world.went_on) == (Stage.CLOSED, 1, [])


def test_a_result_that_has_more_to_do_pauses_behind_its_answer(world: World) -> None:
    world.answers["/2"] = lambda: iter([b"/2"])
    world.client("/1")
    paused = world.client("/2")
    world.owner.turn_ends_ns = 1
    world.serve(2)
    assert world.went_on == [("/2", Outcome.PAUSED)]
    assert world.is_answered("/1")
    assert world.got("/2").endswith(b"2\r\n/2\r\n")  # a chunk: what has a length is over with its last byte
    assert paused.flush() is Outcome.RESUME
    assert paused.resume(world.owner, time.monotonic_ns()) is Outcome.DONE
    assert paused.settle() is Outcome.IDLE


def test_the_request_that_lasts_may_expire(world: World) -> None:
    world.client("/1")
    slow = world.client("/2")
    world.during["/2"] = lambda: slow.expire(0, slow.called_ns + 1)
    world.serve(2)
    assert world.is_answered("/1")
    assert world.got("/2").startswith(b"HTTP/1.1 504 ")


def test_more_than_there_is_room_for_is_sent_as_it_comes(world: World) -> None:
    targets = [f"/{number}" for number in range(50)]
    for target in targets:
        world.client(target)
        world.answers[target] = lambda target=target: [bytes(8000) + target.encode()]
    world.serve(50)
    assert all(world.is_answered(target) for target in targets)
    assert [line.split(b'"')[1].split()[1].decode() for line in world.lines.lines] == targets
    assert (world.settled, world.went_on) == (50, [])
