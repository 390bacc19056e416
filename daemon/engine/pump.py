"""A connection for an application that waits with select: bytes go to and from one end of a pair of sockets.

For connections whose next bytes are not in the kernel: they were read already, or are still to be decrypted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..unpatched import select, socket, start_thread

ROOM_BYTES = 64 * 1024  # what is kept of one direction, for a reader that is slow
RECEIVE_BYTES = 32 * 1024
LOOK_MILLISECONDS = 1000  # what a layer below waits for may be the other direction


class _Direction:
    """What comes from one and goes to the other."""

    __slots__ = ("discards", "ended", "kept", "open", "source", "target")

    def __init__(self, source: Any, target: Any, kept: bytes = b"") -> None:
        self.source, self.target = source, target
        self.kept = bytearray(kept)
        self.open = True  # the source may send more
        self.ended = False  # and the target knows that it does not
        self.discards = False

    @property
    def takes(self) -> bool:
        return self.open and len(self.kept) < ROOM_BYTES

    def move(self) -> bool:
        """What goes at once; whether there was anything. Raises OSError."""
        moved = False
        if self.takes:
            try:
                data = self.source.recv(RECEIVE_BYTES)
            except BlockingIOError:
                pass
            else:
                moved = True
                if not self.discards:
                    self.kept += data
                self.open = bool(data)
        if self.kept:
            try:
                sent = self.target.send(self.kept)
            except BlockingIOError:
                pass
            else:
                moved = moved or sent > 0
                del self.kept[:sent]
        if not (self.open or self.kept or self.ended):
            self.ended = moved = True
            self.target.shutdown(socket.SHUT_WR)
        return moved


class Pump:
    """Has a thread, which ends when both sides have. `end` is the application's."""

    def __init__(self, client: Any, ahead: bytes) -> None:
        """`client` does not block; `ahead` was read of it before. Raises OSError."""
        near, self.end = socket.socketpair()
        near.setblocking(False)
        self._near = near
        self._inwards = _Direction(client, near, ahead)
        self._outwards = _Direction(near, client)
        self.join: Callable[[float], bool]

    def start(self) -> None:
        """From here on the client's bytes are the pump's. Raises RuntimeError if there is no thread for it."""
        self.join = start_thread(self._run, "mw-pump")

    def __repr__(self) -> str:
        return f"<Pump in={len(self._inwards.kept)} out={len(self._outwards.kept)}>"

    def _run(self) -> None:
        inwards, outwards = self._inwards, self._outwards
        try:
            while not (inwards.ended and outwards.ended):
                inwards.discards = outwards.ended  # behind our own end a layer below may not decrypt any more
                if not (inwards.move() | outwards.move()):
                    poller = select.poll()
                    for there, back in ((inwards, outwards), (outwards, inwards)):
                        mask = select.POLLIN * there.takes | select.POLLOUT * bool(back.kept)
                        if mask:  # hang-ups of others cannot be masked
                            poller.register(there.source.fileno(), mask)
                    poller.poll(LOOK_MILLISECONDS)
        except (OSError, ValueError):  # ValueError: the descriptor of one that is closed
            pass  # one of them has gone
        finally:
            self._near.close()
