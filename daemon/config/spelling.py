"""Names that are near to one that nothing knows."""

from __future__ import annotations

from collections.abc import Collection


def close_matches(name: str, known: Collection[str], cutoff: float) -> list[str]:
    """The known name that is nearest; none that is near: []. `cutoff` is from 0, anything, to 1, the very name."""
    if not known:
        return []
    from difflib import get_close_matches  # rare; the standard library is the same after an upgrade of miniwsgi

    return get_close_matches(name, known, 1, cutoff)
