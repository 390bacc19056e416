"""A profile: what the threads of several workers were seen doing, as one tree of calls.

Fed with the lines of `POST /v1/profile` (docs/control-api.md), in any order of workers; whole after each of them, so
that a profile that was broken off is one, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

REQUEST = 2  # the state of a thread that runs one
SERVER, STDLIB = "server", "stdlib"  # origins of frames


class Clock(Enum):
    """What is counted."""

    WALL = "wall"
    CPU = "cpu"

    @property
    def noun(self) -> str:
        return "wall time" if self is Clock.WALL else "time on the CPU"


class Frame(NamedTuple):
    """`file` as it is, `short` without the entry of sys.path that it was found by, `origin` whose code it is."""

    function: str
    file: str
    line: int
    short: str
    origin: str

    @property
    def name(self) -> str:
        """As py-spy has it: "index (shop/views.py:38)"."""
        if not self.file:
            return self.function
        return f"{self.function} ({self.short}:{self.line})" if self.line else f"{self.function} ({self.short})"


class Call:
    """A frame where it was called from, with what was seen in it alone."""

    __slots__ = ("called", "cpu_ns", "frame", "wall_ns")

    def __init__(self, frame: Frame | None) -> None:
        self.frame = frame  # None: the root
        self.called: dict[Frame, Call] = {}
        self.wall_ns = self.cpu_ns = 0

    def __repr__(self) -> str:
        return f"<Call {self.frame.name if self.frame else 'all'}>"

    def call(self, frame: Frame) -> Call:
        """What it calls."""
        found = self.called.get(frame)
        if found is None:
            found = self.called[frame] = Call(frame)
        return found

    def own_ns(self, clock: Clock) -> int:
        return self.wall_ns if clock is Clock.WALL else self.cpu_ns

    def walk(self, above: tuple[Frame, ...] = ()) -> Iterator[tuple[tuple[Frame, ...], Call]]:
        """Each call below, with the frames that lead to it, itself included; callers first. Stacks may be deep."""
        pending = [(above, call) for call in reversed(self.called.values())]
        while pending:
            above, call = pending.pop()
            assert call.frame is not None
            path = (*above, call.frame)
            yield path, call
            pending += [(path, inner) for inner in reversed(call.called.values())]


REQUESTS = Frame("requests", "", 0, "", SERVER)


@dataclass(slots=True)
class Seen:
    """What one worker has told so far; and what became of it."""

    frames: list[Frame] = field(default_factory=list)
    nodes: list[tuple[int, int]] = field(default_factory=lambda: [(0, -1)])  # (calling node, frame)
    calls: dict[tuple[int, bool], Call] = field(default_factory=dict)  # by node, and whether it is inside a request
    routes: list[str] = field(default_factory=lambda: [""])  # by request
    seconds: float = 0.0
    looks: int = 0
    end: dict[str, Any] = field(default_factory=dict)
    stacks: str = ""  # of one that did not answer
    trouble: str = ""  # why there is nothing more of it


class Profile:
    """`by_function`: lines of one function are one."""

    def __init__(self, *, by_function: bool = False) -> None:
        self.root = Call(None)
        self.workers: dict[int, Seen] = {}
        self.routes: Counter[str] = Counter()  # wall ns of requests by route
        self.samples = 0
        self._total_ns: Counter[Clock] = Counter()
        self._by_function = by_function

    def __repr__(self) -> str:
        return f"<Profile workers={list(self.workers)} samples={self.samples}>"

    def total_ns(self, clock: Clock) -> int:
        """What all calls have together."""
        return self._total_ns[clock]

    @property
    def seconds(self) -> float:
        """How long it has looked."""
        return max((seen.seconds for seen in self.workers.values()), default=0.0)

    def add(self, line: dict[str, Any]) -> None:
        """A line of a worker, or of the daemon."""
        kind = line.get("kind")
        if kind == "profile":
            self.workers.update((slot, Seen()) for slot in line["slots"])
            return
        seen = self.workers.get(line.get("slot", -1))
        if seen is None:
            return
        if kind == "samples":
            self._add_samples(seen, line)
        elif kind == "end":
            seen.end = line
        elif kind in {"refused", "failed", "silent", "left"}:
            seen.trouble = str(line.get("why") or line.get("error") or kind)
            seen.stacks = str(line.get("stacks", ""))

    def _add_samples(self, seen: Seen, line: dict[str, Any]) -> None:
        seen.seconds, seen.looks = line["seconds"], line["looks"]
        seen.frames += [self._frame(*frame) for frame in line["frames"]]
        seen.nodes += [(above, frame) for above, frame in line["nodes"]]
        seen.routes += [request[0] for request in line["requests"]]
        for _thread, node, _application, request, state, samples, wall_ns, cpu_ns in line["rows"]:
            call = self._call(seen, node, state == REQUEST)
            if call is not self.root:  # else no frame is known
                call.wall_ns += wall_ns
                call.cpu_ns += cpu_ns
                self.samples += samples
                self._total_ns[Clock.WALL] += wall_ns
                self._total_ns[Clock.CPU] += cpu_ns
            if state == REQUEST:
                self.routes[seen.routes[request]] += wall_ns

    def _call(self, seen: Seen, node: int, in_request: bool) -> Call:
        """Requests begin where miniwsgi calls the application: which of its threads does that does not matter."""
        found = seen.calls.get((node, in_request))
        if found is None:
            path, above = [], node
            while above:
                above, frame = seen.nodes[above]
                path.append(seen.frames[frame])
            path.reverse()
            if in_request:
                application = next((at for at, frame in enumerate(path) if frame.origin not in {SERVER, STDLIB}), None)
                path = [REQUESTS, *path[application or 0 :]]
            found = self.root
            for each in path:
                found = found.call(each)
            seen.calls[node, in_request] = found
        return found

    def _frame(self, function: str, file: str, line: int, short: str, origin: str) -> Frame:
        # The server's lines would part what is the same of the application: one call of it from two of its own.
        return Frame(function, file, 0 if self._by_function or origin == SERVER else line, short, origin)


class Weight(NamedTuple):
    """Of one frame: seen at the top of the stack, and anywhere in it."""

    frame: Frame
    own_ns: int
    total_ns: int


def heaviest(profile: Profile, clock: Clock, count: int) -> list[Weight]:
    """Those that were seen at the top for longest."""
    own: Counter[Frame] = Counter()
    total: Counter[Frame] = Counter()
    for path, call in profile.root.walk():
        if spent := call.own_ns(clock):
            own[path[-1]] += spent
            for frame in set(path):
                total[frame] += spent
    return [Weight(frame, spent, total[frame]) for frame, spent in own.most_common(count)]
