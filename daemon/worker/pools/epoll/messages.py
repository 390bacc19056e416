"""What wakes the loop besides clients: orders, signals, and threads that give something back."""

from __future__ import annotations

from ....unpatched import os, select
from ... import children
from ...orders import Orders, WatchedOrders


class Messages:
    """Descriptors of one pool. `wake` is for any thread, the rest for the owner of the loop."""

    def __init__(self, epoll: select.epoll, orders: Orders) -> None:
        self._orders = WatchedOrders(orders, epoll)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        children.withhold("wake-ups", lambda: (self._wake_fd,))
        epoll.register(self._wake_fd, select.EPOLLIN)
        self._rest = select.poll()
        self._rest.register(self._wake_fd, select.POLLIN)

    def __repr__(self) -> str:
        return f"<Messages wake={self._wake_fd} {self._orders}>"

    def wake(self) -> None:
        """End the owner's waiting."""
        os.eventfd_write(self._wake_fd, 1)

    def rest(self, milliseconds: int) -> None:
        """Wait for `wake` alone, which the epoll tells of, too."""
        self._rest.poll(milliseconds)

    def read(self, fd: int) -> None:
        """Take what has come, if the descriptor is one of these."""
        if fd == self._wake_fd:
            try:
                os.eventfd_read(fd)
            except BlockingIOError:
                pass
        elif fd in self._orders:
            self._orders.read()
