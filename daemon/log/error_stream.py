"""Text streams into the error log: what an application says, line by line. Standard library only."""

from __future__ import annotations

import io
import re
from enum import Enum
from typing import Any, Protocol

from ..unpatched import RLock, get_ident
from .fork_reset import start_afresh_in_children

PARTIAL_CHARS = 64 * 1024  # an unfinished line is logged at this length


class Sink(Protocol):
    """What an `ErrorStream` writes to: an `ErrorLog`."""

    def said(self, level: str, message: str, /) -> None: ...

    def passed_on(self, priority: int, message: str) -> None: ...


class _Inside(Enum):
    """A traceback that is written line by line: its other lines are of level error, too."""

    TRACEBACK = "traceback"  # to the first line that is not indented, which is the exception
    GROUP = "group"  # of an ExceptionGroup: all of it is indented


_TRACEBACK = "Traceback (most recent call last):"
_AROUND_TRACEBACKS = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
    "Exception in thread ",
    "Exception ignored in",
)
_PRIORITY_PREFIX = re.compile("<([0-7])>")  # sd-daemon(3)


class ErrorStream(io.TextIOBase):
    """A text stream into an `ErrorLog`, one entry a line: wsgi.errors (PEP 3333), or a worker's standard streams.

    Entries are of `level`; those of a write that has a traceback, and of a traceback that comes line by line, are
    errors. A line that begins with a priority, as "<4>", has that one. Threads do not mix: each has its own unfinished
    line, kept until its newline or that thread's `flush`. As sys.stderr give it `fileno=2`: `faulthandler.enable()` and
    `subprocess.run(stderr=sys.stderr)` ask for a descriptor; without one `fileno` raises io.UnsupportedOperation.
    Closing it flushes and nothing more: it belongs to the server.
    """

    def __init__(self, log: Sink, level: str = "info", fileno: int | None = None) -> None:
        self._log = log
        self._level = level
        self._fileno = fileno
        self._after_fork()
        start_afresh_in_children(self)

    def _after_fork(self) -> None:
        self._lock = RLock()
        self._partial: dict[int, str] = {}  # by thread
        self._inside: dict[int, _Inside] = {}  # by thread

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        if self._fileno is None:
            raise io.UnsupportedOperation("fileno: this stream is a log, it has no descriptor")
        return self._fileno

    @property
    def buffer(self) -> io.BufferedIOBase:
        """For programs that write bytes to a standard stream."""
        return _Bytes(self)

    def write(self, text: str) -> int:
        """Raises TypeError for anything but str."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        thread = get_ident()
        with self._lock:
            *lines, rest = (self._partial.pop(thread, "") + text).split("\n")
            if len(rest) >= PARTIAL_CHARS:
                lines.append(rest)
            elif rest:
                self._partial[thread] = rest
        self._put(lines)
        return len(text)

    def reconfigure(self, **_options: object) -> None:
        """As of io.TextIOWrapper, which programs expect sys.stderr to be: nothing to configure here."""

    def flush(self) -> None:
        with self._lock:
            rest = self._partial.pop(get_ident(), "")
        self._put([rest])

    def close(self) -> None:
        """Log the unfinished lines of all threads. The stream stays usable."""
        with self._lock:
            lines = list(self._partial.values())
            self._partial.clear()
        self._put(lines)

    def _put(self, lines: list[str]) -> None:
        thread = get_ident()
        inside = self._inside.pop(thread, None)
        failure = any(_TRACEBACK in line for line in lines)
        for line in lines:
            line = line.rstrip("\r")  # noqa: PLW2901
            if not line or line.isspace():
                continue
            if priority := _PRIORITY_PREFIX.match(line):
                self._log.passed_on(int(priority[1]), line[3:])
                continue
            indented = line[0].isspace()
            if inside is _Inside.GROUP and not indented:
                inside = None
            error = failure or inside is not None or line.startswith(_AROUND_TRACEBACKS)
            self._log.said("error" if error else self._level, line)
            if line.endswith(_TRACEBACK):
                inside = _Inside.GROUP if indented else _Inside.TRACEBACK
            elif not indented:
                inside = None
        if inside is not None:
            self._inside[thread] = inside


class _Bytes(io.BufferedIOBase):
    """The bytes side of an `ErrorStream`."""

    def __init__(self, stream: ErrorStream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        """Raises TypeError for what is not bytes-like."""
        text = bytes(memoryview(data)).decode("utf-8", "backslashreplace")
        self._stream.write(text)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()
