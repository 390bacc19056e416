"""Unix sockets in the file system: bound so that there is never a moment without one, removed only if still
ours.

A socket is bound under a temporary name, given its mode and owner, made to listen, and then renamed:
whoever connects finds either nothing, the old one, or one that accepts. A path on which somebody listens is
left alone.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import socket
import stat
import time

from miniwsgi.codes import Code
from msgspec import Struct

from ...permission import why_not, why_not_written
from .holders import path_holder

CONNECT_SECONDS = 1.0
LOCK_SECONDS = 2.0


class BindError(Exception):
    """An address cannot be had; the text is one line with the remedy.

    `skippable`: others of its name may do. `in_use`: another socket has the port. `access`: whom it should belong to
    cannot be.
    """

    def __init__(self, code: Code, message: str, *, skippable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.skippable = skippable

    @property
    def access(self) -> bool:
        return self.code is Code.SOCKET_ACCESS

    @property
    def in_use(self) -> bool:
        return self.code is Code.ADDRESS_IN_USE


class AccessError(OSError):
    """A socket may not be given to `owner` ("": that is not it), or not to `group`, by who we are."""

    def __init__(self, number: int | None, text: str | None, owner: str, group: str) -> None:
        super().__init__(number, text)
        self.owner = owner
        self.group = group


class SocketFile(Struct, frozen=True):
    """A socket's name in the file system, and which file it was when we made it."""

    path: str
    device: int
    inode: int

    def set_access(self, mode: int, owner: str, group: str) -> None:
        """Raises OSError."""
        if self._is_ours():
            _set_access(self.path, mode, owner, group)

    def remove(self) -> None:
        """Unlink the path unless another's socket is there by now. Raises OSError."""
        if self._is_ours():
            os.unlink(self.path)

    @property
    def is_missing(self) -> bool:
        """Whether nothing at all is at the path."""
        try:
            os.lstat(self.path)
        except FileNotFoundError:
            return True
        except OSError:  # who may not look cannot say so
            pass
        return False

    def _is_ours(self) -> bool:
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (self.device, self.inode)


def bind_path(
    path: str, backlog: int, mode: int, owner: str, group: str, *, keys: str = "socket_owner and socket_group"
) -> tuple[socket.socket, SocketFile]:
    """A listening socket at `path`; `keys` are where its access is configured, for errors. Raises BindError."""
    directory, name = os.path.split(path)
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        remedy = f"mkdir -p {directory}"
        if directory.startswith("/run/"):
            remedy += f", or RuntimeDirectory={directory.removeprefix('/run/')} in the systemd unit"
        why = f"the directory {directory} does not exist; make it ({remedy})"
        raise _refusal(Code.ADDRESS_FORBIDDEN, path, why) from None
    except OSError as error:
        why = f"the directory {directory}: {why_not(directory, error)}"
        raise _refusal(Code.ADDRESS_FORBIDDEN, path, why) from None
    try:
        _lock(folder)  # of two daemons that start at once, the second must see the first
        _check_free(path)
        return _bind(path, f"{name}.{os.getpid()}", folder, backlog=backlog, access=(mode, owner, group))
    except (OSError, LookupError) as error:
        raise _explain(path, error, keys) from None
    finally:
        os.close(folder)


def _bind(
    path: str, temporary: str, folder: int, *, backlog: int, access: tuple[int, str, str]
) -> tuple[socket.socket, SocketFile]:
    scratch = os.path.join(os.path.dirname(path), temporary)
    if len(os.fsencode(scratch)) > 107:  # sockaddr_un.sun_path, unix(7): name the directory by its descriptor
        scratch = f"/proc/self/fd/{folder}/.{os.getpid()}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _unlink(scratch)
        sock.bind(scratch)
        _set_access(scratch, *access)
        sock.listen(backlog)
        sock.setblocking(False)
        found = os.lstat(scratch)
        os.rename(scratch, path)
    except (OSError, LookupError):
        sock.close()
        _unlink(scratch)
        raise
    return sock, SocketFile(path, found.st_dev, found.st_ino)


def _lock(folder: int) -> None:
    """Wait for the lock on the directory, but not for ever: anybody who may read it can hold it."""
    deadline = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return


def _check_free(path: str) -> None:
    """Raise BindError if there is something at the path that is not a stale socket. Raises OSError."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        why = "there is something at that path that is no socket; remove it or take another path"
        raise _refusal(Code.ADDRESS_IN_USE, path, why)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_SECONDS)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return  # stale: its owner is gone
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EPERM}:
                raise
    holder = path_holder(path)
    why = f"{holder or 'another process'} listens on it; stop that or take another path"
    raise _refusal(Code.ADDRESS_IN_USE, path, why)


def numbers_of(owner: str, group: str) -> tuple[int, int]:
    """Of names or numbers; -1 for "". Looks names up: blocks. Raises LookupError."""
    uid = -1 if not owner else int(owner) if owner.isdecimal() else pwd.getpwnam(owner).pw_uid
    gid = -1 if not group else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    return uid, gid


def _set_access(path: str, mode: int, owner: str, group: str) -> None:
    """Owner and group are names or numbers, "" for unchanged. Raises OSError, AccessError, LookupError."""
    uid, gid = numbers_of(owner, group)
    # Not by its name: who may write in the directory could put a link there meanwhile, and we may still be root.
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_nlink != 1:
            raise PermissionError(errno.EPERM, "something else has been put in the socket's place")
        itself = f"/proc/self/fd/{fd}"
        uid = -1 if uid == found.st_uid else uid  # what is so already need not be allowed
        gid = -1 if gid == found.st_gid else gid
        try:
            if uid != -1:
                os.chown(itself, uid, -1)
            if gid != -1:
                os.chown(itself, -1, gid)
        except PermissionError as error:
            raise AccessError(error.errno, error.strerror, owner if uid != -1 else "", group) from None
        os.chmod(itself, mode)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _explain(path: str, error: OSError | LookupError, keys: str) -> BindError:
    user = f"uid {os.geteuid()}"
    if isinstance(error, LookupError):
        return _refusal(Code.SOCKET_ACCESS, path, f"{error.args[0]}; see {keys}")
    if isinstance(error, AccessError) and error.owner:
        why = f"{user} cannot give it to {error.owner}, only root can; see {keys}"
        return _refusal(Code.SOCKET_ACCESS, path, why)
    if isinstance(error, AccessError):
        remedy = f"the unit needs SupplementaryGroups={error.group} and SystemCallFilter=@chown (systemctl edit)"
        why = f"{user} cannot give it to the group {error.group}; {remedy}; see {keys}"
        return _refusal(Code.SOCKET_ACCESS, path, why)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        why = why_not_written(path, error)
        why = why if why.startswith(str(error.strerror)) else f"{error.strerror}: {why}"
        return _refusal(Code.ADDRESS_FORBIDDEN, path, why)
    return _refusal(Code.CANNOT_LISTEN, path, error.strerror or str(error))


def _refusal(code: Code, path: str, why: str) -> BindError:
    return BindError(code, f"cannot listen on unix:{path}: {why}")
