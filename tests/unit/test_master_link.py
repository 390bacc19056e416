"""A link between the master and one of its processes."""

from __future__ import annotations

import asyncio
import os

import pytest
from miniwsgi.daemon.channel import Channel
from miniwsgi.daemon.master.running.link import Link


def test_a_link_keeps_messages_while_it_is_open_and_none_afterwards() -> None:
    async def body() -> None:
        ours, theirs = Channel.pair()
        link = Link(ours, lambda _message, _fds: None, lambda: None)
        while not link._unsent:
            link.send("fork", slot=0, text="x" * 1000)
        link.close()
        link.send("fork", slot=1)
        assert not link._unsent
        theirs.close()

    asyncio.run(body())


def test_descriptors_are_given_away_whatever_becomes_of_the_message() -> None:
    def end_of(pipe: int) -> bytes:
        os.set_blocking(pipe, False)
        return os.read(pipe, 1)  # raises BlockingIOError while somebody has the other end

    async def body() -> None:
        ours, theirs = Channel.pair()
        link = Link(ours, lambda _message, _fds: None, lambda: None)
        sent, kept = os.pipe(), os.pipe()
        link.send("inspect", (sent[1],))
        received = theirs.receive()
        assert received is not None
        os.close(received[1][0])
        assert end_of(sent[0]) == b""
        while not link._unsent:
            link.send("fork", text="x" * 1000)
        link.send("inspect", (kept[1],))
        with pytest.raises(BlockingIOError):
            end_of(kept[0])
        link.close()
        assert end_of(kept[0]) == b""
        late = os.pipe()
        link.send("inspect", (late[1],))
        assert end_of(late[0]) == b""
        for reading, _ in (sent, kept, late):
            os.close(reading)
        theirs.close()

    asyncio.run(body())
