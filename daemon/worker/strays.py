"""Processes that the application forks, and that come back into the server: they are ended.

A child of os.fork() that returns from the application, or raises, would answer its parent's client a second time and
then serve the connections of its parent. So in a child that was forked inside a request, the methods of the server to
which that request's call would return end the process. Children that end by themselves, or that execute a program,
never get there; until somebody forks, nothing is any slower. Standard library only.
"""

from __future__ import annotations

import sys
import traceback
from types import FrameType, FunctionType
from typing import NoReturn

from ..log.error_log import ErrorLog
from ..unpatched import os

SERVER = __name__.partition(".")[0] + ".daemon."
FLUSH_SECONDS = 1.0
EXIT_STRAY = 70  # EX_SOFTWARE of sysexits.h
CALLED_BY_APPLICATIONS = frozenset({"start_response", "__init__"})


def end_strays(log: ErrorLog) -> None:
    """From now on: watch over what is forked in this process, and in those that it forks."""

    def after_fork() -> None:
        place = _where_it_returns(sys._getframe(1))
        if place is not None:
            _end_there(type(place), log)

    os.register_at_fork(after_in_child=after_fork)


def _where_it_returns(frame: FrameType | None) -> object | None:
    """The server's object whose method has called the application that forks; None: it is not inside a request."""
    own = frame
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(SERVER):
            return None if frame is own else frame.f_locals.get("self")  # the server itself may fork
        frame = frame.f_back
    return None


def _end_there(kind: type, log: ErrorLog) -> None:
    def end(*_arguments: object, **_named: object) -> NoReturn:
        _end(log)

    for name, value in list(vars(kind).items()):
        if isinstance(value, FunctionType) and name not in CALLED_BY_APPLICATIONS:
            setattr(kind, name, end)


def _end(log: ErrorLog) -> NoReturn:
    """End this process, as the application's own end of it would have done."""
    status = EXIT_STRAY
    try:
        error = sys.exc_info()[1]
        if isinstance(error, SystemExit):
            status = _status(error)
        else:
            how = f"raised {type(error).__name__}" if error is not None else "returned"
            trace = "\n" + "".join(traceback.format_exception(error)).rstrip() if error is not None else ""
            log.error(
                f"a process that the application forked {how} and came back into the server: it is ended; "
                f"such a process must end with os._exit(){trace}",
                pid=os.getpid(),
            )
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # noqa: S110 - the application's own object, or none
                pass
        log.flush(FLUSH_SECONDS)
    finally:
        os._exit(status)


def _status(error: SystemExit) -> int:
    """The exit status that Python would give (sys.exit)."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1
