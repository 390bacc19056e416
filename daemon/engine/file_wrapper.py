"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from typing import Any

from ..unpatched import os


class FileWrapper:
    """Iterates over a file-like object in blocks; a regular file is sent by sendfile(2) from its current offset."""

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.block_size)
        if data:
            return data
        raise StopIteration

    def extent(self) -> tuple[int, int, int] | None:
        """Descriptor, current offset and bytes left of a regular file; None for all else, which has to be read."""
        try:
            file = _plain_file(self.filelike)
            if file is None:
                return None
            fd = file.fileno()
            status = os.fstat(fd)
            offset = file.tell()
        except (OSError, ValueError):  # closed, detached
            return None
        if not stat.S_ISREG(status.st_mode) or not status.st_size:  # those of /proc say 0 and have content
            return None
        return fd, offset, max(0, status.st_size - offset)


def _plain_file(filelike: Any) -> io.FileIO | io.BufferedReader | None:
    """The file of the operating system whose bytes `filelike.read` gives, unchanged and to their end; else None.

    A fileno() says nothing: gzip.GzipFile has that of the compressed file. What counts is whose method `read` is;
    objects that hand it on as it is (tempfile's, Django's) are looked through.
    """
    read = getattr(filelike, "read", None)
    owner: Any = getattr(getattr(read, "__wrapped__", read), "__self__", None)
    raw = owner.raw if type(owner) in {io.BufferedReader, io.BufferedRandom} else owner
    return owner if type(raw) is io.FileIO else None
