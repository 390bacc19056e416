"""`events`: what has happened, and what happens."""

from __future__ import annotations

import sys

import click
import msgspec

from ... import messages
from .. import text
from ..client import TransportError, Trouble
from ..exit_statuses import EXIT_STATUSES
from ..options import ControlCommand, Session, out_of_time

FOLLOWED_LINES = 10  # that `events -f` shows of the past, as tail(1) does


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl events
  miniwsgictl events -f
  miniwsgictl events -n 20 -o json | jq -r .message

{EXIT_STATUSES}""",
)
@click.option("--follow", "-f", is_flag=True, help="Go on as things happen, until interrupted or the daemon stops.")
@click.option(
    "--lines", "-n", metavar="N", type=click.IntRange(0, messages.MAX_EVENTS), default=None,
    help=f"Only the last N of the past. [default: all that are kept; with --follow {FOLLOWED_LINES}]",
)  # fmt: skip
@click.pass_obj
def events(session: Session, follow: bool, lines: int | None) -> None:
    """Show what happened.

    Workers that started and ended, reloads and other changes, slow requests and timeouts; the daemon keeps the last
    1000. With -o json, one JSON object a line.
    """
    from ..views.events_view import line

    def show(raw: bytes, event: messages.Event) -> None:
        click.echo(text.clean_json(raw.decode("utf-8")) if session.json else line(event, session))
        sys.stdout.flush()

    with session.client() as client:
        if lines is None:
            lines = FOLLOWED_LINES if follow else messages.MAX_EVENTS
        past = client.events(limit=lines).value
        for event in past.events:
            show(msgspec.json.encode(event) if session.json else b"", event)
        if follow:
            following = client.follow(since=past.last_id)
            try:
                for reply in following:
                    show(reply.raw, reply.value)
            except TransportError as error:
                if error.trouble is Trouble.LATE:
                    raise out_of_time() from None
                raise
            session.note("the daemon has stopped")
