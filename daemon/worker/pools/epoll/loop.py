"""The epoll pool: one loop for all conversations; requests run inline while they are fast, on threads when they block.

A turn: wait for descriptors, then let each conversation that has something to do go on, each for a bounded time. The
owner of the loop runs the application itself (`serve`: three system calls a request, with the next wait). It hands a
request over before the call when the application has been seen to block, and loses the loop to another thread when a
call lasts (see `threads`). Who is done elsewhere gives the conversation back in `returned`; the owner settles it.
"""

from __future__ import annotations

import traceback
from collections import deque
from typing import NoReturn

from miniwsgi.codes import Code
from miniwsgi.metrics import scoreboard

from ....engine.account import ThreadAccount
from ....engine.claim import Taken
from ....engine.contract import Conversation, Outcome, Refusal, Stage
from ....engine.presence import ENDED, LEFT, probe
from ....unpatched import import_under_real_locks, select, time
from ... import children
from ...context import NANOSECONDS, Context, Duty
from ...monitor import Monitor
from ...orders import Orders
from ...timeouts import check_running
from ..saturation import LoneSaturation, Saturation
from .acceptor import acceptor_of
from .clients import Clients
from .messages import Messages
from .pace import LONG_NS, Pace
from .sockets import Sockets
from .sweep import Sweep
from .threads import Thread, ThreadPool

IDLE_WAIT_SECONDS = 1.0  # the longest sleep of the loop: heartbeat, Date and timeouts want a turn
DRAIN_WAIT_SECONDS = 0.05  # the same while it drains
RETURN_WAIT_SECONDS = 0.05  # the same while other threads have requests: not each that ends is worth a wake-up
REST_MILLISECONDS = 1  # without a look at clients, while so many requests wait that threads need no more
CHECK_NS = NANOSECONDS // 10  # between looks at what runs
TURN_NS = NANOSECONDS // 200  # then what clients have sent ahead has to wait for the next turn

_EPOLLIN, _EPOLLOUT, _EPOLLET = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET
_MUTED = _EPOLLET | select.EPOLLRDHUP  # never 0: EPOLLHUP and EPOLLERR cannot be masked and would make the loop spin

_IDLE, _MORE, _AGAIN, _REQUEST, _TAKEN = Outcome.IDLE, Outcome.MORE, Outcome.AGAIN, Outcome.REQUEST, Outcome.TAKEN
_UNSENT, _PAUSED, _RESUME, _UPGRADE = Outcome.UNSENT, Outcome.PAUSED, Outcome.RESUME, Outcome.UPGRADE
_LAST, _REFUSED = Outcome.LAST, Outcome.REFUSED
_READING, _REQUEST_STAGE, _ANSWERED = Stage.READING, Stage.REQUEST, Stage.ANSWERED
_SERVE, _CLOSING = Duty.SERVE, Duty.CLOSING
_WAITING_FOR_READERS = frozenset({Stage.PAUSED, Stage.UNSENT, Stage.OVER})


class EpollPool:
    """Serves until its duty is done. One instance a worker."""

    def __init__(self, context: Context, orders: Orders) -> None:
        settings = context.settings
        self.context = context
        self.orders = orders
        self.slot = context.slot
        self.size = settings.threads
        self.clients = Clients(context)
        self.epoll = self.clients.epoll
        self.returned: deque[Conversation] = deque()  # given back by other threads, or those that have had a long turn
        self.outstanding = 0  # requests that other threads have, or that wait for one
        self._is_shown = True  # the scoreboard has it as it is
        self._cells = self.slot.cells
        self._account = context.site.account
        self._waits: deque[int] = deque()  # how long those that other threads have had were waiting for one
        self._polling = False
        self._messages = Messages(self.epoll, orders)
        self._threads = ThreadPool(
            self.slot, self.size, context.site.request_ids.seed,
            self._loop, self._work, self._taken_over, self._messages.wake, self._broken, context.engine.begin.doze,
        )  # fmt: skip
        self._calls = self._threads.calls if self.size > 1 else None
        self._sweep = Sweep(self.clients, context, orders, self._act)
        self._sockets = Sockets(
            context, orders, self.clients, self._give_back, self._notify, self._count_outstanding, self._broken
        )
        self._saturation = Saturation(context, f"{self.size} threads")
        self._lone_saturation = LoneSaturation(context)
        self._next_second_ns = 0
        self._next_check_ns = 0
        self._in_flight = settings.in_flight
        self._turn = context.engine.begin.turn(
            self.epoll, self.clients.conversations, self._event, self._served, LONG_NS
        )
        self._acceptor = acceptor_of(self.clients, context, self._turn, self._newcomer)
        self._pace = Pace(
            self._cells[scoreboard.REQUESTS], self._threads.stalls, self._threads.run_delay_ns,
            relief=self.size > 1 and not self._turn.lets_go,
        )  # fmt: skip
        self._turn.holds = not context.site.after_crash
        children.withhold("turn", self._turn.descriptors)
        self._openings_end_ns = 0  # so long they go on in this turn; 0: none has yet

    def __repr__(self) -> str:
        found = f"clients={len(self.clients.conversations)} outstanding={self.outstanding}"
        return f"<EpollPool {self.context.duty.value} {found}>"

    def run(self) -> None:
        """Serve; returns when the duty is done or its time is over. Called on the main thread."""
        if self.size > 1:
            import_under_real_locks()
        self._acceptor.open()
        self._turn.open()
        me = self._threads.owner
        if self.size > 1:
            self._threads.run()
        else:
            me.calls = None  # nobody takes over
            # The loop stands still while the application runs: somebody else keeps the heartbeat.
            with Monitor(self.context, self.orders, self._check_alone):
                me.enter()
                self._loop(me)

    # --- the loop ---

    def _loop(self, me: Thread) -> bool:
        """Own the loop; True when the pool has ended, False when another thread has it now."""
        turn, returned, mailbox, others = self._turn, self.returned, me.mailbox, self._turn.others
        cells, pace = self._cells, self._pace
        site, account, many = self.context.site, self._account, self.size > 1
        others.clear()  # of whoever lost the loop: the next turn is told of them again
        now = began = time.monotonic_ns()
        now = turn.settle(me, now)
        if not now:
            return False
        while True:
            if turn.served:
                account.served(now - began, turn.served)
                turn.served = 0
                me.end()
                if not me.number:
                    self.orders.keep_signals()
            # First what time asks for: the requests of this turn may cost this thread the loop.
            if now >= self._next_second_ns:
                self._every_second(now)
            if now >= self._next_check_ns:
                self._check(now)
            if not self._is_shown:
                self._show_outstanding()
            timeout = self._acceptor.timeout(now) or IDLE_WAIT_SECONDS
            if self.outstanding:
                timeout = min(timeout, RETURN_WAIT_SECONDS)
            if site.closing and self.context.duty is not Duty.CLOSING:
                timeout = min(timeout, DRAIN_WAIT_SECONDS)
                if self._ended(now):
                    if self.outstanding and me.number:
                        self.orders.on_end()  # the main thread may be inside one of these requests
                        self.context.leave_at_once(0)
                    return True
            self._polling = True
            if returned or (mailbox and self._may_resume()):
                timeout = 0.0
            elif not (mailbox or site.closing) and self._threads.may_rest():
                # What clients send comes together meanwhile: each look costs a wake-up, and the interpreter.
                self._messages.rest(REST_MILLISECONDS)
                self._threads.rested()
            events = turn.wait(timeout)
            self._polling = False
            now = began = time.monotonic_ns()
            cells[scoreboard.HEARTBEAT] = now
            turn.ends_ns = now + TURN_NS
            if not many:
                me.turn_ends_ns = turn.ends_ns
            if returned:
                for _ in range(len(returned)):
                    now = self._take_back(me, returned.popleft(), now)
                    if not now:
                        return False
                    if now > self._turn.ends_ns:
                        break
            if self._waits:  # behind those that have waited: the loop may end when it has taken the last one back
                self._count_waits()
            if mailbox:
                while mailbox and self._may_resume():
                    now = self._resume(me, mailbox.popleft(), now)
                    if not now:
                        return False
                if not mailbox:
                    self._threads.release()
            if many and events and not pace.slow and (pace.mixed or not self._threads.watching):
                self._guard()
            self._decide()
            now = turn.serve(me, now)
            if not now:
                return False
            if others:  # they come last: a new connection may get the number of one that ended
                turn.ends_ns = now + TURN_NS  # new clients have theirs, however long that has been taken by others
                self._openings_end_ns = 0
                others.reverse()  # who is told of first has waited for longest
                while others:
                    now = self._other(me, others.pop(), now)
                    if not now:
                        return False

    def _every_second(self, now: int) -> None:
        self._next_second_ns = now + NANOSECONDS
        self.context.site.server_fields.refresh()
        self._acceptor.keep_nonblocking()
        self._sweep.every_second(now)
        if self._threads.backlog:  # perhaps a thread could not be started for it
            self._have_run(None)

    def _check(self, now: int) -> None:
        """What is looked at ten times a second."""
        self._next_check_ns = now + CHECK_NS
        self._pace.look(self._cells[scoreboard.REQUESTS], now)
        self._check_running(now)
        self._acceptor.look()
        self._sockets.look()
        if self.size > 1:
            self._saturation.look(self.outstanding >= self.size <= self._in_hand(), now)

    # --- conversations: their owner's part ---

    def _event(self, me: Thread, fd: int, mask: int, now: int) -> int:
        """What no turn serves by itself; as `_go_on`."""
        conversation = self.clients.conversations.get(fd)
        if conversation is None:
            return now  # it ended in this very turn
        stage = conversation.stage
        if stage is _READING:
            if not mask & LEFT:
                return self._go_on(me, conversation, conversation.receive(now), now)
            self._read_last(conversation, now)
        elif stage in _WAITING_FOR_READERS:
            return self._go_on(me, conversation, conversation.flush(), now)
        elif mask & LEFT:
            self._left(conversation)
        # Not before anything arrives for a held connection is it worth a system call to mute it; and not if it may just
        # have been given back: then the next turn is told again.
        else:
            if mask & ENDED:  # told of those that are muted
                probe(conversation.sock)
            if not self.returned:
                self.clients.arm(conversation, _MUTED)
        return now

    def _served(self, me: Thread, conversation: Conversation, outcome: Outcome, now: int) -> int:
        """What follows a `serve` that began now; as `_go_on`."""
        now = self._go_on(me, conversation, outcome, now, served=True)
        if now and self._pace.mixed:  # that may have let the interpreter go, and others of this turn are to be called
            self._guard()
        return now

    def _go_on(
        self, me: Thread, conversation: Conversation, outcome: Outcome, now: int, *, served: bool = False
    ) -> int:
        """What follows an outcome, of `serve` or of something else; the time now, or 0 if the loop was lost."""
        while True:
            if served:
                if outcome is _TAKEN:
                    self._give_back(me, conversation, 0)
                    return 0
                if conversation.called_ns == now:
                    now = self._count_served(conversation, now)
                    if outcome is _REQUEST and now > self._turn.ends_ns:
                        self.returned.append(conversation)  # others want a turn before the rest of what it has sent
                        return now
            if outcome is not _REQUEST:
                self._act(conversation, outcome, now)
                return now
            if self._in_flight and self._is_full():
                outcome, served = conversation.refuse(Refusal.TOO_MANY), False
            elif self._is_busy() and self._hand_over(conversation, now):
                return now
            else:
                if self.size > 1 and (self._pace.mixed or not self._threads.watching):
                    self._guard()
                outcome, served = conversation.serve(me, now), True

    def _count_served(self, conversation: Conversation, now: int) -> int:
        """Its call began now; when it has ended."""
        ended_ns = conversation.ended_ns
        self._turn.served += 1
        if ended_ns - now > LONG_NS:
            self._note_long_call(now, ended_ns)
        return ended_ns

    def _act(self, conversation: Conversation, outcome: Outcome, now: int) -> None:
        """What an outcome asks of the loop, where it is not the application's turn."""
        if outcome is _IDLE or outcome is _MORE:
            self.clients.arm(conversation, _EPOLLIN)
        elif outcome is _AGAIN:
            self.returned.append(conversation)
        elif outcome is _RESUME:
            self._threads.post(conversation)
            self._count_outstanding(1)
        elif outcome is _UNSENT or outcome is _PAUSED or (outcome is _REFUSED and conversation.unsent):
            self.clients.arm(conversation, _EPOLLOUT)
        elif outcome is _LAST or outcome is _REFUSED:
            self.clients.part(conversation, now)
        elif outcome is _UPGRADE:
            if (self._in_flight and self._is_full()) or not self._sockets.begin(conversation, now):
                self.returned.append(conversation)  # it is answered like any other
        else:  # it has ended, or is gone
            self.clients.drop(conversation)

    def _read_last(self, conversation: Conversation, now: int) -> None:
        """The client has left; what it has sent before need not reach the application."""
        outcome = conversation.receive(now)
        is_whole = outcome is _REQUEST or outcome is _UPGRADE
        self._act(conversation, conversation.abandon() if is_whole else outcome, now)

    def _left(self, conversation: Conversation) -> None:
        """The client of a request that another thread has, or that waits for one, is gone."""
        self.clients.arm(conversation, _MUTED)
        if conversation.stage is Stage.REQUEST and (
            self._threads.cancel(conversation) or self._sockets.cancel(conversation)
        ):
            self._count_outstanding(-1)
            self._act(conversation, conversation.abandon(), time.monotonic_ns())
        else:
            conversation.gone = True  # for whoever has it

    # --- requests that other threads run ---

    def _guard(self) -> None:
        """Calls may begin: see that another thread takes the loop if one of them blocks, or lasts."""
        if self._pace.mixed:
            self._threads.stand_by()
        if not self._threads.watching:
            self._threads.watch()

    def _is_busy(self) -> bool:
        """Whether requests are handed over before the call."""
        size = self.size
        return size > 1 and (self._pace.slow or (self.outstanding >= size and self._in_hand() >= size))

    def _is_full(self) -> bool:
        """Whether as many requests are in flight as `limits.in_flight` lets, if it is set."""
        return self.outstanding >= self._in_flight <= self._in_hand()

    def _hand_over(self, conversation: Conversation, now: int) -> bool:
        """False: there is no other thread, and none can be started; the owner must run it."""
        if not conversation.mask:  # it is new; should its client leave, that is to be seen
            self.clients.arm(conversation, _EPOLLIN)
        conversation.ready_ns = now
        self._count_outstanding(1)
        self._have_run(conversation)
        # Was it not alone, a thread that is just being entered has owned the loop, and another has taken the request.
        if self._threads.is_alone and self._threads.cancel(conversation):
            self._count_outstanding(-1)
            return False
        self._cells[scoreboard.HANDED_OVER] += 1
        return True

    def _have_run(self, conversation: Conversation | None) -> None:
        """This request, too, or what is in the backlog."""
        try:
            if conversation is None:
                self._threads.unpark()
            else:
                self._threads.submit(conversation)
        except RuntimeError as error:
            told = f"requests wait: {error}; see TasksMax and memory"
            self.context.log.limited("threads", "error", Code.NO_THREAD, told)

    def _count_outstanding(self, change: int) -> None:
        self.outstanding += change
        self._is_shown = False
        if not self._pace.slow:  # else they are handed over, however many there are
            self._decide()

    def _show_outstanding(self) -> None:
        """Once a turn, before the owner waits."""
        outstanding, cells = self.outstanding, self._cells
        cells[scoreboard.BUSY_THREADS] = busy = min(self._in_hand() if outstanding > 1 else outstanding, self.size)
        cells[scoreboard.WAITING] = outstanding - busy
        self._is_shown = True

    def _decide(self) -> None:
        """Whether the owner runs requests as they come."""
        self._turn.inline = not (self._pace.slow or self.outstanding >= self.size or self._in_flight)

    def _in_hand(self) -> int:
        """How many of the outstanding take a thread each; the others wait for one that is among those."""
        return self.outstanding - self._threads.behind()

    def _work(self, me: Thread, conversation: Conversation) -> None:
        """Run one request, or go on with a result, away from the loop."""
        now = time.monotonic_ns()
        if conversation.stage is _REQUEST_STAGE:
            conversation.answer(me, now)
            self._give_back(me, conversation, now - conversation.ready_ns)
        else:
            conversation.resume(me, now)
            self._give_back(me, conversation, -1)

    def _give_back(self, me: ThreadAccount, conversation: Conversation, waited_ns: int) -> None:
        """Give the conversation back to the owner of the loop, which is another thread.

        If the client has nothing to do but to ask again, the owner need not be told before it does: that will wake it.
        `waited_ns`: how long the request has waited for this thread; below 0: that is known.
        """
        if not me.number:  # the main thread: it may have come by signals, and the loop may be elsewhere for long
            self.orders.keep_signals()
        me.end()
        if waited_ns >= 0:
            self._waits.append(waited_ns)
        urgent = (
            not conversation.can_wait
            or self.context.duty is not Duty.SERVE
            or self._threads.owner.mailbox  # it may be waiting for a thread that is done
        )
        self.returned.append(conversation)
        # Whether it is still watched is looked at last: the owner mutes it first, and then looks for what is returned.
        if self._polling and (urgent or conversation.mask != _EPOLLIN):
            self._polling = False
            self._messages.wake()

    def _notify(self) -> None:
        """Have the owner look at what is looked at now and then; any thread."""
        self._next_check_ns = 0
        self._messages.wake()

    def _count_waits(self) -> None:
        while self._waits:
            self._account.waited(self._waits.popleft())

    def _take_back(self, me: Thread, conversation: Conversation, now: int) -> int:
        """A conversation that another thread gives back, or whose turn has come again; as `_go_on`."""
        stage = conversation.stage
        if stage is _ANSWERED:
            self._count_outstanding(-1)
            if conversation.ended_ns - conversation.called_ns > LONG_NS:
                self._note_long_call(conversation.called_ns, conversation.ended_ns)
            outcome = conversation.settle()
            if outcome is _IDLE and conversation.mask == _EPOLLIN:
                return now
        elif conversation.gone:
            outcome = conversation.abandon()
        elif stage is _REQUEST_STAGE:
            outcome = _REQUEST
        else:
            outcome = conversation.receive(now)
            now = time.monotonic_ns()  # of which it may have taken much
        return self._go_on(me, conversation, outcome, now)

    def _resume(self, me: Thread, conversation: Conversation, now: int) -> int:
        """Go on with a result that belongs to the thread that owns the loop; as `_go_on`."""
        self._count_outstanding(-1)
        calls = self._calls
        if calls is not None:
            if not self._threads.watching:
                self._threads.watch()
            calls.offer(conversation)
        conversation.resume(me, now)
        if calls is not None:
            try:
                calls.take(conversation)
            except Taken:
                self._give_back(me, conversation, -1)
                return 0
        me.end()
        return self._go_on(me, conversation, conversation.settle(), conversation.ended_ns)

    def _may_resume(self) -> bool:
        return self._threads.may_resume(self._in_hand())

    def _taken_over(self, conversation: Conversation) -> None:
        """Called by the watcher, which has taken the loop from the thread that runs it and not yet given it on."""
        if not conversation.mask:  # it was served as it came
            self.clients.arm(conversation, _EPOLLIN)
        self._count_outstanding(1)
        self._cells[scoreboard.TAKEN_OVER] += 1

    def _broken(self, error: BaseException) -> NoReturn:
        """Called by a thread that fails where nothing should: its client, or the loop, would be lost for ever."""
        try:
            told = "the worker itself failed\n" + "".join(traceback.format_exception(error))
            self.context.log.error(Code.INTERNAL, told)
        finally:  # whatever the error does when it is to be told
            self.context.leave_at_once(1)

    def _note_long_call(self, began_ns: int, ended_ns: int) -> None:
        """For whether requests are handed over, and how often the watcher looks."""
        self._pace.long_call(began_ns, ended_ns)
        self._threads.long_call_ns = ended_ns

    # --- what is no client's ---

    def _other(self, me: Thread, fd: int, now: int) -> int:
        """As `_go_on`."""
        if fd in self._acceptor:
            return self._accept(me, fd, now)
        if fd in self.clients.lingering:
            self.clients.lingering.read(fd)
        elif fd in self.clients.openings.by_fd:
            return self._open(me, fd, now)
        else:
            self._messages.read(fd)
        return now

    def _accept(self, me: Thread, fd: int, now: int) -> int:
        """Take new clients, and from each what it has sent already: mostly its request; as `_go_on`."""
        duty = self.context.duty
        if duty is not _SERVE and duty is not _CLOSING:
            return now  # an order of this very turn; the queues that are to be emptied are, when the turn is over
        return self._acceptor.accept(me, fd, now)

    def _newcomer(self, me: Thread, conversation: Conversation, now: int) -> int:
        """Serve a client that has just been taken; as `_go_on`."""
        if self._in_flight:  # in the next turn: by then, who has just been answered elsewhere is not in flight
            self._act(conversation, _MORE, now)
            return now
        if self._turn.inline:
            return self._served(me, conversation, conversation.serve(me, now), now)
        return self._go_on(me, conversation, conversation.receive(now), now)

    def _open(self, me: Thread, fd: int, now: int) -> int:
        """Go on with what comes before a client's first request, and then with that; as `_go_on`."""
        if not self._openings_end_ns:  # the first of this turn, however long that has been taken by others
            self._openings_end_ns = now + TURN_NS
        elif now > self._openings_end_ns:
            return now  # a handshake costs much, and others want a turn first: the next one is told of it again
        opening = self.clients.openings.go_on(fd, now)
        now = time.monotonic_ns()
        if opening is None:
            return now
        conversation = self.clients.begin(opening, now)
        return self._go_on(me, conversation, conversation.receive(now), now)

    def _check_alone(self, now: int) -> None:
        """On the monitor's thread, while the loop stands still."""
        self._check_running(now)
        running = self._threads.owner.conversation
        clients = list(self.clients.conversations.items())
        others = {fd: conversation for fd, conversation in clients if conversation is not running}
        self._lone_saturation.look_at(self._acceptor.fds, others, now)

    def _check_running(self, now: int) -> None:
        check_running(self.context, self.orders, [*self._threads.threads, *self._sockets.threads()], now)

    def _ended(self, now: int) -> bool:
        """While the duty is not to serve: go on towards the end; True when it is reached."""
        context = self.context
        if context.duty is Duty.EMPTY:
            self._acceptor.empty(self.orders.emptying, now)
            context.duty = Duty.DRAIN
        self._acceptor.close()
        self._sweep.close_silent(now)
        held = self._sockets.hold(now)
        clients = self.clients
        left = clients.conversations or self.outstanding or clients.lingering or clients.openings or held
        return not left or self.orders.expired(now)
