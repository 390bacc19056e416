"""`workers` and `stack`: what each worker is, and what its threads are doing."""

from __future__ import annotations

import click
from miniwsgi.codes import Code

from ... import messages
from ..exit_statuses import EXIT_STATUSES, Complaint, ExitStatus
from ..options import ControlCommand, Session, slot_argument


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl workers
  miniwsgictl workers 3
      one worker, with every request that it runs
  miniwsgictl workers -o json | jq '.workers[].in_flight[].path'

{EXIT_STATUSES}""",
)
@slot_argument(required=False)
@click.pass_obj
def workers(session: Session, slot: int | None) -> None:
    """Show the workers, or the one in SLOT.

    The column RUN counts requests that run, WAIT those that wait for a thread; RUNNING has the one that has run for
    longest, and how many others there are.
    """
    from ..views import workers_view

    with session.client() as client:
        reply = client.workers() if slot is None else client.worker(slot)
    found = reply.value
    if session.json:
        session.echo_json(reply.raw)
    elif isinstance(found, messages.Worker):
        click.echo("\n".join(workers_view.one(found, session)))
    else:
        click.echo("\n".join(workers_view.lines(found.workers, session)))


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl stack 3

{EXIT_STATUSES}""",
)
@slot_argument()
@click.pass_obj
def stack(session: Session, slot: int) -> None:
    """Show what every thread of a worker is doing.

    The Python stacks of all its threads, the most recent call first. It works on a worker that hangs, too, also in C
    code, and harms none. Below a thread's heading stands the request that it runs; threads that wait for work are
    counted, and shown with -o wide.
    """
    from ..views import stack_view

    with session.client() as client:
        reply = client.stack(slot)
    found = reply.value
    if session.json:
        session.echo_json(reply.raw)
    else:
        click.echo("\n".join(stack_view.lines(found, every=session.wide)))
    if not found.answered:
        raise Complaint(ExitStatus.FAILED, Code.SILENT, f"worker {slot} (pid {found.pid}) gave no stacks")
