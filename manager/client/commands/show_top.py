"""`top`: the daemon, live on a terminal."""

from __future__ import annotations

import sys
import textwrap

import click

from ..exit_statuses import EXIT_STATUSES
from ..options import ControlCommand, Session
from ..top.keyboard import KEYS_HELP


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Keys:
{textwrap.indent(KEYS_HELP, "  ")}
{EXIT_STATUSES}""",
)
@click.option(
    "--interval", "-d", metavar="SECONDS", type=click.FloatRange(0.2, 60), default=1.0,
    help="Time between two looks. [default: 1]",
)  # fmt: skip
@click.pass_obj
def top(session: Session, interval: float) -> None:
    """Watch the daemon live.

    Workers, routes, events; rates and latencies with their recent history; the requests that run with their ages; the
    threads and stacks of each worker. Before a key changes anything, it asks.
    """
    if session.json:
        raise click.UsageError("top is for people; for programs: miniwsgictl status -o json, workers -o json")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("top needs a terminal; elsewhere: miniwsgictl status, miniwsgictl workers")
    from ..top.app import run

    run(session, interval)
