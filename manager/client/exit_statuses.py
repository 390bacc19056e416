"""Exit statuses, and what is said when a command cannot be carried out: what happened, where, and what to do."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
from enum import IntEnum
from typing import IO, Any

import click
from miniwsgi.codes import Code

from .. import messages
from . import socket_paths, text, unit_state
from .client import RequestRefused, TransportError, Trouble


class ExitStatus(IntEnum):
    """The contract with scripts."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    TIMED_OUT = 4
    DENIED = 5
    INTERRUPTED = 128 + 2  # by Ctrl-C, as shells have it


EXIT_STATUSES = """\
Exit status:
  0  done
  1  failed: the daemon tried, or it refused, and said why
  2  wrong usage
  3  unreachable: no daemon listens, or it went away before its answer
  4  timed out
  5  denied: you may not do this
"""


class Complaint(Exception):
    """The end of a command that was not carried out. `detail` (a traceback) is said before the message.

    `code` is that of the cause, as the daemon or this program has it; "" where there is nothing to explain.
    """

    def __init__(self, status: int, code: Code | str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = str(code)
        self.detail = detail

    def show(self) -> None:
        """On standard error."""
        if self.detail:
            click.echo(text.clean(self.detail, lines=True), err=True)
        click.echo(f"{styled_name()} {text.clean(text.coded(self.code, str(self)), lines=True)}", err=True)


def colourful(stream: IO[Any]) -> bool:
    """Whether to colour what goes there (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled_name() -> str:
    """The beginning of an error line."""
    context = click.get_current_context(silent=True)
    wanted = True if context is None or context.obj is None else context.obj.colour
    return click.style("miniwsgictl:", fg="red", bold=True) if wanted and colourful(sys.stderr) else "miniwsgictl:"


# --- from what went wrong to a complaint --------------------------------------------------------------------------


def complaint(error: TransportError | RequestRefused, path: str, waited: str = "") -> Complaint:
    """What to say about an error. `waited`: how long an answer was waited for, "10.0 s"."""
    if isinstance(error, RequestRefused):
        return _refused(error.problem)
    unit = unit_of(path)
    unknown = "; what it was asked for may be done all the same: miniwsgictl status shows it" if error.asked else ""
    match error.trouble:
        case Trouble.MISSING | Trouble.SILENT:
            return Complaint(ExitStatus.UNREACHABLE, *_nobody(path, error.trouble, unit))
        case Trouble.FORBIDDEN:
            return Complaint(ExitStatus.DENIED, Code.CONTROL_DENIED, _forbidden(path))
        case Trouble.UNUSABLE:
            return Complaint(
                ExitStatus.UNREACHABLE, Code.NOT_OUR_SOCKET, f"{path} cannot be used as a socket: {error.detail}"
            )
        case Trouble.LATE:
            return Complaint(
                ExitStatus.TIMED_OUT,
                Code.NO_ANSWER,
                f"the daemon on {path} did not answer{f' within {waited}' if waited else ' in time'}: "
                f"look at systemctl status {unit} and its log, or allow more with --timeout{unknown}",
            )
        case Trouble.LOST:
            return Complaint(
                ExitStatus.UNREACHABLE,
                Code.ANSWER_LOST,
                f"the daemon on {path} closed the connection before its answer: it stopped or died; "
                f"journalctl -u {unit} says why{unknown}",
            )
        case Trouble.VERSION:
            return Complaint(
                ExitStatus.UNREACHABLE,
                Code.VERSIONS_DIFFER,
                f"the daemon on {path} is of a version that this miniwsgictl does not understand "
                f"({error.detail}): use the one that was installed with it, or restart it",
            )
        case Trouble.FOREIGN:
            return Complaint(
                ExitStatus.UNREACHABLE,
                Code.NOT_OUR_SOCKET,
                f"what listens on {path} is no miniwsgi daemon ({error.detail}): name its control socket with --socket",
            )


def _refused(problem: messages.Problem) -> Complaint:
    said = problem.detail or problem.title
    if problem.problems:
        said += "".join(f"\n  {text.coded(mistake.code, mistake.message)}" for mistake in problem.problems)
    if problem.operation is not None and str(problem.operation) not in said:
        said += f" (operation {problem.operation} is in the way)"
    if problem.status in {401, 403}:
        return Complaint(ExitStatus.DENIED, problem.code, f"denied: {said}")
    if problem.status in {400, 422}:
        return Complaint(ExitStatus.USAGE, problem.code, said)
    return Complaint(ExitStatus.TIMED_OUT if problem.status in {408, 504} else ExitStatus.FAILED, problem.code, said)


def unit_of(path: str) -> str:
    """The systemd unit whose control socket this would be."""
    directory = os.path.dirname(path)
    if path.endswith(socket_paths.SYSTEMD_SUFFIX):  # of a socket unit's: beside the runtime directory
        directory = path.removesuffix(socket_paths.SYSTEMD_SUFFIX)
    parent, instance = os.path.split(directory)
    named = os.path.basename(parent) == "miniwsgi" and instance != socket_paths.MAIN_INSTANCE
    return f"miniwsgi@{instance}" if named else "miniwsgi"


def _nobody(path: str, trouble: Trouble, unit: str) -> tuple[Code, str]:
    if trouble is Trouble.SILENT and not _is_socket(path):
        return Code.NOT_OUR_SOCKET, f"{path} is no socket: name the daemon's control socket with --socket"
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    state = unit_state.state_of(unit, user=bool(own) and path.startswith(f"{own}/"))
    if state is not None and state.runs and state.why_no_control:
        why = f"the daemon runs ({unit}, pid {state.main_pid}), but has no control API: {state.why_no_control}"
        return Code.CONTROL_OFF, why
    said = (
        f"no daemon listens on {path}: is it running? "
        f"systemctl status {unit}, or name another with --socket or --instance"
    )
    names = [name for name, other in socket_paths.all_sockets(os.environ, os.geteuid()) if name and other != path]
    return Code.NOBODY_LISTENS, said + (f" (there is {', '.join(names)})" if names else "")


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True  # not to be known


def _forbidden(path: str) -> str:
    uid = os.geteuid()
    said = f"denied: {path} may not be opened by {_name(uid, user=True)} (uid {uid})"
    try:
        found = os.stat(path)
    except OSError:
        return f"{said}: a directory above it is closed to you; try sudo"
    owner, group = _name(found.st_uid, user=True), _name(found.st_gid, user=False)
    mode = stat.S_IMODE(found.st_mode)
    said += f": it belongs to {owner}:{group}, mode {mode:04o}; try sudo"
    if mode & stat.S_IWGRP and found.st_gid != 0:
        return f"{said}, or become a member of the group {group}"
    return f"{said}, or give the socket a group of yours with control.group"


def _name(number: int, *, user: bool) -> str:
    try:
        return pwd.getpwuid(number).pw_name if user else grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
