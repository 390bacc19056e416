"""The daemon as the control API sees it: what can be asked of it, and what can be known. Whoever supervises
implements `Managed`; the API knows nothing else of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from miniwsgi.metrics.families import Family
from miniwsgi.metrics.history import Span

from .. import messages as ms
from ..changes import Change
from .event_log import EventLog


class ChangeRefused(Exception):
    """A change that is not granted: the operation in the way if there is one, else the change itself is at fault."""

    def __init__(self, reason: str, operation: int | None = None, *, conflict: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operation = operation
        self.conflict = conflict  # with the state of the daemon; False: it could never be granted


class NoWorker(Exception):
    """A slot that has no process, or none that serves."""

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.slot = slot


class NotInspected(Exception):
    """A worker that cannot be looked into now; the reason."""


class Managed(Protocol):
    """All calls return at once, but those that say `async`; these have time limits of their own."""

    @property
    def event_log(self) -> EventLog: ...

    def status(self, role: ms.Role) -> ms.Status: ...

    async def workers(self) -> list[ms.Worker]:
        """By slot."""

    async def stack(self, slot: int) -> ms.Stack | None:
        """None: the slot has no process."""

    async def why(self, seconds: int) -> ms.Why:
        """What is wrong, after looking for so long."""

    async def doctor(self) -> ms.Doctor:
        """What is risky in the configuration and on the host."""

    def profile(self, request: ms.ProfileRequest) -> AsyncIterator[bytes]:
        """What its workers do, in JSON lines as they come, each with its slot; see docs/control-api.md.

        Whoever goes on no more ends it. Raises NoWorker.
        """

    async def memory(self, slot: int, request: ms.MemoryRequest) -> ms.WorkerMemory:
        """Raises NoWorker, NotInspected, TimeoutError: it does not answer."""

    async def ask(self, change: Change) -> ms.Operation:
        """The operation that the change has become, or has joined. Raises ChangeRefused."""

    def operations(self) -> list[ms.Operation]:
        """The latest first."""

    def operation(self, number: int) -> ms.Operation | None:
        """None: there was none, or it is forgotten."""

    async def wait(self, number: int, seconds: float) -> None:
        """Until the operation has ended, or so long."""

    def slow(self, limit: int) -> ms.SlowList:
        """The latest so many slow requests."""

    def crashes(self, limit: int) -> ms.CrashList:
        """The latest so many lost workers."""

    def metrics(self) -> list[Family]:
        """What is measured, now."""

    def history(self, span: Span) -> ms.History:
        """What was, until now."""

    def routes(self) -> ms.RouteList:
        """Those with the most requests of the last minute first."""

    def log_level(self) -> ms.LogLevel: ...

    def config(self) -> ms.ConfigView: ...

    async def check_config(self, toml: str | None) -> ms.ConfigReport:
        """Raises TimeoutError."""
