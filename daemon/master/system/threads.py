"""A thread for work that may hang: reading files of a dead file system, looking up names.

asyncio's own threads are waited for at exit (asyncio.to_thread), so one that hangs would hold the daemon up; this
one is a daemon thread, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises. Raises OSError when no thread can be started."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.done():
            return  # whoever waited was cancelled
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type] # T may be None itself

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            pass  # the loop has ended

    try:
        threading.Thread(target=run, name="miniwsgi-beside", daemon=True).start()
    except RuntimeError as error:  # TasksMax, memory
        raise OSError(errno.EAGAIN, str(error)) from None
    return await done
