"""Samples of a running daemon from /proc: memory, descriptors, threads and processes, by role.

Memory is the proportional set (PSS) less what is mapped from files: the share of program text depends on who else on
the machine runs the same interpreter, and would rise and fall with them.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.daemon import Daemon

MEBIBYTE = 1024.0  # in the kilobytes of /proc


@dataclass(slots=True)
class Role:
    """The processes of one role at one time, added up."""

    processes: int = 0
    memory: float = 0.0  # MiB, without what is mapped from files
    pss: float = 0.0  # MiB
    descriptors: int = 0
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at all of them. `at` is time.monotonic."""

    at: float
    roles: dict[str, Role]

    @property
    def processes(self) -> int:
        return sum(role.processes for role in self.roles.values())


@dataclass
class Sampler:
    """Looks once in `every` seconds from a thread, until `stop`."""

    daemon: Daemon
    every: float = 1.0
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self.every):
            self.samples.append(self.look())

    def look(self) -> Sample:
        now = time.monotonic()
        roles: dict[str, Role] = defaultdict(Role)
        for process in self.daemon.processes():
            try:
                name = role_of(process.pid, self.daemon.process.pid)
                found = look_at(process.pid)
            except OSError:
                continue  # it has just left
            role = roles[name]
            role.processes += 1
            role.memory += found.memory
            role.pss += found.pss
            role.descriptors += found.descriptors
            role.threads += found.threads
        return Sample(now, dict(roles))


def role_of(pid: int, master: int) -> str:
    """Raises OSError if the process is gone."""
    if pid == master:
        return "master"
    # A launcher that has just been executed has not named itself yet.
    return "workers" if Path(f"/proc/{pid}/comm").read_text("utf-8").startswith("mw-worker") else "launchers"


def look_at(pid: int) -> Role:
    """One process. Raises OSError if it is gone."""
    directory = Path(f"/proc/{pid}")
    memory = _fields(directory / "smaps_rollup")
    pss = memory["Pss"] / MEBIBYTE
    return Role(
        processes=1,
        memory=pss - memory["Pss_File"] / MEBIBYTE,
        pss=pss,
        descriptors=len(os.listdir(directory / "fd")),
        threads=_fields(directory / "status")["Threads"],
    )


def _fields(path: Path) -> dict[str, int]:
    found = {}
    for line in path.read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0])
    if not found:
        raise ProcessLookupError(path)
    return found
