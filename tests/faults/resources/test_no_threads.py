"""The master when no thread can be started (TasksMax, memory): nothing waits in vain, and it works again afterwards."""

from __future__ import annotations

import asyncio
import threading

import pytest
from miniwsgi.daemon.master.system.threads import in_daemon_thread
from miniwsgi.manager.aside import Aside

MANY = 20  # more than a pool of threads has


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    return monkeypatch


def test_what_is_done_aside_fails_at_once_and_works_again(no_threads: pytest.MonkeyPatch) -> None:
    async def story() -> str:
        aside = Aside()
        for _ in range(MANY):
            with pytest.raises(TimeoutError, match="can't start"):
                await aside.run(str, 600)
        no_threads.undo()
        return await aside.run(lambda: "done", 60)

    assert asyncio.run(story()) == "done"


def test_work_that_waits_is_done_by_the_threads_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> list[int]:
        aside = Aside()
        assert await aside.run(lambda: 0, 60) == 0

        def start(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
        return await asyncio.gather(*(aside.run(lambda number=number: number, 60) for number in range(MANY)))

    assert asyncio.run(story()) == list(range(MANY))


def test_a_thread_beside_that_cannot_be_had_is_an_error_of_the_system(no_threads: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="can't start"):
        asyncio.run(in_daemon_thread(str))
