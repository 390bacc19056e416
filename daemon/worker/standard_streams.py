"""Standard streams that outlive the fork and never block: for an application that prints or keeps
sys.stderr.

While the launcher imports the application, lines go to the master's log over the channel. In a worker a
stream of ours writes to whatever sys.stdout or sys.stderr is there: a logging handler that took hold of the stream
at import is then as safe from a reader that stalls as the worker is. Terminals and files are left alone, but that
lines are written at once.
"""

from __future__ import annotations

import stat
import sys
from typing import Any, TextIO

from miniwsgi.codes import Code

from ..channel import Channel
from ..log.error_log import LEVEL_OF_PRIORITY
from ..log.error_stream import ErrorStream
from ..unpatched import os

STREAMS = ("stdout", "stderr")


def replace_standard_streams(channel: Channel, level: str) -> list[StandardStream]:
    """Replace those of sys.stdout and sys.stderr that lead to a pipe or a socket; `level` is that of their lines."""
    streams = []
    for name in STREAMS:
        stream = getattr(sys, name)
        if stream is not None and _may_stall(stream):
            ours = StandardStream(name, stream, channel, level)
            setattr(sys, name, ours)
            streams.append(ours)
    write_lines_at_once()
    return streams


def write_lines_at_once() -> None:
    """What is printed is out with its newline also where a file is behind the stream, as it is on a terminal."""
    for name in STREAMS:
        stream = getattr(sys, name)
        try:
            stream.reconfigure(line_buffering=True)
        except (AttributeError, ValueError):  # it is none of Python's, or closed
            pass


class MastersLog:
    """The master's log, over the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def info(self, message: str, /) -> None:
        self.said("info", message)

    def warning(self, code: Code, message: str, /) -> None:
        self.said("warning", message, code)

    def error(self, code: Code, message: str, /) -> None:
        self.said("error", message, code)

    def said(self, level: str, message: str, /, code: Code | None = None) -> None:
        try:
            self._channel.send("log", level=level, message=message, code=None if code is None else code.value)
        except OSError:
            pass  # the master is gone

    def passed_on(self, priority: int, message: str) -> None:
        self.said(LEVEL_OF_PRIORITY[priority], message)


class StandardStream(ErrorStream):
    """A text stream in front of `original`; see the module."""

    def __init__(self, name: str, original: TextIO, channel: Channel, level: str) -> None:
        super().__init__(MastersLog(channel), level)
        self._name = name
        self._original = original
        self._importing = True

    def follow(self) -> None:
        """Called in a worker: from now on write to what its standard stream is at that time."""
        self._importing = False
        setattr(sys, self._name, self._original)

    def write(self, text: str) -> int:
        return super().write(text) if self._importing else self._target().write(text)

    def flush(self) -> None:
        if self._importing:
            super().flush()
        else:
            self._target().flush()

    def close(self) -> None:
        """Flushes: the descriptor is not the application's."""
        if self._importing:
            super().close()
        else:
            self._target().flush()

    def fileno(self) -> int:
        return self._original.fileno()

    def _target(self) -> TextIO:
        stream: Any = getattr(sys, self._name)
        # An application may have put a stream of ours that it kept back in its place.
        return self._original if stream is None or isinstance(stream, StandardStream) else stream


def _may_stall(stream: TextIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
