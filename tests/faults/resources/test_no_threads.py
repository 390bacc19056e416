"""The master when no thread can be started (TasksMax, memory): nothing waits in vain, and it works again afterwards."""

from __future__ import annotations

import asyncio
import threading

import pytest
from miniwsgi.manager.daemon_threads import DaemonThreads

MANY = 20  # more than a pool of threads has


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    return monkeypatch


def test_work_beside_the_loop_fails_at_once_and_works_again(no_threads: pytest.MonkeyPatch) -> None:
    async def story() -> str:
        threads = DaemonThreads()
        for _ in range(MANY):
            with pytest.raises(TimeoutError) as refused:
                await threads.run(str, 600)
            assert refused.value.strerror == "can't start new thread"  # an error of the system, as any other there
        no_threads.undo()
        return await threads.run(lambda: "done", 60)

    assert asyncio.run(story()) == "done"


def test_work_that_waits_is_done_by_the_threads_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> list[int]:
        threads = DaemonThreads()
        assert await threads.run(lambda: 0, 60) == 0

        def start(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
        return await asyncio.gather(*(threads.run(lambda number=number: number, 60) for number in range(MANY)))

    assert asyncio.run(story()) == list(range(MANY))
