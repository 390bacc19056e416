"""What a conversation keeps of a request that is over: nothing of the application's, and nothing in a circle."""

from __future__ import annotations

import contextlib
import gc
import mmap
import sys
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import pytest
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.contract import Outcome, Stage

from tests.conformance.case import get

from .conversation_world import NOW, World


class Thing:
    """Of the application: in its request's context, or in its environ."""


THING: ContextVar[Thing | None] = ContextVar("thing", default=None)


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
def world(engine):
    made = World(engine)
    yield made
    made.near.close()
    made.far.close()


def remembering(world: World) -> list[weakref.ref[Thing]]:
    """The application puts things wherever it may; who holds one still has the request."""
    things: list[weakref.ref[Thing]] = []

    def application(environ, start_response):
        in_context, in_environ = Thing(), Thing()
        THING.set(in_context)
        environ["thing"] = in_environ
        things.extend((weakref.ref(in_context), weakref.ref(in_environ)))
        return world.application(environ, start_response)

    world.context.site.application = application
    return things


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "in parts"])
def test_between_requests_nothing_of_the_last_one_is_kept(world, streamed):
    things = remembering(world)
    if streamed:
        world.pause()
    conversation = world.conversation
    with no_collector():
        world.send(get())
        assert conversation.receive(NOW) is Outcome.REQUEST
        conversation.answer(world.thread, NOW)
        while conversation.settle() is Outcome.PAUSED:
            assert conversation.flush() is Outcome.RESUME
            conversation.resume(world.thread, NOW)
        world.thread.end()
        assert conversation.stage is Stage.READING
        assert [thing() for thing in things] == [None, None]


@pytest.mark.parametrize("stage", [Stage.ANSWERED, Stage.UNSENT, Stage.RESUMABLE], ids=lambda stage: stage.value)
def test_a_conversation_whose_client_left_during_the_answer_is_freed_without_the_collector(world, stage):
    things = remembering(world)
    conversation = world.conversation
    with no_collector():
        world.bring_to(stage)
        outcome = conversation.abandon() if stage is not Stage.RESUMABLE else Outcome.RESUME
        if outcome is Outcome.RESUME:
            conversation.gone = True
            conversation.resume(world.thread, NOW)
            outcome = conversation.settle()
        elif outcome is Outcome.DONE:
            outcome = conversation.settle()
        assert outcome is Outcome.GONE
        world.thread.end()
        conversation.close()
        assert [thing() for thing in things] == [None, None]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not sys.getallocatedblocks(), reason="PYTHONMALLOC=malloc: of a sanitizer, which keeps it")
def test_memory_that_is_free_between_what_is_used_goes_back_to_the_system(engine):
    """Before workers are forked: holes that an import has left would be every worker's."""
    blocks = [bytes(2000) for _ in range(10_000)]
    used = blocks[::100]
    del blocks
    before = resident_bytes()
    choose(engine).begin.trim_memory()
    assert (before - resident_bytes() > 10_000_000) is (engine == "compiled")
    assert len(used) == 100
