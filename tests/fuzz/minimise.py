"""An input that shows a fault, made smaller while it still does."""

from __future__ import annotations

from collections.abc import Callable


def minimised(data: bytes, shows: Callable[[bytes], bool], attempts: int = 2000) -> bytes:
    """The smallest that was found in so many attempts; `data` itself if nothing smaller shows the fault."""
    size = max(1, len(data) // 2)
    while size and attempts > 0:
        at, smaller = 0, False
        while at < len(data) and attempts > 0:
            candidate = data[:at] + data[at + size :]
            attempts -= 1
            if shows(candidate):
                data, smaller = candidate, True
            else:
                at += size
        if not smaller:
            size //= 2
    return data
