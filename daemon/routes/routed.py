"""An application whose requests have routes, and a measure of what they compute.

It is there only where routes can be found: an application of no known framework is served without it.

The thread's CPU clock costs a system call, so at many requests a second only each eighth is measured, on the average,
and stands for eight; which ones is scattered evenly over what is repeated in any rhythm (Fibonacci hashing), and goes
round after a prime number of requests, so that no rhythm meets the same ones again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from types import FrameType, TracebackType
from typing import Any

from ..unpatched import time
from .asking import MAX_CHARACTERS, Finder, ask, plain
from .copied import ask_copy
from .variables import CPU_NS, CPU_OF, ROUTE

Application = Callable[..., Any]

SAMPLED = 8  # one of so many is measured …
_WINDOW = 64  # … once so many requests …
_WINDOW_NS = 128_000_000  # … took less than this: 500 a second
_GOLDEN = 0x9E3779B1  # 2³² divided by the golden ratio
_SHARE = 2**32 // SAMPLED
_ROUND = 1021  # requests: a prime
MEASURED, ENDS_WINDOW = 1, 2  # marks of a request: it is measured in any case; a window ends with it
MARKS = bytes(
    MEASURED * (number * _GOLDEN % 2**32 < _SHARE) + ENDS_WINDOW * (not number % _WINDOW)
    for number in range(1, _ROUND + 1)
)

_frame = sys._getframe


class Routed:
    """A WSGI application, called by any thread.

    Where this is a site's application, the compiled engine does itself what `__call__` does (`routes.pxi`). What is
    rare is done here for both.
    """

    def __init__(self, application: Application, finders: Sequence[Finder], by_path: Finder | None = None) -> None:
        """`by_path` is asked where no finder has found anything: not of answers of 404, whose paths are anybody's."""
        self.application = application
        self.finder: Finder = finders[0] if len(finders) == 1 else partial(ask, tuple(finders))
        self._by_path = by_path
        self._marks = cycle(MARKS)
        self._weight = 1
        self._window_ns = time.monotonic_ns()

    def __repr__(self) -> str:
        return f"<Routed {self.application!r}>"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if ROUTE not in environ:
                try:
                    route = finder(environ, _frame(1))
                except Exception:  # as in asking, without a call more
                    route = None
                if type(route) is str and len(route) <= MAX_CHARACTERS:
                    environ[ROUTE] = route
                else:
                    self.settle(environ, route, _frame(1), status)
            return start_response(status, headers) if exc_info is None else start_response(status, headers, exc_info)

        finder = self.finder
        mark = next(self._marks)
        if mark >= ENDS_WINDOW:
            self._weight = self.weigh()
        weight = self._weight
        measured = weight == 1 or mark & MEASURED
        began = time.thread_time_ns() if measured else 0
        try:
            return self.application(environ, start)
        except BaseException as error:
            if ROUTE not in environ:
                self.settle_raised(environ, error)
            raise
        finally:
            if measured:
                environ[CPU_NS] = (time.thread_time_ns() - began) * weight
                if weight > 1:
                    environ[CPU_OF] = weight

    def weigh(self) -> int:
        """For how many each measured request stands from now on: by how long the last ones took to come."""
        now = time.monotonic_ns()
        weight = SAMPLED if now - self._window_ns < _WINDOW_NS else 1
        self._window_ns = now
        return weight

    def settle(self, environ: dict[str, Any], route: object, frame: FrameType | None, status: object) -> None:
        """What is not plainly a route, of a response that is begun."""
        self._settle(environ, route, frame, is_absent=type(status) is str and status.startswith("404"))

    def settle_raised(self, environ: dict[str, Any], error: BaseException) -> None:
        """The route of a request for which the application has raised."""
        frame = _innermost(error.__traceback__)
        self._settle(environ, ask((self.finder,), environ, frame), frame, is_absent=False)

    def _settle(self, environ: dict[str, Any], route: object, frame: FrameType | None, *, is_absent: bool) -> None:
        if route is None:
            route = ask_copy((self.finder,), environ, frame)
        if route is None and self._by_path is not None and not is_absent:
            route = ask((self._by_path,), environ, None)
        environ[ROUTE] = plain(route) or ""


def _innermost(trace: TracebackType | None) -> FrameType | None:
    """The frame that has raised: it and those around it are still there. What is compiled has none around it."""
    found = None
    while trace is not None:
        if found is None or trace.tb_frame.f_back is not None:
            found = trace.tb_frame
        trace = trace.tb_next
    return found
