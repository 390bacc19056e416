"""Tracebacks without their source lines, which take longer to format than the request took that failed."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from types import TracebackType
from unittest import mock

ENGINES = ("/miniwsgi/daemon/", "daemon/engine/")  # whose frames differ, as they may; the second is the compiled one's


@contextlib.contextmanager
def brief_tracebacks() -> Iterator[None]:
    """While two engines are compared: what is raised, what caused it, and the frames of the application."""
    with mock.patch.object(traceback, "format_exception", _briefly):
        yield


def _briefly(_kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> list[str]:
    told = [*_frames(trace), f"{type(error).__qualname__}: {error}\n"]
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        told[:0] = [*_briefly(type(before), before, before.__traceback__), "then\n"]
    return told


def _frames(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        code = trace.tb_frame.f_code
        if ENGINES[0] not in code.co_filename and not code.co_filename.startswith(ENGINES[1]):
            yield f"{code.co_name}, line {trace.tb_lineno}\n"
        trace = trace.tb_next
