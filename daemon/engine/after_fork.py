"""Processes that the application forks, and that come back into the server: they are ended.

A child of os.fork() that returns from the application, or raises, would answer its parent's client a second time and
then serve its parent's connections. Such a child bears a mark from its first step on (`os.register_at_fork`); whoever
has called the application looks for it before going on: one attribute, and no frames, which compiled code does not
show. Children that end by themselves, or that execute a program, never get there. Standard library only.
"""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

from miniwsgi.codes import Code

from ..unpatched import os
from .logs import Log

FLUSH_SECONDS = 1.0
EXIT_CAME_BACK = 70  # EX_SOFTWARE of sysexits.h


class Process:
    """This process: one of the server's, or one that the application has forked from it (`forked`)."""

    __slots__ = ("_log", "_serves", "forked")

    def __init__(self) -> None:
        self.forked = False
        self._serves = False
        self._log: Log | None = None

    def __repr__(self) -> str:
        return f"<Process {os.getpid()}{' forked by the application' * self.forked}>"

    def serve(self, log: Log | None) -> None:
        """From now on it is one of the server's: what is forked from it is the application's, unless it calls `keep`.

        A child that comes back is told in `log`; None: on standard error.
        """
        self.forked = False
        self._serves = True
        self._log = log

    def keep(self) -> None:
        """Called in a child that the server has forked for itself."""
        self.forked = False

    def check(self) -> None:
        """End this process if the application has forked it: by a handler of a signal, while the server waited."""
        if self.forked:
            self.end()

    def end(self, error: BaseException | None = None) -> NoReturn:
        """End this child, which came back with `error`, as the application's own end of it would have done."""
        log = self._log
        status = EXIT_CAME_BACK
        try:
            if isinstance(error, SystemExit):
                status = _status(error)
            else:
                how = f"raised {type(error).__name__}" if error is not None else "returned"
                trace = "\n" + "".join(traceback.format_exception(error)).rstrip() if error is not None else ""
                told = (
                    f"a process that the application forked {how} and came back into the server: it is ended; "
                    f"such a process must end with os._exit(){trace}"
                )
                if log is not None:
                    log.error(Code.CAME_BACK, told, pid=os.getpid())
                else:
                    print(f"{Code.CAME_BACK} {told}", file=sys.stderr)
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except Exception:  # noqa: S110 - the application's own object, or none
                    pass
            if log is not None:
                log.flush(FLUSH_SECONDS)
        finally:
            os._exit(status)

    def _after_fork_in_child(self) -> None:
        self.forked = self._serves


def _status(error: SystemExit) -> int:
    """The exit status that Python would give (sys.exit)."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


process = Process()
os.register_at_fork(after_in_child=process._after_fork_in_child)
