"""How far a run has come, and about how long it will still take: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TextIO, TypeVar


class Estimated(Protocol):
    """What is done step by step."""

    @property
    def title(self) -> str:
        """What it does, for people."""

    estimate: float  # seconds


S = TypeVar("S", bound=Estimated)


class Remaining:
    """The time that is left: the estimates of what is to do, corrected by how the ones before came true."""

    def __init__(self, estimates: Iterable[float], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin = clock()
        self.total = sum(estimates)
        self.done = 0.0  # of the estimates

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._clock() - self._begin

    @property
    def share(self) -> float:
        """0…1 of the work."""
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def left(self) -> float:
        """Seconds, about. A few steps say little: until a twentieth is done, the estimates weigh most."""
        trust = min(1.0, self.share * 20)
        pace = self.elapsed / self.done if self.done else 1.0
        return max(0.0, self.total - self.done) * (trust * pace + (1 - trust))


def spoken(seconds: float) -> str:
    """A duration as people say it: 48 s, 3 min 5 s, 41 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min" if minutes >= 10 or not rest else f"{minutes} min {rest} s"


def with_progress(steps: list[S], stream: TextIO | None = None) -> Iterator[S]:
    """The steps one after another, with their progress on a stream (standard error)."""
    stream = stream or sys.stderr
    remaining = Remaining(step.estimate for step in steps)
    bar = _bar() if stream.isatty() else None
    if bar is None:
        yield from _plain(steps, remaining, stream)
        return
    progress, task = bar
    with progress:
        for step in steps:
            text = f"{step.title} · {spoken(remaining.left)} left"
            progress.update(task, completed=remaining.share, description=text)
            yield step
            remaining.done += step.estimate
        progress.update(task, completed=1.0, description=f"took {spoken(remaining.elapsed)}")


def _plain(steps: list[S], remaining: Remaining, stream: TextIO) -> Iterator[S]:
    for number, step in enumerate(steps, 1):
        left = spoken(remaining.left)
        print(
            f"[{number}/{len(steps)}, {spoken(remaining.elapsed)}, {left} left] {step.title}", file=stream, flush=True
        )
        yield step
        remaining.done += step.estimate


def _bar() -> Any:
    """A bar by rich and its task; None when rich is missing."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    except ImportError:
        return None
    progress = Progress(
        BarColumn(30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=False,
    )
    return progress, progress.add_task("", total=1.0)
