"""`why` and `doctor`: those who ask at once share an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from miniwsgi.manager import messages as ms
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics.history import Span

from ..insight.deductions import conclude
from ..insight.examination import Examination, Told
from ..insight.gathering import Record, gather
from ..insight.risks import examine
from ..running.master import Master
from ..running.shared_work import SharedWork
from .overview import Overview

EXAMINING_SECONDS = 8.0


class Examining:
    """Looks at `master` when it is asked to; `record` has what was noted before."""

    def __init__(
        self, master: Master, overview: Overview, record: Callable[[], Record], threads: DaemonThreads
    ) -> None:
        self._master = master
        self._overview = overview
        self._record = record
        self._threads = threads
        self._shared = SharedWork()

    def __repr__(self) -> str:
        return f"<Examining {self._shared}>"

    async def why(self, seconds: int) -> ms.Why:
        """Raises TimeoutError."""
        return await self._shared.ask(seconds, lambda: self._why(seconds))

    async def doctor(self) -> ms.Doctor:
        """Raises TimeoutError."""
        return await self._shared.ask("doctor", self._doctor)

    async def _why(self, seconds: int) -> ms.Why:
        evidence = await gather(self._master, self._threads, seconds, self._overview.judged, self._record)
        at = datetime.now(UTC)
        return await self._threads.run(lambda: conclude(evidence, at), EXAMINING_SECONDS)

    async def _doctor(self) -> ms.Doctor:
        overview, sizing = self._overview, self._master.supervisor.sizing
        last = overview.last_reload
        told = Told(
            reload_error=last.error if last is not None and last.result == "failed" else None,
            override=sizing.override
            if not overview.persisted and sizing.override != sizing.turnover.plan.workers
            else None,
            persist_error=overview.persist_error,
            metrics_error=overview.metrics_error,
            certificates=tuple(overview.certificates()),
        )
        rest = await self._threads.run(Examination(self._master, told).rest, EXAMINING_SECONDS)
        return examine(rest, datetime.now(UTC))


def past_steps(history: Callable[[Span], ms.History]) -> Iterator[ms.HistoryStep]:
    """In small steps as far as there are any, in large ones before."""
    lately = history(Span.QUARTER).steps
    for step in history(Span.HOUR).steps:
        if not lately or step.at + timedelta(seconds=step.seconds) <= lately[0].at:
            yield step
    yield from lately
