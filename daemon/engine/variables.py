"""The context variables that requests begin with: those of the thread that imported the application, as they were then.

Each request has a copy of its own (`contextvars.Context`, PEP 567), in which everything of the application is called.
What one request sets is not seen by the next, whichever thread runs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any


def variables_of_the_import() -> Callable[[], Context]:
    """A function that makes a request's context. To be called by the thread that has imported the application.

    A copy is shallow, and a decimal context is changed in place: if the import has left one, each request gets one
    that is equal to it.
    """
    base = copy_context()
    decimal = sys.modules.get("decimal")
    if decimal is None or not any(isinstance(value, decimal.Context) for value in base.values()):
        return base.copy
    left = base.run(decimal.getcontext)
    if _same(left, decimal.DefaultContext):
        return _without(base, left).copy  # it is made again by whoever asks for it

    def copy() -> Context:
        context = base.copy()
        context.run(decimal.setcontext, left.copy())
        return context

    return copy


def _same(one: Any, other: Any) -> bool:
    """Two decimal contexts are the same but for flags, which say what has happened."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps")
    )


def _without(base: Context, left: object) -> Context:
    """Those variables but the one that has this value; a context cannot forget one."""
    context = Context()
    for variable, value in base.items():
        if value is not left:
            context.run(variable.set, value)
    return context
