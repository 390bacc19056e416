"""The pid file: the master's process id, for scripts and `kill`.

Whether its daemon lives is told by a lock on it (flock(2)), which ends with the process that holds it, however that
ends. What the file says is nobody's proof: a number is another process's by now, or names a program that only has
our name among its arguments.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from miniwsgi.codes import Code

from ...permission import why_not_written
from .keeper import KeptFile
from .process import StartError

MODE = 0o644
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TRIES = 10  # each lost to a daemon that removes its file between our opening and our locking it


class PidFile:
    """A file with the master's pid, locked from `write` to `remove`. Other processes may only read it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def __repr__(self) -> str:
        return f"<PidFile {self.path} {'locked' if self._fd >= 0 else 'not ours'}>"

    def kept(self) -> KeptFile:
        """For who may remove it when we no longer may."""
        found = os.fstat(self._fd)
        return KeptFile(self.path, self.path, found.st_dev, found.st_ino)

    def write(self) -> None:
        """Lock it and write the pid. Raises StartError if another daemon holds it, or it cannot be written."""
        try:
            self._fd = self._locked()
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            why = "it is a symbolic link" if error.errno == errno.ELOOP else why_not_written(self.path, error)
            told = f"server.pid_file: {self.path} cannot be written: {why}"
            raise StartError(Code.PID_FILE_UNUSABLE, told) from None

    def remove(self) -> None:
        """Remove it, if it is still ours. Who may not do that empties it, and raises OSError."""
        if self._fd < 0:
            return
        try:
            if self._is(self._fd):
                try:
                    os.unlink(self.path)
                except OSError:
                    os.ftruncate(self._fd, 0)
                    raise
        finally:
            os.close(self._fd)
            self._fd = -1

    def _locked(self) -> int:
        """A descriptor of the locked file at the path. Raises OSError, StartError."""
        for _ in range(_TRIES):
            fd = os.open(self.path, _OPEN, MODE)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    told = f"server.pid_file: {self.path} is no regular file; name another"
                    raise StartError(Code.PID_FILE_UNUSABLE, told)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is(fd):
                    return fd
            except BlockingIOError:
                pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
                os.close(fd)
                raise StartError(
                    Code.PID_FILE_HELD,
                    f"server.pid_file: {self.path} is held by a daemon that runs"
                    f"{f' (pid {pid})' if pid else ''}; stop that one, or give each its own file",
                ) from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise OSError(errno.EAGAIN, "it is made and removed all the time")

    def _is(self, fd: int) -> bool:
        """Whether the path still leads to what `fd` is open on."""
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path, follow_symlinks=False))
        except FileNotFoundError:
            return False
