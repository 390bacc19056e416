"""A project's directory, its file and its factory's arguments, as real daemons serve and reload them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.service import get

SHOP = """
import sys

def create_app(greeting, *, mark="!"):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{greeting}{mark} {sys.prefix} {__name__}".encode()]
    return app
"""
PYPROJECT = """
[tool.miniwsgi.app]
module = "src/shop.py:create_app({arguments})"
python = "../venv/bin/python"
preload = {preload}

[tool.miniwsgi.server]
workers = 2
"""


@pytest.mark.parametrize("preload", ["true", "false"])
def test_a_reload_reads_the_projects_file_anew(tmp_path: Path, preload: str) -> None:
    venv, project, elsewhere = (tmp_path / name for name in ("venv", "project", "elsewhere"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    elsewhere.mkdir()
    (project / "src").mkdir(parents=True)
    (project / "src" / "shop.py").write_text(SHOP)

    def configure(arguments: str) -> None:
        (project / "pyproject.toml").write_text(PYPROJECT.format(arguments=arguments, preload=preload))

    configure("'Hello'")
    with Daemon(elsewhere, "../project") as daemon:
        assert get(daemon) == f"Hello! {venv} shop"
        configure("'Hello, again', mark='?'")
        assert daemon.reload(), daemon.log()
        assert get(daemon) == f"Hello, again? {venv} shop"
        configure("nobody")
        assert not daemon.reload()
        assert "the argument nobody is not a literal" in daemon.log()
        assert get(daemon) == f"Hello, again? {venv} shop"
        assert daemon.stop() == 0


def test_a_file_is_served_by_as_many_workers_as_the_platform_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.py").write_text(SHOP + "app = create_app('Hello')\n")
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    monkeypatch.setenv("PORT", "none")  # --bind wins
    with Daemon(tmp_path, "./shop.py") as daemon:
        daemon.settle(2)
        assert get(daemon).startswith("Hello! ")
        assert daemon.log().count(f"{tmp_path}/shop.py: serves `app`") == 1
