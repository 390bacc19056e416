"""Files and directories that are gone with whoever made them. Standard library only.

The module tempfile does the same and more, and brings 420 KiB of random numbers, archives and compressors.
"""

from __future__ import annotations

from contextlib import suppress
from typing import IO

from .unpatched import os

RANDOM_BYTES = 8
NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
UNNAMED = os.O_RDWR | os.O_TMPFILE | os.O_EXCL | os.O_CLOEXEC


def temporary_directory() -> str:
    """Where the environment wants temporary files, else one that each system has. Raises FileNotFoundError: nowhere."""
    for directory in (*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp", "/var/tmp"):  # noqa: S108
        if directory and os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK):
            return os.path.abspath(directory)
    raise FileNotFoundError("no directory for temporary files can be used: $TMPDIR, /tmp, /var/tmp")


def unnamed_file(directory: str | None = None) -> IO[bytes]:
    """A file for reading and writing that nobody else can open. Raises OSError."""
    directory = directory or temporary_directory()
    try:
        fd = os.open(directory, UNNAMED, 0o600)
    except OSError:  # file systems need not have such files (open(2), O_TMPFILE)
        path = unused_name(directory, "miniwsgi-body-")
        fd = os.open(path, NAMED, 0o600)
        try:
            os.unlink(path)
        except OSError:
            os.close(fd)
            raise
    return open(fd, "w+b")


def make_directory(base: str, prefix: str) -> str:
    """The path of a new directory that is ours alone. Raises OSError."""
    path = unused_name(base, prefix)
    os.mkdir(path, 0o700)
    return path


def unused_name(directory: str, prefix: str) -> str:
    """Nobody has it but by a chance of one in 2 ** 64, and then it is not taken over."""
    return os.path.join(directory, prefix + os.urandom(RANDOM_BYTES).hex())


def remove_directory(path: str) -> None:
    """With all that is in it, but not what its symbolic links lead to. What cannot be removed stays."""
    with suppress(OSError):  # there is no such directory
        for _path, directories, files, fd in os.fwalk(path, topdown=False):
            for name in (*files, *directories):
                _remove(name, fd)
    _remove(path)


def _remove(name: str, directory_fd: int | None = None) -> None:
    for remove in (os.unlink, os.rmdir):
        try:
            remove(name, dir_fd=directory_fd)
        except OSError:
            continue
        return
