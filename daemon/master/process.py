"""The master as a process of the system: limits, user, file mode mask, title, pid file.

Called in the order of a start, before the event loop. What fails is a `StartError`: one line with the
remedy.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
import signal
from dataclasses import dataclass

import setproctitle

HELD_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class StartError(Exception):
    """The daemon cannot start; the text is for the operator."""


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
    try:
        entry = _user(user) if user else None
        uid = int(user) if user.isdecimal() else entry.pw_uid if entry is not None else -1
        gid = _group(group) if group else entry.pw_gid if entry is not None else -1
    except KeyError as error:
        raise StartError(f"server.user, server.group: {error.args[0]}") from None
    if uid > 0 and gid == -1 and os.geteuid() == 0:
        raise StartError(f"server.user: {user} has no account that names its group; set server.group, too")
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
            f"cannot become user {user or '(unchanged)'} and group {group or '(its own)'}: only root can; "
            "start as root, or leave server.user and server.group out (with systemd: User= and Group=)"
        ) from None


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


@dataclass(frozen=True, slots=True)
class PidFile:
    """A file with the master's pid, removed at exit."""

    path: str

    def write(self) -> None:
        """Write it in one step. Raises StartError if a daemon that lives wrote the one that is there."""
        if (pid := self.live_owner()) is not None:
            raise StartError(
                f"server.pid_file: {self.path} names a process that runs (pid {pid}); "
                "stop that daemon, or give each its own file"
            )
        scratch = f"{self.path}.{os.getpid()}"
        try:
            with open(scratch, "x", encoding="utf-8") as file:  # not through somebody's link
                file.write(f"{os.getpid()}\n")
            os.replace(scratch, self.path)
        except OSError as error:
            raise StartError(f"server.pid_file: {self.path} cannot be written: {error.strerror}") from None

    def remove(self) -> None:
        """Remove it if it is still ours. Raises OSError."""
        if self._read() == os.getpid():
            os.unlink(self.path)

    def live_owner(self) -> int | None:
        """The pid in it, if that is a miniwsgi master other than this process."""
        pid = self._read()
        if pid is None or pid == os.getpid():
            return None
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return pid if b"miniwsgi" in file.read() else None
        except OSError:
            return None

    def _read(self) -> int | None:
        try:
            with open(self.path, encoding="utf-8") as file:
                return int(file.read(32))
        except (OSError, ValueError):
            return None
