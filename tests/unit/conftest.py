"""What several unit tests are given, and what none of them leaves to the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from miniwsgi.daemon.worker import children

from .config_files import write_config
from .log_pipe import log_pipe

__all__ = ["log_pipe", "write_config"]


@pytest.fixture(autouse=True)
def nothing_stays_withheld() -> Iterator[None]:
    """What a pool of this process withheld has gone with its test: the numbers of its descriptors are others' now."""
    yield
    children._withheld.clear()
