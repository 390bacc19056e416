"""A pool without sockets around a ThreadPool: its owner calls tasks inline or gives them away, as tests say."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from miniwsgi.daemon.engine.claim import Taken
from miniwsgi.daemon.worker.pools.epoll.threads import Thread, ThreadPool
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import T_START

from tests.support.waiting import PATIENCE_SECONDS


@dataclass(eq=False)
class Task:
    """What the owner has to see to: `call` is run inline, or by another thread if it is given away."""

    call: Callable[[], object]
    give: bool = False
    thread: Thread | None = None  # who ran it first
    threads: list[int] = field(default_factory=list)  # who began to run it
    runs: int = 0  # how often it was run to its end

    @property
    def done(self) -> bool:
        return self.runs > 0


class Pool:
    """A context: its threads work on entry and has ended on exit, without an exception and never with two owners."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.slot = Board.create().slot(0)
        self.pool = ThreadPool(self.slot, size, 0, self._loop, self._work, self._taken_over, self._wake, self._broken)  # type: ignore[arg-type]
        self.running = 0
        self.most_running = 0
        self.losses = 0
        self.refusals = 0  # threads that could not be started
        self.threads: list[threading.Thread] = []
        self.deaths: list[BaseException] = []
        self.owning: list[int] = []
        self.most_owning = 0
        self._lock = threading.Lock()
        self._tasks: deque[Task] = deque()
        self._posts: deque[Task] = deque()
        self._woken = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self.pool.run, daemon=True)

    def __enter__(self) -> Pool:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        self._ending = True
        self._wake()
        self._thread.join(PATIENCE_SECONDS)
        if kind is None:
            assert not self._thread.is_alive(), f"{self.pool} does not end"
            assert self.most_owning == 1
            assert self.most_running <= self.size
            assert not self.deaths

    def do(self, call: Callable[[], object], *, give: bool = False) -> Task:
        """Have the owner run it, or another thread."""
        task = Task(call, give)
        self._tasks.append(task)
        self._wake()
        return task

    def post(self, task: Task) -> None:
        """Have the owner ask for another run on the thread that ran it first."""
        self._posts.append(task)
        self._wake()

    # --- what the threads call ---

    def _wake(self) -> None:
        self._woken.set()

    def _broken(self, error: BaseException) -> None:
        self.deaths.append(error)

    def _loop(self, me: Thread) -> bool:
        with self._lock:
            self.owning.append(me.number)
            self.most_owning = max(self.most_owning, len(self.owning))
        while not self._ending:
            if self._woken.wait(0.02):
                self._woken.clear()
            while self._posts:
                self.pool.post(self._posts.popleft())  # type: ignore[arg-type]
            while me.mailbox and self.pool.may_resume(self.running + len(self.pool.backlog)):
                if not self._inline(me, me.mailbox.popleft()):  # type: ignore[arg-type]
                    return False
            if not me.mailbox:
                self.pool.release()
            while self._tasks:
                task = self._tasks.popleft()
                if task.give:
                    try:
                        self.pool.submit(task)  # type: ignore[arg-type]
                    except RuntimeError:
                        self.refusals += 1
                elif not self._inline(me, task):
                    return False
        self.owning.remove(me.number)
        return True

    def _inline(self, me: Thread, task: Task) -> bool:
        if not self.pool.watching:
            self.pool.watch()
        self.slot.cells[me.cell + T_START] = time.monotonic_ns()
        calls = self.pool.calls
        me.conversation = task
        calls.offer(task)  # type: ignore[arg-type]
        self._work(me, task)
        try:
            calls.take(task)  # type: ignore[arg-type]
        except Taken:
            return False
        me.conversation = None
        return True

    def _work(self, me: Thread, task: Task) -> None:
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        task.threads.append(me.number)
        if threading.current_thread() not in self.threads:
            self.threads.append(threading.current_thread())
        task.thread = task.thread or me
        try:
            task.call()
        finally:
            with self._lock:
                self.running -= 1
                task.runs += 1
            self._wake()

    def _taken_over(self, task: Task) -> None:
        self.losses += 1
        self.owning.clear()
