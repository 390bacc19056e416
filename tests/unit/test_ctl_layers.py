"""What `miniwsgictl` imports: of ours the client alone; and `status` nothing that takes its time."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "manager" / "client"
SLOW = {
    "rich", "asyncio", "http.client", "email", "ssl", "urllib.request", "psutil", "prometheus_client", "threading",
    "click.shell_completion",
}  # fmt: skip


def modules_after(code: str) -> set[str]:
    """What is imported once the code has run."""
    found = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, timeout=60
    )
    return set(found.stdout.split())


def test_of_ours_the_tool_imports_the_client_alone() -> None:
    wrong = []
    codes = "from miniwsgi.codes"  # which import nothing of ours
    for path in sorted(TOOL.rglob("*.py")):
        depth = len(path.relative_to(TOOL).parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level > depth and "messages" not in ast.unparse(node):
                wrong.append(f"{path.name}: {'.' * node.level}{node.module}")
            if isinstance(node, ast.ImportFrom | ast.Import) and "miniwsgi" in ast.unparse(node).removeprefix(codes):
                wrong.append(f"{path.name}: {ast.unparse(node)}")
    assert not wrong


STATUS = """
from miniwsgi.manager.client.cli import commands
import miniwsgi.manager.client.views.status_view
try:
    commands.main(["--socket", "/nowhere", "status"], prog_name="miniwsgictl")
except SystemExit:
    pass
"""


def test_status_imports_nothing_that_takes_its_time() -> None:
    before = modules_after("import click, msgspec")
    found = modules_after(STATUS) - before
    assert "miniwsgi.manager.client.client" in found
    assert not {name for name in found if name in SLOW or name.partition(".")[0] in SLOW}


@pytest.mark.parametrize("module", ["miniwsgi.daemon", "miniwsgi.metrics"])
def test_the_daemon_is_not_loaded_to_talk_to_it(module: str) -> None:
    assert not {name for name in modules_after(STATUS) if name.startswith(module)}
