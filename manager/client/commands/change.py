"""The commands that change something: scale, reload, restart, drain, undrain, stop, log-level."""

from __future__ import annotations

import re
from typing import Any, get_args

import click

from ... import messages
from ..exit_statuses import EXIT_STATUSES
from ..options import ControlCommand, NumbersCommand, Session, slot_argument
from .carrying_out import carry_out

AMOUNT = re.compile(r"[0-9]{1,18}|" + messages.DIFFERENCE)
LEVELS = get_args(messages.LogLevelName)

wait_option = click.option(
    "--wait/--no-wait",
    default=True,
    help="Wait until it is done and say how it ended (the default), or only ask for it.",
)


def _amount(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    if value is None:
        return None
    if not AMOUNT.fullmatch(value):
        raise click.BadParameter(f"{value!r}: expected a number of workers, such as 8, +2 or -2", ctx, param)
    if value[0] in "+-":
        return value
    number = int(value)
    if not 1 <= number <= messages.MAX_WORKERS:
        raise click.BadParameter(
            f"{value}: expected 1 to {messages.MAX_WORKERS} workers; to have none for a while: miniwsgictl drain",
            ctx,
            param,
        )
    return number


@click.command(
    cls=NumbersCommand,
    epilog=f"""\
Examples:
  miniwsgictl scale 8
      eight workers
  miniwsgictl scale +2
      two more than now
  miniwsgictl scale -2
      two fewer
  miniwsgictl scale 8 --persist
      also after a restart of the daemon
  miniwsgictl scale --reset
      as many as configured

{EXIT_STATUSES}""",
)
@click.argument("amount", metavar="[N|+N|-N]", required=False, callback=_amount)
@click.option("--reset", is_flag=True, help="As many as the configuration has; what was scaled before is forgotten.")
@click.option("--persist", is_flag=True, help="Keep the number across a restart of the daemon.")
@wait_option
@click.pass_obj
def scale(session: Session, amount: int | str | None, reset: bool, persist: bool, wait: bool) -> None:
    """Change how many workers there are.

    Workers are added at once. When there are to be fewer, idle ones go first, and busy ones finish what they run: it is
    done when they have left, after timeouts.graceful at the latest. The number outlives reloads, and with --persist a
    restart; status shows that it overrides the configuration.
    """
    if (amount is None) == (not reset):
        raise click.UsageError("give a number of workers, such as 8, +2 or -2, or --reset")
    if reset and persist:
        raise click.UsageError("--reset goes back to the configuration: there is nothing to --persist")
    request = messages.ScaleRequest(workers=amount, persist=persist, reset=reset)
    carry_out(session, lambda client: client.scale(request), wait=wait)


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl reload
  miniwsgictl reload --timeout 120 && echo the new code is live

{EXIT_STATUSES}""",
)
@wait_option
@click.pass_obj
def reload(session: Session, wait: bool) -> None:
    """Put new code and configuration live without losing a request.

    The new code boots beside the old; when it is ready, workers are replaced one after another. If it does not boot,
    its traceback is printed, the exit status is 1, and the old code goes on serving.
    """
    carry_out(session, lambda client: client.reload(), wait=wait)


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl restart
      all workers, one after another
  miniwsgictl restart 3
      the worker in slot 3, also if it is stuck
  miniwsgictl restart 3 --now
      the same, killed at once: what it runs is cut off

{EXIT_STATUSES}""",
)
@slot_argument(required=False)
@click.option("--now", is_flag=True, help="Kill the worker of this slot at once; its stacks are logged before.")
@wait_option
@click.pass_obj
def restart(session: Session, slot: int | None, now: bool, wait: bool) -> None:
    """Replace one worker, or all of them, by new processes.

    A replacement is ready before its predecessor drains, and it is done when that has left, after timeouts.graceful at
    the latest. A worker that does not respond is killed as soon as its replacement is ready. Code and configuration
    stay what they are: to change those, reload. (With preload off, new workers import what lies on disk.)
    """
    if now and slot is None:
        raise click.UsageError("--now is for one worker: give its slot")
    carry_out(session, lambda client: client.restart(slot, "now" if now else "graceful"), wait=wait)


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl drain && maintain-the-database && miniwsgictl undrain

{EXIT_STATUSES}""",
)
@wait_option
@click.pass_obj
def drain(session: Session, wait: bool) -> None:
    """Accept nothing more, finish what runs, stay up.

    The health endpoint answers not ready, so that load balancers look elsewhere. Workers exit when they have answered
    what they run. The daemon stays, without workers, until undrain.
    """
    carry_out(session, lambda client: client.drain(), wait=wait)


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl undrain

{EXIT_STATUSES}""",
)
@wait_option
@click.pass_obj
def undrain(session: Session, wait: bool) -> None:
    """Serve again after a drain."""
    carry_out(session, lambda client: client.undrain(), wait=wait)


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl stop
  miniwsgictl stop --now

{EXIT_STATUSES}""",
)
@click.option("--now", is_flag=True, help="At once: what runs is cut off.")
@wait_option
@click.pass_obj
def stop(session: Session, now: bool, wait: bool) -> None:
    """End the daemon.

    What runs and what waits to be accepted is answered first, for no longer than timeouts.graceful. A service manager
    is not asked: under systemd prefer systemctl stop, which also remembers that it was meant.
    """
    from .stop import stop_daemon

    stop_daemon(session, "now" if now else "graceful", wait=wait)


@click.command(
    "log-level",
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl log-level
  miniwsgictl log-level debug
  miniwsgictl log-level --reset

{EXIT_STATUSES}""",
)
@click.argument("level", metavar="[debug|info|warning|error]", required=False, type=click.Choice(LEVELS))
@click.option("--reset", is_flag=True, help="As the configuration has it.")
@click.pass_obj
def log_level(session: Session, level: Any, reset: bool) -> None:
    """Show or change how much is logged.

    It holds for the master and its workers at once, until a restart or --reset.
    """
    if level and reset:
        raise click.UsageError("give a level or --reset, not both")
    with session.client() as client:
        if level or reset:
            reply = client.set_log_level(messages.LogLevelRequest(level=level, reset=reset))
        else:
            reply = client.log_level()
    if session.json:
        session.echo_json(reply.raw)
        return
    found = reply.value
    remark = f" (configured: {found.configured})" if found.overridden else ""
    click.echo(f"{found.level}{remark}")
