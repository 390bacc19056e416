"""Range requests (RFC 9110 section 14): which part of a representation a Range field asks for.

A single range of bytes is answered; several, other units and what is malformed are as if the field were not there,
which section 14.2 leaves to a server.
"""

from __future__ import annotations

import re

# ranges-specifier = range-unit "=" range-set (RFC 9110 section 14.1.1), of which a list's empty members are none
_SINGLE = re.compile(r"(?i:bytes)=[ \t,]*(?:(\d+)-(\d*)|-(\d+))[ \t,]*", re.ASCII)
_DIGITS = 18  # a longer number is beyond any file, and Python need not make one of it
_BEYOND = 10**_DIGITS


class Unsatisfiable(Exception):
    """No byte of the representation is in the range: 416."""


def single_range(text: str, size: int) -> tuple[int, int] | None:
    """First byte, and the one behind the last, of `size` bytes; None: all of it. Raises Unsatisfiable."""
    found = _SINGLE.fullmatch(text)
    if found is None or not size:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        count = _number(suffix)
        if not count:
            raise Unsatisfiable
        return max(0, size - count), size
    start = _number(first)
    stop = _number(last) + 1 if last else size
    if stop <= start and last:  # RFC 9110 section 14.1.1: invalid
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(stop, size)


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return _BEYOND if len(digits) > _DIGITS else int(digits)
