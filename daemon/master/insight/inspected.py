"""What a worker's sampler says of its threads, line by line (worker/inspecting/sampler.py), as samples of them.

A line holds what was seen since the line before, about a second: its threads count by the time that they were seen for.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, json

from .evidence import Frame, Request, ThreadSample

NANOSECONDS = 1e9
REQUEST = 2  # the state of a thread that runs one
APPLICATION = 3  # of a thread of the application's own


class _Line(Struct):
    """Those of kind `samples` have everything; others only what is not here."""

    kind: str
    seconds: float = 0.0  # since the beginning
    looks: int = 0  # since then
    late_ns: int = 0  # the same
    frames: list[tuple[str, str, int, str, str]] = []
    nodes: list[tuple[int, int]] = []
    threads: list[tuple[int, str, int]] = []
    requests: list[tuple[str, str, str, str, int]] = []
    rows: list[tuple[int, int, int, int, int, int, int, int]] = []
    why: str = ""


class Inspected:
    """`take` what comes, then read `moments`."""

    def __init__(self) -> None:
        self.has_begun = False
        self.refused = ""  # why nothing was done
        self.looks = 0
        self.seconds = 0.0  # that were looked at
        self.late_seconds = 0.0  # of these the sampler waited for the interpreter
        self.longest_seconds = 0.0  # of one such wait, on average in the worst second
        self._frames: list[Frame] = []
        self._nodes: list[tuple[int, int]] = [(0, -1)]
        self._threads: list[int] = []
        self._requests: list[tuple[str, str, str, str, int]] = [("", "", "", "", 0)]
        self._stretches: list[tuple[float, list[ThreadSample]]] = []

    def __repr__(self) -> str:
        return f"<Inspected looks={self.looks} seconds={self.seconds:.1f}>"

    def take(self, line: bytes, now_ns: int) -> None:
        """Raises msgspec.DecodeError: it is no such line."""
        found = json.decode(line, type=_Line)
        self.has_begun = self.has_begun or found.kind in {"begin", "samples"}
        if found.kind in {"refused", "failed"}:
            self.refused = found.why or "its inspection failed: see the error log"
        elif found.kind == "samples" and found.looks > self.looks:
            self._take_samples(found, now_ns)

    def _take_samples(self, line: _Line, now_ns: int) -> None:
        seconds, looks, late = line.seconds - self.seconds, line.looks - self.looks, line.late_ns / NANOSECONDS
        self.longest_seconds = max(self.longest_seconds, (late - self.late_seconds) / looks)
        self.seconds, self.looks, self.late_seconds = line.seconds, line.looks, late
        self._frames += [Frame(file, number, function) for function, file, number, _short, _origin in line.frames]
        self._nodes += line.nodes
        self._threads += [ident for ident, _name, _number in line.threads]
        self._requests += line.requests
        threads = [
            self._thread(row, seconds, now_ns) for row in line.rows if row[4] in {REQUEST, APPLICATION} and row[6] > 0
        ]
        if seconds > 0:
            self._stretches.append((seconds, threads))

    def _thread(self, row: tuple[Any, ...], seconds: float, now_ns: int) -> ThreadSample:
        thread, node, _application, request, state, _samples, wall_ns, cpu_ns = row
        runs = None
        if state == REQUEST:
            route, _id, method, path, since = self._requests[request]
            age = max(0.0, (now_ns - since) / NANOSECONDS) if since else 0.0
            runs = Request(method, path, route or None, age)
        share = cpu_ns / wall_ns if cpu_ns >= 0 else None
        weight = wall_ns / NANOSECONDS / seconds if seconds > 0 else 0.0
        return ThreadSample(self._threads[thread], self._stack(node), runs, share, weight)

    def _stack(self, node: int) -> tuple[Frame, ...]:
        frames = []
        while node:
            node, number = self._nodes[node]
            frames.append(self._frames[number])
        return tuple(frames)

    @property
    def moments(self) -> tuple[tuple[ThreadSample, ...], ...]:
        """Stretches that count alike: threads of a shorter one weigh less."""
        mean = self.seconds / len(self._stretches) if self._stretches else 1.0
        return tuple(
            tuple(
                ThreadSample(one.ident, one.frames, one.request, one.cpu, one.weight * seconds / mean)
                for one in threads
            )
            for seconds, threads in self._stretches
        )
