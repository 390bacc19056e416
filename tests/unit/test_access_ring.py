"""Lines of the access log in the ring, whoever appends them: the same memory, in order, and the writer awake."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.log.access_log import AccessLog
from miniwsgi.daemon.log.ring import HEADER_BYTES, Append, MakeAppend, Ring
from miniwsgi.daemon.log.writer import Writer

from tests.conformance.case import get
from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .conversation_world import NOW, World
from .log_pipe import in_a_child

NEVER_SECONDS = 3600.0


@pytest.fixture
def make_append(engine: str) -> MakeAppend:
    found: Any = choose(engine).begin.append
    return found or Append


def ring_of(size: int, make_append: MakeAppend) -> Ring:
    return Ring(memoryview(bytearray(HEADER_BYTES + size)), make_append)


def test_an_engine_appends_what_the_plain_ring_does(make_append: MakeAppend) -> None:
    chosen = random.Random(3)
    memories = [bytearray(HEADER_BYTES + 1000) for _ in range(2)]
    plain, other = Ring(memoryview(memories[0])), Ring(memoryview(memories[1]), make_append)
    for number in range(5000):
        line = b"%d %s\n" % (number, b"x" * chosen.randrange(90))
        fast = plain.append(line), other.append(line)
        assert fast[0] is fast[1]
        if not fast[0]:
            assert plain.append_anywhere(line) is other.append_anywhere(line)
        if chosen.random() < 0.5:
            taken = plain.peek(chosen.randrange(1, 400))
            for ring in (plain, other):
                ring.advance(len(taken))
        assert (plain.append.limit, memories[0]) == (other.append.limit, memories[1])
    assert plain.head > 100_000


def test_nothing_is_put_beyond_the_memory_whatever_its_cells_say(engine: str) -> None:
    """They are the application's, too; the plain one's memory sees to it itself."""
    make: Any = choose(engine).begin.append
    if make is None:
        return
    memory = memoryview(bytearray(HEADER_BYTES + 1000))
    append = make(memory[:8].cast("Q"), memory[HEADER_BYTES:])
    memory[:8].cast("Q")[0] = 990
    append.limit = 10**6
    assert not append(b"x" * 20)
    assert append(b"x" * 10)


def test_nobody_appends_while_another_thread_does(make_append: MakeAppend) -> None:
    """An engine's append needs no lock: the ring itself turns it away."""
    ring = ring_of(1000, make_append)
    assert ring.append_anywhere(b"first\n")

    class Interrupted:
        def __init__(self, data: Any) -> None:
            self.data = data

        def __setitem__(self, where: Any, entry: bytes) -> None:
            assert not ring.append(b"another\n")
            self.data[where] = entry

    ring._data = data = Interrupted(ring._data)  # type: ignore[assignment]
    assert ring.append_anywhere(b"second\n")
    ring._data = data.data
    assert ring.append(b"third\n")
    assert ring.peek(100) == b"first\nsecond\nthird\n"


@pytest.fixture
def writer(tmp_path, make_append: MakeAppend) -> Iterator[Writer]:
    made = Writer(str(tmp_path / "log"), linger_seconds=0.001, ring=ring_of(100_000, make_append))
    yield made
    assert made.close(PATIENCE_SECONDS)


def log(writer: Writer, line: bytes) -> None:
    """As an engine does."""
    assert writer.append is not None
    if not writer.append(line):
        writer.put(line)


def test_who_appends_without_a_lock_rouses_a_writer_that_sleeps(writer: Writer, tmp_path) -> None:
    for number in range(20):
        for part in range(3):
            log(writer, b"%d %d\n" % (number, part))
        expected = b"%d 2\n" % number
        wait_for(lambda expected=expected: (tmp_path / "log").read_bytes().endswith(expected) and writer._idle)
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert lines == [b"%d %d" % (number, part) for number in range(20) for part in range(3)]


def test_a_writer_that_could_not_start_is_asked_again_with_the_next_line(writer: Writer, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as short:
        short.setattr("miniwsgi.daemon.log.writer.start_thread", refuse)
        log(writer, b"a\n")
    log(writer, b"b\n")
    wait_for(lambda: (tmp_path / "log").read_bytes() == b"a\nb\n")


def refuse(*_arguments: object) -> None:
    raise RuntimeError("can't start new thread")


def test_a_forked_child_appends_nothing_to_its_parents_ring(make_append: MakeAppend, tmp_path) -> None:
    ring = ring_of(1000, make_append)
    writer = Writer(str(tmp_path / "log"), linger_seconds=NEVER_SECONDS, ring=ring)
    log(writer, b"first\n")
    wait_for(lambda: not ring.append.limit)  # the thread lets lines gather
    ring.append_anywhere(b"second\n")
    assert in_a_child(lambda: not ring.append(b"third\n")) == 0
    assert ring.append(b"third\n")
    assert writer.close(PATIENCE_SECONDS)
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\nthird\n"


@pytest.mark.parametrize("format", ["combined", "json", '"%(r)s" "%(a)s" "%({x}o)s" %(p)s %({Query_String}e)s'])
def test_usual_requests_are_logged_without_a_call_of_the_logs(
    engine: str, make_append: MakeAppend, format: str
) -> None:
    """Where the engine can. Others by the writer, in their order."""
    ring = ring_of(100_000, make_append)
    put: list[bytes] = []
    writer: Any = SimpleNamespace(
        append=ring.append, notice=None, put=lambda line: (put.append(line), ring.append_anywhere(line))
    )
    world = World(engine, access=AccessLog("-", format, writer, faster=choose(engine).begin.access_lines))
    for number in range(10):
        agent = b'a "quoted" one' if number == 7 else b"curl"
        world.send(get(b"/%d?a" % number, b"User-Agent: " + agent))
        assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
        world._read()
    lines = ring.peek(100_000).splitlines(keepends=True)
    assert [b"/%d" % number in line for number, line in enumerate(lines)] == [True] * 10
    # The first ones find no answer that is remembered, and a ring that wants to be asked.
    assert put[-1:] == lines[-1:] if engine == "plain" else put[-1] == lines[7] and len(put) < 5
