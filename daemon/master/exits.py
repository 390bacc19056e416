"""How a process ended, in words for a log line."""

from __future__ import annotations

import os
import signal


def describe_exit(status: int | None) -> str:
    """A wait status (wait(2)) as the end of a sentence: "exited with status 1", "was killed by SIGSEGV"."""
    if status is None:
        return "is gone (its exit status is unknown)"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"  # a real-time one
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return f"was killed by {name}{' and dumped core' if os.WCOREDUMP(status) else ''}{hint}"
    return f"exited with status {os.waitstatus_to_exitcode(status)}"
