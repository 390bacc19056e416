"""Standard streams between the import in the launcher and the workers."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

import pytest
from miniwsgi.daemon.channel import Channel
from miniwsgi.daemon.worker.standard_streams import StandardStream, replace_standard_streams


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    theirs.socket.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def received(channel: Channel) -> list[tuple[str, str]]:
    found = []
    while True:
        try:
            got = channel.receive()
        except BlockingIOError:
            return found
        assert got is not None
        found.append((got[0]["level"], got[0]["message"]))


def test_while_the_application_is_imported_lines_go_to_the_masters_log(ends: tuple[Channel, Channel]) -> None:
    stream = StandardStream("stderr", sys.stderr, ends[0], "info")
    stream.write("one\ntwo")
    stream.write(" and more\n\n  \n")
    stream.write("the rest")
    stream.flush()
    stream.buffer.write(b"bytes, too\n")
    stream.write("<4>of a priority\nTraceback (most recent call last):\n")
    found = received(ends[1])
    assert found[:4] == [("info", "one"), ("info", "two and more"), ("info", "the rest"), ("info", "bytes, too")]
    assert found[4:] == [("warning", "of a priority"), ("error", "Traceback (most recent call last):")]


def test_in_a_worker_they_go_where_the_workers_stream_leads(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, workers = io.StringIO(), io.StringIO()
    stream = StandardStream("stdout", original, ends[0], "info")
    stream.follow()
    assert sys.stdout is original
    print("before", file=stream)
    monkeypatch.setattr(sys, "stdout", workers)
    print("after", file=stream)
    monkeypatch.setattr(sys, "stdout", stream)  # an application that puts its own copy back
    print("back", file=stream)
    assert original.getvalue() == "before\nback\n"
    assert workers.getvalue() == "after\n"
    monkeypatch.undo()


def test_only_pipes_and_sockets_are_relayed(ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with open(writer, "w") as pipe, open(os.devnull, "w") as device:
        monkeypatch.setattr(sys, "stdout", device)
        monkeypatch.setattr(sys, "stderr", pipe)
        (stream,) = replace_standard_streams(ends[0], "info")
        assert sys.stderr is stream
        assert sys.stdout is device
        assert stream.fileno() == writer
        assert not stream.isatty()
        monkeypatch.undo()
    os.close(reader)


def test_a_master_that_is_gone_does_not_break_an_import(ends: tuple[Channel, Channel]) -> None:
    stream = StandardStream("stderr", sys.stderr, ends[0], "info")
    ends[1].close()
    assert stream.write("hello\n") == 6
