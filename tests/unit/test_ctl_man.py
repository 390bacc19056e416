"""The man pages are what the commands' help says, one for each, and good troff."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from miniwsgi.daemon.cli.commands import commands as daemon
from miniwsgi.manager.client.cli import COMMANDS
from miniwsgi.manager.client.cli import commands as control

from tests.support.programs import program

ROOT = Path(__file__).resolve().parents[2]
MAN = ROOT / "docs" / "man"


def names(program: str, command: click.Command) -> list[str]:
    """Its page and those of its commands."""
    children = command.commands.items() if isinstance(command, click.Group) else ()
    return [program, *(found for name, child in children for found in names(f"{program}-{name}", child))]


NAMES = [*names("miniwsgi", daemon), *names("miniwsgictl", control)]


def test_every_command_has_a_page_and_no_page_is_left_over() -> None:
    assert sorted(path.stem for path in MAN.glob("*")) == sorted(NAMES)


def test_the_pages_are_up_to_date() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "generate_man.py"))["pages"]()
    stale = [name for name, text in pages.items() if (MAN / name).read_text("utf-8") != text]
    assert not stale, "python docs/generate_man.py"


def test_the_help_has_every_command_in_a_group_and_fits_80_columns() -> None:
    said = CliRunner().invoke(control, ["--help"], terminal_width=80).output
    assert [name for found in COMMANDS.values() for name in found] == list(control.commands.values())
    for heading, found in COMMANDS.items():
        assert f"\n{heading}:\n  {found[0].name} " in said
    assert max(map(len, said.splitlines())) <= 80


def test_a_letter_means_one_thing_in_all_commands() -> None:
    meanings: dict[str, set[str]] = {}
    for command in control.commands.values():
        for option in command.params:
            for letter in (name for name in option.opts if isinstance(option, click.Option) and len(name) == 2):
                meanings.setdefault(letter, set()).add(max(option.opts, key=len))
    several = {letter: found for letter, found in meanings.items() if len(found) > 1}
    # Both are seconds; tail's, and that of compilers and printers
    assert several == {"-d": {"--interval", "--seconds"}, "-f": {"--follow", "--format"}}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_no_warnings_and_says_what_it_must(name: str) -> None:
    program("man", "man-db")
    found = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(MAN / f"{name}.1")],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
        timeout=60,
    )
    assert (found.returncode, found.stderr) == (0, "")
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
        assert f"\n{heading}\n" in found.stdout
    if name.startswith("miniwsgictl"):
        assert "5      denied" in found.stdout
    assert max(map(len, found.stdout.splitlines())) <= 80


def test_what_is_typed_is_written_with_minus_signs() -> None:
    page = (MAN / "miniwsgictl-scale.1").read_text("utf-8")
    assert r"miniwsgictl scale \-2" in page
    assert r"\fB\-\-persist\fR" in page
