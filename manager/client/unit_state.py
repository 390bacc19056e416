"""What systemd knows of a daemon that cannot be asked itself: whether it runs, and the line of status that it gave.

Only asked once something has gone wrong. Without systemd, or without an answer in time, there is nothing to know.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

BOOTED = "/run/systemd/system"  # sd_booted(3)
SECONDS = 2.0
NO_CONTROL = "no control API: "  # in the daemon's line of status, before the reason


@dataclass(frozen=True, slots=True)
class UnitState:
    """Of a service that systemd has loaded."""

    active: str  # as `systemctl is-active` has it
    main_pid: int  # 0: none
    status: str  # STATUS= of sd_notify(3)

    @property
    def runs(self) -> bool:
        return self.active in {"active", "reloading"} and self.main_pid > 0

    @property
    def why_no_control(self) -> str:
        """Why the daemon has no control API, by its own word; "" if it has said nothing of that."""
        return self.status.partition(NO_CONTROL)[2]


def state_of(unit: str, *, user: bool = False) -> UnitState | None:
    """The state of `unit`, of the user's own manager or the system's. None: systemd does not know it, or say."""
    if not os.path.isdir(BOOTED):
        return None
    command = ["systemctl", *(["--user"] if user else []), "show", f"{unit}.service"]
    command.append("--property=LoadState,ActiveState,MainPID,StatusText")
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the name comes from a path
            command, capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    said = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    if said.get("LoadState") != "loaded" or not said.get("MainPID", "").isdecimal():
        return None
    return UnitState(said.get("ActiveState", ""), int(said["MainPID"]), said.get("StatusText", ""))
