"""Answers to what a client has sent ahead, put together: when they go out, and what is counted of them, and when.

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
from miniwsgi.daemon.engine.contract import Conversation, Outcome, Stage
from miniwsgi.metrics.scoreboard import ABORTED

from tests.conformance.case import get

from .turn_world import NEVER_NS, World

if "compiled" not in choice.available():
    pytest.skip("no compiled engine in this Python", allow_module_level=True)

Seen = list[tuple[list[bytes], int]]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    made.turn.ends_ns = NEVER_NS
    yield made
    made.end()


def answers(sent: bytes) -> list[bytes]:
    """Their bodies, which are the ends of their targets."""
    return [answer.partition(b"\r\n\r\n")[2] for answer in sent.split(b"HTTP/1.1 200 OK\r\n")[1:]]


def pipeline(world: World, *targets: str, behind: bytes = b"", first: str = "/1") -> Seen:
    """A client asks for the first one and, with it, for these; each is a look at what has come, and is counted."""
    seen: Seen = []
    world.client(first, *(get(target.encode()) for target in targets), behind)
    for target in targets:
        world.during[target] = _looking(world, first, seen, world.during.get(target, lambda: None))
    return seen


def _looking(world: World, client: str, seen: Seen, before: Callable[[], object]) -> Callable[[], object]:
    def look() -> None:
        before()
        seen.append((answers(world.got(client)), world.settled))

    return look


def logged(world: World) -> list[str]:
    return [line.split(b'"')[1].decode().removeprefix("GET ").removesuffix(" HTTP/1.1") for line in world.lines.lines]


def test_they_go_out_together_with_the_last_one_and_are_counted_then(world: World) -> None:
    seen = pipeline(world, "/a", "/b")
    assert world.serve(1)
    assert seen == [([], 0), ([], 0)]
    assert answers(world.got("/1")) == [b"/1", b"/a", b"/b"]
    assert logged(world) == ["/1", "/a", "/b"]
    assert (world.settled, world.turn.served, world.went_on) == (3, 3, [])
    assert world.by_target["/1"].stage is Stage.READING


def test_they_do_not_wait_for_a_request_of_which_only_a_part_is_here(world: World) -> None:
    seen = pipeline(world, "/a", behind=b"GET /b HTTP/1.1\r\nHo")
    world.serve(1)
    assert seen == [([], 0)]
    assert answers(world.got("/1")) == [b"/1", b"/a"]
    assert (world.settled, world.went_on) == (2, [("/1", Outcome.MORE)])


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET /b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"HTTP/1.1 400 "),
        (b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", b"HTTP/1.1 100 "),
        (b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 200 "),
    ],
    ids=["refused", "a body that is to be asked for", "chunks"],
)
def test_they_come_and_are_counted_before_what_is_not_usual(world: World, request_: bytes, answer: bytes) -> None:
    seen: list[int] = []
    world.during["/b"] = lambda: seen.append(world.settled)
    pipeline(world, "/a", behind=request_)

    def go_on(conversation: Conversation, outcome: Outcome, now: int) -> int:
        if outcome is Outcome.REQUEST:
            conversation.serve(world.owner, now)
        return now

    world.go_on = go_on
    world.serve(1)
    assert seen in ([], [2])
    sent = world.got("/1")
    assert sent.count(b"HTTP/1.1 ") == 3
    assert sent[sent.rindex(b"HTTP/1.1 ") :].startswith(answer)
    assert logged(world)[:2] == ["/1", "/a"]


@pytest.mark.parametrize("limit", ["short_ns", "old_ns"], ids=["was long in the making", "would be old"])
def test_an_answer_goes_out_with_those_before_it_if_it(world: World, limit: str) -> None:
    world.during["/a"] = lambda: setattr(world.turn.held, limit, -1)
    world.during["/b"] = lambda: setattr(world.turn.held, limit, NEVER_NS)
    seen = pipeline(world, "/a", "/b", "/c")
    world.serve(1)
    assert seen[:2] == [([], 0), ([b"/1", b"/a"], 2)]
    assert b"".join(answer for found, _ in seen for answer in found) + b"".join(answers(world.got("/1"))) == b"/1/a/b/c"
    assert logged(world) == ["/1", "/a", "/b", "/c"]


def test_nothing_waits_where_calls_are_long(world: World) -> None:
    world.turn.held.short_ns = 0
    seen = pipeline(world, "/a")
    world.serve(1)
    assert seen == [([b"/1"], 1)]


def test_what_there_is_no_room_for_goes_behind_what_is_held(world: World) -> None:
    targets = [f"/{number}" for number in range(2, 12)]
    for target in ("/1", *targets):
        world.answers[target] = lambda target=target: [bytes(7000) + target.encode()]
    pipeline(world, *targets)
    world.during.clear()
    world.serve(1)
    assert [found.lstrip(b"\0").decode() for found in answers(world.got("/1"))] == ["/1", *targets]
    assert logged(world) == ["/1", *targets]
    assert world.settled == 11


def test_streams_and_large_answers_keep_their_place(world: World) -> None:
    large = os.urandom(9000)
    world.answers["/a"] = lambda: iter([b"one", b"two"])
    world.answers["/b"] = lambda: [large]
    world.client("/1", get(b"/a"), get(b"/b"), get(b"/c"))
    world.serve(1)
    assert answers(world.got("/1")) == [b"/1", b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", large, b"/c"]
    assert logged(world) == ["/1", "/a", "/b", "/c"]


def test_early_hints_and_write_come_behind_what_is_held(world: World) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/a":
            environ["wsgi.early_hints"]([("Link", "</x>")])
        write = start_response("200 OK", [])
        if path == "/b":
            write(b"written ")
        return [path.encode()]

    world.context.site.application = application
    world.client("/1", *(get(target) for target in (b"/a", b"/b", b"/c")))
    world.serve(1)
    sent = world.got("/1")
    order = [
        sent.index(part) for part in (b"/1", b"HTTP/1.1 103", b"/a", b"8\r\nwritten ", b"2\r\n/b", b"0\r\n\r\n", b"/c")
    ]
    assert order == sorted(order)
    assert world.settled == 4


def test_an_error_comes_behind_what_is_held(world: World) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    world.during["/a"] = fail
    world.client("/1", get(b"/a"), get(b"/b"))
    world.serve(1)
    assert [part[:3] for part in world.got("/1").split(b"HTTP/1.1 ")[1:]] == [b"200", b"500", b"200"]
    assert logged(world) == ["/1", "/a", "/b"]


def test_the_connections_last_answer_goes_with_those_before_it(world: World) -> None:
    pipeline(world, "/a", behind=get(b"/b", b"Connection: close") + get(b"/c"))
    world.serve(1)
    assert answers(world.got("/1")) == [b"/1", b"/a", b"/b"]
    assert world.went_on == [("/1", Outcome.LAST)]
    assert logged(world) == ["/1", "/a", "/b"]


def test_held_answers_of_others_come_before(world: World) -> None:
    world.client("/0")
    seen = pipeline(world, "/a", "/b")
    world.serve(2)
    assert seen == [([], 1), ([], 1)], "the other one's is out and counted, and this one's are held"
    assert world.is_answered("/0")
    assert answers(world.got("/1")) == [b"/1", b"/a", b"/b"]
    assert logged(world) == ["/0", "/1", "/a", "/b"]


def _wait(world: World) -> None:
    poller = select.poll()
    poller.register(world.clients["/1"], select.POLLIN)
    assert poller.poll(20_000), "it was not sent"


def test_a_thread_sends_what_is_held_when_a_call_lasts(world: World) -> None:
    world.turn.held.late_ns = 700_000
    world.during["/a"] = lambda: _wait(world)
    seen = pipeline(world, "/a", "/b")
    world.serve(1)
    assert seen == [([b"/1"], 0), ([b"/a"], 2)], "sent, but not counted until the next one is out"
    assert logged(world) == ["/1", "/a", "/b"]
    assert world.settled == 3


def test_the_thread_sends_all_answers_that_are_held(world: World) -> None:
    world.during["/b"] = lambda: (world.hurry(), _wait(world))
    seen = pipeline(world, "/a", "/b", "/c")
    world.serve(1)
    assert seen == [([], 0), ([b"/1", b"/a"], 0), ([b"/b"], 3)]
    assert logged(world) == ["/1", "/a", "/b", "/c"]
    assert world.settled == 4


def test_who_takes_the_loop_sends_and_counts_what_is_held(world: World) -> None:
    slow: list[Conversation] = []

    def lose() -> None:
        world.calls.take(slow[0])
        assert world.turn.settle(world.next_owner, time.monotonic_ns())

    world.during["/b"] = lose
    seen = pipeline(world, "/a", "/b", "/c")
    slow.append(world.by_target["/1"])
    world.go_on = lambda conversation, outcome, now: 0
    assert world.serve(1) == 0
    assert seen[1] == ([b"/1", b"/a"], 2)
    assert world.went_on == [("/1", Outcome.TAKEN)]
    assert answers(world.got("/1")) == [b"/b"], "nobody would send it"
    assert logged(world) == ["/1", "/a"]
    assert slow[0].settle() is Outcome.REQUEST
    assert slow[0].serve(world.next_owner, time.monotonic_ns()) is Outcome.IDLE
    assert answers(world.got("/1")) == [b"/c"]
    assert logged(world) == ["/1", "/a", "/b", "/c"]


def test_an_answer_that_is_held_when_its_own_call_loses_the_loop(world: World) -> None:
    class Result(list[bytes]):
        def close(self) -> None:
            world.calls.take(world.by_target["/1"])
            assert world.turn.settle(world.next_owner, time.monotonic_ns())

    world.answers["/a"] = lambda: Result([b"/a"])
    pipeline(world, "/a", "/b")
    world.go_on = lambda conversation, outcome, now: 0
    assert world.serve(1) == 0
    assert answers(world.got("/1")) == [b"/1", b"/a"]
    assert logged(world) == ["/1"]
    slow = world.by_target["/1"]
    assert slow.settle() is Outcome.REQUEST
    assert logged(world) == ["/1", "/a"]
    assert slow.serve(world.owner, time.monotonic_ns()) is Outcome.IDLE
    assert (answers(world.got("/1")), world.settled) == ([b"/b"], 3)


def test_a_connection_that_is_closed_sends_nothing_of_what_is_held(world: World) -> None:
    class Result(list[bytes]):
        def close(self) -> None:
            world.calls.take(world.by_target["/1"])

    world.answers["/1"] = lambda: Result([b"/1"])
    pipeline(world, "/a")
    world.go_on = lambda conversation, outcome, now: 0
    assert world.serve(1) == 0
    world.by_target["/1"].close()
    world.turn.settle(world.next_owner, time.monotonic_ns())
    assert world.got("/1") == b""


def test_the_request_that_lasts_may_expire_behind_what_is_held(world: World) -> None:
    def expire() -> None:
        conversation = world.by_target["/1"]
        assert conversation.expire(0, conversation.called_ns + 1)

    world.during["/b"] = expire
    seen = pipeline(world, "/a", "/b", "/c")
    world.serve(1)
    assert len(seen) == 2
    assert logged(world) == ["/1", "/a", "/b"]
    assert world.settled == 3
    assert b" 504 " in world.lines.lines[2]


def test_those_that_a_client_has_not_got_are_counted_as_such(world: World) -> None:
    def leave() -> None:
        world.clients["/1"].close()

    world.client("/1", get(b"/a"), get(b"/b"), get(b"/c"))
    world.during["/b"] = leave
    world.turn.held.old_ns = -1  # the first one is out
    world.during["/a"] = lambda: setattr(world.turn.held, "old_ns", NEVER_NS)
    world.serve(1)
    assert world.went_on == [("/1", Outcome.GONE)]
    assert b'" 200 ' in world.lines.lines[0]
    assert all(b'" 499 ' in line for line in world.lines.lines[1:])
    assert world.context.slot.cells[ABORTED] == world.settled - 1


def test_a_client_that_does_not_read_gets_all_of_it_in_the_end(world: World) -> None:
    targets = [f"/{number}" for number in range(2, 9)]
    body = os.urandom(6000)
    for target in ("/1", *targets):
        world.answers[target] = lambda target=target: [body + target.encode()]
    slow = world.client("/1", *(get(target.encode()) for target in targets))
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    world.serve(1)
    assert world.went_on == [("/1", Outcome.UNSENT)]
    got = b""
    while True:
        got += world.got("/1")
        outcome = slow.flush() if slow.stage is Stage.UNSENT else slow.serve(world.owner, time.monotonic_ns())
        if outcome is Outcome.IDLE:
            break
    got += world.got("/1")
    assert answers(got) == [body + target.encode() for target in ("/1", *targets)]
    assert logged(world) == ["/1", *targets]


def test_a_child_of_the_application_sends_nothing_of_what_is_held(world: World) -> None:
    def fork() -> None:
        child = os.fork()
        if not child:
            try:
                world.turn.settle(world.owner, time.monotonic_ns())
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    world.during["/a"] = fork
    seen = pipeline(world, "/a")
    world.serve(1)
    assert seen == [([], 0)]
    assert answers(world.got("/1")) == [b"/1", b"/a"]


def test_the_turn_is_over_before_all_are_answered(world: World) -> None:
    world.during["/a"] = lambda: setattr(world.turn, "ends_ns", 0)
    pipeline(world, "/a", "/b")
    world.serve(1)
    assert answers(world.got("/1")) == [b"/1", b"/a"]
    assert (world.settled, world.went_on) == (2, [("/1", Outcome.REQUEST)])
    assert world.by_target["/1"].stage is Stage.REQUEST


def test_what_the_application_does_to_the_last_request_is_not_seen_in_its_log_line(world: World) -> None:
    kept: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for each in kept:
            each.clear()
        headers = [("X-A", "b")]
        kept.extend((environ, headers))
        start_response("200 OK", headers)
        return [environ["PATH_INFO"].encode()]

    world.context.site.application = application
    world.client("/1", get(b"/a"))
    world.serve(1)
    assert logged(world) == ["/1", "/a"]


def test_what_a_proxy_says_of_each_request_is_looked_at() -> None:
    """Where others' answers would wait for each other a proxy's do not."""
    world = World(trusted=("127.0.0.1",))
    world.turn.ends_ns = NEVER_NS
    try:
        seen = pipeline(world, "/a")
        world.serve(1)
        assert seen == [([b"/1"], 1)]
    finally:
        world.end()
