"""Paths that root alone decides about: opened step by step, so that nobody else can have put a link in the way."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection

MAX_STEPS = 100  # directories and links; more is a circle
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_roots_own_directory(directory: str, groups: Collection[int]) -> int | None:
    """Its descriptor if nobody but root can replace it or write in it; a sticky directory above does no harm.

    `groups` are those of the user who is not to decide about it. No links are followed.
    """

    def is_roots_own(found: os.stat_result) -> bool:
        writable = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid in groups)
        return not found.st_uid and (not writable or bool(found.st_mode & stat.S_ISVTX))

    return _open_directory(directory, is_roots_own)


def open_roots_own_file(path: str) -> int:
    """A file to read, also through links, each of which stands where only root can put one. Raises OSError.

    Such are certbot's: live/shop/privkey.pem is a link to ../../archive/shop/privkey7.pem.
    """
    left = [name for name in path.split("/") if name]
    passed: list[str] = []
    for _ in range(MAX_STEPS):
        above = _open_directory("/" + "/".join(passed), _is_closed_to_others)
        if above is None:
            raise PermissionError(errno.EACCES, f"others than root may write in /{'/'.join(passed)}, or above")
        try:
            name = left.pop(0)
            if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                target = os.readlink(name, dir_fd=above)
                passed = [] if target.startswith("/") else passed
                left = [part for part in target.split("/") if part not in {"", "."}] + left
            elif left:
                passed.append(name)
            else:
                return os.open(name, _FILE, dir_fd=above)
        finally:
            os.close(above)
        while left and left[0] == "..":
            left.pop(0)
            passed = passed[:-1]
        if not left:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _open_directory(directory: str, accepts: Callable[[os.stat_result], bool]) -> int | None:
    fd = os.open("/", _DIRECTORY)
    for name in filter(None, directory.split("/")):
        above = fd
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=above)
        except OSError:
            return None
        finally:
            os.close(above)
        if not accepts(os.fstat(fd)):
            os.close(fd)
            return None
    return fd


def _is_closed_to_others(found: os.stat_result) -> bool:
    """The mode of a group is also the mask of an access control list (acl(5)), whoever is in that."""
    return not found.st_uid and not found.st_mode & (stat.S_IWOTH | stat.S_IWGRP)
