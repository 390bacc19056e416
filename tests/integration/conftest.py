"""What these tests are given: a `service` is a daemon of a real master, a `site` has workers without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.engines import ENGINES
from tests.support.selection import leave_products_to_the_long_run
from tests.support.service import service, shared_service

from .worker_harness import made_site

__all__ = ["made_site", "service", "shared_service"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the short run one pool has each engine, and each pool the one that `auto` takes (so do conformance's)."""
    leave_products_to_the_long_run(config, items, HERE, _is_long)


def _is_long(engine: str, pool: object, _item: pytest.Item) -> bool:
    return engine != ENGINES[0] and pool != "epoll-8"
