"""Descriptors to which lines go, written without waiting for a reader.

The open file behind a standard stream is shared with other programs, so it is not made non-blocking: a pipe or
terminal is opened once more, a socket is asked for each time (MSG_DONTWAIT), a file does not stall. What can be
opened no more (another user's pipe) can only be written by a thread that may wait. Standard library only.
"""

from __future__ import annotations

import stat

from ..unpatched import os, select, socket

FILE_BATCH_BYTES = 64 * 1024  # O_APPEND writes to a file are whole at any length


class Outlet:
    """See the module. `whole_bytes` is what one write may carry without another process's lines getting in between;
    `waits` whether a write may have to wait for the reader."""

    whole_bytes = select.PIPE_BUF
    waits = False

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self.fd}>"

    def write(self, data: bytes | memoryview) -> int:
        """Write what fits now; how many bytes. Raises BlockingIOError if nothing does, OSError."""
        return os.write(self.fd, data)

    def wait(self, seconds: float) -> None:
        """Until more may fit."""
        poller = select.poll()
        poller.register(self.fd, select.POLLOUT)
        poller.poll(int(seconds * 1000))

    def close(self) -> None:
        """Let go of what was opened here."""


class _File(Outlet):
    whole_bytes = FILE_BATCH_BYTES


class _Waiting(Outlet):
    waits = True


class _Reopened(Outlet):
    """A pipe or a device, by an open file of our own."""

    def __init__(self, fd: int) -> None:
        """Raises OSError."""
        super().__init__(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:  # else it could not be opened
            self.close()


class _Socket(Outlet):
    def __init__(self, fd: int) -> None:
        """Raises OSError."""
        self._socket = socket.socket(fileno=os.dup(fd))
        super().__init__(self._socket.fileno())

    def write(self, data: bytes | memoryview) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def close(self) -> None:
        self._socket.close()


def outlet(fd: int) -> Outlet:
    """The way to write to a descriptor."""
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            return _File(fd)
        return _Socket(fd) if stat.S_ISSOCK(mode) else _Reopened(fd)
    except OSError:
        return _Waiting(fd)
