"""The route of a request that still runs, as far as its environ says."""

from __future__ import annotations

from types import FrameType
from typing import Any


def route_of_running(environ: dict[str, Any], _frame: FrameType | None) -> str | None:
    """None: not known."""
    found = environ.get("miniwsgi.route")
    return found if type(found) is str else None
