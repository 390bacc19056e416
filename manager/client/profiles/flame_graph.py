"""A flame graph: one HTML file that needs nothing else, with the tree of calls in it as data."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from .profile import Call, Clock, Frame, Profile

DATA = "/*DATA*/null"  # in the page, where the tree of calls is put


def flame_graph(profile: Profile, clock: Clock, title: str) -> str:
    """The page. Names are the application's, and may be anything: they are data, and never markup."""
    page = files(__package__ or "").joinpath("flame_graph.html").read_text("utf-8")
    data = msgspec.json.encode({"title": title, "clock": clock.value, **_tree(profile)}).decode("utf-8")
    # No character in it ends the element, or begins a comment in it (HTML Living Standard, 13.2.5.15 and on).
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return page.replace(DATA, data, 1)


def _tree(profile: Profile) -> dict[str, Any]:
    """Frames, and calls as [caller, frame, own wall µs, own CPU µs]; callers first, the root is 0."""
    frames: dict[Frame, int] = {}
    calls: list[tuple[int, int, int, int]] = [(-1, -1, 0, 0)]
    pending: list[tuple[Call, int]] = [(profile.root, 0)]
    while pending:
        call, number = pending.pop()
        for frame, inner in call.called.items():
            below = len(calls)
            calls.append((number, frames.setdefault(frame, len(frames)), inner.wall_ns // 1000, inner.cpu_ns // 1000))
            pending.append((inner, below))
    return {
        "frames": [(f.function, f.short, f.line, f.origin, f.file) for f in frames],
        "calls": calls,
    }
