"""What the threads of this worker do: looked at so many times a second, for so long, from a thread beside them.

    order     {what: "profile", seconds, rate, route: str | None, by_thread: bool}
    samples   {seconds, looks, late_ns, frames, nodes, threads, requests, rows}        each second
        frames    of those that are new: [function, file, line, file without its entry of sys.path, whose code it is]
        nodes     the same: [calling node, frame]; node 0 is no frame, the next is 1 (`call_tree`)
        threads   the same: [ident, name, number of the pool's thread or -1]; without `by_thread` there is one, "all"
        requests  the same: [route, id, method, path, since (monotonic, ns)]; without `by_thread` routes alone. The
                  first, 0, is none
        rows      [thread, node, application's innermost frame or -1, request, state, samples, wall ns, on-CPU ns], of
                  what has been seen since the last such line
    end       {why, looks, seconds, rate, cut_stacks, cut_depth, cut_rows, no_clock, elsewhere_ns, cost_ns}

Wall time is what has gone by since the last look, however late this one is: the interpreter may have been held in C
code meanwhile. A thread of the server that runs no request counts for what it computes alone. How much a thread has
computed since the last look is by its own clock, and put down to where it is now; but if that is little, or the thread
is done with it and waits for work, it was somewhere else in between: that is summed up in `elsewhere_ns`. The looks
take at most COST of one CPU: where there is much to look at there are fewer of them.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from types import FrameType
from typing import Any

from ...engine import account
from ...unpatched import OURS, get_ident, time
from ..context import Context
from . import running_requests, thread_clocks
from .call_tree import CallTree, Origins, is_servers
from .results import Results

MAX_SECONDS = 3600.0
MAX_RATE = 1000.0
MAX_ROWS = 20_000  # between two lines
MAX_REQUESTS = 20_000
COST = 0.02  # of one CPU, at most
TELL_NS = 1_000_000_000
MAIN = "MainThread"
LITTLE = 0.1  # of the time since the last look: who has computed for less than that waits
WAITING = frozenset({"_park", "_watch", "_run", "wait"})  # where a thread of ours is that has nothing to do


class State(IntEnum):
    """What a thread is about. The numbers are what the rows have."""

    IDLE = 0  # of the server's: it waits for something to do
    SERVER = 1  # of the server's: it works, but runs no request
    REQUEST = 2  # it runs one
    APPLICATION = 3  # of the application's own, whatever it does


def inspect(context: Context, order: dict[str, Any], fd: int) -> None:
    """Carry out the order; `fd` is where the results go. Raises ReaderGone."""
    results = Results(fd)
    sampler = Sampler(
        CallTree(Origins(context.settings.module)), route=order.get("route"), by_thread=bool(order.get("by_thread"))
    )
    _look(sampler, results, min(float(order["seconds"]), MAX_SECONDS), min(float(order["rate"]), MAX_RATE))
    results.flush()


def _look(sampler: Sampler, results: Results, seconds: float, rate: float) -> None:
    began = told = last = time.monotonic_ns()
    ends, period = began + int(seconds * 1e9), int(1e9 / rate)
    due = began
    looks = late_ns = 0
    while last < ends:
        results.sleep((min(due, ends) - time.monotonic_ns()) / 1e9)
        now = time.monotonic_ns()
        sampler.look(now - last)
        looks += 1
        late_ns += max(0, now - due)
        last = now
        due += max(period, int(sampler.cost_ns / looks / COST))
        if due <= now:
            due = now + period  # what was missed is not made up for
        results.go_on()
        if now - told >= TELL_NS and not results.is_slow:
            results.write(kind="samples", seconds=(now - began) / 1e9, looks=looks, late_ns=late_ns, **sampler.news())
            told = now
    seconds = (last - began) / 1e9
    results.flush()
    results.write(kind="samples", seconds=seconds, looks=looks, late_ns=late_ns, **sampler.news())
    tree = sampler.tree
    results.write(
        kind="end", why="time", looks=looks, seconds=seconds, rate=looks / seconds,
        cut_stacks=tree.cut_stacks, cut_depth=tree.cut_depth, cut_rows=sampler.cut_rows,
        no_clock=len(sampler.clocks.unknown), elsewhere_ns=sampler.elsewhere_ns, cost_ns=sampler.cost_ns,
    )  # fmt: skip


class Sampler:
    """What has been seen. `cost_ns`: how long its thread has computed for that."""

    def __init__(self, tree: CallTree, *, route: str | None, by_thread: bool) -> None:
        self.tree = tree
        self.clocks = thread_clocks.ThreadClocks()
        self.cost_ns = 0
        self.cut_rows = 0  # samples that are in no row: there were too many
        self.elsewhere_ns = 0  # computed between two looks, nobody knows where
        self._route = route
        self._by_thread = by_thread
        self._threads: dict[Any, int] = {}
        self._requests: dict[Any, int] = {None: 0}
        self._rows: dict[tuple[int, int, int, State], list[int]] = {}
        self._told = {"frames": 0, "nodes": 1, "threads": 0, "requests": 1}
        self._known_threads: list[tuple[int, str, int]] = []
        self._known_requests: list[tuple[Any, ...]] = [("", "", "", "", 0)]
        self._ours: dict[int, bool] = {}  # by ident: whether the thread is the server's
        if not by_thread:
            self._known_threads.append((0, "all", -1))

    def __repr__(self) -> str:
        return f"<Sampler {self.tree} rows={len(self._rows)}>"

    def look(self, elapsed_ns: int) -> None:
        """Once at all threads but this one, so long after the last time."""
        began = time.thread_time_ns()
        me = get_ident()
        frames = sys._current_frames()
        del frames[me]
        self.clocks.keep_only(frames.keys())
        for ident in self._ours.keys() - frames.keys():
            del self._ours[ident]
        while frames:  # each stack is let go as soon as it is read
            ident, frame = frames.popitem()
            self._look_at(ident, frame, elapsed_ns)
            del frame
        self.cost_ns += time.thread_time_ns() - began

    def _look_at(self, ident: int, frame: FrameType, elapsed_ns: int) -> None:
        on_cpu = max(0, self.clocks.spent(ident))
        wall = elapsed_ns
        found = running_requests.environ_on(ident)
        request = running_requests.request_of(*found, frame) if found is not None else None
        route = request.route if request is not None else None
        waits = on_cpu < elapsed_ns * LITTLE
        if route is not None:
            state = State.REQUEST
        elif not self._is_ours(ident, frame):
            state = State.APPLICATION
        else:
            waits = waits or frame.f_code.co_name in WAITING
            state = State.IDLE if waits else State.SERVER
            wall = elapsed_ns if waits else on_cpu
        if waits:
            self.elsewhere_ns += on_cpu
            on_cpu = 0
        if state is State.IDLE and not self._by_thread:
            return
        if self._route is not None and route != self._route:
            return
        key = (self._thread(ident), self.tree.node(frame), self._request(request if self._by_thread else route), state)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MAX_ROWS:
                self.cut_rows += 1
                return
            row = self._rows[key] = [0, 0, 0]
        row[0] += 1
        row[1] += wall
        row[2] += on_cpu

    def news(self) -> dict[str, Any]:
        """What there is since this was last asked."""
        tree = self.tree
        found: dict[str, Any] = {
            "frames": [(f.function, f.file, f.line, f.short, f.origin.value) for f in self._new("frames", tree.frames)],
            "nodes": self._new("nodes", tree.nodes),
            "threads": self._new("threads", self._known_threads),
            "requests": self._new("requests", self._known_requests),
        }
        rows, self._rows = self._rows, {}
        found["rows"] = [
            (thread, node, tree.application_frame(node), request, state, *figures)
            for (thread, node, request, state), figures in rows.items()
        ]
        return found

    def _new(self, what: str, known: list[Any]) -> list[Any]:
        told, self._told[what] = self._told[what], len(known)
        return known[told:]

    def _is_ours(self, ident: int, frame: FrameType) -> bool:
        ours = self._ours.get(ident)
        if ours is None:
            name = thread_clocks.name_of(ident)
            ours = name.startswith(OURS) or name == MAIN or running_requests.is_ours(ident)
            ours = self._ours[ident] = ours or (not name and is_servers(frame))
        return ours

    def _thread(self, ident: int) -> int:
        if not self._by_thread:
            return 0
        number = self._threads.get(ident)
        if number is None:
            number = self._threads[ident] = len(self._known_threads)
            thread = account.threads.get(ident)
            self._known_threads.append((ident, thread_clocks.name_of(ident), -1 if thread is None else thread.number))
        return number

    def _request(self, of: running_requests.RunningRequest | str | None) -> int:
        if not of:
            return 0
        number = self._requests.get(of)
        if number is None:
            if len(self._known_requests) >= MAX_REQUESTS:
                self.cut_rows += 1
                return 0
            number = self._requests[of] = len(self._known_requests)
            self._known_requests.append((of, "", "", "", 0) if isinstance(of, str) else tuple(of))
        return number
