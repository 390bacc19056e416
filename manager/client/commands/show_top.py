"""`top`: the daemon, live on a terminal."""

from __future__ import annotations

import sys

import click

from ..exit_statuses import EXIT_STATUSES
from ..options import ControlCommand, Session


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Keys:
  q, Ctrl-C   quit
  Up, Down    select a worker (also k, j)
  s, S        sort by the next column, the other way round
  +, -        one worker more, one fewer
  r           restart the selected worker
  R           reload
              before it changes anything, it asks
  d           what the selected worker is doing: its stacks
  ?           help

{EXIT_STATUSES}""",
)
@click.option(
    "--interval", "-d", metavar="SECONDS", type=click.FloatRange(0.2, 60), default=1.0,
    help="Time between two looks. [default: 1]",
)  # fmt: skip
@click.pass_obj
def top(session: Session, interval: float) -> None:
    """Watch the daemon live.

    Workers, request rate and latencies with their recent history, and the requests that run with their ages.
    """
    if session.json:
        raise click.UsageError("top is for people; for programs: miniwsgictl status -o json, workers -o json")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("top needs a terminal; elsewhere: miniwsgictl status, miniwsgictl workers")
    from ..top.app import run

    run(session, interval)
