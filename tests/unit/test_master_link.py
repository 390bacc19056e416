"""A link between the master and one of its processes."""

from __future__ import annotations

import asyncio

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
