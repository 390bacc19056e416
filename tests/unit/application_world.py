"""An application's sources for unit tests, and what becomes of importing them in this process."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from miniwsgi.daemon.settings import Settings
from miniwsgi.daemon.worker.application import BootError, load

APP = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"application"]
def app(environ, start_response):
    return [b"app"]
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """load() changes what belongs to the process; here many loads share one."""
    directory, path, modules = os.getcwd(), list(sys.path), set(sys.modules)
    yield
    os.chdir(directory)
    sys.path[:] = path
    sys.path_importer_cache.clear()
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, source: str = APP) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return path

    return write


def settings(directory: Path, module: str, factory: bool = False) -> Settings:
    return Settings(
        generation=1, listeners=(), scoreboard_fd=-1, module=module, directory=str(directory), factory=factory
    )


def failure(directory: Path, module: str, factory: bool = False) -> BootError:
    with pytest.raises(BootError) as caught:
        load(settings(directory, module, factory))
    assert "\n" not in caught.value.error
    return caught.value
