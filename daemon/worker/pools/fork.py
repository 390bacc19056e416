"""The fork pool: a process for each connection, at most `threads` of them a worker at a time.

The worker itself only accepts, forks and counts. A child serves its connection like a prefork worker would and exits;
what it counts lies in memory of its own, which the worker adds to its slot, so that each cell has one writer. A child
learns of a drain by SIGTERM, and of the worker's end by a pipe.
"""

from __future__ import annotations

import gc
import mmap
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Slot

from ...settings import Listener
from ..context import Context, Duty
from ..monitor import Monitor
from ..orders import Orders, signal_pipe
from ..recycling import Recycling
from .blocking import Caller

WAIT_SECONDS = 0.5
DRAIN_WAIT_SECONDS = 0.05
CHILD_WAIT_SECONDS = 0.25
FORK_AGAIN_SECONDS = 0.2


@dataclass
class _Child:
    """A process that serves one connection, and what of its counters is already in the slot."""

    number: int
    pid: int
    pidfd: int
    counted: Slot
    seen: dict[int, int] = field(default_factory=dict)


class ForkPool:
    """Serves until its duty is done."""

    def __init__(self, context: Context, orders: Orders) -> None:
        self._context = context
        self._orders = orders
        self._slot = context.slot
        self._limit = min(context.settings.threads, scoreboard.MAX_THREADS)
        self._children: dict[int, _Child] = {}  # by pidfd
        self._memory: dict[int, Slot] = {}  # by child number, used again by the next
        self._sockets = {listener.fd: socket.socket(fileno=listener.fd) for listener in context.settings.listeners}
        self._listeners = {listener.fd: listener for listener in context.settings.listeners}
        self._recycling = Recycling(context)
        self._poller = select.poll()
        self._accepting = False
        self._fork_again_at = 0.0
        self._told_children = False
        # Children hold the reading end: its end-of-file is this worker's.
        self._lifeline, self._life = os.pipe()
        self._order_fds = orders.fds()
        for fd in self._order_fds:
            self._poller.register(fd, select.POLLIN)

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
        room = len(self._children) < self._limit and time.monotonic() >= self._fork_again_at
        self._accept_if(room and duty is not Duty.DRAIN)
        wait = DRAIN_WAIT_SECONDS if duty in {Duty.EMPTY, Duty.DRAIN} else WAIT_SECONDS
        ready = self._poller.poll(wait * 1000)
        now = time.monotonic_ns()
        self._slot.cells[scoreboard.HEARTBEAT] = now
        for fd, _mask in ready:
            if fd in self._children:
                self._bury(fd)
            elif fd in self._sockets:
                self._take(fd)
            else:
                self._orders.read()
                self._forget_deaf_orders()
        if not ready:
            for child in self._children.values():
                self._slot.fold(child.counted, child.seen)
        self._recycling.look(self._orders, now)
        return self._context.duty is not Duty.SERVE and self._ended(now)

    def _accept_if(self, wanted: bool) -> None:
        if wanted is self._accepting:
            return
        for fd in self._sockets:
            if wanted:
                self._poller.register(fd, select.POLLIN)
            else:
                self._poller.unregister(fd)
        self._accepting = wanted

    def _take(self, fd: int) -> None:
        if len(self._children) >= self._limit:
            return
        try:
            sock, address = self._sockets[fd].accept()
        except OSError:
            return  # another worker was faster, or the client is gone (accept(2))
        taken = {child.number for child in self._children.values()}
        number = next(number for number in range(self._limit) if number not in taken)
        counted = self._memory.get(number) or self._memory.setdefault(number, _private_slot(self._slot.index))
        try:
            pid = os.fork()
        except OSError as error:
            self._context.log.limited("fork", "error", f"cannot fork: {error.strerror}; see TasksMax and memory")
            self._fork_again_at = time.monotonic() + FORK_AGAIN_SECONDS
            sock.close()
            return
        if not pid:
            self._serve(sock, self._listeners[fd], address, number, counted)
        sock.close()
        child = _Child(number, pid, os.pidfd_open(pid), counted)
        self._children[child.pidfd] = child
        self._poller.register(child.pidfd, select.POLLIN)
        self._show_children()

    def _bury(self, pidfd: int) -> None:
        child = self._children.pop(pidfd)
        self._poller.unregister(pidfd)
        os.waitpid(child.pid, 0)
        os.close(pidfd)
        self._slot.fold(child.counted, child.seen)
        for cell in child.seen:
            child.counted.cells[cell] = 0
        self._slot.cells[self._slot.thread_cell(child.number) + scoreboard.T_STATE] = scoreboard.IDLE
        self._show_children()

    def _show_children(self) -> None:
        cells = self._slot.cells
        cells[scoreboard.CONNECTIONS] = cells[scoreboard.BUSY_THREADS] = len(self._children)

    # --- in the child ---

    def _serve(self, sock: socket.socket, listener: Listener, address: Any, number: int, counted: Slot) -> NoReturn:
        status = 1
        try:
            gc.freeze()
            signal_fd = signal_pipe()
            os.close(self._life)
            for listening in self._sockets.values():
                listening.close()
            context = self._context
            orders = Orders(context, None, signal_fd)
            board_slot, context.slot = context.slot, counted
            caller = Caller(
                context, orders, sock, listener, address, slot=board_slot, thread=number, crowded=lambda: False
            )
            self._converse(caller, orders)
            status = 0
        finally:
            context.log.flush(1.0)
            if context.access is not None:
                context.access.writer.flush(1.0)
            os._exit(status)

    def _converse(self, caller: Caller, orders: Orders) -> None:
        context, settings = self._context, self._context.settings
        poller = select.poll()
        for fd in (caller.fileno(), self._lifeline, *orders.fds()):
            poller.register(fd, select.POLLIN)
        if settings.request_timeout:
            Monitor(context, orders, lambda now: self._expire(caller, now), beats=False).__enter__()
        draining_since = 0.0
        while caller.converse():
            ready: set[int] = set()
            while caller.fileno() not in ready:
                if context.duty is Duty.SERVE:
                    patience = settings.keep_alive_timeout if caller.requests else settings.head_timeout
                else:
                    patience = settings.drain_idle + max(0.0, draining_since - caller.since)
                now = time.monotonic()
                if caller.overdue(now, patience):
                    return
                ready = {fd for fd, _mask in poller.poll(CHILD_WAIT_SECONDS * 1000)}
                if not ready.isdisjoint(orders.fds()):
                    orders.read()
                if self._lifeline in ready:
                    poller.unregister(self._lifeline)
                    context.duty = Duty.DRAIN
                if context.duty is not Duty.SERVE and not draining_since:
                    draining_since = time.monotonic()

    def _expire(self, caller: Caller, now: int) -> None:
        """The request is answered with 504; this process, with the application in it, has no other."""
        if caller.check_timeout(now):
            self._context.log.flush(1.0)
            if self._context.access is not None:
                self._context.access.writer.flush(1.0)
            os._exit(1)

    # --- the end ---

    def _ended(self, now: int) -> bool:
        if self._context.duty is Duty.EMPTY:
            queues = select.poll()
            for fd in self._sockets:
                queues.register(fd, select.POLLIN)
            if queues.poll(0):
                return self._orders.expired(now)
            self._context.duty = Duty.DRAIN
        self._accept_if(False)
        for sock in self._sockets.values():
            sock.close()
        self._sockets = {}
        if not self._told_children:
            self._told_children = True
            for child in self._children.values():
                signal.pidfd_send_signal(child.pidfd, signal.SIGTERM)
        return not self._children or self._orders.expired(now)

    def _forget_deaf_orders(self) -> None:
        if self._orders.deaf:
            left = self._orders.fds()
            for fd in self._order_fds:
                if fd not in left:
                    self._poller.unregister(fd)
            self._order_fds = left


def _private_slot(index: int) -> Slot:
    """Counters that a child shares with this process alone."""
    return Slot(index, memoryview(mmap.mmap(-1, scoreboard.SLOT_BYTES)))
