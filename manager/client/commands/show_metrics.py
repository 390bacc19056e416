"""`metrics`: what is measured, family by family."""

from __future__ import annotations

import click

from ..client import RequestRefused
from ..exit_statuses import EXIT_STATUSES, Complaint, ExitStatus
from ..options import ControlCommand, Session, complete_metric


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl metrics
      every family, a line each
  miniwsgictl metrics http_server_request_duration_seconds
      all series of one, with their percentiles
  miniwsgictl metrics miniwsgi_worker_
      those whose names begin so
  miniwsgictl metrics -o json | jq '.families[].name'

{EXIT_STATUSES}""",
)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_metric)
@click.pass_obj
def metrics(session: Session, name: str | None) -> None:
    """Show what is measured.

    The families that /metrics has, without those of the application; or NAME with every series, or all whose names
    begin so. Counters and histograms count from the start of the daemon. With -o wide, values are exact.
    """
    from ..views import metrics_view

    try:
        with session.client() as client:
            reply = client.metrics(name or "")
    except RequestRefused as error:
        if error.problem.status != 404:
            raise
        raise Complaint(ExitStatus.USAGE, error.problem.code, error.problem.detail) from None
    if session.json:
        session.echo_json(reply.raw)
        return
    shown = metrics_view.details if name else metrics_view.summary
    click.echo("\n".join(shown(reply.value.families, session)))
