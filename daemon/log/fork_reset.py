"""What has a lock, or lines of its parent's, starts afresh in a child. Standard library only."""

from __future__ import annotations

import weakref
from typing import Protocol

from ..unpatched import os


class _Forked(Protocol):
    def _after_fork(self) -> None: ...


_objects: weakref.WeakSet[_Forked] = weakref.WeakSet()


def start_afresh_in_children(thing: _Forked) -> None:
    """Have `thing._after_fork()` called in every child that `os.fork` makes while it lives.

    A lock that another thread held at the fork would stay locked in the child for ever.
    """
    _objects.add(thing)


def _after_fork_in_child() -> None:
    for thing in list(_objects):
        thing._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
