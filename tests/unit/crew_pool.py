"""A pool without sockets around a Crew: the leader calls tasks inline or gives them away, as tests say."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from miniwsgi.daemon.worker.pools.crew import Crew, Member
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import T_START

from tests.support.waiting import PATIENCE_SECONDS


@dataclass(eq=False)
class Task:
    """What the leader has to see to: `call` is run inline, or by another thread if it is given away."""

    call: Callable[[], object]
    give: bool = False
    owner: Member | None = None  # who ran it first
    threads: list[int] = field(default_factory=list)  # who began to run it
    runs: int = 0  # how often it was run to its end

    @property
    def done(self) -> bool:
        return self.runs > 0


class Pool:
    """A context: the crew works on entry and has ended on exit, without an exception and never with two leaders."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.slot = Board.create().slot(0)
        self.crew = Crew(self.slot, size, self._lead, self._work, self._lost, self._wake, self._broken)  # type: ignore[arg-type]
        self.running = 0
        self.most_running = 0
        self.losses = 0
        self.refusals = 0  # threads that could not be started
        self.threads: list[threading.Thread] = []
        self.deaths: list[BaseException] = []
        self.leading: list[int] = []
        self.most_leading = 0
        self._lock = threading.Lock()
        self._tasks: deque[Task] = deque()
        self._posts: deque[Task] = deque()
        self._woken = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self.crew.run, daemon=True)

    def __enter__(self) -> Pool:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        self._ending = True
        self._wake()
        self._thread.join(PATIENCE_SECONDS)
        if kind is None:
            assert not self._thread.is_alive(), f"{self.crew} does not end"
            assert self.most_leading == 1
            assert self.most_running <= self.size
            assert not self.deaths

    def do(self, call: Callable[[], object], *, give: bool = False) -> Task:
        """Have the leader run it, or another thread."""
        task = Task(call, give)
        self._tasks.append(task)
        self._wake()
        return task

    def post(self, task: Task) -> None:
        """Have the leader ask for another run on the thread that ran it first."""
        self._posts.append(task)
        self._wake()

    # --- what the crew calls ---

    def _wake(self) -> None:
        self._woken.set()

    def _broken(self, error: BaseException) -> None:
        self.deaths.append(error)

    def _lead(self, me: Member) -> bool:
        with self._lock:
            self.leading.append(me.number)
            self.most_leading = max(self.most_leading, len(self.leading))
        while not self._ending:
            if self._woken.wait(0.02):
                self._woken.clear()
            while self._posts:
                self.crew.post(self._posts.popleft())  # type: ignore[arg-type]
            while me.mailbox and self.crew.may_resume(self.running + len(self.crew.backlog)):
                if not self._inline(me, me.mailbox.popleft()):  # type: ignore[arg-type]
                    return False
            if not me.mailbox:
                self.crew.release()
            while self._tasks:
                task = self._tasks.popleft()
                if task.give:
                    try:
                        self.crew.give(task)  # type: ignore[arg-type]
                    except RuntimeError:
                        self.refusals += 1
                elif not self._inline(me, task):
                    return False
        self.leading.remove(me.number)
        return True

    def _inline(self, me: Member, task: Task) -> bool:
        if not self.crew.watching:
            self.crew.watch()
        self.slot.cells[me.cell + T_START] = time.monotonic_ns()
        me.calls.append(task)  # type: ignore[arg-type]
        self._work(me, task)
        try:
            me.calls.pop()
        except IndexError:
            return False
        return True

    def _work(self, me: Member, task: Task) -> None:
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        task.threads.append(me.number)
        if threading.current_thread() not in self.threads:
            self.threads.append(threading.current_thread())
        task.owner = task.owner or me
        try:
            task.call()
        finally:
            with self._lock:
                self.running -= 1
                task.runs += 1
            self._wake()

    def _lost(self, task: Task) -> None:
        self.losses += 1
        self.leading.clear()
