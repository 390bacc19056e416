"""Asking the finders, and making a plain, short string of what they say, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

Finder = Callable[[dict[str, Any], FrameType | None], str | None]  # see frameworks
MAX_CHARACTERS = 200  # more than is shown of a route (scoreboard.ROUTE_BYTES)


def ask(finders: Sequence[Finder], environ: dict[str, Any], frame: FrameType | None) -> str | None:
    """The route; None if there is none. Raises nothing: it is asked in the midst of a response."""
    for finder in finders:
        route = _answer(finder, environ, frame)
        if route is not None:
            return plain(route)
    return None


def _answer(finder: Finder, environ: dict[str, Any], frame: FrameType | None) -> str | None:
    try:
        return finder(environ, frame)
    except Exception:  # a framework's object is another than is known of it, or the application's own
        return None


def plain(route: object) -> str | None:
    """The text of a string of whatever class, which is asked for nothing; None of something else."""
    if type(route) is not str:
        if not issubclass(type(route), str):
            return None
        route = str.__str__(route)
    return route if len(route) <= MAX_CHARACTERS else route[:MAX_CHARACTERS]
