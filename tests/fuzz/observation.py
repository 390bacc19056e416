"""What a daemon costs and what has become of its workers, while it is fuzzed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.control import Control
from tests.support.daemon import Daemon

_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(slots=True)
class Observation:
    """The daemon's processes before, and the workers' memory along the way."""

    daemon: Daemon
    control: Control
    workers: list[int] = field(default_factory=list)
    descriptors: dict[int, int] = field(default_factory=dict)  # by pid, at rest
    samples: list[tuple[int, int]] = field(default_factory=list)  # inputs, and bytes of all workers

    def begin(self) -> None:
        """At rest, after some ordinary requests."""
        self.wait_for_rest()
        self.workers = sorted(self.daemon.workers())
        self.descriptors = self.open_descriptors()

    def wait_for_rest(self) -> None:
        """No client is connected any more."""
        self.daemon.wait(lambda: self.control.status()["connections"] == 0, "all clients are gone")

    def deaths(self) -> list[str]:
        """What has become of the workers; empty while all that were there at the beginning are."""
        found = [f"exit status {status} of the master" for status in [self.daemon.process.poll()] if status is not None]
        if found:
            return found
        states: list[dict[str, Any]] = self.control.workers()
        found += [
            f"slot {state['slot']}: {state['restarts']} restarts, {state['last_exit']!r}"
            for state in states
            if state["restarts"] or state["last_exit"]
        ]
        # The process that serves may itself have forked: a child that serves a connection is named as its parent.
        present = {state["pid"] for state in states}
        gone = [pid for pid in self.workers if pid not in present and not Path(f"/proc/{pid}").exists()]
        return found + [f"worker {pid} is gone" for pid in gone]

    def open_descriptors(self) -> dict[int, int]:
        """How many each process of the daemon has open."""
        counts = {}
        for process in self.daemon.processes():
            try:
                counts[process.pid] = len(os.listdir(f"/proc/{process.pid}/fd"))
            except OSError:
                pass  # a child that has just ended
        return counts

    def leaks(self) -> dict[int, int]:
        """By pid: how many descriptors more than at the beginning."""
        now = self.open_descriptors()
        return {pid: now[pid] - was for pid, was in self.descriptors.items() if now.get(pid, 0) > was}

    def sample(self, inputs: int) -> None:
        """Note the memory of the workers that were there at the beginning."""
        total = 0
        for pid in self.workers:
            try:
                found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"))
            except OSError:
                continue  # `deaths` tells
            total += int(found[1]) * 1024 if found else 0
        self.samples.append((inputs, total))

    def slope(self) -> float:
        """Bytes an input by least squares, without the first third, in which tables and pools of memory fill."""
        if not self.samples:
            return 0.0
        begin = self.samples[-1][0] / 3
        points = [point for point in self.samples if point[0] >= begin]
        if len(points) < 3:
            return 0.0
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
