"""From what a URL says behind a prefix to the name of a file beneath a directory, or that it names none.

Pure: nothing is looked up. A name that tries to lead elsewhere is refused, and nobody else is asked for it; a dot file
is as if it were not there.
"""

from __future__ import annotations

import re
from enum import Enum, auto

MAX_CHARS = 4095  # PATH_MAX, without the NUL behind it (limits.h)
# "." and ".." as a segment, an empty one before the last, and what no honest URL has in a path: control characters and
# the backslash, which is a separator elsewhere.
_LEADS_AWAY = re.compile(r"[\x00-\x1f\x7f\\]|(?:^|/)\.{1,2}(?:/|\Z)|^/|//")
_HIDDEN = re.compile(r"(?:^|/)\.")


class No(Enum):
    """Why there is no file to answer with."""

    ABSENT = auto()  # there is none, or it is not to be seen: somebody else may know of it
    REFUSED = auto()  # the name, or a symbolic link, leads where nothing is served from
    FORBIDDEN = auto()  # it may not be read
    BROKEN = auto()  # it cannot be read
    EXHAUSTED = auto()  # no descriptor, or no memory, is left to read it with
    DIRECTORY = auto()  # it is one, with an index: its URL ends with a slash


def file_name(rest: str) -> bytes | No:
    """The name, "" for the directory itself, of a decoded path (latin-1 text) behind its prefix."""
    if _LEADS_AWAY.search(rest):
        return No.REFUSED
    if _HIDDEN.search(rest) or len(rest) > MAX_CHARS:
        return No.ABSENT
    return rest.encode("latin-1")
