"""A turn of a loop: wait for descriptors, then serve each conversation that only has to be served: `contract.Turn`.

What is usual is done here, one request after the other; whatever is not is the pool's, which is called for it.
"""

from __future__ import annotations

from typing import Any

from ..unpatched import select
from .account import ThreadAccount
from .contract import Conversation, Door, GoOn, Outcome, Stage, Unusual
from .listening_socket import ListeningSocket
from .presence import LEFT

EVENTS = 256  # of one turn
_READING, _IDLE, _EPOLLIN = Stage.READING, Outcome.IDLE, select.EPOLLIN


class Turn:
    """The plain engine's."""

    lets_go = True  # each receive and each send does

    def __init__(
        self, epoll: select.epoll, conversations: dict[int, Conversation], unusual: Unusual, go_on: GoOn, long_ns: int
    ) -> None:
        self.inline = True
        self.ends_ns = 0
        self.served = 0
        self.others: list[int] = []
        self.holds = False  # each answer is sent at once, whatever is wished
        self._poll = epoll.poll
        self._events: list[tuple[int, int]] = []
        self._conversations = conversations
        self._unusual = unusual
        self._go_on = go_on
        self._long_ns = long_ns

    def __repr__(self) -> str:
        return f"<Turn served={self.served}>"

    def open(self) -> None:
        pass

    def descriptors(self) -> tuple[int, ...]:
        return ()

    def wait(self, seconds: float) -> int:
        self._events = self._poll(seconds, EVENTS)
        return len(self._events)

    def door(self, site: Any, listening: ListeningSocket) -> Door | None:
        return None

    def settle(self, thread: ThreadAccount, now: int) -> int:
        return now

    def serve(self, thread: ThreadAccount, now: int) -> int:
        conversations, long_ns = self._conversations, self._long_ns
        for fd, mask in self._events:
            conversation = conversations.get(fd)
            if conversation is None:
                self.others.append(fd)
                continue
            if conversation.stage is not _READING or mask & LEFT or not self.inline:
                now = self._unusual(thread, fd, mask, now)
            else:
                outcome = conversation.serve(thread, now)
                ended_ns = conversation.ended_ns
                if outcome is _IDLE and conversation.mask == _EPOLLIN and ended_ns - now <= long_ns:
                    self.served += 1
                    now = ended_ns
                    continue
                now = self._go_on(thread, conversation, outcome, now)
            if not now:
                return 0
        return now
