"""The master as a process of the system: limits, user, file mode mask, title.

Called in the order of a start, before the event loop. What fails is a `StartError`: one line with the
remedy.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
import signal

import setproctitle
from miniwsgi.codes import Code

HELD_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class StartError(Exception):
    """The daemon cannot start; the text is for the operator."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def hold_signals() -> None:
    """As a container's first process: signals wait until there are handlers for them.

    Called before anything else, for until then the kernel drops them (pid_namespaces(7)): a stop during the start
    would be lost. Any other process is ended by a signal that comes so early, as it should be.
    """
    if os.getpid() == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)


def release_signals() -> None:
    """What was held is delivered, or dropped. For a process that will not become a master."""
    if os.getpid() == 1:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)


def open_standard_descriptors() -> None:
    """Have something at 0, 1 and 2: a socket that came to lie there would be taken for a standard stream."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def raise_descriptor_limit() -> None:
    """The soft limit of open files up to the hard one: a connection is a descriptor (getrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # beyond fs.nr_open: what there is will do


def set_title(application: str) -> None:
    """What ps shows."""
    setproctitle.setproctitle(f"miniwsgi: master [{application}]")


def drop_privileges(user: str, group: str) -> None:
    """Become `user` and `group`, names or numbers; "" keeps them. With a user alone its groups are taken.

    Raises StartError.
    """
    if not user and not group:
        return
    uid, gid, entry = identity(user, group)
    if uid > 0 and gid == -1 and os.geteuid() == 0:
        told = f"server.user: {user} has no account that names its group; set server.group, too"
        raise StartError(Code.ACCOUNT_UNUSABLE, told)
    already = (uid in (-1, os.geteuid())) and (gid in (-1, os.getegid()))
    if already and os.geteuid() != 0:
        return
    try:
        if entry is not None:
            os.initgroups(entry.pw_name, gid if gid != -1 else entry.pw_gid)
        elif os.geteuid() == 0:
            os.setgroups([gid] if gid != -1 else [])
        if gid != -1:
            os.setresgid(gid, gid, gid)
        if uid != -1:
            os.setresuid(uid, uid, uid)
    except PermissionError:
        raise StartError(
            Code.ACCOUNT_UNUSABLE,
            f"cannot become user {user or '(unchanged)'} and group {group or '(its own)'}: only root can; "
            "start as root, or leave server.user and server.group out (with systemd: User= and Group=)",
        ) from None


def identity(user: str, group: str) -> tuple[int, int, pwd.struct_passwd | None]:
    """Whom `user` and `group` name: numbers, -1 for what stays, and the account if there is one. Raises StartError."""
    try:
        entry = _user(user) if user else None
        uid = int(user) if user.isdecimal() else entry.pw_uid if entry is not None else -1
        gid = _group(group) if group else entry.pw_gid if entry is not None else -1
    except KeyError as error:
        raise StartError(Code.ACCOUNT_UNUSABLE, f"server.user, server.group: {error.args[0]}") from None
    return uid, gid, entry


def _user(user: str) -> pwd.struct_passwd | None:
    """The account; None for a number that has no name."""
    if not user.isdecimal():
        return pwd.getpwnam(user)
    try:
        return pwd.getpwuid(int(user))
    except KeyError:
        return None


def _group(group: str) -> int:
    return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
