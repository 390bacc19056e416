"""Opening the file that log lines are appended to.

Root is wary where others may write: a link that another user has made is not followed. Standard library only.
"""

from __future__ import annotations

import errno

from ..unpatched import os

FILE_MODE = 0o640


def open_log_file(path: str, *, wary: bool = False) -> int:
    """A descriptor that appends to the file, which is made. `wary`: see the module. Raises OSError."""
    # Non-blocking for the opening alone: a FIFO without a reader is then an error (ENXIO), not a hang.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW if wary else flags, FILE_MODE)
    except OSError as error:
        if not wary or error.errno != errno.ELOOP:
            raise
        fd = _open_linked(path, flags & ~os.O_CREAT)
    os.set_blocking(fd, True)
    return fd


def _open_linked(path: str, flags: int) -> int:
    """What root's own link leads to, such as /dev/stderr; root writes nowhere because somebody else points there."""
    fd = os.open(path, flags)
    if os.lstat(path).st_uid or not os.path.samestat(os.fstat(fd), os.stat(path)):
        os.close(fd)
        raise PermissionError(errno.EPERM, "it is a link that another user has made")
    return fd
