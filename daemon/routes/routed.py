"""An application whose requests have routes, and a measure of what they compute.

It is there only where routes can be found: an application of no known framework is served without it.

The thread's CPU clock costs a system call, so at many requests a second only each eighth is measured, on the average,
and stands for eight; which ones is scattered evenly over what is repeated in any rhythm (Fibonacci hashing).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import Any

from ..unpatched import time
from .asking import Finder, ask
from .variables import CPU_NS, CPU_OF, ROUTE

Application = Callable[..., Any]

SAMPLED = 8  # one of so many is measured …
_WINDOW = 64  # … once so many requests …
_WINDOW_NS = 128_000_000  # … took less than this: 500 a second
_GOLDEN = 0x9E3779B1  # 2³² divided by the golden ratio
_SHARE = 2**32 // SAMPLED

_frame = sys._getframe


class Routed:
    """A WSGI application, called by any thread."""

    def __init__(self, application: Application, finders: Sequence[Finder]) -> None:
        self._application = application
        self._finders = tuple(finders)
        self._numbers = count(1)
        self._weight = 1
        self._window_ns = time.monotonic_ns()

    def __repr__(self) -> str:
        return f"<Routed {self._application!r}>"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if ROUTE not in environ:
                environ[ROUTE] = ask(self._finders, environ, _frame(1)) or ""
            return start_response(status, headers, *exc_info)

        number = next(self._numbers)
        if not number % _WINDOW:
            self._look()
        weight = self._weight
        measured = weight == 1 or number * _GOLDEN % 2**32 < _SHARE
        began = time.thread_time_ns() if measured else 0
        try:
            return self._application(environ, start)
        except BaseException as error:
            if ROUTE not in environ:
                environ[ROUTE] = self._found_behind(environ, error.__traceback__) or ""
            raise
        finally:
            if measured:
                environ[CPU_NS] = (time.thread_time_ns() - began) * weight
                if weight > 1:
                    environ[CPU_OF] = weight

    def _look(self) -> None:
        """Settle how many are to be measured, by how long the last ones took to come."""
        now = time.monotonic_ns()
        self._weight = SAMPLED if now - self._window_ns < _WINDOW_NS else 1
        self._window_ns = now

    def _found_behind(self, environ: dict[str, Any], trace: TracebackType | None) -> str | None:
        """The route of a request whose application has raised: its frames are still there."""
        last = trace
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        return ask(self._finders, environ, last.tb_frame if last is not None else None)
