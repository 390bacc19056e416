"""Crashes in C code: the stacks of all threads, as faulthandler writes them while the process dies, go to the pipe that
the master reads anyway. Standard library only.
"""

from __future__ import annotations

import faulthandler
import sys
import weakref

COMPILED = "miniwsgi.daemon.engine.compiled._engine"


class _Pipe:
    """What faulthandler takes for a file: it keeps it for as long as it writes there."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def flush(self) -> None:
        pass


_pipes: weakref.WeakSet[_Pipe] = weakref.WeakSet()  # the one that is in use, if any


def show_crashes(fd: int) -> None:
    """From now on have crashes shown there. Not if the application has them shown elsewhere (faulthandler.enable(),
    PYTHONFAULTHANDLER)."""
    if faulthandler.is_enabled() and not _pipes:
        return
    pipe = _Pipe(fd)
    faulthandler.enable(file=pipe, all_threads=True)
    _pipes.add(pipe)


def show_received(fd: int) -> None:
    """The same for what a client has sent, as far as the compiled engine knows it; behind `show_crashes`."""
    engine = sys.modules.get(COMPILED)
    if engine is not None and _pipes:
        engine.show_received(fd)
