"""Who holds an address: for the message that says why it cannot be had. Linux: /proc/net and /proc/*/fd.

Only processes that we may look into are found (all of them for root, else our own user's).
"""

from __future__ import annotations

import glob
import os
import re

MAX_TITLE_CHARS = 60
LISTENING = "0A"  # TCP_LISTEN, proc(5) of /proc/net/tcp


def port_holder(port: int) -> str:
    """ "nginx (pid 812)" if that is who listens on the TCP port; "" if it cannot be told."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for fields in _rows(table):
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return _owner(inodes)


def path_holder(path: str) -> str:
    """The same for a Unix socket's path, or "@name" for an abstract one."""
    return _owner({fields[6] for fields in _rows("/proc/net/unix") if fields[-1] == path and len(fields) > 7})


def _rows(table: str) -> list[list[str]]:
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            return [line.split() for line in file.read().splitlines()[1:]]
    except OSError:
        return []


def _owner(inodes: set[str]) -> str:
    """The lowest pid among the holders of these sockets: workers share what their master opened."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    if not wanted:
        return ""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        for link in glob.iglob(f"/proc/{pid}/fd/*"):
            try:
                found = os.readlink(link)
            except OSError:
                continue
            if found in wanted:
                return f"{_name(pid)} (pid {pid})"
    return ""


def _name(pid: int) -> str:
    """The command's name; all of it where the kernel's copy is cut short (proc(5), comm: 15 bytes)."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            name = file.read().strip()
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            title = file.read(MAX_TITLE_CHARS).split("\0")[0]
    except OSError:
        return "a process"
    return re.sub(r"[^\x20-\x7e]", "?", title if title.startswith(name) else name)
