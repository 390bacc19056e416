"""Codes of warnings and errors: what the enum, the sources and docs/errors.md say of them is one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from miniwsgi.codes import Code

ROOT = Path(__file__).parents[2]
USE = re.compile(r"\bCode\.([A-Z][A-Z0-9_]*)\b")
PACKAGES = ("daemon", "manager", "metrics")


@pytest.fixture(scope="module")
def used() -> Counter[str]:
    """How often each code is named in the sources."""
    sources = (source for package in PACKAGES for source in (ROOT / package).rglob("*.py"))
    return Counter(name for source in sources for name in USE.findall(source.read_text()))


def test_each_code_is_four_digits() -> None:
    assert {str(code) for code in Code if not re.fullmatch(r"MW[1-9]\d{3}", str(code))} == set()


def test_no_code_is_unused(used: Counter[str]) -> None:
    assert {code.name for code in Code} - used.keys() == set()
