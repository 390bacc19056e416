"""`config`: the configuration in force, and what another one would be worth."""

from __future__ import annotations

import click

from ..exit_statuses import EXIT_STATUSES, Complaint, ExitStatus
from ..options import ControlCommand, Session


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl config
      what is in force, and where each value comes from
  miniwsgictl config check
      whether the file on disk is valid, and what a reload would change
  miniwsgictl config check new.toml
      the same for another file; nothing it names is imported or run
  miniwsgictl config diff
      what a reload would change, as a difference

{EXIT_STATUSES}""",
)
@click.argument("action", metavar="[show|check|diff]", default="show", type=click.Choice(["show", "check", "diff"]))
@click.argument("file", metavar="[FILE]", required=False, type=click.Path())
@click.pass_obj
def config(session: Session, action: str, file: str | None) -> None:
    """Show the configuration in force, or check another one.

    Secrets are masked. FILE is read by this command and sent to the daemon (- is standard input); without it, check
    and diff take what the daemon would read at a reload.
    """
    from ..views import config_view

    if action == "show":
        if file is not None:
            raise click.UsageError(f"show prints what is in force; to look at a file: miniwsgictl config check {file}")
        with session.client() as client:
            view = client.config()
        if session.json:
            session.echo_json(view.raw)
        else:
            click.echo("\n".join(config_view.lines(view.value, session)))
        return
    sent = None if file is None else _read(file)
    with session.client() as client:
        reply = client.check_config(sent)
        where = file if file is not None else client.config().value.path or "flags and environment"
    report = reply.value
    if session.json:
        session.echo_json(reply.raw)
    if not report.valid:
        raise Complaint(ExitStatus.FAILED, "", config_view.mistakes(report.problems, where))
    if not session.json:
        for line in (
            config_view.verdict(report, where, session)
            if action == "check"
            else config_view.difference(report, session)
        ):
            click.echo(line)


def _read(file: str) -> str:
    try:
        with click.open_file(file, encoding="utf-8") as opened:
            found: str = opened.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise click.UsageError(f"{file} cannot be read: {reason}") from None
    return found
