"""What wakes the loop besides clients: orders, signals, and threads that give something back."""

from __future__ import annotations

from ....unpatched import os, select
from ... import children
from ...orders import Orders


class Messages:
    """Descriptors of one pool. `wake` is for any thread, the rest for the owner of the loop."""

    def __init__(self, epoll: select.epoll, orders: Orders) -> None:
        self._epoll = epoll
        self._orders = orders
        self._order_fds = orders.fds()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        children.withhold("wake-ups", lambda: (self._wake_fd,))
        for fd in (*self._order_fds, self._wake_fd):
            epoll.register(fd, select.EPOLLIN)

    def __repr__(self) -> str:
        return f"<Messages wake={self._wake_fd} orders={self._order_fds}>"

    def wake(self) -> None:
        """End the owner's waiting."""
        os.eventfd_write(self._wake_fd, 1)

    def read(self, fd: int) -> bool:
        """Take what has come; False: the descriptor is none of these."""
        if fd == self._wake_fd:
            try:
                os.eventfd_read(fd)
            except BlockingIOError:
                pass
        elif fd in self._order_fds:
            self._orders.read()
            if self._orders.deaf:
                left = self._orders.fds()
                for gone in self._order_fds:
                    if gone not in left:
                        self._epoll.unregister(gone)
                self._order_fds = left
        else:
            return False
        return True
