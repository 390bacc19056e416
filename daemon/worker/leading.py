"""A worker's part in leading the service: `leader_start` when the master asks, `leader_stop` when the worker drains.

On a thread of its own, with a channel of its own to the master: the main thread may be inside a request. The channel's
end means that the worker drains, or that the master is gone. Standard library only.
"""

from __future__ import annotations

import fcntl

from ..channel import Channel
from ..unpatched import select, socket, start_thread, time
from .application_hints import user_traceback
from .hook_calls import HookCaller, Tell, TimeLimit
from .hooks import Hook, HookedWorker

WAIT_SECONDS = 0.05  # between looks at what ends soon

LEAD = "lead"  # the master's order; anything else says that it is over


class Leading:
    """`masters_end` is to be handed over. `tell` hears what becomes of the lead; `lock_fd`: of a file; -1: none."""

    def __init__(self, caller: HookCaller, worker: HookedWorker, tell: Tell, lock_fd: int) -> None:
        self._caller = caller
        self._worker = worker
        self._tell = tell
        self._lock_fd = lock_fd
        self.masters_end, self._orders = Channel.pair()
        self._over = True  # no hook is called that will return in its time
        start_thread(self._run, "mw-leader", runs_application=True)

    def __repr__(self) -> str:
        return f"<Leading {'over' if self._over else 'on'}>"

    def descriptors(self) -> list[int]:
        """Its own, which nobody shares."""
        return [fd for fd in (self._orders.fileno(), self.masters_end.fileno()) if fd >= 0]

    def end(self) -> None:
        """The worker drains. Returns at once."""
        try:
            self._orders.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the master has ended it

    def wait(self) -> None:
        """Until leader_stop is over, or one of the two is late. The worker drains."""
        while not self._over:
            time.sleep(WAIT_SECONDS)

    def _run(self) -> None:
        while self._next_order() == LEAD:
            self._over = False
            self._lead()
            self._over = True

    def _next_order(self) -> str:
        try:
            received = self._orders.receive()
        except OSError:  # somebody has closed it
            return ""
        return received[0]["kind"] if received is not None else ""

    def _lead(self) -> None:
        if not self._take_lock():
            self._tell("leader", state="stopped")
            return
        try:
            error = self._call(Hook.LEADER_START)
            if error is None:
                self._over = False  # it may have been late
                self._tell("leader", state="started")
                self._next_order()
                self._caller.complain(Hook.LEADER_STOP, self._call(Hook.LEADER_STOP))
        finally:
            if self._lock_fd >= 0:
                fcntl.lockf(self._lock_fd, fcntl.LOCK_UN)
        if error is None:
            self._tell("leader", state="stopped")
        else:
            what = self._caller.failure(Hook.LEADER_START, error)
            self._tell("leader", state="failed", error=what, traceback=user_traceback(error))

    def _take_lock(self) -> bool:
        """Wait until a leader of another master is gone; False: the worker drains."""
        poller = select.poll()
        poller.register(self._orders, select.POLLIN)
        waits = False
        while not poller.poll(WAIT_SECONDS * 1000 if waits else 0):
            try:
                if self._lock_fd >= 0:
                    fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if not waits:
                    why = f"its lock beside control.socket: {error.strerror}"
                    self._caller.log.info(f"waits for the leader of another master to end ({why})")
                waits = True
            else:
                return True
        return False

    def _call(self, hook: Hook) -> BaseException | None:
        with TimeLimit(self._caller.seconds, lambda stack: self._late(hook, stack)):
            return self._caller.run(hook, self._worker)

    def _late(self, hook: Hook, stack: str) -> None:
        self._tell("leader", state="late", error=self._caller.late(hook), traceback=stack)
        self._over = True
