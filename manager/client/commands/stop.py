"""`stop`: the end of an operation is not the end of the daemon, so its process is watched, too."""

from __future__ import annotations

import os
import select
import time

import click
import msgspec
from miniwsgi.codes import Code

from ... import messages
from .. import text
from ..client import Client, TransportError, Trouble
from ..exit_statuses import Complaint, ExitStatus
from ..options import Session
from ..views.operation_view import failure, name
from .carrying_out import QUICK_SECONDS, tell

GONE = frozenset((Trouble.LOST, Trouble.SILENT, Trouble.MISSING))
LINGER_SECONDS = 5.0  # for the process to end after its socket is gone


def stop_daemon(session: Session, mode: messages.StopMode, *, wait: bool) -> None:
    """Ask, and wait until the process has ended. Raises Complaint."""
    with session.client() as client:
        status = client.status().value
        process = _DaemonProcess(status.pid)
        try:
            started = time.monotonic()
            reply = client.stop(mode)
            if not wait:
                tell(session, reply, wait=False)
                return
            if not session.json:
                running = status.requests.in_flight
                session.note(f"stopping pid {status.pid}; {text.count(running, 'request')} running")
            last = _until_gone(client, process, reply.value)
        finally:
            process.close()
    if last.state in {"failed", "superseded"}:
        raise failure(last)
    seconds = time.monotonic() - started
    if session.json:
        session.echo_json(msgspec.json.encode({"pid": status.pid, "state": "stopped", "seconds": round(seconds, 3)}))
    else:
        click.echo(f"stopped after {text.seconds(seconds)} (pid {status.pid})")


def _until_gone(client: Client, process: _DaemonProcess, operation: messages.Operation) -> messages.Operation:
    """The stop as it was last seen."""
    goes_on = f"{name(operation)} goes on in the daemon (operation {operation.id})"
    try:
        while not process.ended(client.left(QUICK_SECONDS)):
            if not client.left(1.0):
                raise TransportError(Trouble.LATE)
            try:
                operation = client.operation(operation.id).value
            except TransportError as error:
                if error.trouble not in GONE:
                    raise
                process.ended(client.left(LINGER_SECONDS))
                return operation
    except KeyboardInterrupt:
        raise Complaint(ExitStatus.INTERRUPTED, Code.WAIT_ENDED, f"interrupted; {goes_on}") from None
    except TransportError as error:
        if error.trouble is not Trouble.LATE:
            raise
        said = f"timed out; {goes_on}: miniwsgictl stop --now cuts it short"
        raise Complaint(ExitStatus.TIMED_OUT, Code.WAIT_ENDED, said) from None
    return operation


class _DaemonProcess:
    """Somebody else's process, by a pidfd; without one (another pid namespace), it never seems to end."""

    def __init__(self, pid: int) -> None:
        try:
            self._fd = os.pidfd_open(pid)
        except OSError:
            self._fd = -1

    def ended(self, seconds: float) -> bool:
        """Whether it has ended, after at most so long."""
        if self._fd < 0:
            time.sleep(min(seconds, QUICK_SECONDS))
            return False
        return bool(select.select([self._fd], [], [], seconds)[0])

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
