"""`traceparent`: which trace a request belongs to (W3C Trace Context, levels 1 and 2, section 3.2).

What is not exactly as the specification wants it is no traceparent, and is ignored. The field itself, and `tracestate`,
reach the application as all others do. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

VARIABLE = "HTTP_TRACEPARENT"

_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = 1  # of the flags; level 2's second one says how the id was made, which is nobody's affair here
# Lower case alone. Of a later version what is known is at the beginning, and anything may follow (section 3.2.4).
_GRAMMAR = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Trace(NamedTuple):
    """A trace, and the span in it that has sent the request."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16
    sampled: bool  # somebody keeps it


def trace_of(environ: Mapping[str, Any]) -> Trace | None:
    """Of a request; None: it has none, or none that is valid."""
    value = environ.get(VARIABLE)
    if type(value) is not str:  # the application's, by now
        return None
    found = _GRAMMAR.fullmatch(value)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Trace(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def trace_id_of(environ: Mapping[str, Any]) -> str | None:
    """Its id alone, for lines and records about a request."""
    found = trace_of(environ)
    return found.trace_id if found is not None else None
