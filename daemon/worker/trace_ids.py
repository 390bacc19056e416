"""The id of the trace that a request belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRACEPARENT_PARTS = 4  # of which the second is the trace's id: W3C Trace Context, section 3.2


def trace_id_of(environ: Mapping[str, Any]) -> str | None:
    """That of the client's traceparent."""
    given = environ.get("HTTP_TRACEPARENT")
    parts = given.split("-") if type(given) is str else []
    return parts[1] if len(parts) >= TRACEPARENT_PARTS and len(parts[1]) == 32 and parts[1].isalnum() else None
