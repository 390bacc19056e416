"""A directory of this daemon alone, for files that are not to outlive it.

Its owner holds a lock on it (flock(2)) as long as it lives, however it ends: what can be locked was left by a daemon
that was killed, and is removed by the next one that looks. systemd-tmpfiles leaves locked directories alone, too.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping

from ...config.machine import control_socket
from ...temporary import make_directory, remove_directory, temporary_directory

ATTEMPTS = 10


def runtime_directory(environ: Mapping[str, str]) -> str:
    """The daemon's runtime directory if it may write there, else the one for temporary files. Raises OSError: none."""
    directory = os.path.dirname(control_socket(environ, os.geteuid()))
    if directory and os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK):
        return directory
    return temporary_directory()


class PrivateDirectory:
    """Makes a directory in `base` and removes those with the same prefix whose owners are gone. Raises OSError."""

    def __init__(self, base: str, prefix: str) -> None:
        _remove_abandoned(base, prefix)
        for _attempt in range(ATTEMPTS):
            self.path = make_directory(base, prefix)
            fd = _lock(self.path)
            if fd >= 0:  # else somebody took it for abandoned, in between
                self._fd = fd
                return
        raise OSError(f"no directory in {base} stays")

    def __repr__(self) -> str:
        return f"<PrivateDirectory {self.path}>"

    def remove(self) -> None:
        """Remove it with all that is in it, and let go of it."""
        _remove(self.path)
        os.close(self._fd)


def _remove_abandoned(base: str, prefix: str) -> None:
    for name in os.listdir(base):
        if not name.startswith(prefix):
            continue
        path = os.path.join(base, name)
        fd = _lock(path)
        if fd >= 0:
            _remove(path)
            os.close(fd)


def _lock(path: str) -> int:
    """A descriptor of a directory of ours that nobody holds, locked; -1 if it is another's or gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and os.path.samestat(found, os.stat(path, follow_symlinks=False)):
            return fd
    except OSError:
        pass
    os.close(fd)
    return -1


def _remove(path: str) -> None:
    """Under its lock. Processes that are about to be killed may still write: not by its old name, though."""
    gone = f"{path}.gone"
    try:
        os.rename(path, gone)
    except OSError:
        gone = path
    remove_directory(gone)
