"""The epoll pool: one loop for all connections, requests run inline while they are fast, by threads when they block.

The life of a request: readable → `recv` → parsed → application → `send`, three system calls with the next
`epoll_wait`. The thread that leads does all of that itself. It hands a request over before the call when the
application has been seen to block, and loses the loop to another thread when a call lasts (see `crew`); who finishes
elsewhere gives the connection back through `returned`. Counters are written by whoever leads.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Closed

from ...engine.call import Exchange, Phase
from ...http.connection import State
from ...http.errors import ProtocolError
from ...unpatched import os, select, time
from .. import children
from ..context import NANOSECONDS, Context, Duty
from ..monitor import Monitor
from ..orders import Orders
from .acceptor import Acceptor
from .clients import EVENTS, RECEIVE_BYTES, Clients
from .crew import Crew, Member
from .pace import LONG_NS, Pace
from .peer import LOW_WATER_BYTES, Hold, Peer
from .presence import ENDED, LEFT, probe
from .requests import account, begin, check_running, record_wait, show
from .saturation import LoneSaturation, Saturation
from .sweep import Sweep

IDLE_WAIT_SECONDS = 1.0  # the longest sleep of the loop: heartbeat, Date and timeouts want a turn
DRAIN_WAIT_SECONDS = 0.05  # the same while it drains
RETURN_WAIT_SECONDS = 0.05  # the same while other threads have requests: not each that ends is worth a wake-up
CHECK_NS = NANOSECONDS // 10  # between looks at what runs
TURN_NS = NANOSECONDS // 200  # then what clients have sent ahead has to wait for the next turn

_EPOLLIN, _EPOLLOUT, _EPOLLET = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET
_WATCHED, _HELD, _WRITING = Hold
_IDLE = State.IDLE
_MUTED = _EPOLLET | select.EPOLLRDHUP  # never 0: EPOLLHUP and EPOLLERR cannot be masked and would make the loop spin

_EXPIRED = Phase.EXPIRED
_FIRSTS = scoreboard.FIRSTS
_INLINE = scoreboard.INLINE
_T_STATE = scoreboard.T_STATE


class EpollPool:
    """Serves until its duty is done. One instance a worker."""

    def __init__(self, context: Context, orders: Orders) -> None:
        settings = context.settings
        self.context = context
        self.orders = orders
        self.slot = context.slot
        self.threads = settings.threads
        self.clients = Clients(context)
        self.epoll = self.clients.epoll
        self.peers = self.clients.peers
        self.returned: deque[Peer] = deque()  # connections that other threads give back, or that have had a long turn
        self.outstanding = 0  # requests that other threads have, or that wait for one
        self._polling = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        children.withhold("wake-ups", lambda: (self._wake_fd,))
        self._crew = Crew(self.slot, settings.threads, self._lead, self._work, self._lost, self._wake, self._broken)
        self._acceptor = Acceptor(self.clients, context)
        self._sweep = Sweep(self, context)
        self._saturation = Saturation(context, f"{settings.threads} threads")
        self._lone_saturation = LoneSaturation(context)
        self._order_fds = orders.fds()
        self._next_second_ns = 0
        self._next_check_ns = 0
        self._turn_ends_ns = 0  # see TURN_NS
        self._in_flight = settings.in_flight
        self._inline = 0  # requests that were run to their end in this turn: counted when it is over
        self._pace = Pace(self.slot.cells[scoreboard.REQUESTS])
        for fd in (*self._order_fds, self._wake_fd):
            self.epoll.register(fd, _EPOLLIN)

    def __repr__(self) -> str:
        return f"<EpollPool {self.context.duty.value} peers={len(self.peers)} outstanding={self.outstanding}>"

    def run(self) -> None:
        """Serve; returns when the duty is done or its time is over. Called on the main thread."""
        self._acceptor.open()
        if self.threads > 1:
            self._crew.run()
        else:
            # The loop stands still while the application runs: somebody else keeps the heartbeat.
            with Monitor(self.context, self.orders, self._check_alone):
                self._lead(self._crew.members[0])

    # --- the loop ---

    def _lead(self, me: Member) -> bool:
        """Run the loop; True when the pool has ended, False when another thread has it now."""
        poll, peers, returned, mailbox = self.epoll.poll, self.peers, self.returned, me.mailbox
        cells = self.slot.cells
        others: list[int] = []  # of a turn: they come last, since a new connection may get the number of one that ended
        now = began = time.monotonic_ns()
        while True:
            if self._inline:
                # Those that were run in one turn have waited for each other: half of the turn, in the mean.
                record_wait(cells, (now - began) // 2, self._inline)
                cells[_INLINE] += self._inline
                cells[me.cell + _T_STATE] = 0
                self._inline = 0
                if not me.number:
                    self.orders.keep_signals()
            # First what time asks for: the requests of this turn may cost this thread the loop.
            if now >= self._next_second_ns:
                self._next_second_ns = now + NANOSECONDS
                self.context.server_fields.refresh()
                self._sweep.every_second(now)
                if self._crew.backlog:  # perhaps a thread could not be started for it
                    self._have_run(self._crew.rouse)
            if now >= self._next_check_ns:
                self._next_check_ns = now + CHECK_NS
                self._pace.look(cells[scoreboard.REQUESTS], now)
                self._check_running(now)
                self._acceptor.look()
                if self.threads > 1:
                    self._saturation.look(self.outstanding >= self.threads <= self._in_hand(), now)
            timeout = self._acceptor.timeout(now) or IDLE_WAIT_SECONDS
            if self.outstanding:
                timeout = min(timeout, RETURN_WAIT_SECONDS)
            if self.context.duty is not Duty.SERVE and self.context.duty is not Duty.CLOSING:
                timeout = min(timeout, DRAIN_WAIT_SECONDS)
                if self._ended(now):
                    if self.outstanding and me.number:
                        self.context.leave_at_once(0)  # the main thread may be inside one of these requests
                    return True
            self._polling = True
            if returned or (mailbox and self._may_resume()):
                timeout = 0.0
            events = poll(timeout, EVENTS)
            self._polling = False
            now = began = time.monotonic_ns()
            cells[scoreboard.HEARTBEAT] = now
            self._turn_ends_ns = now + TURN_NS
            if returned:
                for _ in range(len(returned)):
                    now = self._take_back(me, returned.popleft(), now)
                    if not now:
                        return False
                    if now > self._turn_ends_ns:
                        break
            if mailbox:
                while mailbox and self._may_resume():
                    now = self._resume(me, mailbox.popleft(), now)
                    if not now:
                        return False
                if not mailbox:
                    self._crew.release()
            for fd, mask in events:
                peer = peers.get(fd)
                if peer is None:
                    others.append(fd)
                    continue
                hold = peer.hold
                if hold is _WATCHED:
                    try:
                        data = peer.sock.recv(RECEIVE_BYTES)
                    except BlockingIOError:
                        continue
                    except OSError:
                        peer.gone = True
                        self.clients.drop(peer)
                        continue
                    if data:
                        try:
                            complete = peer.receive(data)
                        except (ProtocolError, OSError) as error:
                            self.clients.refuse(peer, error, now)
                            continue
                        if complete:
                            if mask & LEFT:  # while others were served
                                self._drop_unanswered(peer, 0)
                                continue
                            now = self._serve(me, peer, now)
                            if not now:
                                return False
                        else:
                            self._incomplete(peer, now)
                    else:
                        self.clients.end_of_input(peer, now)
                elif hold is _WRITING:
                    now = self._write(me, peer, now)
                    if not now:
                        return False
                elif mask & LEFT:
                    self._left(peer)
                # Not before anything arrives for a held connection is it worth a system call to mute it; and not if it
                # may just have been given back: then the next turn is told again.
                else:
                    if mask & ENDED:  # told of those that are muted
                        probe(peer.sock)
                    if not returned:
                        self.clients.arm(peer, _MUTED)
            while others:
                self._other(others.pop(), now)

    def _serve(self, me: Member, peer: Peer, now: int) -> int:
        """Answer the complete request of `peer`, and those behind it; the time now, or 0 if the loop was lost."""
        context = self.context
        cells = self.slot.cells
        crew = self._crew
        limit = self._in_flight
        while True:
            if limit and self.outstanding >= limit and self._in_hand() >= limit:
                peer.hold = _WATCHED
                peer.closed = Closed.REFUSED
                answer = context.refuse(peer, peer.base, 503, "as many run or wait as limits.in_flight allows")
                self.clients.answer_and_close(peer, answer, now)
                return now
            if (
                (self._pace.slow or (self.outstanding >= self.threads and self._in_hand() >= self.threads))
                and self.threads > 1
                and self._hand_over(peer, now)
            ):
                return now
            peer.started_ns = now
            exchange, environ = begin(context, me, peer, now)
            if self.threads > 1:
                if not crew.watching:
                    crew.watch()
                me.calls.append(peer)
                complete = exchange.run(context.application, environ)
                try:
                    me.calls.pop()
                except IndexError:
                    peer.waited_ns = 0  # it was called as soon as it was there
                    self._finish_elsewhere(me, peer, complete, time.monotonic_ns() - now)
                    return 0
            else:
                peer.turn_ends_ns = self._turn_ends_ns
                complete = exchange.run(context.application, environ)
            me.peer = None
            started, now = now, time.monotonic_ns()
            took = now - started
            if took > LONG_NS:
                self._note_long_call(took, now)
            self._inline += 1
            if not complete:
                peer.owner = me
                self.clients.await_reader(peer, now)
                return now
            if exchange.phase is not _EXPIRED:  # as `account`, which would be one call more
                if not peer.requests:
                    cells[_FIRSTS] += 1
                peer.requests += 1
                context.record(peer, exchange, environ, took)
            if (
                peer.pending
                or peer.out_bytes
                or peer.gone
                or peer.body is not None
                or peer.mask != _EPOLLIN
                or not exchange.persistent
            ):
                if not self._next(peer, exchange, now):
                    return now
            else:  # as `_next`, for the usual case: two calls less
                peer.exchange = None
                peer.environ = peer.base
                peer.state = peer.stage = _IDLE
                peer.since_ns = now
                peer.hold = _WATCHED
                return now
            if now > self._turn_ends_ns:  # others want a turn before the rest of what this one has sent
                peer.hold = _HELD
                self.returned.append(peer)
                return now

    def _incomplete(self, peer: Peer, now: int) -> None:
        """No whole request yet; what has been left unparsed waits for the next turn."""
        self.clients.incomplete(peer, now)
        if peer.unparsed:
            peer.hold = _HELD
            self.returned.append(peer)

    def _parse_on(self, me: Member, peer: Peer, now: int) -> int:
        """Go on with what was left unparsed; as `_serve`."""
        peer.hold = _WATCHED
        try:
            complete = peer.advance()
        except (ProtocolError, OSError) as error:
            self.clients.refuse(peer, error, now)
            return now
        if complete:
            return self._serve(me, peer, now)
        self._incomplete(peer, now)
        if not peer.unparsed and peer.mask != _EPOLLIN and not peer.gone:
            self.clients.arm(peer, _EPOLLIN)
        return time.monotonic_ns()

    def _next(self, peer: Peer, exchange: Exchange, now: int) -> bool:
        """After a complete response: True when another complete request is already here."""
        if peer.out_bytes and not peer.gone:
            self.clients.await_reader(peer, now)
            return False
        peer.exchange = None
        peer.environ = peer.base
        if peer.gone or not peer.finish(exchange.persistent):
            if exchange.aborted and peer.closed is Closed.CLIENT:
                peer.closed = Closed.TIMEOUT if exchange.phase is Phase.EXPIRED else Closed.ABORTED
            self.clients.end(peer, now)
            return False
        peer.since_ns = now
        peer.stage = _IDLE
        peer.hold = _WATCHED
        if peer.pending:
            try:
                if peer.advance():
                    return True
            except (ProtocolError, OSError) as error:
                self.clients.refuse(peer, error, now)
                return False
            self._incomplete(peer, now)
        if peer.mask != _EPOLLIN and not peer.gone:
            self.clients.arm(peer, _EPOLLIN)
        return False

    # --- requests that other threads run ---

    def _hand_over(self, peer: Peer, now: int) -> bool:
        """False: there is no other thread, and none can be started; who leads must run it."""
        peer.hold = _HELD
        peer.started_ns = now
        self._count_outstanding(1)
        self._have_run(self._crew.give, peer)
        # Was it not alone, a thread that is just being entered has led to this, and another has taken the request.
        if self._crew.is_alone and self._crew.withdraw(peer):
            self._count_outstanding(-1)
            return False
        self.slot.cells[scoreboard.HANDED_OVER] += 1
        return True

    def _have_run(self, order: Callable[..., None], *arguments: Peer) -> None:
        try:
            order(*arguments)
        except RuntimeError as error:
            self.context.log.limited("threads", "error", f"requests wait: {error}; see TasksMax and memory")

    def _count_outstanding(self, change: int) -> None:
        self.outstanding = outstanding = self.outstanding + change
        cells = self.slot.cells
        cells[scoreboard.BUSY_THREADS] = busy = min(self._in_hand() if outstanding > 1 else outstanding, self.threads)
        cells[scoreboard.WAITING] = outstanding - busy

    def _in_hand(self) -> int:
        """How many of the outstanding take a thread each; the others wait for one that is among those."""
        return self.outstanding - self._crew.behind()

    def _work(self, me: Member, peer: Peer) -> None:
        """Run one request, or go on with a result, away from the loop."""
        started = time.monotonic_ns()
        if peer.owner is None:
            peer.waited_ns = started - peer.started_ns
            exchange, environ = begin(self.context, me, peer, started)
            complete = exchange.run(self.context.application, environ)
        else:
            self._show_again(me, peer)
            complete = self._go_on(peer)
        self._finish_elsewhere(me, peer, complete, time.monotonic_ns() - started)

    def _show_again(self, me: Member, peer: Peer) -> None:
        """A result is resumed; from now on, as it ran nothing while its client was reading."""
        assert peer.line is not None
        assert peer.exchange is not None
        me.peer = peer
        self.slot.show_given_id(me.cell, peer.exchange.request_id)
        show(self.slot, me, peer.line, time.monotonic_ns())

    def _go_on(self, peer: Peer) -> bool:
        """Pull more of a result, on the thread that called the application for it."""
        exchange = peer.exchange
        assert exchange is not None
        if peer.gone:
            exchange.abandon()
            return True
        return exchange.resume()

    def _finish_elsewhere(self, me: Member, peer: Peer, complete: bool, took_ns: int) -> None:
        """Give the connection back to the loop, which another thread has.

        If the client has nothing to do but to ask again, the loop need not be told before it does: that will wake it.
        """
        if not me.number:  # the main thread: it may have come by signals, and the loop may be elsewhere for long
            self.orders.keep_signals()
        self.slot.cells[me.cell + _T_STATE] = 0
        me.peer = None
        peer.owner = None if complete else me
        peer.took_ns = took_ns
        peer.ended_ns = time.monotonic_ns()
        exchange = peer.exchange
        urgent = (
            not complete
            or exchange is None
            or not exchange.persistent
            or peer.gone
            or peer.out_bytes
            or peer.pending
            or self.context.duty is not Duty.SERVE
            or self._crew.leader.mailbox  # it may be waiting for a thread that is done
        )
        self.returned.append(peer)
        # Whether it is still watched is looked at last: the leader mutes it first, and then looks for what is returned.
        if self._polling and (urgent or peer.mask != _EPOLLIN):
            self._polling = False
            self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _take_back(self, me: Member, peer: Peer, now: int) -> int:
        """A connection that another thread gives back, or whose turn has come again; as `_serve`."""
        exchange = peer.exchange
        if exchange is None:
            if peer.gone and peer.unparsed:
                self.clients.drop(peer)
                return now
            if peer.gone:
                self._drop_unanswered(peer, 0)
                return now
            return self._parse_on(me, peer, now) if peer.unparsed else self._serve(me, peer, now)
        self._count_outstanding(-1)
        if peer.took_ns > LONG_NS:
            self._note_long_call(peer.took_ns, now)
        if peer.waited_ns >= 0:
            record_wait(self.slot.cells, peer.waited_ns, 1)
            peer.waited_ns = -1
        if peer.owner is not None:
            self.clients.await_reader(peer, now)
            return now
        account(self.context, peer, exchange, peer.ended_ns - peer.started_ns)
        if self._next(peer, exchange, peer.ended_ns):
            return self._serve(me, peer, now)
        return now

    def _note_long_call(self, took_ns: int, now: int) -> None:
        """For whether requests are handed over, and how often the watcher looks."""
        self._pace.long_call(took_ns)
        self._crew.long_call_ns = now

    def _lost(self, peer: Peer) -> None:
        """Called by the watcher, which has taken the loop from the thread that runs `peer` and not yet given it on."""
        peer.hold = _HELD
        self._count_outstanding(1)
        self.slot.cells[scoreboard.TAKEN_OVER] += 1

    def _broken(self, error: BaseException) -> NoReturn:
        """Called by a thread that fails where nothing should: its connection, or the loop, would be lost for ever."""
        self.context.log.error("the worker itself failed\n" + "".join(traceback.format_exception(error)))
        self.context.leave_at_once(1)

    def _write(self, me: Member, peer: Peer, now: int) -> int:
        """The client reads again; as `_serve`."""
        peer.flush()
        if peer.gone:
            self.forsake(peer)
            return now
        if peer.out_bytes > LOW_WATER_BYTES:
            return now
        exchange = peer.exchange
        if exchange is None:  # a refusal
            if not peer.out_bytes:
                self.clients.part(peer, now)
            return now
        if peer.owner is None:
            if peer.out_bytes:
                return now
            if self._next(peer, exchange, now):
                return self._serve(me, peer, now)
            return now
        self.wake_owner(peer)
        return now

    def _resume(self, me: Member, peer: Peer, now: int) -> int:
        """Go on with a result that belongs to the thread that leads; as `_serve`."""
        self._count_outstanding(-1)
        if self.threads > 1 and not self._crew.watching:
            self._crew.watch()
        if self.threads == 1:
            peer.turn_ends_ns = self._turn_ends_ns
        self._show_again(me, peer)
        me.calls.append(peer)
        complete = self._go_on(peer)
        try:
            me.calls.pop()
        except IndexError:
            self._finish_elsewhere(me, peer, complete, 0)
            return 0
        self.slot.cells[me.cell + _T_STATE] = 0
        me.peer = None
        now = time.monotonic_ns()
        if not complete:
            self.clients.await_reader(peer, now)
            return now
        peer.owner = None
        exchange = peer.exchange
        assert exchange is not None
        account(self.context, peer, exchange, now - peer.started_ns)
        if self._next(peer, exchange, now):
            return self._serve(me, peer, now)
        return now

    def _may_resume(self) -> bool:
        return self._crew.may_resume(self._in_hand())

    def wake_owner(self, peer: Peer) -> None:
        """Have the thread that owns an unfinished result go on with it, or close it if the client is gone."""
        peer.hold = _HELD
        self._crew.post(peer)
        self._count_outstanding(1)

    def forsake(self, peer: Peer) -> None:
        """The client of a response that is under way has gone, or does not read."""
        peer.gone = True
        if peer.closed is Closed.CLIENT:
            peer.closed = Closed.ABORTED
        peer.discard()
        if peer.owner is None:
            self.context.count_aborted(peer.closed)
            self.clients.drop(peer)
        else:
            self.wake_owner(peer)  # close() of a result belongs to the thread that called the application

    def _left(self, peer: Peer) -> None:
        """The client of a request that another thread has, or that waits for one, is gone."""
        peer.gone = True  # for the thread that has it
        self.clients.arm(peer, _MUTED)
        if self._crew.withdraw(peer):
            self._count_outstanding(-1)
            self._drop_unanswered(peer, time.monotonic_ns() - peer.started_ns)

    def _drop_unanswered(self, peer: Peer, waited_ns: int) -> None:
        """The client is gone, and its request need not reach the application."""
        self.context.record_unanswered(peer, waited_ns)
        self.clients.drop(peer)

    def _other(self, fd: int, now: int) -> None:
        """Something that is no client's."""
        if fd == self._wake_fd:
            try:
                os.eventfd_read(fd)
            except BlockingIOError:
                pass
        elif fd in self._order_fds:
            self.orders.read()
            if self.orders.deaf:
                for gone in self._order_fds:
                    if gone not in self.orders.fds():
                        self.epoll.unregister(gone)
                self._order_fds = self.orders.fds()
        elif fd in self.clients.lingering:
            self.clients.lingering.read(fd)
        else:
            self._acceptor.accept(fd, now)

    def _check_alone(self, now: int) -> None:
        """On the monitor's thread, while the loop stands still."""
        self._check_running(now)
        running = self._crew.leader.peer
        others = {fd: peer.sock for fd, peer in list(self.peers.items()) if peer is not running}
        self._lone_saturation.look_at(self._acceptor.fds, others, now)

    def _check_running(self, now: int) -> None:
        check_running(self.context, self.orders, self._crew.members, now)

    def _ended(self, now: int) -> bool:
        """While the duty is not to serve: go on towards the end; True when it is reached."""
        context = self.context
        if context.duty is Duty.EMPTY:
            self._acceptor.empty(self.orders.emptying, now)
            context.duty = Duty.DRAIN
        self._acceptor.close()
        self._sweep.close_silent(now)
        return not (self.peers or self.outstanding or self.clients.lingering) or self.orders.expired(now)
