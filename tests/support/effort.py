"""How much a test tries: `make test` runs the short forms, `make test-full` (MINIWSGI_TEST_FULL=1) the long ones.

A test that only the long run is for carries the marker `full`; one that differs in size asks `effort(short, full)`.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

FULL = os.environ.get("MINIWSGI_TEST_FULL", "") not in {"", "0"}


def effort(short: T, full: T) -> T:
    """The value for this run."""
    return full if FULL else short
