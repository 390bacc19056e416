"""How and why a process ended: in words for a log line, and as one of the reasons that are counted.

What wait(2) says is read elsewhere: see `system.process_ends`.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class ExitReason(Enum):
    """Why a worker's process is no more; each exit is counted under one."""

    CRASH = "crash"  # by itself: an exit, a signal
    OOM = "oom"  # killed by the kernel for want of memory
    TIMEOUT = "timeout"  # a request exceeded timeouts.request
    WEDGE = "wedge"  # its loop did not turn
    BOOT = "boot"  # it never became ready
    HOOK = "hook"  # leader_start or leader_stop exceeded timeouts.hook
    RSS = "rss"
    LIFETIME = "lifetime"
    REQUESTS = "requests"
    SCALE = "scale"
    RELOAD = "reload"
    RESTART = "restart"
    STOP = "stop"


# By itself, in the middle of what it did. A successor is told, see ForkWorker.
CRASHES = frozenset({ExitReason.CRASH, ExitReason.OOM})

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


class ProcessEnd(Struct, frozen=True):
    """How a process ended: with an exit status of its own, or killed by a signal ("SIGKILL")."""

    status: int = 0
    signal: str = ""
    dumped_core: bool = False

    @property
    def is_clean(self) -> bool:
        return not self.status and not self.signal

    def told(self, *, oom: bool | None = None, ours: bool = False) -> str:
        """As the end of a sentence: "exited with status 1", "was killed by SIGSEGV".

        `oom`: the kernel has killed for want of memory, or has not; None: not known. `ours`: it was us.
        """
        if not self.signal:
            return f"exited with status {self.status}"
        hint = ""
        if self.signal == "SIGKILL" and not ours and oom is not False:
            hint = " (out of memory)" if oom else " (out of memory?)"
        return f"was killed by {self.signal}{' and dumped core' if self.dumped_core else ''}{hint}"
