"""Which of the tests that were collected are left out of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .effort import FULL


def leave_out(config: pytest.Config, items: list[pytest.Item], is_out: Callable[[pytest.Item], bool]) -> None:
    """Take tests off the list, and tell pytest of them."""
    left_out = [item for item in items if is_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def leave_products_to_the_long_run(
    config: pytest.Config, items: list[pytest.Item], folder: Path, is_long: Callable[[str, object, pytest.Item], bool]
) -> None:
    """In the short run, of a folder's tests of each engine in each pool: those of an engine and a pool for which
    `is_long` says so.
    """

    beginning = f"{folder}{os.sep}"

    def is_out(item: pytest.Item) -> bool:
        chosen = getattr(item, "callspec", None)
        if chosen is None or "engine" not in chosen.params or "pool" not in chosen.params:
            return False
        inside = str(item.path).startswith(beginning)
        return inside and is_long(chosen.params["engine"], chosen.params["pool"], item)

    if not FULL:
        leave_out(config, items, is_out)
