"""What a worker that is gone has left to say: lines that it could not write any more, requests that it was running,
the stacks of a crash.

All of it is looked up once the worker's exit is reaped, and goes to the logs that the worker itself had. An access log
is opened, in a thread, when there is a line for it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from miniwsgi.codes import Code
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics.scoreboard import Running

from ...log.access_log import AccessLog
from ...log.error_log import ErrorLog
from ...log.journal import JournalWriter
from ...log.ring import Left, left_behind
from ...log.writer import UNREAD, Writer, plain_notice
from ...settings import Settings
from .watch import log_lost_requests
from .worker_handle import WorkerHandle

CLOSE_SECONDS = 1.0
OPEN_SECONDS = 10.0
SHOWN_REQUESTS = 3


class LastWords:
    """`log` is the master's own."""

    def __init__(self, log: ErrorLog, threads: DaemonThreads) -> None:
        self._log = log
        self._threads = threads
        self._opening = asyncio.Lock()
        self._access: dict[tuple[str, str], AccessLog] = {}  # by destination and format

    def write(self, worker: WorkerHandle, running: list[Running]) -> Coroutine[Any, Any, None] | None:
        """Lines that were left, then one for each request that the worker was running. What is left to await."""
        try:
            error_lines, access_lines = left_behind(worker.log_memory) if worker.log_memory >= 0 else (Left(), Left())
        except OSError as error:
            told = f"what {worker.name} had to log cannot be read: {error.strerror}"
            self._log.error(Code.LAST_WORDS_LOST, told)
            return None
        if error_lines.entries or error_lines.untold:
            _pass_on(error_lines, self._log.writer)
        if worker.settings.access_log and (running or access_lines.entries or access_lines.untold):
            return self._write_access(worker, access_lines, running, time.monotonic_ns())
        return None

    async def _write_access(self, worker: WorkerHandle, lines: Left, running: list[Running], ended_ns: int) -> None:
        access = await self._access_log(worker.settings)
        if access is not None:
            _pass_on(lines, access.writer)
            status = "504 Gateway Timeout" if worker.killed else "502 Bad Gateway"
            log_lost_requests(access, running, worker.answered, status, ended_ns)

    def reopen(self) -> None:
        """After a rotation. Raises OSError."""
        for access in list(self._access.values()):  # in a thread, while the loop may open another
            access.writer.reopen()

    def forget(self) -> None:
        """The configuration has another access log: each is opened when there is a line for it."""
        for access in self._access.values():
            threading.Thread(target=access.writer.close, args=(CLOSE_SECONDS,), daemon=True).start()
        self._access.clear()

    async def _access_log(self, settings: Settings) -> AccessLog | None:
        key = settings.access_log, settings.access_log_format
        async with self._opening:
            if key not in self._access:
                try:
                    self._access[key] = await self._threads.run(partial(AccessLog, *key, at_once=True), OPEN_SECONDS)
                except (OSError, ValueError) as error:
                    told = f"the access log cannot be opened: {str(error) or 'the disk does not answer'}"
                    self._log.error(Code.ACCESS_LOG_UNUSABLE, told)
                    return None
            return self._access[key]


def _pass_on(left: Left, writer: Writer) -> None:
    if left.framed == isinstance(writer, JournalWriter):
        for entry in left.entries:
            writer.put(entry)
    if left.untold:
        writer.put((writer.notice or plain_notice)(left.untold, UNREAD))


def in_hand(running: list[Running]) -> str:
    """The requests that a worker was running, for people: "GET /report (request id 1f-3)"."""
    shown = [f"{run.method} {run.path} (request id {run.request_id})" for run in running[:SHOWN_REQUESTS]]
    more = [f"{len(running) - SHOWN_REQUESTS} more"] if len(running) > SHOWN_REQUESTS else []
    return ", ".join(shown + more)
