"""The `miniwsgi` command in unit tests, with what records where the master would be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from miniwsgi.daemon import cli
from miniwsgi.daemon.cli import commands, reading
from miniwsgi.daemon.config import Config


class Master:
    """What the command finds where the master is: it records what it is told."""

    def __init__(self) -> None:
        self.config: Config | None = None
        self.reload: Callable[[], Config] | None = None
        self.checked: list[Config] = []
        self.status = 0
        self.failure: Any = None

    def run(self, config: Config, reload_config: Callable[[], Config]) -> int:
        self.config, self.reload = config, reload_config
        return self.status

    def check_application(self, config: Config) -> Any:
        self.checked.append(config)
        return self.failure


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Master:
    fake = Master()
    monkeypatch.setitem(sys.modules, "miniwsgi.daemon.master.main", SimpleNamespace(run=fake.run))
    trial = SimpleNamespace(check_application=fake.check_application)
    monkeypatch.setitem(sys.modules, "miniwsgi.daemon.master.trial", trial)
    monkeypatch.setattr(reading, "DEFAULT_PATH", str(tmp_path / "default.toml"))
    for name in [name for name in os.environ if name.startswith("MINIWSGI_")]:
        monkeypatch.delenv(name)
    return fake


def run(*arguments: str) -> Result:
    serving: list[commands.ToServe] = []
    result = CliRunner().invoke(commands.commands, arguments, prog_name="miniwsgi", obj=serving)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    for configuration in serving:
        result.exit_code = cli.supervise(*configuration)
    return result
