"""Middleware that hands on a copy of the environ: what a framework leaves in the copy is found by the frames."""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import Any

from .asking import Finder, ask, plain
from .variables import ROUTE

_MAX_FRAMES = 200
_NAMES = ("environ", "env")  # as PEP 3333 and Falcon call the argument


def ask_copy(finders: Sequence[Finder], environ: dict[str, Any], frame: FrameType | None) -> str | None:
    """As `ask`, of the environ that the innermost callable got, if that is another one than `environ`."""
    copy = _innermost(environ, frame)
    if copy is None:
        return None
    route = copy.get(ROUTE)
    return ask(finders, copy, frame) if route is None else plain(route)


def _innermost(environ: dict[str, Any], frame: FrameType | None) -> dict[str, Any] | None:
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return None
        code = frame.f_code
        for name in _NAMES:
            if name in code.co_varnames[: code.co_argcount]:
                found = frame.f_locals.get(name)
                if found is environ:
                    return None
                if type(found) is dict and "REQUEST_METHOD" in found:
                    return found
        frame = frame.f_back
    return None
