"""How and why a process ended: in words for a log line, and as one of the reasons that are counted."""

from __future__ import annotations

import os
import signal
from enum import Enum


class ExitReason(Enum):
    """Why a worker's process is no more; each exit is counted under one."""

    CRASH = "crash"  # by itself: an exit, a signal
    OOM = "oom"  # killed by the kernel for want of memory
    TIMEOUT = "timeout"  # a request exceeded timeouts.request
    WEDGE = "wedge"  # its loop did not turn
    BOOT = "boot"  # it never became ready
    RSS = "rss"
    LIFETIME = "lifetime"
    REQUESTS = "requests"
    SCALE = "scale"
    RELOAD = "reload"
    RESTART = "restart"
    STOP = "stop"


# What a worker says that wants a successor, and under what its exit counts.
RECYCLED = {
    "rss": ExitReason.RSS,
    "lifetime": ExitReason.LIFETIME,
    "requests": ExitReason.REQUESTS,
    "signal": ExitReason.RESTART,
}


def describe_recycling(reason: str) -> str:
    """Why a worker wants a successor, as the end of a sentence."""
    return "was sent SIGTERM" if reason == "signal" else f"has reached recycle.max_{reason}"


def describe_exit(status: int | None, *, oom: bool = False, ours: bool = False) -> str:
    """A wait status (wait(2)) as the end of a sentence: "exited with status 1", "was killed by SIGSEGV".

    `oom`: the kernel has killed for want of memory; `ours`: it was us.
    """
    if status is None:
        return "is gone (its exit status is unknown)"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"  # a real-time one
        hint = ""
        if number == signal.SIGKILL and not ours:
            hint = " (out of memory)" if oom else " (out of memory?)"
        return f"was killed by {name}{' and dumped core' if os.WCOREDUMP(status) else ''}{hint}"
    return f"exited with status {os.waitstatus_to_exitcode(status)}"
