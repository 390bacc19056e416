"""What a daemon that was harmed leaves behind: processes, descriptors, shared memory, sockets, files.

    aftermath = Aftermath(tmp_path)                       # before the start
    daemon = service.start(…, environ=aftermath.environ)  # its files go where they can be told from others'
    aftermath.watch(daemon)                               # at rest, all workers ready
    …                                                     # the fault; the load has stopped
    aftermath.assert_recovered()                          # it runs as before
    daemon.stop()
    aftermath.assert_gone()                               # nothing at all

Each waits on the condition; `recovered_from()` and `left_over()` say at once what is amiss, for reports.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.daemon import Daemon, is_alive
from tests.support.waiting import PATIENCE_SECONDS, wait_for

SLACK = 4  # descriptors a process may have more than at rest: a connection that idles, a log that was opened
CHILD = "child of a worker"  # the role: of pool fork for a connection, or of the application
SHARED_MEMORY = Path("/dev/shm")
OURS = re.compile(r"miniwsgi|mw-")  # in the names of files that are shared with the whole machine
_LISTEN = "0A"  # net/tcp_states.h, as /proc/net/tcp shows it


@dataclass(slots=True)
class State:
    """What a daemon has at one moment, by the roles of its processes."""

    processes: Counter[str] = field(default_factory=Counter)
    zombies: int = 0
    descriptors: dict[str, Counter[str]] = field(default_factory=dict)  # role -> kind -> the most that one of them has
    memory: Counter[str] = field(default_factory=Counter)  # memfd by name, /dev/shm by path
    sockets: frozenset[str] = frozenset()  # files
    files: frozenset[str] = frozenset()
    listening: frozenset[str] = frozenset()  # addresses

    def totals(self) -> dict[str, int]:
        """How many descriptors the greediest process of each role has."""
        return {role: sum(kinds.values()) for role, kinds in self.descriptors.items()}


class Aftermath:
    """What a daemon had before a fault, and what is amiss after it.

    It finds the daemon's processes by its session, by descent, and by their environment: none escapes by
    becoming a daemon of its own.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.temporary = directory / "tmp"
        self.runtime = directory / "run"
        for path in (self.temporary, self.runtime):
            path.mkdir()
        self.environ = {"TMPDIR": str(self.temporary), "RUNTIME_DIRECTORY": str(self.runtime)}
        self._sockets_before = frozenset(self._sockets())
        self._shared_before = frozenset(_shared_files())
        self._mark = f"TMPDIR={self.temporary}".encode()
        self._seen: dict[int, psutil.Process] = {}
        self._held: set[str] = set()  # files in /dev/shm that its processes were seen to have open
        self._daemon: Daemon
        self.before: State

    def watch(self, daemon: Daemon) -> None:
        """Take the state of a daemon that is ready and at rest."""
        self._daemon = daemon
        self._sockets_before |= {str(daemon._notify_path)}  # the test's own
        self.before = self.state()

    # --- while it runs ------------------------------------------------------------------------------------------------

    def assert_recovered(
        self, slack: int = SLACK, seconds: float = PATIENCE_SECONDS, *, children: int = 0, unreaped: int = 0
    ) -> None:
        """Wait until it has what it had: as many processes, descriptors but for `slack` in each. AssertionError.

        Of the processes that the application has started so many may go on, and so many may have ended without being
        waited for.
        """
        self._wait_for_none(lambda: self.recovered_from(slack, children, unreaped), "runs as before", seconds)

    def recovered_from(self, slack: int = SLACK, children: int = 0, unreaped: int = 0) -> list[str]:
        """What the running daemon has too much of, or too little; empty when it has recovered."""
        now, before = self.state(), self.before
        now.processes[CHILD] -= min(children, now.processes[CHILD])
        amiss = [
            f"{now.processes[role]} of {role}, {before.processes[role]} before"
            for role in sorted(now.processes | before.processes)
            if now.processes[role] != before.processes[role]
        ]
        if now.zombies > unreaped:
            amiss.append(f"{now.zombies} zombies")
        totals = before.totals()
        for role, total in now.totals().items():
            if role in totals and total > totals[role] + slack:
                more = now.descriptors[role] - before.descriptors[role]
                amiss.append(f"{total} descriptors of a {role}, {totals[role]} before: {_listed(more)} more")
        if now.memory != before.memory:
            amiss.append(f"shared memory {_listed(now.memory)}, before {_listed(before.memory)}")
        for what in ("listening", "sockets", "files"):
            had, has = getattr(before, what), getattr(now, what)
            amiss += [f"{what}: {name} is new" for name in sorted(has - had)]
            amiss += [f"{what}: {name} is gone" for name in sorted(had - has)]
        return amiss

    # --- after it has ended -------------------------------------------------------------------------------------------

    def assert_gone(self, seconds: float = PATIENCE_SECONDS, *, files: bool = True) -> None:
        """Wait until nothing at all is left of it. Raises AssertionError that names what is.

        Without `files`: but for the names of files and sockets, which a killed master cannot remove.
        """
        self._wait_for_none(lambda: self.left_over(files), "is gone", seconds)

    def left_over(self, files: bool = True) -> list[str]:
        """What is left of a daemon that has ended; empty when nothing is."""
        left = [f"process {process.pid} {_name(process.pid)}" for process in self.processes()]
        if files:
            left += [f"socket file {path}" for path in sorted(frozenset(self._sockets()) - self._sockets_before)]
            left += [f"file {path}" for path in sorted(self._files())]
        left += [f"shared memory {path}" for path in sorted(self._shared())]
        ours = {address.rpartition(":")[2] for address in self.before.listening}
        left += [f"port {port} is listened on" for port in sorted(ours & _listening_ports())]
        return left

    def _wait_for_none(self, amiss: Callable[[], list[str]], what: str, seconds: float) -> None:
        wait_for(
            lambda: not amiss(), f"the daemon {what}", seconds, story=lambda: "; ".join(amiss()), every_seconds=0.05
        )

    # --- what there is ------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """What there is now."""
        now = State()
        listening = set()
        memory: dict[str, str] = {}  # by what tells one from another, its name
        for process in self.processes():
            role = self._role(process.pid)
            kinds: Counter[str] = Counter()
            for link, inode in _descriptors(process.pid):
                kind = _kind(link)
                kinds[kind] += 1
                if kind.startswith("memfd:"):
                    memory[f"{kind} {inode}"] = kind
                elif link.startswith(f"{SHARED_MEMORY}/"):
                    memory[link] = link
                    self._held.add(link)
            now.processes[role] += 1
            most = now.descriptors.get(role)
            if most is None or sum(kinds.values()) > sum(most.values()):
                now.descriptors[role] = kinds
            listening |= _listening(process)
        now.zombies = self._zombies()
        now.memory = Counter(memory.values())
        now.listening = frozenset(listening)
        now.sockets = frozenset(self._sockets()) - self._sockets_before
        now.files = frozenset(self._files())
        return now

    def processes(self) -> list[psutil.Process]:
        """All that are alive and belong to it, or ever did."""
        session = self._daemon.process.pid
        known = {process.pid for process in self._daemon.processes()}
        for process in psutil.process_iter():
            pid = process.pid
            if pid not in self._seen and (pid in known or _session(pid) == session or self._mark in _environ(pid)):
                self._seen[pid] = process
        self._seen = {pid: process for pid, process in self._seen.items() if is_alive(process)}
        return list(self._seen.values())

    def is_worker(self, pid: int) -> bool:
        """Whether it is one, and not a process that one of them has forked."""
        return self._role(pid) == "worker"

    def _role(self, pid: int) -> str:
        """What a process is to the daemon."""
        if pid == self._daemon.process.pid:
            return "master"
        name = _name(pid).partition("/")[0]
        if name == "mw-worker":
            parent = _name(_parent(pid)).partition("/")[0]
            strange = _session(pid) != self._daemon.process.pid  # an orphan that has become a daemon of its own
            return CHILD if parent == name or strange else "worker"
        return "launcher" if name.startswith("mw-launcher") else f"{name!r}"

    def _zombies(self) -> int:
        try:
            children = psutil.Process(self._daemon.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return 0
        return sum(_state_letter(child.pid) == "Z" for child in children)

    def _sockets(self) -> Iterator[str]:
        for path in self.directory.rglob("*"):
            try:
                if stat.S_ISSOCK(path.lstat().st_mode):
                    yield str(path)
            except OSError:
                pass  # removed meanwhile

    def _files(self) -> Iterator[str]:
        """What lies in its directories for temporary and runtime files, but for sockets."""
        for root in (self.temporary, self.runtime):
            for path in root.rglob("*"):
                try:
                    if not stat.S_ISSOCK(path.lstat().st_mode):
                        yield str(path.relative_to(self.directory))
                except OSError:
                    pass

    def _shared(self) -> frozenset[str]:
        new = frozenset(_shared_files()) - self._shared_before
        return frozenset(path for path in new if path in self._held or OURS.search(path))


# --- /proc -----------------------------------------------------------------------------------------------------------


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""  # it has ended, or is another user's


def _name(pid: int) -> str:
    return _read(pid, "comm").decode("utf-8", "replace").strip()


def _environ(pid: int) -> list[bytes]:
    return _read(pid, "environ").split(b"\0")


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything: state, parent, group, session, …"""
    return _read(pid, "stat").rpartition(b")")[2].decode().split()


def _state_letter(pid: int) -> str:
    return (_stat(pid) or [""])[0]


def _parent(pid: int) -> int:
    return int((_stat(pid) + ["0"] * 4)[1])


def _session(pid: int) -> int:
    return int((_stat(pid) + ["0"] * 4)[3])


def _descriptors(pid: int) -> Iterator[tuple[str, int]]:
    """Where each of a process's descriptors points, and its inode."""
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(f"{directory}/{name}"), os.stat(f"{directory}/{name}").st_ino
        except OSError:
            pass  # closed meanwhile


def _kind(link: str) -> str:
    """What a descriptor is, from where its link points: socket, pipe, memfd:NAME, anon_inode:[eventpoll], file."""
    if link.startswith("/memfd:"):
        return link.removeprefix("/").removesuffix(" (deleted)")
    if link.startswith("/"):
        return "file"
    return re.sub(r":\[\d+\]$", "", link)


def _listening(process: psutil.Process) -> set[str]:
    try:
        found = process.net_connections("tcp")
    except psutil.Error:
        return set()
    return {f"{one.laddr.ip}:{one.laddr.port}" for one in found if one.status == psutil.CONN_LISTEN}


def _listening_ports() -> set[str]:
    """The ports that anybody listens on."""
    ports = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _number, local, _remote, state = line.split()[:4]
            if state == _LISTEN:
                ports.add(str(int(local.rpartition(":")[2], 16)))
    return ports


def _shared_files() -> list[str]:
    return [str(path) for path in SHARED_MEMORY.iterdir()] if SHARED_MEMORY.is_dir() else []


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
