"""`slow` and `crashes`: requests that took long, and what was in hand when workers were lost."""

from __future__ import annotations

import click
import msgspec

from ... import messages
from .. import text
from ..client import Reply
from ..exit_statuses import EXIT_STATUSES
from ..options import ControlCommand, Session, repeat

SHOWN = 20

_lines = click.option(
    "--lines", "-n", metavar="N", type=click.IntRange(1, messages.MAX_INCIDENTS), default=SHOWN,
    help=f"The latest N. [default: {SHOWN}]",
)  # fmt: skip


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl slow
  miniwsgictl slow -v -n 1
      the latest, with the stacks that were taken while it ran
  miniwsgictl slow --route '/orders/<id>' -w

{EXIT_STATUSES}""",
)
@_lines
@click.option("--route", "-r", metavar="ROUTE", help="Only requests of this route, or with this path.")
@click.option("--verbose", "-v", is_flag=True, help="With ids, and the stacks that were taken.")
@click.option("--watch", "-w", is_flag=True, help="Show anew every two seconds, until interrupted.")
@click.pass_obj
def slow(session: Session, lines: int, route: str | None, verbose: bool, watch: bool) -> None:
    """Show slow requests, the latest first.

    Those that took longer than log.slow_request, also while they run. FOR is how long so far or in all, QUEUED how long
    of that it waited for a thread, CPU what its thread has computed, WAIT the rest, WHERE the innermost line of the
    application when it was last looked at. The daemon keeps the last 200.
    """
    from ..views.incidents_view import slow_lines

    def show(reply: Reply[messages.SlowList]) -> None:
        found, raw = reply.value, reply.raw
        kept = len(found.requests)
        if route:
            found.requests = [one for one in found.requests if route in {one.route, one.path}][:lines]
            raw = msgspec.json.encode(found)
        if session.json:
            session.echo_json(raw)
        elif route and kept and not found.requests:
            others = text.count(kept, "slow request")
            click.echo(f"none is of {text.clean(route)}; the daemon keeps {others} of others")
        else:
            click.echo("\n".join(slow_lines(found, session, every=verbose)))

    repeat(session, watch, lambda client: client.slow(messages.MAX_INCIDENTS if route else lines), show)


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl crashes
  miniwsgictl crashes -v -n 1
      the latest, with every request that was in hand and the last stacks

{EXIT_STATUSES}""",
)
@_lines
@click.option("--verbose", "-v", is_flag=True, help="With every request that was in hand, and the last stacks.")
@click.pass_obj
def crashes(session: Session, lines: int, verbose: bool) -> None:
    """Show what was in hand when workers were lost.

    Crashes, kills for want of memory (oom), loops that did not turn (wedge), and requests that ran out of time
    (timeout), the latest first. REQUEST is the one to blame if that is known, else the one that had run for longest,
    and how many others there were. The daemon keeps the last 200 until it ends; its log has them for good.
    """
    from ..views.incidents_view import crash_lines

    with session.client() as client:
        reply = client.crashes(lines)
    if session.json:
        session.echo_json(reply.raw)
    else:
        click.echo("\n".join(crash_lines(reply.value, session, every=verbose)))
