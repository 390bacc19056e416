"""What these tests are given: a `service` is a daemon of a real master, a `site` has workers without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.effort import FULL
from tests.support.engines import ENGINES
from tests.support.service import service, shared_service

from .worker_harness import made_site

__all__ = ["made_site", "service", "shared_service"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the short run one pool has each engine, and each pool the one that `auto` takes (so do conformance's)."""
    if FULL:
        return
    left_out = [item for item in items if HERE in item.path.parents and _is_for_the_long_run(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def _is_for_the_long_run(item: pytest.Item) -> bool:
    chosen = getattr(item, "callspec", None)
    if chosen is None or not {"engine", "pool"} <= chosen.params.keys():
        return False
    return chosen.params["engine"] != ENGINES[0] and chosen.params["pool"] != "epoll-8"
