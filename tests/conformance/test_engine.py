"""The cases ask the engine that they were meant for."""

from __future__ import annotations

from tests.support.ctl import Tool

from .conftest import Servers
from .server import Pool


def test_the_workers_run_the_engine_that_was_asked_for(servers: Servers, pool: Pool, engine: str) -> None:
    server = servers()
    assert server.engine == engine
    if pool.kind != "single":  # which has nobody to ask
        assert Tool(server.control_path)("status", "-o", "json").json["engine"] == engine
