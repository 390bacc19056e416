"""docs/security.md names a test for each promise: it must be there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_each_promise_has_its_test() -> None:
    promises = (ROOT / "docs" / "security.md").read_text("utf-8").partition("## Each promise and its test")[2]
    rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 30
    for row in rows:
        assert NAMED.search(row), f"no test in {row}"
        for path, name in NAMED.findall(row):
            tree = ast.parse((ROOT / path).read_text("utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"
