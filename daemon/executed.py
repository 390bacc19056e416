"""How this process was executed: its environment, before code that runs in it has changed that.

Agents that come by a sitecustomize on PYTHONPATH may take themselves out of it once they have started. A process that
is to start as this one did needs what this one was given. Standard library only.
"""

from __future__ import annotations

import os


def initial_environment() -> dict[str, str]:
    """What execve(2) was given (proc(5), /proc/pid/environ); os.environ where that cannot be read.

    To be called before a title is set, which is written over it (setproctitle).
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if b"=" in entry)
    return {name: value for name, _, value in pairs}
