"""Dumps of all threads, as samples of them."""

from __future__ import annotations

from collections.abc import Iterable

from miniwsgi.metrics.scoreboard import Running

from ..running import frames
from .evidence import Frame, Request, ThreadSample


def threads(dump: str, running: Iterable[Running], now_ns: int) -> tuple[ThreadSample, ...]:
    """Each thread of a dump, with the request that it ran when the dump was asked for."""
    requests = {one.ident: one for one in running if one.ident}
    return tuple(
        ThreadSample(ident, _frames(stack), _request(requests.get(ident), now_ns))
        for ident, stack in frames.parse(dump).threads.items()
    )


def _frames(stack: Iterable[frames.Frame]) -> tuple[Frame, ...]:
    """Those whose line is known."""
    return tuple(Frame(*frame) for frame in stack if frame.line)


def _request(one: Running | None, now_ns: int) -> Request | None:
    """What a thread's sub-slot says that it runs."""
    if one is None:
        return None
    return Request(one.method, one.path, seconds=max(0, now_ns - one.started_ns) / 1e9)
