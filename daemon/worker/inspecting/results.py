"""The pipe into which an inspection writes: never waited for while it looks, and it says when nobody reads any more."""

from __future__ import annotations

from typing import Any

from ...unpatched import os, select, time
from .inspections import line_of

FLUSH_SECONDS = 5.0  # for a reader that is slow to take the rest


class ReaderGone(OSError):
    """Nobody reads: the inspection is over. Whoever has begun it expects that, as of every write to a pipe."""


class Results:
    """Lines of JSON, kept until the pipe has room."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._unsent = b""
        self._closed = select.poll()
        self._closed.register(fd, 0)  # POLLERR is always told: see poll(2)
        self._room = select.poll()
        self._room.register(fd, select.POLLOUT)

    def __repr__(self) -> str:
        return f"<Results {self._fd} unsent={len(self._unsent)}>"

    @property
    def is_slow(self) -> bool:
        """Whether the reader has not taken all of what was written."""
        return bool(self._unsent)

    def sleep(self, seconds: float) -> None:
        """Raises ReaderGone, at once if the reader leaves meanwhile."""
        if self._closed.poll(max(0.0, seconds) * 1000):
            raise ReaderGone

    def write(self, **fields: Any) -> None:
        """A line; as much of it as there is room for now. Raises ReaderGone."""
        self._unsent += line_of(fields)
        self.go_on()

    def go_on(self) -> None:
        """What was kept, as far as there is room. Raises ReaderGone."""
        while self._unsent:
            try:
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
            except BlockingIOError:
                return
            except OSError:
                raise ReaderGone from None

    def flush(self) -> None:
        """Wait until the reader has all, but not for long. Raises ReaderGone."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while self._unsent and (left := deadline - time.monotonic()) > 0:
            self._room.poll(left * 1000)
            self.go_on()
