"""The control API's place in the daemon: its socket, from before the privileges are dropped to the end.

A path that cannot be had is one line in the log and the daemon serves without, unless `control.required`: whoever asks
systemd, or `miniwsgictl`, is told why. An owner or a group that it cannot be given to is a mistake, and no start. A
socket that systemd passes under the name "control" is taken instead of the path.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from miniwsgi.codes import Code

from ...config import Config
from ...log.error_log import ErrorLog
from ..sockets.unix_sockets import BindError, SocketFile, bind_path

SYSTEMD_NAME = "control"  # FileDescriptorName= of a socket unit
BACKLOG = 1024
OFF = "the control API is off"


@dataclass(slots=True)
class ControlSocket:
    """Where the API is served. Without sockets it is off, and `why_off` says why."""

    sockets: list[socket.socket]
    file: SocketFile | None = None
    directory: str = ""  # that was made for it
    why_off: str = ""

    @property
    def name(self) -> str:
        return self.file.path if self.file is not None else "a socket of systemd's"

    def close(self) -> None:
        """Remove what was made. Raises OSError if that is not allowed."""
        for sock in self.sockets:
            sock.close()
        if self.file is not None:
            self.file.remove()
        if self.directory:
            try:
                os.rmdir(self.directory)
            except OSError:
                pass  # others have theirs there by now


def open_control(config: Config, passed: Mapping[str, list[int]], log: ErrorLog) -> ControlSocket:
    """The API's socket. Raises BindError if it cannot be had and is required."""
    control = config.control
    if SYSTEMD_NAME in passed:
        return ControlSocket(_adopt(passed[SYSTEMD_NAME]))
    if not control.socket:
        if config.origins.get("control.socket") != "default":
            return ControlSocket([], why_off="control.socket is off")
        why = "there is no runtime directory to put its socket in; --control PATH names one"
        log.info(f"{OFF}: {why}")
        return ControlSocket([], why_off=why)
    try:
        return bind_control(config)
    except BindError as error:
        if control.required or error.access:
            raise
        log.warning(Code.CONTROL_OFF, f"{OFF}: {error}; --control PATH names another place")
        return ControlSocket([], why_off=str(error))


def bind_control(config: Config) -> ControlSocket:
    """Raises BindError."""
    control = config.control
    user = config.server.user if os.geteuid() == 0 else ""
    directory = ""
    if config.origins.get("control.socket") == "default":
        directory = _make_directory(os.path.dirname(control.socket), user)
    sock, file = bind_path(control.socket, BACKLOG, control.mode, user, control.group, keys="control.group")
    return ControlSocket([sock], file, directory)


def _adopt(fds: list[int]) -> list[socket.socket]:
    """Raises BindError for what is no listening Unix socket: without the kernel's word nobody can be trusted."""
    found = []
    for fd in fds:
        sock = socket.socket(fileno=os.dup(fd))
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise BindError(
                Code.CANNOT_LISTEN, f"the socket that systemd passed as {SYSTEMD_NAME} is no Unix stream socket"
            )
        sock.setblocking(False)
        found.append(sock)
    return found


def _make_directory(path: str, user: str) -> str:
    """Make a default's directory, the daemon user's own; its path if it was not there. Raises BindError."""
    try:
        os.mkdir(path, 0o755 if os.geteuid() == 0 else 0o700)
        if user:
            os.chown(path, int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid, -1)
    except FileExistsError:
        return ""
    except (OSError, LookupError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BindError(Code.CANNOT_LISTEN, f"the directory {path} cannot be made: {reason}") from None
    return path
