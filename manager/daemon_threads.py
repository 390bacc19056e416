"""Threads for work that may block, beside the master's loop: look-ups of names, /proc, files on a disk that hangs.

asyncio's own threads are waited for at exit, so one that hangs would hold the daemon up; these are not. A piece of
work that exceeds its time is given up: its thread is left to the kernel, and while too many hang further work waits,
up to its own time. Threads are kept: starting one holds the loop until it runs.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

MAX_THREADS = 8


class DaemonThreads:
    """A few daemon threads, started when there is work for them."""

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._limit = limit
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = 0
        self._unfinished = 0

    def __repr__(self) -> str:
        return f"<DaemonThreads {self._threads} unfinished={self._unfinished}>"

    async def run(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """What `work` returns or raises. `seconds` None: whoever asked has a limit of its own.

        Raises TimeoutError when it has not begun or not ended in its time, and when no thread can be started at all.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(give: Callable[[], object]) -> None:
            self._unfinished -= 1
            if not future.done():  # given up meanwhile
                give()

        def call() -> None:
            give: Callable[[], object] = bool  # nothing: it was given up before it began
            try:
                if not future.done():
                    give = functools.partial(future.set_result, work())
            except Exception as error:
                give = functools.partial(future.set_exception, error)
            try:
                loop.call_soon_threadsafe(settle, give)
            except RuntimeError:
                pass  # the loop has ended

        if self._unfinished >= self._threads and self._threads < self._limit:
            self._start()
        self._unfinished += 1
        self._work.put(call)
        async with asyncio.timeout(seconds):
            return await future

    def _start(self) -> None:
        """One thread more. Without any there is nobody to wait for: raises TimeoutError."""
        try:
            threading.Thread(target=self._serve, name="miniwsgi-beside", daemon=True).start()
        except RuntimeError as error:  # no more threads for this process now (TasksMax, memory)
            if not self._threads:
                raise TimeoutError(errno.EAGAIN, str(error)) from None
        else:
            self._threads += 1

    def _serve(self) -> None:
        while True:
            self._work.get()()
