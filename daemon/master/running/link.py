"""A message channel in the master's event loop: received as they come, sent without ever waiting.

What the peer does not take at once is kept in order and sent when it reads again. The peer's end is told
once.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ...channel import Channel, Message

MESSAGES_A_TURN = 64  # so that one busy peer does not hold the loop

Received = Callable[[Message, list[int]], None]


class Link:
    """One peer. `on_message` owns the descriptors that it is given."""

    def __init__(self, channel: Channel, on_message: Received, on_end: Callable[[], None]) -> None:
        channel.socket.setblocking(False)
        self.channel = channel
        self._on_message = on_message
        self._on_end = on_end
        self._unsent: deque[tuple[str, tuple[int, ...], dict[str, Any]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel.fileno(), self._readable)
        self._open = True

    def __repr__(self) -> str:
        return f"<Link {self.channel} unsent={len(self._unsent)}>"

    def send(self, kind: str, fds: tuple[int, ...] = (), /, **fields: Any) -> None:
        """Send, or keep until the peer reads. A peer that is gone is told of elsewhere: its end comes.

        The descriptors are given away: they are closed here once they are sent, or cannot be.
        """
        if not self._open:
            close_all(fds)
            return
        if self._unsent:
            self._unsent.append((kind, fds, fields))
            return
        try:
            self.channel.send(kind, fds, **fields)
        except BlockingIOError:
            self._unsent.append((kind, fds, fields))
            self._loop.add_writer(self.channel.fileno(), self._writable)
            return
        except OSError:
            pass
        close_all(fds)

    def receive_all(self) -> None:
        """Take everything that has arrived. Called once the peer's process has ended."""
        while self._open and self._receive_one():
            pass

    def close(self) -> None:
        if self._open:
            self._open = False
            self._drop_unsent()
            self._loop.remove_reader(self.channel.fileno())
            self._loop.remove_writer(self.channel.fileno())
            self.channel.close()

    def _readable(self) -> None:
        for _ in range(MESSAGES_A_TURN):
            if not self._open or not self._receive_one():
                return

    def _receive_one(self) -> bool:
        """False when there is nothing more for now, or ever."""
        try:
            received = self.channel.receive()
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            received = None
        if received is None:
            self.close()
            self._on_end()
            return False
        self._on_message(*received)
        return True

    def _writable(self) -> None:
        while self._unsent:
            kind, fds, fields = self._unsent[0]
            try:
                self.channel.send(kind, fds, **fields)
            except BlockingIOError:
                return
            except OSError:
                self._drop_unsent()
                break
            self._unsent.popleft()
            close_all(fds)
        self._loop.remove_writer(self.channel.fileno())

    def _drop_unsent(self) -> None:
        while self._unsent:
            close_all(self._unsent.popleft()[1])


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
