"""The prefork pool, and with it pool single: one process, one request at a time, the application on the main thread.

The worker waits on its listeners and its connections together, and answers one request after the other. With more than
one connection, responses say `Connection: close`, and silent connections are closed after `drain_idle`: a kept-alive
connection is for the client that is alone.
"""

from __future__ import annotations

from miniwsgi.metrics import scoreboard

from ...unpatched import select, socket, time
from .. import children
from ..balance import Balance, accept_again_seconds
from ..context import NANOSECONDS, Context, Duty
from ..monitor import Monitor
from ..orders import Orders
from ..recycling import Recycling
from .blocking import Caller
from .lingering import Lingering
from .saturation import LoneSaturation

IDLE_WAIT_SECONDS = 0.5
DRAIN_WAIT_SECONDS = 0.05


class PreforkPool:
    """Serves until its duty is done. Everything but the monitor is on the main thread."""

    def __init__(self, context: Context, orders: Orders) -> None:
        self._context = context
        self._orders = orders
        self._callers: dict[int, Caller] = {}
        self._running: Caller | None = None
        self._draining_since = 0.0
        self._sockets = {listener.fd: socket.socket(fileno=listener.fd) for listener in context.settings.listeners}
        self._listeners = {listener.fd: listener for listener in context.settings.listeners}
        self._recycling = Recycling(context)
        self._balance = Balance(context)
        self._saturation = LoneSaturation(context)
        self._accept_again = 0.0
        self._tidy_at = 0.0
        self._accepting = False
        self._queues = select.poll()
        self._poller = select.poll()
        self._lingering = Lingering(self._poller, context.settings)
        for fd, sock in self._sockets.items():
            sock.setblocking(False)
            self._queues.register(fd, select.POLLIN)
        self._order_fds = orders.fds()
        for fd in self._order_fds:
            self._poller.register(fd, select.POLLIN)
        children.withhold("listeners", lambda: self._sockets)
        children.withhold("connections", lambda: self._callers)

    def __repr__(self) -> str:
        return f"<PreforkPool {self._context.duty.value} callers={len(self._callers)}>"

    def run(self) -> None:
        """Serve; returns when the duty is done or its time is over."""
        with Monitor(self._context, self._orders, self._check_running):
            while not self._turn():
                pass

    def _turn(self) -> bool:
        """Wait and do what there is; True: the end."""
        wait = DRAIN_WAIT_SECONDS if self._draining_since else IDLE_WAIT_SECONDS
        now = time.monotonic()
        self._accept_if(now >= self._accept_again and self._context.duty is not Duty.DRAIN)
        if not self._accepting and self._sockets:
            wait = min(wait, max(0.001, self._accept_again - now))
        eager = {fd for fd, caller in self._callers.items() if caller.eager}
        ready = eager.union(fd for fd, _mask in self._poller.poll(0 if eager else wait * 1000))
        for fd in ready:
            if fd in self._callers:
                self._converse(self._callers[fd])
            elif fd in self._sockets:
                self._take(fd)
            elif fd in self._lingering:
                self._lingering.read(fd)
            else:
                self._orders.read()
                self._forget_deaf_orders()
        now = time.monotonic()
        self._look_at_time(now)
        self._recycling.look(self._orders, int(now * NANOSECONDS))
        if now >= self._tidy_at:
            self._tidy_at = now + 1.0
            self._context.tidy()
        return self._context.duty in {Duty.EMPTY, Duty.DRAIN} and self._ended(now)

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
        """Another client."""
        wait = self._balance.wait(len(self._callers))
        if not wait:
            try:
                sock, address = self._sockets[fd].accept()
            except OSError as error:
                self._accept_again = time.monotonic() + accept_again_seconds(error, self._context.log)
                return
        if wait:
            self._accept_again = time.monotonic() + wait
            return
        caller = Caller(
            self._context,
            self._orders,
            sock,
            self._listeners[fd],
            address,
            slot=self._context.slot,
            thread=0,
            crowded=self._crowded,
        )
        self._callers[sock.fileno()] = caller
        self._poller.register(sock.fileno(), select.POLLIN)
        self._context.slot.cells[scoreboard.CONNECTIONS] = len(self._callers)

    def _converse(self, caller: Caller) -> None:
        fd = caller.fileno()
        self._running = caller
        stays = caller.converse()
        self._running = None
        self._orders.keep_signals()
        if not stays:
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        caller = self._callers.pop(fd)
        if caller.owes_goodbye:
            self._lingering.add(caller.sock, time.monotonic_ns())
        else:
            self._poller.unregister(fd)
            caller.sock.close()
        self._context.slot.cells[scoreboard.CONNECTIONS] = len(self._callers)

    def _crowded(self) -> bool:
        """Whether another client has a connection, or waits to be accepted."""
        return len(self._callers) > 1 or bool(self._queues.poll(0))

    def _look_at_time(self, now: float) -> None:
        settings = self._context.settings
        serving = not self._draining_since
        alone = len(self._callers) == 1 and serving
        for fd, caller in list(self._callers.items()):
            patience = settings.keep_alive_timeout if alone else settings.drain_idle
            if not caller.requests and serving:
                patience = settings.head_timeout
            if self._draining_since:  # from the beginning of the drain, or of its silence
                patience += max(0.0, self._draining_since - caller.since)
            if caller.overdue(now, patience):
                self._forget(fd)
        self._lingering.look(int(now * NANOSECONDS))

    def _check_running(self, now: int) -> None:
        """On the monitor's thread."""
        caller = self._running
        if caller is not None:
            caller.check_timeout(now)
        others = {fd: other.sock for fd, other in list(self._callers.items()) if other is not caller}
        self._saturation.look_at(list(self._sockets), others, now)

    def _ended(self, now: float) -> bool:
        if not self._draining_since:
            self._draining_since = now
        if self._context.duty is Duty.EMPTY:
            self._listen_only(self._orders.emptying)
            if not self._queues.poll(0):
                self._context.duty = Duty.DRAIN
        if self._context.duty is Duty.DRAIN:
            self._listen_only(frozenset())
        return not (self._callers or self._sockets or self._lingering) or self._orders.expired(int(now * NANOSECONDS))

    def _listen_only(self, fds: frozenset[int]) -> None:
        """Close the listeners but these; other processes may go on with the same sockets."""
        for fd in self._sockets.keys() - fds:
            if self._accepting:
                self._poller.unregister(fd)
            self._queues.unregister(fd)
            self._sockets.pop(fd).close()

    def _forget_deaf_orders(self) -> None:
        if self._orders.deaf:
            left = self._orders.fds()
            for fd in self._order_fds:
                if fd not in left:
                    self._poller.unregister(fd)
            self._order_fds = left
