"""`why` and `doctor`: what is wrong with a daemon at work, and what is risky about one at rest."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import click

from ... import messages
from .. import text
from ..exit_statuses import EXIT_STATUSES, colourful
from ..options import ControlCommand, Session, duration

FOUND: dict[messages.Severity, int] = {"note": 0, "warning": 10, "critical": 20}
STATUSES = f"""\
{EXIT_STATUSES}
Of what is found:
  0   nothing, or notes alone
  10  a warning, and nothing graver
  20  something critical
"""
PROGRESS_SECONDS = 0.5


def worst(severities: Iterable[messages.Severity]) -> int:
    """The exit status for what was found."""
    return max((FOUND[severity] for severity in severities), default=0)


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl why
  miniwsgictl why --seconds 20
  miniwsgictl why -o json | jq -r '.findings[0].sentence'

{STATUSES}""",
)
@click.option(
    "--seconds", "-d", metavar="TIME", callback=duration(1, messages.MAX_LOOK_SECONDS),
    default=f"{messages.LOOK_SECONDS}s", show_default=True, help="How long to look.",
)  # fmt: skip
@click.pass_obj
def why(session: Session, seconds: float) -> None:
    """Say why it is slow.

    Looks for some seconds: at the queues, at the CPU, at what every thread does. Then it says in plain sentences what
    is wrong, the most telling first, with the evidence below each. A worker that hangs, also in C code, is seen, too.
    -o wide has what was measured, and all places where threads were.
    """
    from ..views.examine_view import why_lines

    whole = math.ceil(seconds)
    session.check_time_for(whole, "--seconds")
    with session.client() as client, _looking(session, whole):
        reply = client.why(whole)
    found = reply.value
    if session.json:
        session.echo_json(reply.raw)
    else:
        click.echo("\n".join(why_lines(found, session)))
    raise SystemExit(worst(finding.severity for finding in found.findings))


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl doctor
  miniwsgictl doctor --ignore boot-check --ignore clock
  miniwsgictl doctor -o json | jq -r '.risks[].name'

{STATUSES}""",
)
@click.option("--ignore", metavar="NAME", multiple=True, help="Leave out the check of that name. May be repeated.")
@click.pass_obj
def doctor(session: Session, ignore: tuple[str, ...]) -> None:
    """Say what is risky in the configuration and on the host.

    For a daemon that does well: what may go wrong with it some day (no time limit, memory that will not do, a disk that
    is nearly full), each with its remedy and a name. -o wide also names what is well, and what could not be seen.
    """
    from ..views.examine_view import doctor_lines

    with session.client() as client:
        reply = client.doctor()
    found = reply.value
    _check_names(found, ignore)
    risks = [risk for risk in found.risks if risk.name not in ignore]
    if session.json:
        session.echo_json(reply.raw)
    else:
        click.echo("\n".join(doctor_lines(found, risks, session)))
    raise SystemExit(worst(risk.severity for risk in risks))


def _check_names(found: messages.Doctor, ignore: Iterable[str]) -> None:
    """Raises click.UsageError: a name that is none would ignore nothing, for ever."""
    names = {*found.passed, *found.unknown, *(risk.name for risk in found.risks)}
    for name in ignore:
        if name not in names:
            raise click.BadParameter(
                f"{name!r} is no check; there are {', '.join(sorted(names))}", param_hint="--ignore"
            )


@contextmanager
def _looking(session: Session, seconds: int) -> Iterator[None]:
    """How long it will take, in a line on standard error that is gone at the end; none if that is no terminal."""
    if session.json or not colourful(sys.stderr):
        yield
        return
    ended = threading.Event()

    def tell() -> None:
        left = float(seconds)
        while not ended.wait(0 if left == seconds else PROGRESS_SECONDS):
            more = f"{left:.0f} s more" if left > 0 else "adding up"
            session.progress(f"looking for {text.seconds(seconds)}, {more} …")
            left -= PROGRESS_SECONDS

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
        session.progress()
