"""`status`: the daemon at a glance, and `status --check`, the verdict on it as an exit status."""

from __future__ import annotations

import click

from ... import messages
from ..client import TransportError, Trouble
from ..exit_statuses import EXIT_STATUSES, Complaint, complaint
from ..options import ControlCommand, Session

CHECKED: dict[messages.VerdictLevel, int] = {"healthy": 0, "degraded": 1, "down": 2}
CHECK_STATUSES = f"""\
{EXIT_STATUSES}
With --check:
  0  healthy
  1  degraded: it answers, but not all, not well, or with too few workers
  2  down: it answers nobody, or no daemon runs (wrong usage is 2 as well)
  5  denied: nothing can be said
"""
ABSENT = {Trouble.MISSING, Trouble.SILENT, Trouble.LATE, Trouble.LOST}  # nobody answers


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl status
  miniwsgictl status -o wide
  miniwsgictl status -o json | jq .workers.ready
  miniwsgictl status --check || page-somebody

{CHECK_STATUSES}""",
)
@click.option("--check", is_flag=True, help="Print the verdict alone; the exit status tells it, too.")
@click.pass_obj
def status(session: Session, check: bool) -> None:
    """Show the daemon at a glance.

    The verdict on it, with its reasons; its state, workers, listeners, request rates and latencies, what changes now,
    and how the last reload ended.
    """
    from ..views.status_view import lines, verdict

    try:
        with session.client() as client:
            reply = client.status()
    except TransportError as error:
        if not check or error.trouble not in ABSENT:
            raise
        absent = complaint(error, session.path)
        raise Complaint(CHECKED["down"], absent.code, f"down: {absent}") from None
    found = reply.value
    if session.json:
        session.echo_json(reply.raw)
    else:
        click.echo(verdict(found.verdict) if check else "\n".join(lines(found, session)))
    if check:
        raise SystemExit(CHECKED[found.verdict.level])
