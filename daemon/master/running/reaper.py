"""The reaper: processes that have no other parent left are ours, and their ends are taken note of.

As child subreaper (prctl(2)) the master becomes the parent of workers whose launcher died, and of whatever
the application started and left. It never waits for just anyone: that would steal the exits that others
wait for (launchers, asyncio's subprocesses). An ended child is looked at first, and reaped only if nobody
else owns it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

PR_SET_CHILD_SUBREAPER = 36


class Reaper:
    """`known` are the pids that others wait for: add one where it is started."""

    def __init__(self) -> None:
        self.known: set[int] = set()
        self._starts = 0

    def __repr__(self) -> str:
        return f"<Reaper known={sorted(self.known)}>"

    def reap(self, held: Iterable[int] = ()) -> list[tuple[int, int]]:
        """Reap all orphans that have ended: (pid, wait status) of each.

        The kernel shows one ended child at a time. If that is another's, the rest waits until it is taken. While a
        process is started only orphans in `held` are reaped, of which it is known that they are not that process.
        """
        if self._starts:
            return [one for pid in held if (one := _reaped(pid))[0]]
        found: list[tuple[int, int]] = []
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return found
            if ended is None or ended.si_pid in self.known:
                return found
            try:
                found.append(os.waitpid(ended.si_pid, os.WNOHANG))
            except ChildProcessError:
                return found

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While a process is started by a thread: it may have ended before its pid can be known.

        That may be for long: exec(3) waits for a disk.
        """
        self._starts += 1
        try:
            yield
        finally:
            self._starts -= 1


def become_subreaper() -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> list[int]:
    """The pids of this process's children, ended ones included (proc(5), /proc/pid/task/tid/children).

    While children end, the kernel may leave out others.
    """
    found = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", encoding="utf-8") as file:
                found += [int(pid) for pid in file.read().split()]
        except OSError:
            continue
    return found


def end_children(seconds: float, spared: int = 0) -> list[int]:
    """End every process that is left below us: asked first, killed after `seconds`. The pids that were killed.

    Called at the very end. What a child leaves behind becomes our child in turn, hence the rounds. Another user's
    process, such as what root started in our container and left, gets the same time to end by itself.
    `spared` is the keeper's pid, which is our child if we are the first process (PID 1) of a container.
    """
    killed: list[int] = []
    asked: set[int] = set()
    foreign: set[int] = set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline + seconds:
        late = time.monotonic() >= deadline
        left = [pid for pid in children() if pid != spared and not _gone(pid) and pid not in foreign]
        if not left and ((foreign and late) or children() == [spared] or not _has_children()):
            break
        for pid in left:
            if late or pid not in asked:
                try:
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)  # our unreaped child: no other's pid
                except PermissionError:
                    foreign.add(pid)
                    continue
            asked.add(pid)
            if late and pid not in killed:
                killed.append(pid)
        time.sleep(0.01)
    return killed


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reaped(pid: int) -> tuple[int, int]:
    """Its pid and wait status; (0, 0) if it has not ended, or is no child of ours."""
    try:
        return os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0, 0


def _gone(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
