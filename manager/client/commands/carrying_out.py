"""Carrying out a change: ask, show how it goes on, wait for its verdict, end with the exit status that it earned.

How it goes on is shown on standard error: a live display on a terminal, else a line for each thing that happens; with
-o json nothing. The result goes to standard output.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import click
from miniwsgi.codes import Code

from ... import messages
from .. import text
from ..client import Client, Reply, TransportError, Trouble
from ..exit_statuses import Complaint, ExitStatus, colourful
from ..options import Session
from ..views.operation_view import done, failure, name

Ask = Callable[[Client], Reply[messages.Operation]]

QUICK_SECONDS = 0.1  # between two looks at an operation; what ends before the first one needs no display
LONG_POLL_SECONDS = 30
MANY = 8  # workers: above it they are counted instead of named
USUAL = ("worker.started", "worker.ready", "worker.draining", "worker.exited")
BETWEEN_SECONDS = 1.0  # two counts
SHOWN = ("worker.", "generation.")


class Display(Protocol):
    """How an operation goes on."""

    def show(self, operation: messages.Operation, events: list[messages.Event]) -> None: ...


def carry_out(session: Session, ask: Ask, *, wait: bool) -> None:
    """Ask for a change and see it through. Raises Complaint if it does not succeed."""
    with session.client() as client:
        if session.json or not wait:
            reply = ask(client)
            if wait:
                reply = _await(client, reply)
        else:
            reply = _watch(session, client, ask)
    tell(session, reply, wait=wait)


def tell(session: Session, reply: Reply[messages.Operation], *, wait: bool = True) -> None:
    """Print the verdict, or that it is still to come. Raises Complaint."""
    operation = reply.value
    if session.json:
        session.echo_json(reply.raw)
    if operation.state == "succeeded":
        if not session.json:
            click.echo(text.clean(done(operation)))
    elif operation.ended:
        raise failure(operation)
    elif not session.json and not wait:
        click.echo(f"{name(operation)}: asked for as operation {operation.id}; miniwsgictl status shows how it goes on")


# --- waiting ---------------------------------------------------------------------------------------------


@contextmanager
def _held(operation: messages.Operation) -> Iterator[None]:
    """What to say when waiting for an operation ends before the operation does."""
    goes_on = f"{name(operation)} goes on in the daemon (operation {operation.id}): miniwsgictl status shows it"
    try:
        yield
    except KeyboardInterrupt:
        raise Complaint(ExitStatus.INTERRUPTED, Code.WAIT_ENDED, f"interrupted; {goes_on}") from None
    except TransportError as error:
        if error.trouble is Trouble.LATE:
            raise Complaint(ExitStatus.TIMED_OUT, Code.WAIT_ENDED, f"timed out; {goes_on}") from None
        if error.trouble in {Trouble.LOST, Trouble.SILENT, Trouble.MISSING}:
            raise Complaint(
                ExitStatus.UNREACHABLE,
                Code.ANSWER_LOST,
                f"the daemon went away during {name(operation)} (operation {operation.id}): it stopped or died; "
                "its log says why",
            ) from None
        raise


def _await(client: Client, reply: Reply[messages.Operation]) -> Reply[messages.Operation]:
    """The operation when it has ended."""
    with _held(reply.value):
        while not reply.value.ended:
            wait = int(client.left(LONG_POLL_SECONDS))
            if not wait:
                time.sleep(client.left(QUICK_SECONDS))
            reply = client.operation(reply.value.id, wait_seconds=wait)
    return reply


def _watch(session: Session, client: Client, ask: Ask) -> Reply[messages.Operation]:
    """The operation when it has ended, shown meanwhile."""
    live = sys.stderr.isatty()
    before = client.workers().value.workers if live else []
    last = client.events(limit=0).value.last_id
    reply = ask(client)
    if reply.value.joined and not reply.value.ended:
        session.note(f"{name(reply.value)} is under way already, asked for by {reply.value.who}")
    with _held(reply.value):
        if not reply.value.ended:
            time.sleep(client.left(QUICK_SECONDS))
            reply = client.operation(reply.value.id)
        with _display(session, client, before, live=live, quick=reply.value.ended) as display:
            while True:
                ended = reply.value.ended
                heard = client.events(since=last).value
                last = heard.last_id
                display.show(reply.value, [event for event in heard.events if event.kind.startswith(SHOWN)])
                if ended:
                    return reply
                time.sleep(client.left(QUICK_SECONDS))
                reply = client.operation(reply.value.id)


@contextmanager
def _display(
    session: Session, client: Client, before: list[messages.Worker], *, live: bool, quick: bool
) -> Iterator[Display]:
    if not live:
        yield Lines()
    elif quick:
        yield Nothing()
    else:
        from ..views.turnover_view import turnover_display

        with turnover_display(client, before, colour=session.colour and colourful(sys.stderr)) as display:
            yield display


class Nothing:
    """It was over before there was something to see."""

    def show(self, operation: messages.Operation, events: list[messages.Event]) -> None:
        pass


class Lines:
    """For logs and pipes. Of many workers, how many are done is told; each by itself only if something is wrong."""

    def __init__(self) -> None:
        self._done = 0
        self._told_at = 0.0  # time.monotonic

    def show(self, operation: messages.Operation, events: list[messages.Event]) -> None:
        many = operation.total > MANY
        for event in events:
            if not (many and event.kind in USUAL):
                click.echo(f"{text.clock(event.at)}  {text.clean(event.message)}", err=True)
        now = time.monotonic()
        if many and operation.done != self._done and (operation.ended or now - self._told_at >= BETWEEN_SECONDS):
            self._done, self._told_at = operation.done, now
            said = f"{operation.done} of {operation.total} workers"
            click.echo(f"{text.clock(datetime.now(UTC))}  {said}", err=True)
