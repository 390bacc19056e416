"""Routes by the path, for applications whose framework nobody knows: patterns such as "/orders/*".

A pattern is a path. In it "*" is a segment, whatever it says, "{}" a segment whose text becomes a part of the route's
name, and "**" at the end what follows, if anything. The first pattern that fits a path is the route.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import Any

AUTO = "auto"  # among patterns: first what a framework says
EXPECTED = 'a path such as "/orders/*", in which * is a segment, {} one that is named, and ** at the end the rest'
_MAX_SEGMENTS = 32
_ANY, _NAMED, _REST = "*", "{}", "**"


def parse(pattern: str) -> tuple[str, ...]:
    """Its segments. Raises ValueError, with what was expected."""
    segments = tuple(pattern.split("/")[1:])
    fits = pattern.startswith("/") and len(segments) <= _MAX_SEGMENTS and _REST not in segments[:-1]
    if not fits or not pattern.isprintable() or any(_is_odd(segment) for segment in segments):
        raise ValueError(EXPECTED)
    return segments


def _is_odd(segment: str) -> bool:
    return segment not in {_ANY, _NAMED, _REST} and any(mark in segment for mark in "*{}?#")


class Patterns:
    """A finder: see `asking`."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises ValueError for what `parse` does not take."""
        self._patterns = [(pattern, parse(pattern)) for pattern in patterns]

    def __repr__(self) -> str:
        return f"<Patterns {[pattern for pattern, _segments in self._patterns]}>"

    def __call__(self, environ: dict[str, Any], _frame: FrameType | None) -> str | None:
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        found = path.split("/", _MAX_SEGMENTS + 1)[1:]
        for pattern, segments in self._patterns:
            if _fits(segments, found):
                return _named(segments, found) if _NAMED in segments else pattern
        return None


def _fits(segments: tuple[str, ...], found: list[str]) -> bool:
    count = len(segments)
    if segments[-1] == _REST:
        count -= 1
        if len(found) < count:
            return False
    elif len(found) != count:
        return False
    for at in range(count):
        wanted = segments[at]
        if wanted != found[at] and (wanted not in {_ANY, _NAMED} or not found[at]):
            return False
    return True


def _named(segments: tuple[str, ...], found: list[str]) -> str:
    texts = (found[at] if segment == _NAMED else segment for at, segment in enumerate(segments))
    return "/" + "/".join(texts).encode("latin-1", "replace").decode("utf-8", "replace")  # as PEP 3333 has paths
