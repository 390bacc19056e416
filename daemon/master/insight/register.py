"""The register of checks on a daemon at rest, by their stable names: those are what --ignore takes.

A check returns what it has found, or None where all is well, and raises Unseen where it could not be seen.
"""

from __future__ import annotations

from collections.abc import Callable

from miniwsgi.manager import messages as ms

from .rest import Rest


class Unseen(Exception):
    """It could not be looked at."""


Found = tuple[ms.Severity, str, str] | None  # severity, sentence, remedy
Check = Callable[[Rest], Found]
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    """Enter the function that it decorates."""

    def enter(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return enter
