"""Processes under measurement: started pinned, awaited, measured from /proc as a tree, and never left behind.

Assumes Linux. A `Running` server stands for its whole tree (master, launcher, workers). The benchmark makes
itself the reaper of its orphans (prctl(2), PR_SET_CHILD_SUBREAPER), so `stop_all` finds even what has lost
its parent.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.cpu_time import TICKS_PER_SECOND, Cpu, sum_cpu

PR_SET_CHILD_SUBREAPER = 36
STOP_SECONDS = 4.0


class ServerError(Exception):
    """A server did not start, died, or answered wrongly; the message says which, and what it printed last."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One process's resident memory in bytes: all of it, its proportional share, and what is its own."""

    rss: int
    pss: int
    private: int


@dataclass
class Running:
    """A server that runs: its root process, where it listens, and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    output: Path
    started: float  # time.monotonic when it was started

    def pids(self) -> list[int]:
        """Every process of the tree, the root first."""
        return tree(self.process.pid)

    def workers(self) -> list[int]:
        """The processes that serve: the leaves of the tree; the root itself when it has no children."""
        parents = parent_of_all()
        return [pid for pid in self.pids() if pid not in set(parents.values())]

    def cpu(self) -> Cpu:
        """What the tree has used so far, with the children that it has reaped."""
        return sum_cpu(self.pids())

    def cpu_of_each(self) -> dict[int, float]:
        """Processor time that each process that serves has used so far, in seconds."""
        return {pid: sum_cpu([pid]).total for pid in self.workers()}

    def pss(self) -> int:
        """Memory of the tree in bytes, what is shared counted once."""
        total = 0
        for pid in self.pids():
            with suppress(OSError):
                total += memory(pid).pss
        return total

    def said(self, pattern: str) -> str:
        """The group of a regular expression in what it has written; "" without it."""
        found = re.search(pattern, self.output.read_text("utf-8", "replace"))
        return found[1] if found else ""

    def last_output(self) -> str:
        """The last lines that it wrote, for an error message."""
        lines = self.output.read_text("utf-8", "replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:])

    def stop(self) -> None:
        """Stop the tree: politely, then not."""
        known = self.pids()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        kill_all([pid for pid in known if pid != self.process.pid or self.process.poll() is None])
        self.process.wait()


def start(
    name: str,
    argv: Sequence[str],
    port: int,
    output: Path,
    *,
    cpus: Sequence[int] | None = None,
    directory: Path | None = None,
    environment: dict[str, str] | None = None,
) -> Running:
    """Start a server pinned to `cpus`, its output appended to a file.

    Raises ServerError when there is no such program.
    """
    command = list(argv)
    if cpus:
        command = ["taskset", "-c", ",".join(map(str, cpus)), *command]
    with output.open("ab") as sink:
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=directory,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # an interrupt at the terminal reaches us, and we stop the server
            )
        except OSError as error:
            raise ServerError(f"{name}: {command[0]}: {error.strerror}") from error
    return Running(name, process, port, output, started)


def become_reaper() -> None:
    """Let orphaned descendants come to this process instead of init."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stop_all() -> None:
    """Kill and reap every descendant of this process."""
    kill_all(tree(os.getpid())[1:])
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_all(pids: Sequence[int]) -> None:
    """SIGKILL to those that still run, and wait until they are gone or only a zombie of somebody else's."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(_alive(pid) for pid in pids):
        time.sleep(0.01)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def choose_cpus() -> tuple[list[int], list[int]]:
    """A core for the server and another for the load; two empty lists where there is only one.

    The load gets a core that is no hyper-thread sibling of the server's, if there is one.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return [], []
    server = cpus[0]
    siblings = _cpu_list(Path(f"/sys/devices/system/cpu/cpu{server}/topology/thread_siblings_list"))
    load = [cpu for cpu in cpus[1:] if cpu not in siblings] or cpus[1:]
    return [server], [load[0]]


# --- /proc ----------------------------------------------------------------------------------


def parse_stat(text: str) -> tuple[str, int]:
    """State and parent from /proc/PID/stat, see proc(5)."""
    state, parent = text[text.rindex(")") + 2 :].split(maxsplit=2)[:2]
    return state, int(parent)


def parse_smaps_rollup(text: str) -> Memory:
    """The sums of /proc/PID/smaps_rollup."""
    kib: dict[str, int] = {}
    for line in text.splitlines()[1:]:
        name, _, value = line.partition(":")
        kib[name] = int(value.split()[0])
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return Memory(kib["Rss"] * 1024, kib["Pss"] * 1024, private * 1024)


def parse_machine(text: str) -> float:
    """Seconds that all processors were busy, or taken away by the hypervisor, from /proc/stat, see proc(5)."""
    user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(int, text.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + steal) / TICKS_PER_SECOND


def machine_busy() -> float:
    """The same, now."""
    return parse_machine(Path("/proc/stat").read_text("ascii"))


def memory(pid: int) -> Memory:
    """The memory of one process. Raises OSError when it is gone or not ours."""
    return parse_smaps_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"))


def parent_of_all() -> dict[int, int]:
    """The parent of every process on this machine; zombies left out."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                state, parent = parse_stat(Path(f"/proc/{entry}/stat").read_text("utf-8", "replace"))
                if state not in "ZX":
                    parents[int(entry)] = parent
    return parents


def tree(root: int) -> list[int]:
    """The process and its living descendants, parents before children."""
    parents = parent_of_all()
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def _alive(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # only an orphan that came to us; a child of Popen is waited for there as well
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace"))[0] not in "ZX"
    except OSError:
        return False


def _cpu_list(path: Path) -> set[int]:
    """A kernel list of processors such as "0-1,4"; empty when there is no such file."""
    try:
        text = path.read_text("ascii").strip()
    except OSError:
        return set()
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
