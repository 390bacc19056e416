"""The limits of running processes, narrowed for a while (prlimit(2)): what they find exhausted, and find again."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def few_descriptors(pids: Sequence[int], spare: int) -> Iterator[None]:
    """Each may open so many more."""
    with _limited({pid: (resource.RLIMIT_NOFILE, descriptor_bound(pid, spare)) for pid in pids}):
        yield


@contextlib.contextmanager
def little_memory(pids: Sequence[int], spare_bytes: int) -> Iterator[None]:
    """Each may map so much more."""
    with _limited({pid: (resource.RLIMIT_AS, _mapped(pid) + spare_bytes) for pid in pids}):
        yield


@contextlib.contextmanager
def no_more_processes(pids: Sequence[int]) -> Iterator[None]:
    """None may start a process or a thread. Does not bind root."""
    with _limited(dict.fromkeys(pids, (resource.RLIMIT_NPROC, 1))):
        yield


def descriptor_bound(pid: int, spare: int) -> int:
    """The limit that leaves a process room for so many: it is on the numbers of new ones, and there are gaps."""
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    bound = 0
    while spare or bound in taken:
        spare -= bound not in taken
        bound += 1
    return bound


def unlimited(pid: int, which: int) -> None:
    """The soft limit of a process is its hard one again."""
    with contextlib.suppress(ProcessLookupError):
        hard = resource.prlimit(pid, which)[1]
        resource.prlimit(pid, which, (hard, hard))


@contextlib.contextmanager
def _limited(wanted: dict[int, tuple[int, int]]) -> Iterator[None]:
    for pid, (which, soft) in wanted.items():
        with contextlib.suppress(ProcessLookupError):  # it has left by itself
            hard = resource.prlimit(pid, which)[1]
            resource.prlimit(pid, which, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    try:
        yield
    finally:
        for pid, (which, _soft) in wanted.items():
            unlimited(pid, which)


def _mapped(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
