"""The connections of an epoll worker, by descriptor: watching them, taking them in, parting from them.

Everything here belongs to the owner of the loop. Nothing here calls the application.
"""

from __future__ import annotations

from miniwsgi.metrics import scoreboard

from ....engine.contract import Conversation
from ....engine.openings.opening import Opening
from ....unpatched import select
from ... import children
from ...context import Context
from ..lingering import Lingering
from ..openings import Openings


class Clients:
    """All conversations of the worker, and the epoll that watches their descriptors."""

    def __init__(self, context: Context) -> None:
        self._cells = context.slot.cells
        self.epoll = select.epoll()
        self.conversations: dict[int, Conversation] = {}
        self.lingering = Lingering(self.epoll, context.settings)
        self.openings = Openings(self.epoll, context)
        children.withhold("connections", lambda: (self.epoll.fileno(), *self.conversations))

    def __repr__(self) -> str:
        return f"<Clients {len(self.conversations)}>"

    def arm(self, conversation: Conversation, mask: int) -> None:
        """Which events of a connection are wanted."""
        watched = conversation.mask
        if watched != mask:
            conversation.mask = mask
            (self.epoll.modify if watched else self.epoll.register)(conversation.fileno(), mask)

    def admit(self, conversation: Conversation) -> None:
        """A new client. It is not watched yet: what it has sent already may be all that it ever sends."""
        self.conversations[conversation.fileno()] = conversation
        self._cells[scoreboard.CONNECTIONS] += 1

    def begin(self, opening: Opening, now: int) -> Conversation:
        """A new client, that has sent what had to come first; as `admit`."""
        conversation = opening.begin(now)
        self.admit(conversation)
        return conversation

    def drop(self, conversation: Conversation) -> None:
        """Close a connection at once: the client has gone, or has had everything and long been silent."""
        if conversation.mask:  # closing does not end it: the application may have forked a copy
            self.epoll.unregister(conversation.fileno())
        self._forget(conversation)
        conversation.hang_up()

    def part(self, conversation: Conversation, now: int) -> None:
        """Close in stages: nothing that the client sends must cost it what it has not got yet."""
        self.arm(conversation, select.EPOLLIN)
        self._forget(conversation)
        self.lingering.add(conversation.sock, now)

    def release(self, conversation: Conversation) -> None:
        """Have no more to do with a connection, which stays open: the application has taken it over."""
        if conversation.mask:
            self.epoll.unregister(conversation.fileno())
            conversation.mask = 0
        del self.conversations[conversation.fileno()]
        self._cells[scoreboard.CONNECTIONS] -= 1

    def _forget(self, conversation: Conversation) -> None:
        del self.conversations[conversation.fileno()]
        conversation.close()
        self._cells[scoreboard.CONNECTIONS] -= 1
