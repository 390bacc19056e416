"""Modules that others import where there are any, and that a process can spare."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """While it lasts, an import of these modules fails, so that who can do without them does.

    (The Python Language Reference, "The module cache": None in sys.modules.) What is imported already stays.
    """
    spared = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(spared))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in spared:
            del sys.modules[name]
