"""docs/metrics.md: its table is what the code declares, and what it names is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from miniwsgi.daemon.config.keys import KEYS, SECTIONS
from miniwsgi.metrics.declared import DECLARED

from tests.support.promql import rules

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "metrics.md", ROOT / "docs" / "alerts.md"]


def spans(page: Path) -> list[str]:
    """What stands in backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL))


def test_the_table_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "generate_metrics.py"))["page"]()
    assert made == PAGES[0].read_text("utf-8"), "python docs/generate_metrics.py"
    assert all(f"| `{one.name}` | {one.kind} |" in made for one in DECLARED)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_metrics_that_are_named_exist(page: Path) -> None:
    there = {one.name for one in DECLARED} | {rule["record"] for rule in rules("rules")}
    named = {span for span in spans(page) if re.fullmatch(r"(miniwsgi|http_server|process)[_:][\w:]+", span)}
    assert named
    assert named - there == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configuration_keys_that_are_named_exist(page: Path) -> None:
    named = {span.split(" ")[0] for span in spans(page)}
    keys = {name for name in named if name.partition(".")[0] in SECTIONS and re.fullmatch(r"\w+\.\w+", name)}
    assert keys
    assert keys - set(KEYS) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_links_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    files = re.findall(r"(?:packaging|docs)/[\w./-]+\.(?:py|yml|json|md)", text)
    assert [name for name in files if not (ROOT / name).exists()] == []
