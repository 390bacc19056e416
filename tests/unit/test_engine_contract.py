"""Every row of the contract's table, on a real conversation of each engine: what a call comes to, and leaves behind."""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from miniwsgi.daemon.engine.contract import STAGES, Outcome, Refusal, Stage
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, REQUESTS

from tests.conformance.case import END_CHUNK, chunked, get

from .conversation_world import BIG, GARBAGE, MANY_CHUNKS, NOW, World

CLOSE = (b"Connection: close",)
UPGRADE = (b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket")
NOBODY: Any = object()  # has threads for it


def prepare(world: World, outcome: Outcome) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """For an answer after which this is the outcome: what the client sends behind its request, and fields of that."""
    match outcome:
        case Outcome.MORE:
            return (b"GET / HT",), ()
        case Outcome.AGAIN:
            return (chunked(MANY_CHUNKS, END_CHUNK),), ()
        case Outcome.REQUEST:
            return (get(),), ()
        case Outcome.UPGRADE:
            world.context.site.sockets = NOBODY
            return (get(b"/", *UPGRADE),), ()
        case Outcome.REFUSED:
            return (GARBAGE,), ()
        case Outcome.LAST:
            world.context.site.closing = True
        case Outcome.END:
            return (), CLOSE
        case Outcome.PAUSED:
            world.pause()
        case Outcome.UNSENT:
            world.answer = lambda: [BIG]
        case Outcome.GONE:
            world.during = lambda: setattr(world.conversation, "gone", True)
        case Outcome.TAKEN:
            world.during = lambda: world.calls.take(world.conversation)
        case _:
            assert outcome is Outcome.IDLE
    return (), ()


def receive(world: World, stage: Stage, outcome: Outcome) -> Outcome:
    if outcome in BY_FILES or (stage is Stage.UNPARSED and outcome in {Outcome.END, Outcome.GONE, Outcome.UPGRADE}):
        return receive_file(world, stage, outcome)
    if stage is Stage.UNPARSED:
        end = {Outcome.MORE: b"", Outcome.AGAIN: MANY_CHUNKS, Outcome.REQUEST: END_CHUNK, Outcome.REFUSED: b"?\r\n"}
        world.bring_to(stage, end[outcome])
        result = world.conversation.receive(NOW)
        while result is Outcome.AGAIN is not outcome:
            result = world.conversation.receive(NOW)
        return result
    arrive(world, outcome)
    return world.conversation.receive(NOW)


BY_FILES = {Outcome.IDLE, Outcome.UNSENT, Outcome.LAST}


def receive_file(world: World, stage: Stage, outcome: Outcome, *, serves: bool = False) -> Outcome:
    """Of a request for a static file, which is the second of two that have been sent if the stage is UNPARSED."""
    with TemporaryDirectory() as directory:
        world.serve_files(Path(directory))
        (Path(directory) / "big").write_bytes(BIG)
        fields = CLOSE if outcome is Outcome.END else ()
        wanted = get(b"/static/big" if outcome in {Outcome.UNSENT, Outcome.GONE} else b"/static/none", *fields)
        if outcome is Outcome.UPGRADE:
            world.context.site.sockets = NOBODY
            wanted = get(b"/", *UPGRADE)
        if stage is Stage.UNPARSED:
            world.send(get(b"/static/none"), wanted)
            assert world.conversation.receive(NOW) is Outcome.AGAIN
        else:
            world.send(wanted)
        if outcome is Outcome.LAST:
            world.context.site.closing = True
        elif outcome is Outcome.GONE:
            world.leave()
        return world.conversation.serve(world.thread, NOW) if serves else world.conversation.receive(NOW)


def arrive(world: World, outcome: Outcome) -> None:
    """What of the client's makes this of the first look at it."""
    match outcome:
        case Outcome.MORE:
            world.send(b"GET / HT")
        case Outcome.AGAIN:
            world.send(chunked(MANY_CHUNKS, END_CHUNK))
        case Outcome.REQUEST:
            world.send(get())
        case Outcome.UPGRADE:
            world.context.site.sockets = NOBODY
            world.send(get(b"/", *UPGRADE))
        case Outcome.REFUSED:
            world.send(GARBAGE)
        case Outcome.END:
            world.far.shutdown(socket.SHUT_WR)
        case _:
            assert outcome is Outcome.GONE
            world.near.send(b"what it has not read when it leaves: a reset")
            world.leave()


def serve(world: World, stage: Stage, outcome: Outcome) -> Outcome:
    if stage is Stage.UNPARSED and outcome is Outcome.END:
        return receive_file(world, stage, outcome, serves=True)
    behind, fields = prepare(world, outcome)
    if stage is Stage.READING:
        world.send(get(b"/", *fields), *behind)
    else:
        world.bring_to(stage, *((END_CHUNK,) if stage is Stage.UNPARSED else ()), *behind, fields=fields)
    result = world.conversation.serve(world.thread, NOW)
    while result is Outcome.AGAIN and not world.calls_made:  # the request's own chunks
        result = world.conversation.serve(world.thread, NOW)
    return result


def answer(world: World, stage: Stage, outcome: Outcome) -> Outcome:
    world.bring_to(stage)
    if outcome is Outcome.PAUSED:
        world.pause()
    return world.conversation.answer(world.thread, NOW)


def settle(world: World, stage: Stage, outcome: Outcome) -> Outcome:
    behind, fields = prepare(world, outcome)
    world.bring_to(stage, *behind, fields=fields)
    return world.conversation.settle()


def resume(world: World, stage: Stage, outcome: Outcome) -> Outcome:
    world.bring_to(stage)
    if outcome is Outcome.DONE:
        world.thread.turn_ends_ns = 0
    return world.conversation.resume(world.thread, NOW)


def flush(world: World, stage: Stage, outcome: Outcome) -> Outcome:
    if stage is Stage.OVER:
        world.fill()
        world.bring_to(stage)
        assert world.conversation.unsent
    elif stage is Stage.UNSENT:
        behind, fields = prepare(world, outcome) if outcome is not Outcome.GONE else ((), ())
        world.bring_to(stage, *behind, fields=fields)
    else:
        if outcome is Outcome.UNSENT:
            world.answer = lambda: iter([BIG, b"."])
        elif outcome is Outcome.RESUME:
            world.pause()
        world.bring_to(Stage.REQUEST)
        world.conversation.answer(world.thread, NOW)
        if stage is Stage.PAUSED:
            world.conversation.settle()
    if outcome is Outcome.GONE:
        world.leave()
    elif outcome is not Outcome.UNSENT:
        world.read_all()
    return world.conversation.flush()


def refuse(world: World, stage: Stage, outcome: Outcome) -> Outcome:
    world.bring_to(stage)
    if outcome is Outcome.GONE:
        world.leave()
    return world.conversation.refuse(Refusal.TOO_MANY)


def dismiss(world: World, stage: Stage, outcome: Outcome) -> Outcome:
    if outcome is Outcome.LAST:
        world.near.send(b"what it has not read yet")
    return world.conversation.dismiss(draining=False)


def abandon(world: World, stage: Stage, outcome: Outcome) -> Outcome:
    if outcome is Outcome.RESUME:
        world.pause()
    if stage is Stage.PAUSED:
        world.bring_to(Stage.REQUEST)
        world.conversation.serve(world.thread, NOW)
    else:
        world.bring_to(stage)
    world.leave()
    return world.conversation.abandon(slow=True)


WAYS = {way.__name__: way for way in (receive, serve, answer, settle, resume, flush, refuse, dismiss, abandon)}
ROWS = [(stage, call, outcome) for (stage, call), outcomes in STAGES.items() for outcome in outcomes]


@pytest.mark.parametrize(("stage", "call", "outcome"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_each_call_comes_to_what_the_table_says(world: World, stage: Stage, call: str, outcome: Outcome) -> None:
    assert WAYS[call](world, stage, outcome) is outcome
    conversation = world.conversation
    assert conversation.stage is STAGES[stage, call][outcome]
    assert conversation.stage.value in repr(conversation)
    account = world.context.slot.cells
    assert (account[ACCEPTED], account[CLOSED]) == (1, 0)
    conversation.close()
    assert conversation.stage is Stage.CLOSED
    assert account[CLOSED] == 1
    assert world.calls_made >= account[REQUESTS] - (call == "abandon") or world.context.site.static is not None


@pytest.mark.parametrize(
    ("outcome", "can_wait"),
    [
        (Outcome.IDLE, True),
        (Outcome.END, False),
        (Outcome.REQUEST, False),
        (Outcome.PAUSED, False),
        (Outcome.UNSENT, False),
        (Outcome.GONE, False),
    ],
)
def test_an_answer_can_wait_to_be_settled_if_its_client_has_only_to_ask_again(
    engine: str, outcome: Outcome, can_wait: bool
) -> None:
    world = World(engine)
    behind, fields = prepare(world, outcome)
    world.bring_to(Stage.ANSWERED, *behind, fields=fields)
    with world.near, world.far:
        assert world.conversation.can_wait is can_wait
        assert world.conversation.settle() is outcome


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.CLOSED])
def test_every_stage_is_left_and_reached(stage: Stage) -> None:
    reached = {after for outcomes in STAGES.values() for after in outcomes.values()}
    assert stage in reached or stage in {Stage.ANSWERING}
    assert stage in {before for before, _call in STAGES} or stage is Stage.ANSWERING


@pytest.mark.parametrize(("length", "outcome"), [(2, Outcome.IDLE), (3, Outcome.PAUSED)], ids=["whole", "in part"])
def test_what_is_out_whole_waits_for_no_other_turn(engine: str, length: int, outcome: Outcome) -> None:
    """Else it would be closed behind the requests of others, and their time counted as its own."""

    def application(_environ, start_response):
        start_response("200 OK", [("Content-Length", str(length))])
        return iter([b"ab", b"c"][: length - 1])

    world = World(engine, use=application)
    world.thread.turn_ends_ns = 1
    world.send(get())
    with world.near, world.far:
        assert world.conversation.serve(world.thread, NOW) is outcome
        assert world.far.recv(1000).endswith(b"\r\nab")
