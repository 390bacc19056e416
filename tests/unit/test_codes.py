"""Codes of warnings and errors: what the enum, the sources and docs/errors.md say of them is one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from miniwsgi.codes import Code
from miniwsgi.codes.explanations import PARTS, explanations, parse
from miniwsgi.daemon.cli.commands import commands as daemon_commands
from miniwsgi.manager.client.cli import commands as control_commands

ROOT = Path(__file__).parents[2]
USE = re.compile(r"\bCode\.([A-Z][A-Z0-9_]*)\b")
PACKAGES = ("codes", "daemon", "manager", "metrics")


@pytest.fixture(scope="module")
def used() -> Counter[str]:
    """How often each code is named in the sources."""
    sources = (source for package in PACKAGES for source in (ROOT / package).rglob("*.py"))
    return Counter(name for source in sources for name in USE.findall(source.read_text()))


def test_each_code_is_four_digits() -> None:
    assert {str(code) for code in Code if not re.fullmatch(r"MW[1-9]\d{3}", str(code))} == set()


def test_no_code_is_unused(used: Counter[str]) -> None:
    assert {code.name for code in Code} - used.keys() == set()


# --- docs/errors.md ------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "errors.md").read_text("utf-8")
HEADINGS = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)


def test_each_code_has_its_entry_once_and_in_order() -> None:
    assert sorted(str(code) for code in Code) == HEADINGS


def test_each_entry_is_whole_and_short() -> None:
    entries = list(parse(PAGE))
    assert [entry.code for entry in entries] == HEADINGS
    assert [entry.code for entry in entries if not entry.messages] == []
    assert [entry.code for entry in entries for part in entry.parts if len(part) > 3 * 120] == []
    assert len({entry.title for entry in entries}) == len(entries)


def test_what_other_pages_name_is_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {code for page in pages for code in re.findall(r"MW\d{4}", page.read_text("utf-8"))}
    assert named - {"MW1234"} - set(HEADINGS) == set()


def test_the_package_has_the_page() -> None:
    assert list(explanations()) == HEADINGS


@pytest.mark.parametrize(("text", "code"), [("MW2001", "MW2001"), ("mw2001", "MW2001"), ("2001", "MW2001")])
@pytest.mark.parametrize("commands", [daemon_commands, control_commands])
def test_both_programs_explain(commands: click.Group, text: str, code: str) -> None:
    done = CliRunner().invoke(commands, ["explain", text, "MW2002"])
    assert done.exit_code == 0
    assert done.output.startswith(f"{code}: The address is in use\n\n    cannot listen on ")
    assert all(f"\n{part}:" in done.output for part in PARTS)
    assert "\n\nMW2002: " in done.output
    assert [line for line in done.output.splitlines() if len(line) > 80 and not line.startswith("    cannot")] == []
    assert "`" not in done.output


@pytest.mark.parametrize(
    ("commands", "typed", "said"),
    [
        (daemon_commands, "--no", "No such option '--no'."),
        (daemon_commands, "serve --worker 2", "No such option '--worker'"),
        (daemon_commands, "serve --set x", "--set x: expected KEY=VALUE, as in --set server.workers=4"),
        (daemon_commands, "engine bild", "No such command 'bild'"),
        (daemon_commands, "explain", "which code? It stands before the message; --list has them all."),
        (control_commands, "statsu", "No such command 'statsu'"),
        (control_commands, "stack", "Missing argument 'SLOT'."),
        (control_commands, "scale", "give a number of workers, such as 8, +2 or -2, or --reset"),
        (control_commands, "-s a -i b status", "--socket and --instance each name a daemon: give one of them"),
    ],
)
def test_mistakes_of_usage_have_one(commands: click.Group, typed: str, said: str) -> None:
    done = CliRunner().invoke(commands, typed.split())
    assert done.exit_code == 2
    assert f"\nError: MW1301 {said}" in f"\n{done.output}"


@pytest.mark.parametrize("commands", [daemon_commands, control_commands])
def test_who_says_nothing_gets_help_without_one(commands: click.Group) -> None:
    assert "MW1301" not in CliRunner().invoke(commands, []).output


def test_an_unknown_code_is_told_and_the_list_has_the_others() -> None:
    for wrong in ("MW9999", "x", "MW²"):
        done = CliRunner().invoke(daemon_commands, ["explain", wrong])
        assert done.exit_code == 2
        assert "--list has them all" in done.output
    listed = CliRunner().invoke(daemon_commands, ["explain", "--list"]).output.splitlines()
    assert [line.partition("  ")[0] for line in listed] == HEADINGS
