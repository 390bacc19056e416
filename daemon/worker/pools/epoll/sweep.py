"""What the epoll pool does about time: once a second over all conversations, and more often while it drains."""

from __future__ import annotations

from collections.abc import Callable

from miniwsgi.codes import Code

from ....engine.contract import Awaited, Conversation, Outcome, Stage
from ....engine.progress import input_waits
from ...context import NANOSECONDS, Context
from ...orders import Orders
from ...recycling import Recycling
from ..patience import Patience
from .clients import Clients

_WAITING_FOR_READERS = frozenset({Stage.PAUSED, Stage.UNSENT, Stage.OVER})


class Sweep:
    """All methods belong to the owner of the loop. `act` is told what has become of a conversation."""

    def __init__(
        self, clients: Clients, context: Context, orders: Orders, act: Callable[[Conversation, Outcome, int], None]
    ) -> None:
        settings = context.settings
        self._clients = clients
        self._context = context
        self._orders = orders
        self._act = act
        self._patience = Patience(settings)
        self._keep_alive_ns = int(settings.keep_alive_timeout * NANOSECONDS)
        self._head_ns = int(settings.head_timeout * NANOSECONDS)
        self._drain_idle_ns = int(settings.drain_idle * NANOSECONDS)
        self._recycling = Recycling(context)
        self._draining_since_ns = 0

    def every_second(self, now: int) -> None:
        """Timeouts of connections, and whether the worker has lived long enough."""
        for conversation in list(self._clients.conversations.values()):
            stage = conversation.stage
            if stage is Stage.READING:
                idle_ns = self._keep_alive_ns if conversation.requests else self._head_ns
                outcome = self._patience.look(conversation, idle_ns, now)
                if outcome is not None:
                    self._act(conversation, outcome, now)
            elif stage in _WAITING_FOR_READERS and self._patience.reads_too_slowly(conversation, now):
                what = "a client does not read its response: closed; the limit is timeouts.minimum_rate"
                self._context.log.limited("not-read", "warning", Code.SLOW_READER, what)
                self._act(conversation, conversation.abandon(slow=True), now)
        self._clients.lingering.look(now)
        self._clients.openings.look(now)
        self._context.tidy()
        self._recycling.look(self._orders, now)
        self._orders.keep_signals()

    def close_silent(self, now: int) -> None:
        """While draining: close the connections that have kept silent for `drain_idle` since it began."""
        if not self._draining_since_ns:
            self._draining_since_ns = now
        self._clients.openings.close_silent(self._draining_since_ns, now)
        if now - self._draining_since_ns < self._drain_idle_ns:
            return
        for conversation in list(self._clients.conversations.values()):
            if (
                conversation.awaited is Awaited.REQUEST
                and now - conversation.since_ns >= self._drain_idle_ns
                and not input_waits(conversation.sock)
            ):
                self._act(conversation, conversation.dismiss(draining=True), now)
