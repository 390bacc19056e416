"""What each request that runs is at, looked at once: its stack, its route, and how much its thread computes.

    requests  {rows}    of each thread that runs one, and has for a moment: [ident, request id, route, trace id,
              its CPU clock (ns), computed in that moment (ns), where, frames]
        where   the application's innermost frame, for people: "shop/db.py:38 in load"; "" it has none
        frames  the innermost first: [file, line, function]
    end       {why, seconds}

Small enough for any time: it is ordered by the master itself, of requests that are slow.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from ...traceparent import trace_id_of
from ...unpatched import get_ident, time
from ..context import Context
from . import running_requests, thread_clocks
from .call_tree import Origin, Origins
from .results import Results

MOMENT_SECONDS = 0.05
MAX_FRAMES = 100


def inspect(context: Context, order: dict[str, Any], fd: int) -> None:
    """Carry out the order; `fd` is where the results go. Raises ReaderGone."""
    results, clocks = Results(fd), thread_clocks.ThreadClocks()
    began = time.monotonic_ns()
    before = {ident: clocks.reading(ident) for ident in running_requests.idents()}
    results.sleep(MOMENT_SECONDS)
    rows = _rows(before, clocks, Origins(context.settings.module))
    results.write(kind="requests", rows=rows)
    results.write(kind="end", why="done", seconds=(time.monotonic_ns() - began) / 1e9)
    results.flush()


def _rows(before: dict[int, int], clocks: thread_clocks.ThreadClocks, origins: Origins) -> list[Any]:
    rows = []
    frames = sys._current_frames()
    frames.pop(get_ident(), None)
    while frames:  # each stack is let go as soon as it is read
        ident, frame = frames.popitem()
        found = running_requests.environ_on(ident)  # once: a moment later it may be another one's
        if found is not None and ident in before:
            environ, began_ns = found
            now = clocks.reading(ident)
            computed = now - before[ident] if 0 <= before[ident] <= now else thread_clocks.UNKNOWN
            request = running_requests.request_of(environ, began_ns, frame)
            trace_id = trace_id_of(environ)
            where, stack = _stack(frame, origins)
            rows.append((ident, request.request_id, request.route, trace_id, now, computed, where, stack))
        del frame
    return rows


def _stack(innermost: FrameType, origins: Origins) -> tuple[str, list[tuple[str, int, str]]]:
    where = ""
    stack: list[tuple[str, int, str]] = []
    frame: FrameType | None = innermost
    while frame is not None and len(stack) < MAX_FRAMES:
        code, line = frame.f_code, frame.f_lineno or 0
        if not where and origins.of(code.co_filename) is Origin.APPLICATION:
            where = f"{origins.short(code.co_filename)}:{line} in {code.co_name}"
        stack.append((code.co_filename, line, code.co_name))
        frame = frame.f_back
    return where, stack
