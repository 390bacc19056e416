"""The listeners of a pool that waits with poll(2) on one thread (prefork, fork), and how they end: as orders say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...engine.listening_socket import ListeningSocket
from ...settings import Listener
from ...unpatched import Socket, select
from .. import children
from ..context import Context, Duty
from ..orders import Orders, WatchedOrders


class Listening:
    """Asks `poller` for orders, and for new clients when they are wanted. Its items are the listeners' descriptors."""

    def __init__(self, poller: select.poll, context: Context, orders: Orders) -> None:
        self._poller = poller
        self._context = context
        self._orders = orders
        self._sockets = {listener.fd: ListeningSocket(listener) for listener in context.settings.listeners}
        self._queues = select.poll()
        self.wanted = False
        for fd in self._sockets:
            self._queues.register(fd, select.POLLIN)
        self._watched_orders = WatchedOrders(orders, poller)
        children.withhold("listeners", lambda: self._sockets)

    def __repr__(self) -> str:
        return f"<Listening {list(self._sockets)}{'' if self.wanted else ' not wanted'}>"

    def __len__(self) -> int:
        return len(self._sockets)

    def __contains__(self, fd: int) -> bool:
        return fd in self._sockets

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._sockets))

    def want(self, wanted: bool) -> None:
        """Whether the poller tells of new clients."""
        if wanted is self.wanted:
            return
        for fd in self._sockets:
            if wanted:
                self._poller.register(fd, select.POLLIN)
            else:
                self._poller.unregister(fd)
        self.wanted = wanted

    def somebody_waits(self) -> bool:
        """Whether there is a new client in some queue."""
        return bool(self._queues.poll(0))

    def accept(self, fd: int) -> tuple[Socket, Any, Listener]:
        """A new client: its socket, its address, where it came in. Raises OSError."""
        listening = self._sockets[fd]
        return *listening.accept(), listening.listener

    def read_orders(self) -> None:
        """Something is told by an order's descriptor."""
        self._watched_orders.read()

    def end(self) -> None:
        """While the duty is to end: close what is to be accepted from no more; on to the drain when that is all."""
        context = self._context
        if context.duty is Duty.EMPTY:
            self._keep_only(self._orders.emptying)
            if not self.somebody_waits():
                context.duty = Duty.DRAIN
        if context.duty is Duty.DRAIN:
            self._keep_only(frozenset())

    def disown(self) -> None:
        """In a child: let go of them."""
        while self._sockets:
            self._sockets.popitem()[1].close()

    def _keep_only(self, fds: frozenset[int]) -> None:
        """Close the listeners but these; other processes may go on with the same sockets."""
        for fd in self._sockets.keys() - fds:
            if self.wanted:
                self._poller.unregister(fd)
            self._queues.unregister(fd)
            self._sockets.pop(fd).close()
