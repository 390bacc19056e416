"""Whether a client is what systemd runs for the daemon's own unit, such as its ExecReload=.

That has the service's user, whose name would say nothing of who asked: `systemctl reload` did. The kernel tells it by
two facts that no process of the application has together: the client is in the unit's control group, and its parent is
the daemon's, which is the service manager (orphans of the application become children of the daemon, their subreaper).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

CONTROL = "/.control"  # the subgroup of such processes where the unit delegates its control group (systemd.exec(5))


def service_manager(environ: Mapping[str, str]) -> int | None:
    """The pid of the systemd that started this very process; None: it did not, or is older than 248 and does not tell.

    Source: $SYSTEMD_EXEC_PID in systemd.exec(5).
    """
    return os.getppid() if environ.get("SYSTEMD_EXEC_PID") == str(os.getpid()) else None


def is_of_unit(pid: int, manager: int | None, proc: str | os.PathLike[str] = "/proc") -> bool:
    """Whether `manager` has started the process for the unit that this one belongs to. Reads /proc."""
    if not manager or pid <= 0:
        return False
    try:
        own, other = _control_group(f"{proc}/self"), _control_group(f"{proc}/{pid}")
        return bool(own) and other in {own, own + CONTROL} and _parent(f"{proc}/{pid}") == manager
    except (OSError, ValueError, IndexError):
        return False  # it is gone, or hidden from us


def _parent(process: str) -> int:
    """proc_pid_stat(5): the fourth field; the second may contain blanks and brackets."""
    with open(f"{process}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def _control_group(process: str) -> str:
    """cgroups(7): that of systemd's own hierarchy; "" where there is none."""
    with open(f"{process}/cgroup", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    return next((path for number, names, path in lines if names == "name=systemd" or number == "0"), "")
