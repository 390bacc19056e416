"""Work that may block, beside the master's loop: look-ups of names, /proc, files on a disk that hangs.

asyncio's own threads are waited for at exit, so one that hangs would hold the daemon up; these are not. A piece of
work that exceeds its time is given up: its thread is left to the kernel, and when too many hang, further work fails
at once until one of them comes back.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MAX_THREADS = 8


class Aside:
    """A few daemon threads, one for each piece of work that is under way."""

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._limit = limit
        self._running = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Aside running={self._running}>"

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """What `work` returns or raises. Raises TimeoutError when it takes longer, or when too much of it hangs."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not self._take():
            if loop.time() >= deadline:
                raise TimeoutError
            await asyncio.sleep(0.01)
        future: asyncio.Future[T] = loop.create_future()

        def thread() -> None:
            try:
                result = work()
                settle = functools.partial(_settle, future, lambda: future.set_result(result))
            except Exception as error:
                settle = functools.partial(_settle, future, functools.partial(future.set_exception, error))
            with self._lock:
                self._running -= 1
            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:
                pass  # the loop has ended

        threading.Thread(target=thread, name="miniwsgi-aside", daemon=True).start()
        async with asyncio.timeout_at(deadline):
            return await future

    def _take(self) -> bool:
        with self._lock:
            if self._running >= self._limit:
                return False
            self._running += 1
            return True


def _settle(future: asyncio.Future[T], settle: Callable[[], None]) -> None:
    if not future.done():  # given up meanwhile
        settle()
