"""The name of this process. Standard library only."""

from __future__ import annotations


def set_process_name(name: str) -> None:
    """What ps and top show (proc(5), /proc/pid/comm); at most 15 bytes."""
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write(name[:15])
    except OSError:
        pass
