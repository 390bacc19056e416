"""How tests wait: for a condition, never for a time. What is slow passes all the same; only what hangs fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 60.0  # only what hangs takes so long, also on a slow machine that is busy
SOON_SECONDS = 0.01  # between two looks


def wait_for(
    condition: Callable[[], T],
    what: str = "",
    seconds: float = PATIENCE_SECONDS,
    *,
    story: Callable[[], object] = str,
    every_seconds: float = SOON_SECONDS,
) -> T:
    """The condition's first true value. Raises AssertionError at the deadline: it names `what`, and tells the `story`.

    The story is a log, or what there is instead. `every_seconds` is the pause between two looks.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}; {story()}"
        time.sleep(every_seconds)
    return value


async def wait_in_loop(condition: Callable[[], object], what: str = "", story: Callable[[], object] = str) -> None:
    """The same in an event loop, which goes on meanwhile."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:g} s: {what or condition}; {story()}"
        await asyncio.sleep(SOON_SECONDS / 10)
