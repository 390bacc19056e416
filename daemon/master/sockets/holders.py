"""Who holds an address: for the message that says why it cannot be had. Linux: /proc/net and /proc/*/fd.

Only processes that we may look into are found (all of them for root, else our own user's).
"""

from __future__ import annotations

import glob
import os
import re

PROC = "/proc"
MAX_TITLE_CHARS = 60
LISTENING = "0A"  # TCP_LISTEN, proc(5) of /proc/net/tcp


def port_holder(port: int) -> str:
    """ "nginx (pid 812)" if that is who listens on the TCP port; "" if it cannot be told."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        for fields in _rows(table):
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return _owner(inodes)


def path_holder(path: str) -> str:
    """The same for a Unix socket's path, or "@name" for an abstract one."""
    return _owner({fields[6] for fields in _rows("net/unix") if fields[-1] == path and len(fields) > 7})


def _rows(table: str) -> list[list[str]]:
    try:
        with open(f"{PROC}/{table}", encoding="utf-8", errors="surrogateescape") as file:
            return [line.split() for line in file.read().splitlines()[1:]]
    except OSError:
        return []


def _owner(inodes: set[str]) -> str:
    """The oldest of the holders of these sockets: workers share what their master opened.

    Its pid need not be the lowest: they begin anew at the highest there is (proc(5), pid_max).
    """
    wanted = {f"socket:[{inode}]" for inode in inodes}
    if not wanted:
        return ""
    holders = [int(name) for name in os.listdir(PROC) if name.isdecimal() and _holds(name, wanted)]
    if not holders:
        return ""
    pid = min(holders, key=lambda pid: (_started(pid), pid))
    return f"{_name(pid)} (pid {pid})"


def _holds(pid: str, wanted: set[str]) -> bool:
    for link in glob.iglob(f"{PROC}/{pid}/fd/*"):
        try:
            if os.readlink(link) in wanted:
                return True
        except OSError:
            continue  # closed meanwhile
    return False


def _started(pid: int) -> float:
    """When, in clock ticks since the machine's boot (proc(5), stat: starttime); infinity if it has ended meanwhile."""
    try:
        with open(f"{PROC}/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return float("inf")


def _name(pid: int) -> str:
    """The command's name; all of it where the kernel's copy is cut short (proc(5), comm: 15 bytes)."""
    try:
        with open(f"{PROC}/{pid}/comm", encoding="utf-8", errors="replace") as file:
            name = file.read().strip()
        with open(f"{PROC}/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            title = file.read(MAX_TITLE_CHARS).split("\0")[0]
    except OSError:
        return "a process"
    return re.sub(r"[^\x20-\x7e]", "?", title if title.startswith(name) else name)
