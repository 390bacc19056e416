"""Which engines there are, and which of them runs in this process.

Whatever loads can be asked for by name (`server.engine`); "auto" takes the first of ENGINES that runs here, and says
why if that is not the first. Light: the configuration imports it for the names alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

AUTO = "auto"


class Engine(NamedTuple):
    """One of those that there are."""

    name: str
    why_not: Callable[[], str]  # what keeps it from running in this process, in words; "" if nothing does


class Chosen(NamedTuple):
    """The one that runs."""

    name: str
    why: str = ""  # why it is not one that "auto" would rather take


class EngineError(Exception):
    """The engine that was asked for does not run here; in words for an operator, with the remedy."""


def _nothing() -> str:
    return ""


ENGINES = [Engine("plain", _nothing)]  # the fastest first; the last one runs everywhere


def names() -> list[str]:
    """All that can be asked for."""
    return [engine.name for engine in ENGINES]


def available() -> list[str]:
    """Those that run in this process."""
    return [engine.name for engine in ENGINES if not engine.why_not()]


def choose(wanted: str) -> Chosen:
    """The engine to run here, for a value of `server.engine`. Raises EngineError."""
    if wanted == AUTO:
        reasons: list[str] = []
        for engine in ENGINES:
            why_not = engine.why_not()
            if not why_not:
                return Chosen(engine.name, "; ".join(reasons))
            reasons.append(f"no {engine.name} engine: {why_not}")
        raise EngineError("; ".join(reasons))
    for engine in ENGINES:
        if engine.name == wanted:
            if why_not := engine.why_not():
                others = " or ".join(f'"{name}"' for name in (AUTO, *available()))
                raise EngineError(f'server.engine = "{wanted}" does not run here: {why_not}; {others} does')
            return Chosen(wanted)
    raise EngineError(f'server.engine = "{wanted}" is not known here, but {", ".join(names())}')
