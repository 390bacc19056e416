"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any


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
        """Descriptor, current offset and bytes left of a regular file that is read as bytes; None for all else."""
        try:
            fd = self.filelike.fileno()
            if not stat.S_ISREG((status := os.fstat(fd)).st_mode) or hasattr(self.filelike, "encoding"):
                return None
            offset = self.filelike.tell()
        except (AttributeError, OSError, ValueError):
            return None
        return fd, offset, max(0, status.st_size - offset)
