"""The source files that stacks name, as they lie on disk, where that is what runs.

Names come from the application: only regular files are opened, none that another process could hold up.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

LARGEST_BYTES = 1 << 20
MOST_FILES = 60


def read_sources(paths: Iterable[str], loaded_at: float) -> dict[str, tuple[str, ...]]:
    """The lines of each file that has not changed since `loaded_at` (seconds since 1970). Blocks."""
    found = {}
    for path in list(dict.fromkeys(paths))[:MOST_FILES]:
        if path.startswith("/") and path.endswith(".py"):
            try:
                text = _read(path, loaded_at)
            except OSError:
                continue
            if text is not None:
                found[path] = tuple(text.splitlines())
    return found


def _read(path: str, loaded_at: float) -> str | None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(fd, encoding="utf-8", errors="replace") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_BYTES or status.st_mtime > loaded_at:
            return None
        return file.read(LARGEST_BYTES)
