"""Work that is done once for all who ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class SharedWork:
    """Under way, by what was asked for."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    def __repr__(self) -> str:
        return f"<SharedWork {list(self._tasks)}>"

    async def ask(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` returns or raises, or the one that is under way by that key. Who leaves does not take it from the
        others: it goes on."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.get_running_loop().create_task(work())
            task.add_done_callback(lambda _task: self._tasks.pop(key))
        result: T = await asyncio.shield(task)
        return result

    def cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()
