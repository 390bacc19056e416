"""Stacks as faulthandler writes them (a dump of all threads), read into frames."""

from __future__ import annotations

import re
from collections.abc import Iterable

from miniwsgi.metrics.scoreboard import Running

from .evidence import Frame, Request, ThreadSample

HEADING = re.compile(r"^(?:Current t|T)hread (0x[0-9a-f]+)")
FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')


def threads(dump: str, running: Iterable[Running], now_ns: int) -> tuple[ThreadSample, ...]:
    """Each thread of a dump, with the request that it ran when the dump was asked for."""
    requests = {one.ident: one for one in running if one.ident}
    found: list[tuple[int, list[Frame]]] = []
    for line in dump.splitlines():
        if heading := HEADING.match(line):
            found.append((int(heading[1], 16), []))
        elif found and (frame := FRAME.match(line)):
            found[-1][1].append(Frame(frame[1], int(frame[2]), frame[3]))
    return tuple(ThreadSample(ident, tuple(frames), request_of(requests.get(ident), now_ns)) for ident, frames in found)


def request_of(one: Running | None, now_ns: int) -> Request | None:
    """What a thread's sub-slot says that it runs."""
    if one is None:
        return None
    return Request(one.method, one.path, seconds=max(0, now_ns - one.started_ns) / 1e9)
