"""A daemon for each engine, pool and profile, started when the first test wants it, stopped with the pool's last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance.server import POOLS, Pool, Server
from tests.support.engines import ENGINES
from tests.support.selection import leave_products_to_the_long_run

Servers = Callable[..., Server]
HERE = Path(__file__).parent
WAITING = {"epoll-1", "prefork"}  # the two ways of our pools to wait for clients, for the cases that take seconds


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the short run each pool has the engine that `auto` takes, and one pool all that there are.

    The cases about time are asked of one pool for each way to wait. What engines make of bytes is compared elsewhere,
    without sockets (`engine_parser`, `tests.fuzz.two_engines`).
    """
    leave_products_to_the_long_run(config, items, HERE, _is_long)


def _is_long(engine: str, pool: object, item: pytest.Item) -> bool:
    assert isinstance(pool, Pool)
    if "test_slow_clients" in item.name:
        return engine != ENGINES[0] or pool.name not in WAITING
    return engine != ENGINES[0] and pool is not POOLS[0]


@pytest.fixture(scope="session", params=POOLS, ids=lambda pool: pool.name)
def pool(request: pytest.FixtureRequest) -> Pool:
    """Each way to serve; pytest runs all tests of one before those of the next."""
    chosen: Pool = request.param
    return chosen


@pytest.fixture(scope="session")
def servers(engine: str, pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """`servers(profile, workers)` is a running daemon of the engine and the pool, one of each kind."""
    running: dict[tuple[str, int], Server] = {}
    with ExitStack() as stack:

        def start(profile: str = "plain", workers: int = 1) -> Server:
            if (profile, workers) not in running:
                directory = tmp_path_factory.mktemp(f"{pool.kind}-{profile}")
                running[profile, workers] = stack.enter_context(Server(directory, pool, profile, workers, engine))
            return running[profile, workers]

        yield start
        statuses = {server.log_path: server.stop() for server in running.values()}
        assert set(statuses.values()) <= {0}, f"daemons that did not stop cleanly: {statuses}"
