"""How tests wait: for a condition, never for a time. What is slow passes all the same; only what hangs fails."""

from __future__ import annotations

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
    story: Callable[[], str] = str,
    pause: Callable[[], object] = lambda: time.sleep(SOON_SECONDS),
) -> T:
    """The condition's first true value; `pause` is called between two looks.

    Raises AssertionError at the deadline: it names `what` and tells the `story`, such as a log.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}{story()}"
        pause()
    return value
