"""How much a test tries: `make test` runs the short forms, `make test-full` (MINIWSGI_TEST_FULL=1) the long ones.

A test that only the long run is for carries the marker `full`; one that differs in size asks `effort(short, full)`.
What is chosen at random is the same in each short run, so that a change is judged by what its forerunner was judged by;
a long run has a seed of its own, which it prints, unless MINIWSGI_TEST_SEED gives it one.
"""

from __future__ import annotations

import os
import random
from typing import TypeVar

T = TypeVar("T")

FULL = os.environ.get("MINIWSGI_TEST_FULL", "") not in {"", "0"}
# In the environment, so that all processes of a run have the same.
SEED = int(os.environ.setdefault("MINIWSGI_TEST_SEED", str(random.SystemRandom().randrange(1 << 32)) if FULL else "1"))


def effort(short: T, full: T) -> T:
    """The value for this run."""
    return full if FULL else short
