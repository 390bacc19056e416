"""What a profile is written as, for the tools that read it."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from .flame_graph import flame_graph
from .profile import Clock, Frame, Profile

SPEEDSCOPE_SCHEMA = "https://www.speedscope.app/file-format-schema.json"


class Format(Enum):
    """By the name that --format has."""

    FLAME = "flame"
    SPEEDSCOPE = "speedscope"
    COLLAPSED = "collapsed"

    @property
    def suffix(self) -> str:
        return {Format.FLAME: ".html", Format.SPEEDSCOPE: ".speedscope.json", Format.COLLAPSED: ".txt"}[self]

    @classmethod
    def of(cls, path: str) -> Format:
        """What a file of this name is to be."""
        if path.endswith(".json"):
            return cls.SPEEDSCOPE
        return cls.COLLAPSED if path.endswith((".txt", ".collapsed", ".folded")) else cls.FLAME


def written(profile: Profile, clock: Clock, format: Format, rate: float, title: str) -> bytes:
    """The file's content. `rate`: looks a second, which is what the counts of collapsed stacks are by."""
    match format:
        case Format.FLAME:
            return flame_graph(profile, clock, title).encode("utf-8", "backslashreplace")
        case Format.SPEEDSCOPE:
            return msgspec.json.encode(speedscope(profile, clock, title))
        case Format.COLLAPSED:
            return collapsed(profile, clock, rate).encode("utf-8", "backslashreplace")


def collapsed(profile: Profile, clock: Clock, rate: float) -> str:
    """As flamegraph.pl and py-spy have it: frames from the outermost on, and the number of samples.

    That is how many there would have been at this rate: a look that is late counts for those that it stands for.
    """
    lines = []
    for path, call in profile.root.walk():
        if count := round(call.own_ns(clock) * rate / 1e9):
            frames = ";".join(" ".join(frame.name.replace(";", ":").split()) for frame in path)
            lines.append(f"{frames} {count}\n")
    return "".join(sorted(lines))


def speedscope(profile: Profile, clock: Clock, title: str) -> dict[str, Any]:
    """https://www.speedscope.app/file-format-schema.json, with a profile of wall time and one of that on the CPU."""
    frames: dict[Frame, int] = {}
    clocks = list(Clock)
    return {
        "$schema": SPEEDSCOPE_SCHEMA,
        "name": title,
        "exporter": "miniwsgictl profile",
        "activeProfileIndex": clocks.index(clock),
        "profiles": [_sampled(profile, each, frames) for each in clocks],
        "shared": {"frames": [_speedscope_frame(frame) for frame in frames]},
    }


def _sampled(profile: Profile, clock: Clock, frames: dict[Frame, int]) -> dict[str, Any]:
    samples, weights = [], []
    for path, call in profile.root.walk():
        if spent := call.own_ns(clock):
            samples.append([frames.setdefault(frame, len(frames)) for frame in path])
            weights.append(spent)
    return {
        "type": "sampled",
        "name": clock.noun,
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }


def _speedscope_frame(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = {"name": frame.function}
    if frame.file:
        found["file"] = frame.short
    if frame.line:
        found["line"] = frame.line
    return found
