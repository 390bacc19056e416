"""The man pages are what the commands' help says, one for each, and good troff."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import click
import pytest
from miniwsgi.daemon.cli.commands import commands as daemon
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
