"""What several unit tests are given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .config_files import write_config
from .conversation_world import World
from .log_pipe import log_pipe

__all__ = ["log_pipe", "write_config"]


@pytest.fixture
def world(engine: str) -> Iterator[World]:
    """A conversation of that engine, its client and its application."""
    made = World(engine)
    yield made
    for end in (made.near, made.far):
        end.close()
