"""The fork pool: a process for each connection, at most `threads` of them a worker at a time.

The worker itself only accepts, forks and counts. A child serves its connection like a prefork worker would and exits;
what it counts lies in memory of its own, which the worker adds to its slot, so that each cell has one writer. The
worker keeps the socket, too, and closes it in stages when the child has ended: that takes no child's place. Children
share the reading end of a pipe: a byte that nobody reads means `closing`, end-of-file a drain or the worker's death.
While all places are taken and others wait, a kept-alive connection is a place too many, as in prefork: responses say
`Connection: close`, and connections that have been silent for `drain_idle` are closed.
"""

from __future__ import annotations

import gc
import mmap
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from miniwsgi.codes import Code
from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Closed, count_closed
from miniwsgi.metrics.slot import Slot

from ...engine import request_ids
from ...engine.account import ThreadAccount
from ...engine.after_fork import process
from ...engine.contract import Conversation, Outcome
from ...engine.openings.opening import Opening
from ...signal_names import signal_name
from ...unpatched import Lock, Socket, os, select, signal, socket, time
from .. import children
from ..background_jobs import finish_jobs
from ..balance import accept_again_seconds
from ..context import NANOSECONDS, Context, Duty
from ..inherited import disarm
from ..monitor import Monitor
from ..orders import Orders
from ..recycling import Recycling
from ..signals import SignalPipe
from .blocking import EVENTS, STAYS, LoneThread, is_eager
from .lingering import Lingering
from .listening import Listening
from .openings import Openings
from .saturation import Saturation

WAIT_SECONDS = 0.5
DRAIN_WAIT_SECONDS = 0.05
CHILD_WAIT_SECONDS = 0.25
FORK_AGAIN_SECONDS = 0.2
CROWDED_SECONDS = 0.1  # between looks for clients that wait while all places are taken; one look may be too early
TIDY_SECONDS = 1.0  # between a child's looks at what its logs owe
FOLD_SECONDS = 0.5  # how old the counters of running children may be
STUCK_SECONDS = 2.0  # beyond request_timeout: by then a child has answered with 504, unless its interpreter is stuck
_BROKEN, _TIMED_OUT = 70, 75  # exit statuses of a child: EX_SOFTWARE, EX_TEMPFAIL of sysexits.h
_TOO_LONG = "has answered 504: timeouts.request"


class _Child:
    """A process that serves one connection, and what of its counters is already in the slot."""

    def __init__(self, number: int, pid: int, pidfd: int, counted: Slot, sock: Socket) -> None:
        self.number = number
        self.pid = pid
        self.pidfd = pidfd
        self.counted = counted
        self.sock = sock
        self.stuck = False  # it was killed, for it has neither ended nor answered in its time
        self.seen: dict[int, list[int]] = {}

    @property
    def has_only_jobs_left(self) -> bool:
        """Its connection is closed: it waits for threads of the application."""
        cells = self.counted.cells
        return 0 < cells[scoreboard.ACCEPTED] == cells[scoreboard.CLOSED]


class ForkPool:
    """Serves until its duty is done."""

    def __init__(self, context: Context, orders: Orders) -> None:
        self._context = context
        self._orders = orders
        self._slot = context.slot
        self._limit = min(context.settings.threads, context.settings.connections, scoreboard.MAX_THREADS)
        self._most = context.settings.connections
        self._children: dict[int, _Child] = {}  # by pidfd
        self._memory: dict[int, Slot] = {}  # by child number, used again by the next
        self._recycling = Recycling(context)
        self._poller = select.poll()
        self._listening = Listening(self._poller, context, orders)
        self._lingering = Lingering(self._poller, context.settings)
        self._openings = Openings(self._poller, context)
        self._opened: deque[Opening] = deque()  # those that are ready, and wait for a place
        self._draining_since_ns = 0
        self._crowd = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")  # [0]: others wait; children read it
        self._waited_for_since = 0.0
        self._saturation = Saturation(context, f"{self._limit} processes")
        self._again_at = 0.0  # when to accept again, if forking or accepting has failed
        self._fold_at = 0
        self._told = context.duty  # what children know
        self._reopened = 0  # as of the orders, for children
        self._lifeline, self._life = os.pipe()
        self._room = -1  # a descriptor that gives way to the next child's pidfd; nobody is accepted without one
        self._ending = Lock()  # in a child: for whoever ends it

    def __repr__(self) -> str:
        return f"<ForkPool {self._context.duty.value} children={len(self._children)}>"

    def run(self) -> None:
        """Serve; returns when the duty is done or its time is over."""
        while not self._turn():
            pass
        for child in self._children.values():
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    def _turn(self) -> bool:
        duty = self._context.duty
        full = len(self._children) >= self._limit
        self._look_for_waiting(full)
        room = not full and not self._opened and len(self._children) + len(self._openings) < self._most
        self._listening.want(room and time.monotonic() >= self._again_at and duty is not Duty.DRAIN)
        wait = CROWDED_SECONDS if full else WAIT_SECONDS
        if duty in {Duty.EMPTY, Duty.DRAIN}:
            wait = DRAIN_WAIT_SECONDS
        ready = self._poller.poll(wait * 1000)
        process.check()
        now = time.monotonic_ns()
        self._slot.cells[scoreboard.HEARTBEAT] = now
        # Listeners last: a new child's pidfd may get a number that was closed in this turn, and is ready no more.
        for fd, _mask in sorted(ready, key=lambda event: event[0] in self._listening):
            if fd in self._children:
                self._reap(fd)
            elif fd in self._listening:
                self._take(fd)
            elif fd in self._lingering:
                self._lingering.read(fd)
            elif fd in self._openings:
                opened = self._openings.go_on(fd, now)
                if opened is not None:
                    self._opened.append(opened)
            else:
                self._listening.read_orders()
                self._tell_children()
                self._have_children_reopen()
        while self._opened and len(self._children) < self._limit and time.monotonic() >= self._again_at:
            self._take_opened()
        if now >= self._fold_at:
            self._fold_at = now + int(FOLD_SECONDS * NANOSECONDS)
            for child in self._children.values():
                self._slot.fold(child.counted, child.seen)
            self._end_stuck(now)
            self._context.tidy()
        self._lingering.look(now)
        self._openings.look(now)
        self._recycling.look(self._orders, now)
        return self._context.duty in {Duty.EMPTY, Duty.DRAIN} and self._ended(now)

    def _look_for_waiting(self, full: bool) -> None:
        """Tell children whether others wait for their places: twice in a row, as another worker may be about to."""
        if not full or not (self._opened or self._listening.somebody_waits()):
            self._waited_for_since = 0.0
            self._crowd[0] = 0
        elif not self._waited_for_since:
            self._waited_for_since = time.monotonic()
        elif time.monotonic() - self._waited_for_since >= CROWDED_SECONDS:
            self._crowd[0] = 1
        running = bool(self._waited_for_since) and len(self._slot.running()) >= self._limit
        self._saturation.look(running, time.monotonic_ns())

    def _crowded(self) -> bool:
        return bool(self._crowd[0])

    def _take(self, fd: int) -> None:
        if len(self._children) >= self._limit:
            return
        opens = fd in self._openings.openers
        try:
            if not opens:
                self._make_room()
            sock, address, listener = self._listening.accept(fd)
        except OSError as error:
            self._again_at = time.monotonic() + accept_again_seconds(error.errno, self._context.log)
            return
        if not opens:
            self._fork(sock, partial(self._context.converse, sock, listener, address))
        elif (opened := self._openings.admit(fd, sock, address, time.monotonic_ns())) is not None:
            self._opened.append(opened)

    def _take_opened(self) -> None:
        """Of those that have sent what comes before the first request: the next, now that there is a place for it."""
        try:
            self._make_room()
        except OSError as error:
            self._again_at = time.monotonic() + accept_again_seconds(error.errno, self._context.log)
            return
        opened = self._opened.popleft()
        self._fork(opened.bare_socket, opened.begin)

    def _make_room(self) -> None:
        """Raises OSError."""
        if self._room < 0:
            self._room = os.dup(self._lifeline)

    def _fork(self, sock: Socket, begin: Callable[[int], Conversation]) -> None:
        taken = {child.number for child in self._children.values()}
        number = next(number for number in range(self._limit) if number not in taken)
        try:
            counted = self._memory.get(number) or self._memory.setdefault(number, _private_slot(self._slot.index))
            pid = children.fork()
        except OSError as error:
            told = f"cannot fork: {error.strerror}; see TasksMax and memory"
            self._context.log.limited("fork", "error", Code.NO_PROCESS, told)
            self._again_at = time.monotonic() + FORK_AGAIN_SECONDS
            sock.close()
            return
        if not pid:
            self._serve(sock, begin, number, counted)
        os.close(self._room)
        self._room = -1
        self._slot.cells[self._slot.thread_cell(number) + scoreboard.T_START] = time.monotonic_ns()
        child = _Child(number, pid, os.pidfd_open(pid), counted, sock)
        self._children[child.pidfd] = child
        self._poller.register(child.pidfd, select.POLLIN)
        self._show_children()

    def _reap(self, pidfd: int) -> None:
        child = self._children.pop(pidfd)
        self._poller.unregister(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        os.close(pidfd)
        self._poller.register(child.sock.fileno(), select.POLLIN)
        self._lingering.add(child.sock, time.monotonic_ns())
        if status:
            self._tell_of_crash(child, status)
        if child.counted.cells[scoreboard.CLOSED] < child.counted.cells[scoreboard.ACCEPTED]:  # it was killed
            count_closed(child.counted.cells, Closed.WORKER_EXIT)
        self._slot.fold(child.counted, child.seen)
        child.counted.set_back(child.seen)
        self._slot.cells[self._slot.thread_cell(child.number) + scoreboard.T_STATE] = scoreboard.IDLE
        self._show_children()

    def _tell_of_crash(self, child: _Child, status: int) -> None:
        killed_by = signal_name(-status) if status < 0 else ""
        how = f"was ended by {killed_by}" if killed_by else f"ended with status {status}"
        running = [run for run in self._slot.running() if run.thread == child.number]
        self._orders.tell(
            "child-lost", pid=child.pid, how=_TOO_LONG if status == _TIMED_OUT else how,
            signal=killed_by, timeout=child.stuck or status == _TIMED_OUT, running=running,
        )  # fmt: skip
        if status == _TIMED_OUT:
            return  # it has said so, and answered
        request = " ".join(f"{run.method} {run.path}" for run in running)
        ids = " ".join(run.request_id for run in running)
        what = f"the process of a connection {how}"
        self._context.log.limited(
            "child", "error", Code.CHILD_CRASHED, what, request=request, request_id=ids, pid=child.pid
        )
        if self._context.access is not None:
            now, answer = time.monotonic_ns(), "504 Gateway Timeout" if child.stuck else "502 Bad Gateway"
            for run in running:  # as the master does for what a worker was running
                environ = {"REQUEST_METHOD": run.method, "RAW_URI": run.path, "PATH_INFO": run.path}
                environ[request_ids.VARIABLE] = run.request_id
                self._context.access.log(environ, answer, [], 0, now - run.started_ns)

    def _end_stuck(self, now: int) -> None:
        """Kill children that should have ended themselves: C code holds the interpreter's lock, or they are stopped."""
        limit = self._context.settings.request_timeout
        if not limit:
            return
        cells = self._slot.cells
        for child in self._children.values():
            cell = self._slot.thread_cell(child.number)
            running = cells[cell + scoreboard.T_STATE] == scoreboard.RUNNING
            silent = now - child.counted.cells[scoreboard.HEARTBEAT] > STUCK_SECONDS * NANOSECONDS  # its monitor beats
            if silent and running and now - cells[cell + scoreboard.T_START] > (limit + STUCK_SECONDS) * NANOSECONDS:
                child.stuck = True
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    def _show_children(self) -> None:
        cells = self._slot.cells
        cells[scoreboard.BUSY_THREADS] = len(self._children)
        cells[scoreboard.CONNECTIONS] = len(self._children) + len(self._openings)

    # --- in the child ---

    def _serve(self, sock: Socket, begin: Callable[[int], Conversation], number: int, counted: Slot) -> NoReturn:
        status = _BROKEN
        context = self._context
        try:
            gc.freeze()
            disarm()
            self._disown()
            signals = SignalPipe()
            children.withhold("signals", signals.fds)
            children.withhold("connection", lambda: (sock.fileno(), self._lifeline))
            orders = Orders(context, None, signals)
            board_slot = context.slot
            context.count_in(counted)
            me = ThreadAccount(number, board_slot, context.site.request_ids.seed)
            me.run_here()
            conversation = begin(time.monotonic_ns())
            self._converse(conversation, LoneThread(context, orders, me, self._crowded), orders)
            status = 0
            _send_end(conversation.sock)
            finish_jobs(context, orders)
        except BaseException as error:
            context.log.error(Code.INTERNAL, "".join(traceback.format_exception(error)))
        finally:
            with self._ending:
                context.leave_at_once(status)

    def _disown(self) -> None:
        """Keep nothing of the parent's: who has copies of what it closes would never see that."""
        self._orders.disown()
        if self._life >= 0:
            os.close(self._life)
        os.close(self._room)
        self._listening.disown()
        for child in self._children.values():
            os.close(child.pidfd)
            child.sock.close()
        self._lingering.disown()
        self._openings.disown()
        for opened in self._opened:
            opened.hang_up()

    def _converse(self, conversation: Conversation, thread: LoneThread, orders: Orders) -> None:
        """Serve one client to the end. Its socket stays open: the worker has it, too, and parts from the client."""
        context, settings, fd = self._context, self._context.settings, conversation.sock.fileno()
        poller = select.poll()
        poller.register(fd, EVENTS)
        for other in (self._lifeline, *orders.fds()):
            poller.register(other, select.POLLIN)
        if settings.request_timeout:
            Monitor(context, orders, lambda now: self._expire(thread, now)).__enter__()
        draining_since = tidy_at = 0.0
        outcome: Outcome | None = None
        is_new = True  # its first request may be here: in the kernel, or, with TLS, where no poller sees it
        while outcome is None:
            ready = dict(poller.poll(0 if is_new or is_eager(conversation) else CHILD_WAIT_SECONDS * 1000))
            process.check()
            if not ready.keys().isdisjoint(orders.fds()):
                orders.read()
            if ready.get(self._lifeline, 0) & select.POLLHUP:
                poller.unregister(self._lifeline)
                context.duty = Duty.DRAIN
            elif self._lifeline in ready:
                poller.modify(self._lifeline, 0)  # its end is told all the same
                context.duty = Duty.CLOSING
            if fd in ready or is_new or is_eager(conversation):
                is_new = False
                outcome = thread.converse(conversation, ready.get(fd, 0))
                if outcome not in STAYS:
                    break
            now = time.monotonic()
            if now >= tidy_at:
                tidy_at = now + TIDY_SECONDS
                context.tidy()
                orders.keep_signals()
            if context.duty in {Duty.EMPTY, Duty.DRAIN} and not draining_since:
                draining_since = now
            if draining_since:
                patience = settings.drain_idle + max(0.0, draining_since - conversation.since_ns / NANOSECONDS)
            elif self._crowded():
                patience = settings.drain_idle
            else:
                patience = settings.keep_alive_timeout if conversation.requests else settings.head_timeout
            outcome = thread.overdue(conversation, patience, int(now * NANOSECONDS))
        conversation.close()

    def _expire(self, thread: LoneThread, now: int) -> None:
        """The request is answered with 504; this process, with the application in it, has no other."""
        with self._ending:  # the application's thread may be at its end, too, and must not cut short what is told
            if thread.check_running(now):
                self._context.leave_at_once(_TIMED_OUT)

    # --- the end ---

    def _ended(self, now: int) -> bool:
        self._listening.end()
        draining = self._context.duty is Duty.DRAIN
        if draining and self._children and all(child.has_only_jobs_left for child in self._children.values()):
            self._orders.only_jobs_left()
        self._draining_since_ns = self._draining_since_ns or now
        self._openings.close_silent(self._draining_since_ns, now)
        left = self._children or self._listening or self._lingering or self._openings or self._opened
        return not left or self._orders.expired(now)

    def _tell_children(self) -> None:
        """Idle kept-alive connections hold places that those in the queue need."""
        if self._context.duty is self._told or self._life < 0:
            return
        self._told = self._context.duty
        if self._told is Duty.CLOSING:
            os.write(self._life, b".")
        else:
            os.close(self._life)
            self._life = -1

    def _have_children_reopen(self) -> None:
        if self._orders.reopened != self._reopened:
            self._reopened = self._orders.reopened
            for child in self._children.values():
                signal.pidfd_send_signal(child.pidfd, signal.SIGUSR1)


def _send_end(sock: Socket) -> None:
    """For a process that ends: the client need not wait for that."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _private_slot(index: int) -> Slot:
    """Counters that a child shares with this process alone."""
    return Slot(index, memoryview(mmap.mmap(-1, scoreboard.SLOT_BYTES)))
