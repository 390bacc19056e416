"""`routes`: which of the application's routes are asked for, fail, take long, compute."""

from __future__ import annotations

import click

from ... import messages
from .. import text
from ..client import Client, Reply
from ..exit_statuses import EXIT_STATUSES
from ..options import ControlCommand, Session, repeat

SORTED_BY = ("rate", "p95", "errors", "cpu")


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl routes --sort p95
      the slowest first
  miniwsgictl routes --sort cpu -w
      which computes most, anew every two seconds
  miniwsgictl routes -o json | jq '.routes[] | select(.errors > 0).name'

{EXIT_STATUSES}""",
)
@click.option(
    "--sort", metavar="|".join(SORTED_BY), type=click.Choice(SORTED_BY), default=SORTED_BY[0],
    help="What is first: the most requests, the slowest, the most errors, the most CPU time. [default: rate]",
)  # fmt: skip
@click.option("--watch", "-w", is_flag=True, help="Go on, every two seconds; with -o json one line each time.")
@click.pass_obj
def routes(session: Session, sort: str, watch: bool) -> None:
    """Show what each route of the application costs.

    Of the last minute: requests a second, the share of answers that were errors (5xx), percentiles and mean of the
    duration, the time that requests waited for a thread, and the CPU time of threads inside the application, as a share
    of one CPU. Requests, errors and bytes are since the start. "(none)" is what has no route, such as most answers of
    404; "_OTHER" are routes beyond the first 64. Where metrics.routes is off, the last line says so.
    """
    from ..views import routes_view

    def show(reply: Reply[messages.RouteList]) -> None:
        if session.json and watch:
            click.echo(text.clean_json(reply.raw.decode()).strip())
        elif session.json:
            session.echo_json(reply.raw)
        else:
            click.echo("\n".join(routes_view.lines(reply.value, session, sort)))

    repeat(session, watch, Client.routes, show)
