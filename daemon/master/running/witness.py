"""What the fleet tells whoever keeps incidents: workers that are gone, stacks that were taken, words of workers."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from miniwsgi.metrics.scoreboard import Running

from ...channel import Message
from .worker_handle import WorkerHandle


class LostWorker(NamedTuple):
    """A worker as its exit is reaped, before its slot is vacated."""

    handle: WorkerHandle
    running: list[Running]  # that its threads were inside
    crash: str  # its stacks, if it has crashed in C code
    ended_ns: int


class Witness(Protocol):
    """Called in the master's loop. What it raises is logged, and harms nobody."""

    def lost(self, found: LostWorker) -> None:
        """Before the supervisor hears of the exit."""

    def dumped(self, worker: WorkerHandle) -> None:
        """Stacks that the log has: they are the latest of the worker."""

    def heard(self, worker: WorkerHandle, message: Message) -> None:
        """A worker has said something about a request: timeout, slow, child-lost."""


class Nobody:
    """Who keeps nothing."""

    def lost(self, found: LostWorker) -> None:
        pass

    def dumped(self, worker: WorkerHandle) -> None:
        pass

    def heard(self, worker: WorkerHandle, message: Message) -> None:
        pass
