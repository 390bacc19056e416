"""A daemon for each engine, pool and profile, started when the first test wants it, stopped with the pool's last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.server import POOLS, Pool, Server

Servers = Callable[..., Server]


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
