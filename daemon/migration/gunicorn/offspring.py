"""What an executed file leaves behind, also as a daemon that has left its session, is ended with it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import psutil

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
PR_GET_CHILD_SUBREAPER = 37
END_SECONDS = 2.0


@contextlib.contextmanager
def ended_at_exit() -> Iterator[None]:
    """Processes that descend from this one and were begun inside of the block are killed at its end.

    This process is their reaper meanwhile, so that those whose parent has gone do not become init's.
    """
    libc = ctypes.CDLL(None)
    before_it = ctypes.c_int()
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before_it), 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    present = set(psutil.Process().children(recursive=True))
    try:
        yield
    finally:
        # One that forks while it is killed has children that were not seen: they are, in the next round.
        while left := set(psutil.Process().children(recursive=True)) - present:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if psutil.wait_procs(left, END_SECONDS)[1]:
                break  # in the kernel, where no signal reaches it
        libc.prctl(PR_SET_CHILD_SUBREAPER, before_it.value, 0, 0, 0)
