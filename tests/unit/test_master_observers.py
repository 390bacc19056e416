"""What the master hands on: to observers, of whom none silences another, and to links, which end."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

from miniwsgi.daemon.channel import Channel
from miniwsgi.daemon.master import events as ev
from miniwsgi.daemon.master.link import Link
from miniwsgi.daemon.master.master import Master


def test_an_observer_that_fails_keeps_no_event_from_the_others() -> None:
    master, errors, heard = Master.__new__(Master), [], []

    def fail(*_what: object) -> None:
        raise ZeroDivisionError

    fake: Any = SimpleNamespace(handle=lambda _event: [], next_tick=lambda: None)
    master.supervisor = fake
    log: Any = SimpleNamespace(error=errors.append)
    master.log = log
    master._events, master._handling = deque(), False
    master._set_timer = lambda: None  # type: ignore[method-assign]
    master.on_handled = [fail, lambda event, _actions: heard.append(event)]
    master.feed(ev.Tick())
    assert heard == [ev.Tick()]
    assert len(errors) == 1
    assert "ZeroDivisionError" in errors[0]


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
