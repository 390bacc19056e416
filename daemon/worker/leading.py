"""A worker's part in leading the service: `leader_start` when the master asks, `leader_stop` when the worker drains.

On a thread of its own, beside the requests, from the first to the last of it. The master's end is told by its channel,
to which this thread listens by itself: the main thread may be inside a request. Standard library only.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable

from ..unpatched import Lock, start_thread, time
from .application_hints import user_traceback
from .hook_calls import HookCaller, Tell, TimeLimit
from .hooks import Hook, HookedWorker

LOOK_SECONDS = 0.25  # between looks whether the master is gone
WAIT_SECONDS = 0.05  # the same, for what ends soon


class Leading:
    """`orphaned`: whether the master is gone. `begin` and `end` return at once, and are called by the loop's owner."""

    def __init__(
        self, caller: HookCaller, worker: HookedWorker, tell: Tell, orphaned: Callable[[], bool], lock_fd: int
    ) -> None:
        self._lock_fd = lock_fd  # of a file; -1: none
        self._caller = caller
        self._worker = worker
        self._tell = tell
        self._orphaned = orphaned
        self._end = Lock()  # held until the worker drains
        self._end.acquire()
        self._ended = False
        self._over = True  # no thread of ours is inside a hook that will return in its time

    def __repr__(self) -> str:
        return f"<Leading {'over' if self._over else 'on'}>"

    def begin(self) -> None:
        """The master's order: nobody else leads."""
        self._over = False
        try:
            start_thread(self._lead, "mw-leader", runs_application=True)
        except RuntimeError as error:
            self._fail(error)

    def end(self) -> None:
        """The worker drains."""
        if not self._ended:
            self._ended = True
            self._end.release()

    def wait(self) -> None:
        """Until leader_stop is over, or one of the two is late. The worker drains."""
        while not self._over:
            time.sleep(WAIT_SECONDS)

    def _lead(self) -> None:
        if not self._take_lock():
            self._stopped()
            return
        error = self._run(Hook.LEADER_START)
        if error is not None:
            self._fail(error)
            return
        self._over = False  # it may have been late
        self._tell("leader", state="started")
        while not self._end.acquire(timeout=LOOK_SECONDS) and not self._orphaned():
            pass
        self._caller.complain(Hook.LEADER_STOP, self._run(Hook.LEADER_STOP))
        self._stopped()

    def _take_lock(self) -> bool:
        """Wait until a leader of another master is gone; False: the worker drains."""
        waits = False
        while not self._ended:
            try:
                if self._lock_fd >= 0:
                    fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if not waits:
                    waits = True
                    why = f"control.socket's lock for leaders: {error.strerror}"
                    self._caller.log("info", f"waits for the leader of another master to end ({why})")
                self._end.acquire(timeout=WAIT_SECONDS)
            else:
                return True
        return False

    def _let_go(self) -> None:
        if self._lock_fd >= 0:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_UN)

    def _stopped(self) -> None:
        self._let_go()
        self._tell("leader", state="stopped")
        self._over = True

    def _run(self, hook: Hook) -> BaseException | None:
        with TimeLimit(self._caller.seconds, lambda stack: self._late(hook, stack)):
            return self._caller.run(hook, self._worker)

    def _fail(self, error: BaseException) -> None:
        self._let_go()
        what = self._caller.failure(Hook.LEADER_START, error)
        self._tell("leader", state="failed", error=what, traceback=user_traceback(error))
        self._over = True

    def _late(self, hook: Hook, stack: str) -> None:
        self._tell("leader", state="late", error=self._caller.late(hook), traceback=stack)
        self._over = True
