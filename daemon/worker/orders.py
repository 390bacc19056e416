"""Orders to a worker: messages of the master, signals of an administrator, and the master's end.

They arrive as readable descriptors in the worker's loop, never in Python signal handlers, which would wait for the
main thread. Where the loop is inside the application, the thread beside it hears those that wait for nobody
(`look_beside`). End-of-file of the control channel is the lifeline: the master is gone.
"""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from miniwsgi.codes import Code
from miniwsgi.metrics.scoreboard import HEARTBEAT, SlotState

from ..channel import Channel
from ..permission import why_not_written
from ..unpatched import Lock, os, select, signal, time
from .context import NANOSECONDS, Context, Duty
from .inspecting.inspections import Inspections
from .revision import Revision
from .signals import SignalPipe

HEARTBEAT_MILLISECONDS = 1000
ANY_THREADS = frozenset({"stacks", "inspect", "log-level"})  # what may be done while the loop is elsewhere
STOP, RESTART, ORPHANED = "stop", "restart", "orphaned"  # why a worker leaves, where the master does not say it


def _nothing() -> None:
    """Who has nothing to do when a worker leaves."""


class Orders:
    """Keeps the duty, and the time by which it must be done. Poll `fds`; call `read` when one is readable."""

    def __init__(self, context: Context, control: Channel | None, signals: SignalPipe, stack_fd: int = -1) -> None:
        self._context = context
        self._control = control
        self._signals = signals
        self._stack_fd = stack_fd
        self._hearing = Lock()  # one thread at a time takes messages, so that they are obeyed in their order
        self._inspections = Inspections(context)
        self._looks = Inspections(context, "look")
        self.deadline_ns = 0  # for requests; 0: none
        self.ends_ns = 0  # for the process; 0: none
        self.kept_seconds = 0.0  # of a drain's time, for what has to be done after the last request
        self.reason = ""  # why it leaves, in a word: see docs/hooks.md
        self.on_leave: Callable[[], None] = _nothing  # called once, when it begins to drain
        self.leaders_channel: Channel | None = None  # for the master, if there are hooks of a leader: see `leading`
        self.on_end: Callable[[], None] = _nothing  # called before it ends, where the main thread cannot come back
        self.emptying: frozenset[int] = frozenset()  # of duty EMPTY: the listeners whose queues are emptied first
        self.reopened = 0  # how often log files were
        self.deaf = False  # the control channel is at its end
        self._serving = control is None
        self._alarmed = False
        self._terminations = 0
        self._has_told_jobs = False
        self._replacement_asked = False
        if control is not None:
            control.socket.setblocking(False)

    def __repr__(self) -> str:
        return f"<Orders {self._context.duty.value} deadline={self.deadline_ns}>"

    @property
    def has_master(self) -> bool:
        """Whether somebody replaces this process when it leaves."""
        return self._control is not None

    def disown(self) -> None:
        """In a process that has been forked for a connection: orders and signals are its parent's."""
        self._signals.close()
        self._inspections.disown()
        self._looks.disown()
        if self._control is not None:
            self._control.close()

    def fds(self) -> list[int]:
        """Descriptors to watch for reading."""
        found = [self._signals.fd]
        if self._control is not None and not self.deaf:
            found.append(self._control.fileno())
        return found

    def read(self) -> None:
        """Take what has arrived; afterwards look at the context's duty."""
        self._read_signals()
        while self._control is not None and not self.deaf:
            try:
                with self._hearing:
                    received = self._control.receive()
            except BlockingIOError:
                return
            except OSError as error:  # somebody has closed it, or another has its number
                self._orphaned(f"the master cannot be heard ({error.strerror})")
                return
            if received is None:
                self._orphaned("the master is gone")
                return
            self._obey(*received)

    def await_serve(self, revision: Revision | None) -> None:
        """Say that this worker is ready, with which engine and code, and wait until the master knows it or wants
        something else.

        Until then the master may have decided to do without this worker and kill it, which must not lose a request.
        """
        engine = self._context.engine
        leads = () if self.leaders_channel is None else (self.leaders_channel.fileno(),)
        python = f"Python {sys.version.split()[0]}"
        code = revision.text if revision is not None else None
        self.tell("ready", leads, engine=engine.name, why=engine.why, python=python, revision=code)
        if self.leaders_channel is not None:
            self.leaders_channel.close()  # only the master may hold that end: it is a lifeline, too
        cells = self._context.slot.cells
        poller = select.poll()
        for fd in self.fds():
            poller.register(fd, select.POLLIN)
        while not self._serving and not self.deaf and self._context.duty in {Duty.SERVE, Duty.CLOSING}:
            if poller.poll(HEARTBEAT_MILLISECONDS):
                self.read()
            cells[HEARTBEAT] = time.monotonic_ns()

    def keep_signals(self) -> None:
        """For the main thread, when application code has run on it: signals are the pool's, whatever that has done."""
        self._signals.keep()

    def look_beside(self) -> None:
        """For a thread beside one that is inside the application: obey what any thread may, as far as that comes next.

        If the master is gone, end this process in its time.
        """
        if self._control is None or self.deaf or self._alarmed:
            return
        poller = select.poll()
        poller.register(self._control.fileno(), select.POLLIN)
        for _fd, events in poller.poll(0):
            if events & ~select.POLLIN:  # hang-up is always told
                self._set_alarm()
            else:
                self._obey_beside(self._control)

    def _obey_beside(self, control: Channel) -> None:
        try:
            while True:
                with self._hearing:
                    if control.next_kind() not in ANY_THREADS:
                        return
                    received = control.receive()
                if received is not None:
                    self._obey(*received)
        except OSError:
            pass  # there is no more; or the loop will see what is wrong

    def tell(self, kind: str, fds: tuple[int, ...] = (), /, **fields: Any) -> None:
        """A message to the master; dropped if it is gone."""
        if self._control is None or self.deaf:
            return
        try:
            self._control.send(kind, fds, **fields)
        except OSError:
            pass

    def only_jobs_left(self) -> None:
        """Every request is answered: nobody has to wait any more for this worker's end."""
        if not self._has_told_jobs:
            self._has_told_jobs = True
            self.tell("only-jobs")

    def expired(self, now_ns: int) -> bool:
        """Whether the time for draining is over."""
        return bool(self.deadline_ns) and now_ns > self.deadline_ns

    def _obey(self, message: dict[str, Any], fds: list[int]) -> None:
        context = self._context
        if message["kind"] == "inspect":
            order = message["order"]
            (self._looks if order.get("what") == "requests" else self._inspections).begin(order, fds)
            return
        for fd in fds:
            os.close(fd)
        match message["kind"]:
            case "drain":
                self._leave(message["deadline"], message.get("reason", RESTART), message.get("empty", ()))
            case "serve":
                self._serving = True
            case "closing":
                if context.duty is Duty.SERVE:
                    context.duty = Duty.CLOSING
            case "finish":
                self._leave(message["deadline"], STOP, message["accept"])
            case "reopen":
                self._reopen()
            case "stacks":
                self._write_stacks()
            case "log-level":
                context.log.level = message["level"]
            case "certificates":
                context.certificates.renew(partial(context.log.error, Code.CERTIFICATE_UNUSABLE))

    def _write_stacks(self) -> None:
        try:
            faulthandler.dump_traceback(self._stack_fd)
            os.write(self._stack_fd, b"\0")  # that was all
        except OSError:
            pass  # the pipe is full: there is more than anybody reads

    def _leave(self, seconds: float, reason: str, emptying: Iterable[int] = ()) -> None:
        """Have an end within `seconds`, once the queues of the listeners `emptying` are empty."""
        self.emptying = frozenset(emptying)
        self._context.duty = Duty.EMPTY if self.emptying else Duty.DRAIN
        self._context.slot.state = SlotState.DRAINING
        self.ends_ns = time.monotonic_ns() + int(seconds * NANOSECONDS)
        self.deadline_ns = self.ends_ns - int(min(self.kept_seconds, seconds / 10) * NANOSECONDS)
        if not self.reason:
            self.reason = reason
            self.on_leave()

    def _leave_all_answered(self) -> None:
        settings = self._context.settings
        self._leave(settings.graceful_timeout, STOP, (listener.fd for listener in settings.listeners))

    def _have_itself_replaced(self) -> None:
        """TERM to this worker alone: the master boots the successor first, then it orders the drain."""
        if self.deaf:
            self._leave(self._context.settings.graceful_timeout, RESTART)
        elif not self._replacement_asked:
            self._replacement_asked = True
            self.tell("recycle", reason="signal")

    def _reopen(self) -> None:
        self.reopened += 1
        context = self._context
        for writer in {context.log.writer, context.access.writer if context.access else None}:
            if writer is not None:
                try:
                    writer.reopen()
                except OSError as error:
                    why = why_not_written(writer.path, error)
                    told = f"log file {writer.path} cannot be opened again: {why}; the old one stays in use"
                    context.log.error(Code.LOG_UNUSABLE, told)

    def _orphaned(self, why: str) -> None:
        """No more orders will come. The kernel's alarm ends a worker that cannot end itself."""
        self.deaf = True
        if self._context.duty in {Duty.SERVE, Duty.CLOSING}:
            self._context.log.error(Code.ORPHANED, f"{why}: finishing what runs, then exiting")
            self._leave(self._context.settings.graceful_timeout, ORPHANED)
        self._set_alarm()

    def _set_alarm(self) -> None:
        self._alarmed = True
        signal.alarm(int(self._context.settings.graceful_timeout) + 2)

    def _read_signals(self) -> None:
        serving = self._context.duty in {Duty.SERVE, Duty.CLOSING}
        for number in self._signals.read():
            if number in {signal.SIGTERM, signal.SIGINT} and self._control is None:
                if serving:
                    self._leave_all_answered()
                    serving = False
                else:
                    self.deadline_ns = self.ends_ns = 1  # the second one: at once
            elif number == signal.SIGTERM:
                self._terminations += 1
                if serving:
                    self._have_itself_replaced()
                elif self._terminations > 1:  # the first one may have come with the master's order
                    self.deadline_ns = self.ends_ns = 1
            elif number == signal.SIGUSR1 and self._control is None:
                self._reopen()
            elif number == signal.SIGQUIT:
                os._exit(0)


class WatchedOrders:
    """The descriptors of a worker's orders, in what waits for them: select.poll or select.epoll."""

    def __init__(self, orders: Orders, poller: select.poll | select.epoll) -> None:
        self._orders = orders
        self._poller = poller
        self._fds = orders.fds()
        for fd in self._fds:
            poller.register(fd, select.POLLIN)

    def __repr__(self) -> str:
        return f"<WatchedOrders {self._fds}>"

    def __contains__(self, fd: int) -> bool:
        return fd in self._fds

    def read(self) -> None:
        """Something is told by one of them; those that say nothing more are asked no more."""
        self._orders.read()
        if self._orders.deaf:
            left = self._orders.fds()
            for fd in self._fds:
                if fd not in left:
                    self._poller.unregister(fd)
            self._fds = left
