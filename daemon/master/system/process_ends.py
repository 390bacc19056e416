"""What the kernel says about a process that has ended (wait(2)), as a `ProcessEnd`."""

from __future__ import annotations

import os

from ...signal_names import signal_name
from ..supervising.exits import ProcessEnd


def from_wait_status(status: int) -> ProcessEnd:
    """Of os.waitpid(), and of what a launcher reports."""
    if not os.WIFSIGNALED(status):
        return ProcessEnd(os.waitstatus_to_exitcode(status))
    return ProcessEnd(signal=signal_name(os.WTERMSIG(status)), dumped_core=os.WCOREDUMP(status))


def from_returncode(code: int) -> ProcessEnd:
    """Of subprocess.Popen: below 0 it is a signal's number."""
    return ProcessEnd(signal=signal_name(-code)) if code < 0 else ProcessEnd(code)
