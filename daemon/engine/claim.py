"""Who gets what several threads may want: one of them, and each knows at once whether it is the one.

Whoever has a right to a thing offers it; who takes it first has it, everybody else gets `Taken`. Each of the two is one
call into the interpreter's own code, which nothing divides, with the GIL and without: nothing relies on there being no
switch of threads between two lines. Things are told apart by identity, so that who comes late never gets the next one.

There are three: the loop, which one thread owns; the call that its owner is inside (its end takes it, or the watcher,
who then has the loop); the answer to a request, which the application gives, or somebody else when it takes too long.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

Taken = KeyError  # somebody else was faster, or it was not offered


class Claim(set[T]):
    """What has been offered and not yet taken. `take` raises Taken."""

    __slots__ = ()

    offer = set.add
    take = set.remove
