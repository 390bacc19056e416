"""Configuration files for tests, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from miniwsgi.daemon.config import (
    ConfigError,
    load,
)

NAMED = {"app.module": "shop:app"}

Write = Callable[[str | bytes], str]


@pytest.fixture
def write_config(tmp_path: Path) -> Write:
    """Writes a configuration file; the path of it."""

    def write(text: str | bytes) -> str:
        path = tmp_path / "shop.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def mistakes(path: str | None, flags: dict[str, object] | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, {} if flags is None else flags, environ)
    lines = [str(problem) for problem in caught.value.problems]
    assert str(caught.value).splitlines() == lines
    return [line.replace(f" ({path})", "") for line in lines]
