"""What runs in a worker runs on the application's own interpreter: the standard library and ours, nothing else.

The import-linter contracts name today's third-party packages; this names everything that is not allowed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BEHIND_THE_FORK = (
    "codes/__init__.py",
    "codes/code.py",
    "daemon/http",
    "daemon/engine",
    "daemon/worker",
    "daemon/channel.py",
    "daemon/demo.py",
    "daemon/log",
    "daemon/settings.py",
    "metrics/board.py",
    "metrics/scoreboard.py",
    "metrics/slot.py",
    "metrics/value_files.py",
)
CODES = "miniwsgi.codes.Code"  # the numbers, and none of the texts
WORKERS_METRICS = (
    "miniwsgi.metrics.board",
    "miniwsgi.metrics.scoreboard",
    "miniwsgi.metrics.slot",
    "miniwsgi.metrics.value_files",
)


def sources(name: str) -> list[Path]:
    path = ROOT / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every absolute import, wherever it stands; those for type checkers left out."""
    tree = ast.parse(source)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def foreign(source: str) -> list[str]:
    """What a source imports beyond the standard library and the worker's part of miniwsgi."""
    found = []
    for line, name in imported(source):
        top = name.partition(".")[0]
        ours = name.startswith(("miniwsgi.daemon", CODES, *WORKERS_METRICS))
        if top not in sys.stdlib_module_names and not ours:
            found.append(f"line {line}: {name}")
    return found


@pytest.mark.parametrize("name", BEHIND_THE_FORK)
def test_only_the_standard_library_is_imported_behind_the_fork(name: str) -> None:
    wrong = {str(path.relative_to(ROOT)): found for path in sources(name) if (found := foreign(path.read_text()))}
    assert not wrong


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import os, sys", 0),
        ("from miniwsgi.metrics.board import Board", 0),
        ("from miniwsgi.metrics import scoreboard", 0),
        ("from . import anything", 0),
        ("if TYPE_CHECKING:\n    import psutil", 0),
        ("import psutil", 1),
        ("def late():\n    from msgspec import Struct", 1),
        ("import miniwsgi.manager", 1),
        ("from miniwsgi.metrics import collector", 1),
    ],
)
def test_this_test_sees_foreign_imports(source: str, count: int) -> None:
    assert len(foreign(source)) == count
