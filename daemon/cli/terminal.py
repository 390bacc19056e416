"""What the commands say, and with which status they exit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import click
from miniwsgi.codes import Code

EXIT_RUNTIME, EXIT_USAGE, EXIT_BOOT = 1, 2, 3

EXIT_STATUSES = """\
Exit status:
  0  stopped cleanly
  1  failed while starting or running, such as a port in use
  2  wrong usage or configuration; nothing was started
  3  the application did not boot
"""


def tell(notes: Iterable[object]) -> None:
    """What is no mistake but should be known."""
    for note in notes:
        click.echo(f"{styled('miniwsgi:', fg='yellow')} {note}", err=True)


def styled(text: str, **style: Any) -> str:
    """Coloured for a terminal on standard error, unless $NO_COLOR is set (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return text if plain else click.style(text, **style)


def complain(code: Code, error: str, traceback: str = "") -> None:
    """An error on standard error: what the application said first, then the line that sums it up."""
    if traceback:
        click.echo(traceback, err=True)
    click.echo(f"{styled('miniwsgi:', fg='red', bold=True)} {code} {error}", err=True)


def report(what: str, which: str, result: str, failed: bool = False) -> None:
    """A line of `check`."""
    mark = click.style(result, fg="red" if failed else "green") if _colour_output() else result
    click.echo(f"{what + ':':<18}{which}: {mark}")


def _colour_output() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
