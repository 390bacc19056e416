"""Standard streams that outlive the fork and never block: for an application that prints or keeps
sys.stderr.

While the launcher imports the application, lines go to the master's log over the channel. In a worker a
relay writes to whatever sys.stdout or sys.stderr is there: a logging handler that took hold of the stream
at import is then as safe from a reader that stalls as the worker is. Terminals and files are left alone.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import Any, TextIO

from ..channel import Channel

LEVELS = {"stdout": "info", "stderr": "error"}


def relay_streams(channel: Channel) -> list[Relay]:
    """Replace those of sys.stdout and sys.stderr that lead to a pipe or a socket."""
    relays = []
    for name in LEVELS:
        stream = getattr(sys, name)
        if stream is not None and _may_stall(stream):
            relay = Relay(name, stream, channel)
            setattr(sys, name, relay)
            relays.append(relay)
    return relays


class Relay(io.TextIOBase):
    """A text stream in front of `original`; see the module."""

    def __init__(self, name: str, original: TextIO, channel: Channel) -> None:
        self._name = name
        self._original = original
        self._channel: Channel | None = channel
        self._partial = ""

    def follow(self) -> None:
        """Called in a worker: from now on write to what its standard stream is at that time."""
        self._channel = None
        setattr(sys, self._name, self._original)

    def write(self, text: str) -> int:
        channel = self._channel
        if channel is None:
            return self._target().write(text)
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            if line.strip():
                try:
                    channel.send("log", level=LEVELS[self._name], message=line)
                except OSError:
                    pass  # the master is gone
        return len(text)

    def flush(self) -> None:
        if self._channel is None:
            self._target().flush()
        elif self._partial:
            self.write("\n")

    def _target(self) -> TextIO:
        stream: TextIO | None = getattr(sys, self._name)
        # An application may have put a relay that it kept back in its place.
        return self._original if stream is None or isinstance(stream, Relay) else stream

    # --- what else programs expect of a standard stream ---

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    @property
    def buffer(self) -> Any:
        """The original's: bytes go straight to the descriptor."""
        return self._original.buffer

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._original.fileno()

    def reconfigure(self, **_options: object) -> None:
        """As of io.TextIOWrapper: nothing to configure here."""

    def close(self) -> None:
        """Flushes: the descriptor is not the application's."""
        self.flush()


def _may_stall(stream: TextIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
