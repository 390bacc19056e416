"""What this worker's memory holds: objects by their types, and where memory was allocated that is still held.

    order     {what: "memory", seconds, diff: bool, pause_seconds}
    look      {at, gc, objects, types, no_types, lines, no_lines, held_bytes, tracing}
        at        after so long. Without `seconds` there is one look, else one at their end; with `diff` there are
                  three: at the beginning, after a half, and at the end
        types     [name, number] of the most frequent
        lines     [file, line, bytes, blocks]; `tracing`: "ours" (since the beginning of this), "application", "none"
    end       {why, pause_ns, cost_ns}

Reading what the collector knows, or what tracemalloc has noted, holds the interpreter. That is estimated first, and not
done where it would take longer than the order allows; what it took is told. No object is kept meanwhile, so that none
of the application's finalizers runs on this thread. tracemalloc is stopped in the end, if it was begun here. Its module
in C is all that is used of it: the other imports much that would stay. Processes that are forked meanwhile do not
trace: nobody would stop it there.
"""

from __future__ import annotations

import _tracemalloc as tracemalloc
import gc
import sys
from collections import Counter
from typing import Any

from ...unpatched import os, time
from ..context import Context
from .results import Results

MAX_SECONDS = 3600.0
SLICE = 5_000  # types that are counted in a row: a fraction of a millisecond
MAX_TYPES, MAX_LINES = 1000, 500  # that are told
FEW = 10  # objects of one type, which are not worth telling
OBJECT_NS = 30  # that it takes to find one among all blocks of memory: estimates, from a usual machine
TRACE_NS = 400  # that it takes to read a trace of tracemalloc …
TRACE_BYTES = 90  # … which needs so many itself


def inspect(context: Context, order: dict[str, Any], fd: int) -> None:
    """Carry out the order; `fd` is where the results go. Raises ReaderGone."""
    results = Results(fd)
    looker = _Looker(results, int(float(order.get("pause_seconds", 0.02)) * 1e9))
    seconds = min(float(order["seconds"]), MAX_SECONDS)
    if seconds <= 0:
        looker.look()
    else:
        looker.look_for(seconds, diff=bool(order.get("diff")))
    results.write(kind="end", why="done", pause_ns=looker.paused_ns, cost_ns=looker.cost_ns)
    results.flush()


class _Tracing:
    """tracemalloc, if it was begun here."""

    def __init__(self) -> None:
        self.ours = False
        os.register_at_fork(after_in_child=self.end)

    def __repr__(self) -> str:
        return f"<Tracing {'ours' if self.ours else 'not ours'}>"

    def begin(self) -> None:
        """Nothing if the application traces: its traces are kept."""
        if not tracemalloc.is_tracing():
            self.ours = True
            tracemalloc.start(1)

    def end(self) -> None:
        if self.ours:
            self.ours = False
            tracemalloc.stop()

    def whose(self) -> str:
        return ("ours" if self.ours else "application") if tracemalloc.is_tracing() else "none"


_tracing = _Tracing()  # one a process: what is called after a fork cannot be taken back


class _Looker:
    """`paused_ns`: how long the interpreter was held in a row, at most; `cost_ns`: the CPU time of all."""

    def __init__(self, results: Results, pause_ns: int) -> None:
        self._results = results
        self._most_ns = pause_ns
        self._began = time.monotonic_ns()
        self._cpu_began = time.thread_time_ns()
        self.paused_ns = 0

    @property
    def cost_ns(self) -> int:
        return time.thread_time_ns() - self._cpu_began

    def look_for(self, seconds: float, *, diff: bool) -> None:
        """Note what is allocated meanwhile. Raises ReaderGone."""
        _tracing.begin()
        try:
            if diff:
                self.look()
                self._results.sleep(seconds / 2)
                self.look(types=False)
                seconds /= 2
            self._results.sleep(seconds)
            self.look()
        finally:
            _tracing.end()

    def look(self, *, types: bool = True) -> None:
        """Raises ReaderGone."""
        at = (time.monotonic_ns() - self._began) / 1e9
        lines, no_lines = self._lines()
        found, no_types = self._types() if types else (None, "")
        self._results.write(
            kind="look", at=at, gc=_collector(), objects=None if found is None else sum(found.values()),
            types=[] if found is None else _named(found), no_types=no_types,
            lines=lines, no_lines=no_lines, held_bytes=tracemalloc.get_traced_memory()[0], tracing=_tracing.whose(),
        )  # fmt: skip
        self._results.flush()

    def _types(self) -> tuple[dict[type, int] | None, str]:
        """How many objects of each type the collector knows; None, and why they are not counted."""
        about = max(0, sys.getallocatedblocks() - gc.get_freeze_count())
        if refusal := self._refusal(about * OBJECT_NS, f"up to {about} objects"):
            return None, refusal
        began = time.monotonic_ns()
        kinds = list(map(type, gc.get_objects()))  # in one go: between two, the collector may move some
        self._paused(began)
        numbers: Counter[int] = Counter()  # by id: a metaclass may define what equal classes are
        known: dict[int, type] = {}
        while kinds:
            part = kinds[-SLICE:]
            del kinds[-SLICE:]
            numbers.update(map(id, part))
            known.update(zip(map(id, part), part, strict=True))
            self._results.sleep(0)
        return {known[number]: count for number, count in numbers.items()}, ""

    def _lines(self) -> tuple[list[tuple[str, int, int, int]], str]:
        """File, line, bytes, blocks of what is held; none, and why."""
        if not tracemalloc.is_tracing():
            return [], ""
        about = tracemalloc.get_tracemalloc_memory() // TRACE_BYTES
        if refusal := self._refusal(about * TRACE_NS, f"up to {about} blocks of memory"):
            return [], refusal
        began = time.monotonic_ns()
        traces = list(tracemalloc._get_traces())
        self._paused(began)
        found: dict[tuple[str, int], list[int]] = {}
        while traces:
            for _domain, size, frames, *_ in traces[-SLICE:]:
                sums = found.setdefault(frames[0], [0, 0])
                sums[0] += size
                sums[1] += 1
            del traces[-SLICE:]
            self._results.sleep(0)
        most = sorted(found.items(), key=lambda item: item[1][0], reverse=True)[:MAX_LINES]
        return [(file, line, size, blocks) for (file, line), (size, blocks) in most], ""

    def _refusal(self, takes_ns: int, what: str) -> str:
        if takes_ns <= self._most_ns:
            return ""
        allowed = f"{self._most_ns / 1e6:.0f} ms are allowed"
        return f"{what} would hold the worker up for about {takes_ns / 1e6:.0f} ms, {allowed}"

    def _paused(self, began: int) -> None:
        self.paused_ns = max(self.paused_ns, time.monotonic_ns() - began)


def _collector() -> dict[str, Any]:
    stats = gc.get_stats()
    return {
        "enabled": gc.isenabled(),
        "counts": gc.get_count(),
        "thresholds": gc.get_threshold(),
        "collections": [generation["collections"] for generation in stats],
        "collected": sum(generation["collected"] for generation in stats),
        "uncollectable": sum(generation["uncollectable"] for generation in stats),
        "frozen": gc.get_freeze_count(),
    }


def _named(found: dict[type, int]) -> list[tuple[str, int]]:
    """The most frequent, by their names."""
    most = sorted(found.items(), key=lambda item: item[1], reverse=True)[:MAX_TYPES]
    names: Counter[str] = Counter()
    for kind, number in most:
        if number > FEW:
            names[_name(kind)] += number
    return names.most_common()


def _name(kind: type) -> str:
    """Without calling what a metaclass may have made of its name."""
    module = type.__dict__["__module__"].__get__(kind)
    name = str(type.__dict__["__qualname__"].__get__(kind))
    return name if module == "builtins" or type(module) is not str else f"{module}.{name}"
