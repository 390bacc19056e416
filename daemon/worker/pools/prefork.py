"""The prefork pool, and with it pool single: one process, one request at a time, the application on the main thread.

The worker waits on its listeners and its connections together, and answers one request after the other. With more than
one connection, responses say `Connection: close`, and silent connections are closed after `drain_idle`: a kept-alive
connection is for the client that is alone.
"""

from __future__ import annotations

from miniwsgi.metrics import scoreboard

from ...engine.account import ThreadAccount
from ...engine.after_fork import process
from ...engine.contract import Conversation, Outcome
from ...engine.openings.opening import Opening
from ...engine.presence import has_left
from ...unpatched import select, time
from .. import children
from ..balance import Balance, accept_again_seconds
from ..context import NANOSECONDS, Context, Duty
from ..monitor import Monitor
from ..orders import Orders
from ..recycling import Recycling
from .blocking import EVENTS, PARTS, STAYS, LoneThread, is_eager
from .lingering import Lingering
from .listening import Listening
from .openings import Openings
from .saturation import LoneSaturation

IDLE_WAIT_SECONDS = 0.5
DRAIN_WAIT_SECONDS = 0.05


class PreforkPool:
    """Serves until its duty is done. Everything but the monitor is on the main thread."""

    def __init__(self, context: Context, orders: Orders) -> None:
        self._context = context
        self._orders = orders
        self._conversations: dict[int, Conversation] = {}
        self._me = ThreadAccount(0, context.slot, context.site.request_ids.seed)
        self._thread = LoneThread(context, orders, self._me, self._crowded)
        self._draining_since = 0.0
        self._recycling = Recycling(context)
        self._balance = Balance(context)
        self._saturation = LoneSaturation(context)
        self._accept_again = 0.0
        self._tidy_at = 0.0
        self._poller = select.poll()
        self._listening = Listening(self._poller, context, orders)
        self._lingering = Lingering(self._poller, context.settings)
        self._openings = Openings(self._poller, context)
        children.withhold("connections", lambda: self._conversations)

    def __repr__(self) -> str:
        return f"<PreforkPool {self._context.duty.value} clients={len(self._conversations)}>"

    def run(self) -> None:
        """Serve; returns when the duty is done or its time is over."""
        self._me.enter()
        with Monitor(self._context, self._orders, self._check_running):
            while not self._turn():
                pass

    def _turn(self) -> bool:
        """Wait and do what there is; True: the end."""
        wait = DRAIN_WAIT_SECONDS if self._draining_since else IDLE_WAIT_SECONDS
        now = time.monotonic()
        self._listening.want(now >= self._accept_again and self._context.duty is not Duty.DRAIN)
        if not self._listening.wanted and self._listening:
            wait = min(wait, max(0.001, self._accept_again - now))
        ready = {fd: 0 for fd, conversation in self._conversations.items() if is_eager(conversation)}
        ready.update(self._poller.poll(0 if ready else wait * 1000))
        process.check()
        served = False
        queues: list[int] = []  # last: a new connection may get the number of one that was closed in this turn
        for fd, mask in ready.items():
            if fd in self._conversations:
                conversation = self._conversations[fd]
                if served and has_left(conversation.sock):  # while another was served in this turn
                    mask |= select.POLLHUP  # noqa: PLW2901 - what is known now
                self._go_on(fd, self._thread.converse(conversation, mask))
                served = True
            elif fd in self._listening:
                queues.append(fd)
            elif fd in self._lingering:
                self._lingering.read(fd)
            elif fd in self._openings:
                opened = self._openings.go_on(fd, time.monotonic_ns())
                if opened is not None:
                    self._begin(opened)
                    served = True
            else:
                self._listening.read_orders()
        for fd in queues:
            self._take(fd)
        now = time.monotonic()
        self._look_at_time(now)
        self._recycling.look(self._orders, int(now * NANOSECONDS))
        if now >= self._tidy_at:
            self._tidy_at = now + 1.0
            self._context.tidy()
            self._orders.keep_signals()
        return self._context.duty in {Duty.EMPTY, Duty.DRAIN} and self._ended(now)

    def _take(self, fd: int) -> None:
        """Another client."""
        wait = self._balance.wait(len(self._conversations) + len(self._openings))
        if not wait:
            try:
                sock, address, listener = self._listening.accept(fd)
            except OSError as error:
                self._accept_again = time.monotonic() + accept_again_seconds(error.errno, self._context.log)
                return
        if wait:
            self._accept_again = time.monotonic() + wait
            return
        now = time.monotonic_ns()
        if fd in self._openings.openers:
            opened = self._openings.admit(fd, sock, address, now)
            if opened is not None:
                self._begin(opened)
        else:
            self._add(self._context.converse(sock, listener, address, now))

    def _begin(self, opened: Opening) -> None:
        """A client that has sent what has to come before its first request; that may be here, too."""
        conversation = opened.begin(time.monotonic_ns())
        self._add(conversation)
        self._go_on(conversation.fileno(), self._thread.converse(conversation, 0))

    def _add(self, conversation: Conversation) -> None:
        self._conversations[conversation.fileno()] = conversation
        self._poller.register(conversation.fileno(), EVENTS)
        self._context.slot.cells[scoreboard.CONNECTIONS] += 1

    def _go_on(self, fd: int, outcome: Outcome) -> None:
        """What a conversation has come to."""
        if outcome in STAYS:
            return
        conversation = self._conversations.pop(fd)
        conversation.close()
        if outcome in PARTS:
            self._poller.modify(fd, select.POLLIN)
            self._lingering.add(conversation.sock, time.monotonic_ns())
        else:
            self._poller.unregister(fd)
            conversation.hang_up()
        self._context.slot.cells[scoreboard.CONNECTIONS] -= 1

    def _crowded(self) -> bool:
        """Whether another client has a connection, or waits to be accepted."""
        return len(self._conversations) + len(self._openings) > 1 or self._listening.somebody_waits()

    def _look_at_time(self, now: float) -> None:
        settings = self._context.settings
        serving = not self._draining_since
        alone = len(self._conversations) == 1 and serving
        now_ns = int(now * NANOSECONDS)
        for fd, conversation in list(self._conversations.items()):
            patience = settings.keep_alive_timeout if alone else settings.drain_idle
            if not conversation.requests and serving:
                patience = settings.head_timeout
            if self._draining_since:  # from the beginning of the drain, or of its silence
                patience += max(0.0, self._draining_since - conversation.since_ns / NANOSECONDS)
            outcome = self._thread.overdue(conversation, patience, now_ns)
            if outcome is not None:
                self._go_on(fd, outcome)
        self._lingering.look(now_ns)
        self._openings.look(now_ns)
        if self._draining_since:
            self._openings.close_silent(int(self._draining_since * NANOSECONDS), now_ns)

    def _check_running(self, now: int) -> None:
        """On the monitor's thread."""
        self._thread.check_running(now)
        running = self._me.conversation
        clients = list(self._conversations.items())
        others = {fd: conversation for fd, conversation in clients if conversation is not running}
        self._saturation.look_at(self._listening, others, now)

    def _ended(self, now: float) -> bool:
        if not self._draining_since:
            self._draining_since = now
        self._listening.end()
        left = self._conversations or self._listening or self._lingering or self._openings
        return not left or self._orders.expired(int(now * NANOSECONDS))
