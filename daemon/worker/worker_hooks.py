"""The hooks of a worker, in the order of its life: where each is called.

Before the worker is ready, and when it has served, on the main thread; while it serves beside the requests, each on a
thread of its own. The last one has what the drain leaves it. Standard library only.
"""

from __future__ import annotations

from miniwsgi.codes import Code

from ..log.error_log import ErrorLog
from ..settings import Settings
from ..unpatched import get_ident, os, time
from . import children
from .context import NANOSECONDS, Context
from .hook_calls import BesideRequests, Fail, HookCaller, Tell, stack_of
from .hooks import Hook, HookedWorker, Hooks
from .leading import LEAD, Leading
from .monitor import Monitor
from .orders import Orders
from .revision import Revision

KEPT_SECONDS = 2.0  # of a drain's time for worker_stop, when requests take all the rest; at most a tenth of it
MARGIN_NS = NANOSECONDS // 2  # before the master kills: for exit functions and what is in the logs' queues
EXIT_STOPPED = 0


class WorkerHooks:
    """The hooks of one worker, in the order of its life."""

    def __init__(
        self, settings: Settings, slot: int, hooks: Hooks, log: ErrorLog, tell: Tell, revision: Revision | None = None
    ) -> None:
        self.hooks = hooks
        known = revision.text if revision is not None else None
        self.worker = HookedWorker(slot, os.getpid(), settings.generation, settings.pool, settings.threads, known)
        self.caller = HookCaller(hooks, settings.hook_timeout, log, tell)
        self._beside: BesideRequests | None = None  # the latest
        self._leading: Leading | None = None
        self._tell = tell
        self._lock_fd = settings.leader_fd

    def __repr__(self) -> str:
        return f"<WorkerHooks {self.hooks}>"

    def follow(self, context: Context, orders: Orders) -> None:
        """Hear of the drain, which leaves some of its time for what stops."""
        orders.on_leave = self.drain
        if self.hooks.leads:
            leading = self._leading = Leading(self.caller, self.worker, self._tell, self._lock_fd)
            orders.leaders_channel = leading.masters_end
            children.withhold("leading", leading.descriptors)
        orders.on_end = lambda: self.stop(context, orders)
        if Hook.WORKER_STOP in self.hooks:
            orders.kept_seconds = KEPT_SECONDS

    def start(self, fail: Fail) -> None:
        """On the main thread, before the worker is ready. Raises BootError."""
        self.caller.boot(Hook.WORKER_START, fail, self.worker)

    def ready(self) -> None:
        """The worker serves from now on. Returns at once."""
        self._run_beside(Hook.WORKER_READY)

    def lead(self) -> None:
        """There is no other worker. Returns at once."""
        if self._leading is not None:
            self._leading.masters_end.send(LEAD)

    def drain(self) -> None:
        """It begins to drain. Returns at once."""
        self._run_beside(Hook.WORKER_DRAIN)
        if self._leading is not None:
            self._leading.end()

    def stop(self, context: Context, orders: Orders) -> None:
        """When nothing is served any more, on the main thread unless a request keeps that.

        What is late then ends the process, without the rest.
        """
        orders.deadline_ns = orders.ends_ns  # what was kept for now
        if self._beside is None and self._leading is None and Hook.WORKER_STOP not in self.hooks:
            return
        patience = _Patience(context, orders, self.caller)
        with Monitor(context, orders, patience.look):
            if self._beside is not None:
                self._beside.wait()
            if self._leading is not None:
                self._leading.wait()
            patience.begin()
            error = self.caller.run(Hook.WORKER_STOP, self.worker, orders.reason)
        self.caller.complain(Hook.WORKER_STOP, error)

    def _run_beside(self, hook: Hook) -> None:
        if hook in self.hooks:
            self._beside = BesideRequests(self.caller, hook, (self.worker,), self._beside)


class _Patience:
    """How long a worker that has served waits for its last hooks: up to the deadline of the drain.

    `look` is called by the monitor while the thread that has made this one is inside them.
    """

    def __init__(self, context: Context, orders: Orders, caller: HookCaller) -> None:
        self._context = context
        self._orders = orders
        self._caller = caller
        self._thread = get_ident()
        self._stops_at_ns = 0

    def begin(self) -> None:
        """The last hook runs from now on."""
        self._stops_at_ns = time.monotonic_ns() + int(self._caller.seconds * NANOSECONDS)

    def look(self, now: int) -> None:
        orders = self._orders
        orders.read()  # a second signal says that the time is over
        ends_ns = orders.ends_ns - MARGIN_NS if orders.ends_ns else 0
        if self._stops_at_ns and now > self._stops_at_ns:
            self._leave(Code.HOOK_LATE, self._caller.late(Hook.WORKER_STOP))
        elif ends_ns and now > ends_ns:
            why = "the worker's time is over (timeouts.graceful) before its hooks have returned"
            self._leave(Code.KILLED_LATE, why)

    def _leave(self, code: Code, why: str) -> None:
        self._context.log.warning(code, f"{why}: it ends without\n{stack_of(self._thread)}".rstrip())
        self._context.leave_at_once(EXIT_STOPPED)
