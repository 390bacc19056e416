"""Whether it is safe to fork after the application was imported, and if not, why.

A forked child has none of its parent's threads (and their locks stay locked), and shares its connections,
which mixes up what is said on them. Standard library only; assumes /proc.
"""

from __future__ import annotations

import stat
import threading
from typing import Any

from ..unpatched import os, socket, time

MAX_NAMES = 4
EXIT_SECONDS = 0.1  # what a thread that has ended may need to disappear from /proc
SHARED_STATE = {"anon_inode:[eventpoll]": "an event loop's epoll", "anon_inode:[io_uring]": "an io_uring"}


def open_descriptors() -> set[int]:
    """The descriptors that are open now: pass them to `leftovers` after the import."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:
            continue  # the one that listed the directory
        found.add(int(name))
    return found


def leftovers(known: set[int]) -> str:
    """Why forking is not safe now: threads and connections that the import left behind; "" if it is safe.

    `known` are the descriptors that were open before the import.
    """
    found = _threads() + _connections(known)
    return "the import left " + ", and ".join(found) if found else ""


def _threads() -> list[str]:
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    native = _native_threads(len(others))
    found = []
    if others:
        names = ", ".join(thread.name for thread in others[:MAX_NAMES])
        more = ", …" if len(others) > MAX_NAMES else ""
        found.append(f"{_count(len(others), 'thread')} running: {names}{more}")
    if native > 0:
        found.append(f"{_count(native, 'native thread')} running (of a library, not Python's)")
    return found


def _native_threads(python_threads: int) -> int:
    """Threads that Python does not know of. One that was just joined is gone for Python before it is for Linux."""
    deadline = time.monotonic() + EXIT_SECONDS
    while True:
        native = len(os.listdir("/proc/self/task")) - 1 - python_threads
        if native <= 0 or time.monotonic() > deadline:
            return max(native, 0)
        time.sleep(0.001)


def _connections(known: set[int]) -> list[str]:
    found = []
    for fd in sorted(open_descriptors() - known):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
            link = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if link in SHARED_STATE:
            found.append(SHARED_STATE[link])
        if not is_socket:
            continue
        try:
            with socket.socket(fileno=os.dup(fd)) as copy:
                peer = copy.getpeername()
                if copy.type == socket.SOCK_DGRAM:
                    continue  # each datagram is whole, whoever sends it
        except OSError:
            continue  # not connected
        found.append(f"a connected socket to {_peer(peer)}")
    return found


def _peer(address: Any) -> str:
    """A peer's address as people write it: getpeername's depends on the family."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    name = address.decode("utf-8", "replace") if isinstance(address, bytes) else str(address)
    return name.replace("\0", "@") or "itself (a socket pair)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
