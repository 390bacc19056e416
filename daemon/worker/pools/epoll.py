"""The epoll pool: one loop for all connections, requests run inline while they are fast, by threads when they block.

The life of a request: readable → `recv` → parsed → application → `send`, three system calls with the next
`epoll_wait`. The thread that leads does all of that itself. It hands a request over before the call when the
application has been seen to block, and loses the loop to another thread when a call lasts (see `crew`); who finishes
elsewhere gives the connection back through `returned`. Counters are written by whoever leads.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from typing import NoReturn

from miniwsgi.metrics import scoreboard

from ...http.connection import State
from ...http.errors import ProtocolError
from ...http.response import CONTINUE
from ...wsgi.environ import request_environ
from ...wsgi.exchange import Disconnected, Exchange, Phase
from ..context import NANOSECONDS, Context, Duty
from ..monitor import Monitor
from ..orders import Orders
from ..timeouts import expire
from .acceptor import Acceptor
from .crew import Crew, Member
from .peer import LOW_WATER_BYTES, Hold, Peer
from .progress import queued_bytes
from .sweep import Sweep

RECEIVE_BYTES = 65536
IDLE_WAIT_SECONDS = 1.0  # the longest sleep of the loop: heartbeat, Date and timeouts want a turn
DRAIN_WAIT_SECONDS = 0.05  # the same while it drains
EVENTS = 256  # a turn
CHECK_NS = NANOSECONDS // 4  # between looks at what runs

# When to hand requests over before the call: the moving average of the time that the application is blocked.
_SLOW_NS = 500_000
_FAST_NS = 250_000
_WEIGHT = 1 / 64

_EPOLLIN, _EPOLLOUT, _EPOLLET = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET
_WATCHED, _HELD, _WRITING, _LINGERING = Hold
_IDLE = State.IDLE
_MUTED = _EPOLLET  # never 0: EPOLLHUP and EPOLLERR cannot be masked and would make the loop spin

_REQUESTS, _REUSED, _INLINE = scoreboard.REQUESTS, scoreboard.REUSED, scoreboard.INLINE
_S_SUM, _S_BUCKETS = scoreboard.S_SUM, scoreboard.S_BUCKETS
_T_STATE, _T_START, _T_TEXT = scoreboard.T_STATE, scoreboard.T_START, scoreboard.T_TEXT
_TEXT_BYTES = scoreboard.TEXT_BYTES


class EpollPool:
    """Serves until its duty is done. One instance a worker."""

    def __init__(self, context: Context, orders: Orders) -> None:
        settings = context.settings
        self.context = context
        self.orders = orders
        self.slot = context.slot
        self.threads = settings.threads
        self.epoll = select.epoll(EVENTS)
        self.peers: dict[int, Peer] = {}
        self.returned: deque[Peer] = deque()  # connections that other threads give back
        self.outstanding = 0  # requests that other threads have, or that wait for one
        self._polling = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._crew = Crew(self.slot, settings.threads, self._lead, self._work, self._lost, self._wake, self._broken)
        self._acceptor = Acceptor(self, context)
        self._sweep = Sweep(self, context)
        self._order_fds = orders.fds()
        self._next_second_ns = 0
        self._next_check_ns = 0
        self._slow = False  # requests are handed over before the call
        self._sample = False  # the next calls are measured
        self._blocked_ns = 0.0  # moving average of wall time minus CPU time of a call
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
            with Monitor(self.context, self.orders, self._check_running):
                self._lead(self._crew.members[0])

    # --- the loop ---

    def _lead(self, me: Member) -> bool:
        """Run the loop; True when the pool has ended, False when another thread has it now."""
        poll, peers, returned, mailbox = self.epoll.poll, self.peers, self.returned, me.mailbox
        cells = self.slot.cells
        timeout = 0.0
        while True:
            self._polling = True
            if returned or (mailbox and self._may_resume(me)):
                timeout = 0.0
            events = poll(timeout, EVENTS)
            self._polling = False
            now = time.monotonic_ns()
            cells[scoreboard.HEARTBEAT] = now
            while returned:
                now = self._take_back(me, returned.popleft(), now)
                if not now:
                    return False
            while mailbox and self._may_resume(me):
                now = self._resume(me, mailbox.popleft(), now)
                if not now:
                    return False
            for fd, _mask in events:
                peer = peers.get(fd)
                if peer is None:
                    if self._other(fd, now):
                        return False
                    continue
                hold = peer.hold
                if hold is _WATCHED:
                    try:
                        data = peer.sock.recv(RECEIVE_BYTES)
                    except BlockingIOError:
                        continue
                    except OSError:
                        peer.gone = True
                        self.drop(peer)
                        continue
                    if data:
                        try:
                            complete = peer.receive(data)
                        except (ProtocolError, OSError) as error:
                            self.refuse(peer, error, now)
                            continue
                        if complete:
                            now = self._serve(me, peer, now)
                            if not now:
                                return False
                        else:
                            self._incomplete(peer, now)
                    else:
                        self._end_of_input(peer, now)
                elif hold is _WRITING:
                    now = self._write(me, peer, now)
                    if not now:
                        return False
                elif hold is _HELD:
                    # Not before anything arrives for a held connection is it worth a system call to mute it.
                    self.arm(peer, _MUTED)
                else:
                    self._linger(peer)
            if now >= self._next_second_ns:
                self._next_second_ns = now + NANOSECONDS
                self.context.server_fields.refresh()
                self._sweep.every_second(now)
            if now >= self._next_check_ns:
                self._next_check_ns = now + CHECK_NS
                self._check_running(now)
            timeout = self._acceptor.timeout(now) or IDLE_WAIT_SECONDS
            if self.context.duty is not Duty.SERVE and self.context.duty is not Duty.CLOSING:
                timeout = min(timeout, DRAIN_WAIT_SECONDS)
                if self._ended(now):
                    if self.outstanding and me.number:
                        self.context.leave_at_once(0)  # the main thread may be inside one of these requests
                    return True

    def _serve(self, me: Member, peer: Peer, now: int) -> int:
        """Answer the complete request of `peer`, and those behind it; the time now, or 0 if the loop was lost."""
        context = self.context
        cells = self.slot.cells
        crew = self._crew
        limit = context.settings.in_flight
        while True:
            if limit and self.outstanding >= limit:
                peer.hold = _WATCHED
                self._answer_and_close(peer, context.refuse(peer, peer.base, 503, "in_flight"), now)
                return now
            if (self._slow or self.outstanding >= self.threads) and self.threads > 1:
                self._hand_over(peer, now)
                return now
            peer.started_ns = now
            exchange, environ = self._begin(me, peer, now)
            measured = self._sample
            if measured:
                cpu = time.thread_time_ns()
            if self.threads > 1:
                if not crew.watching:
                    crew.watch()
                me.calls.append(peer)
                complete = exchange.run(context.application, environ)
                try:
                    me.calls.pop()
                except IndexError:
                    blocked = time.monotonic_ns() - now - (time.thread_time_ns() - cpu) if measured else 1
                    self._finish_elsewhere(me, peer, complete, max(1, blocked))
                    return 0
            else:
                complete = exchange.run(context.application, environ)
            cells[me.cell + _T_STATE] = 0
            me.peer = None
            started, now = now, time.monotonic_ns()
            took = now - started
            if measured:
                self._judge(took - (time.thread_time_ns() - cpu))
            elif took > _SLOW_NS:
                self._judge(0)
            cells[_INLINE] += 1
            if not complete:
                peer.owner = me
                self._await_reader(peer, now)
                return now
            self._account(peer, exchange, took)
            if not self._next(peer, exchange, now):
                return now

    def _begin(self, me: Member, peer: Peer, now: int) -> tuple[Exchange, dict[str, object]]:
        """What precedes the call, on the thread that makes it."""
        context = self.context
        line, head = peer.line, peer.head
        assert line is not None
        assert head is not None
        environ = request_environ(peer, peer.base, context.settings.script_name, peer.proxy)
        exchange = Exchange(
            peer,
            line.method,
            head.http11,
            head.persistent and context.duty is Duty.SERVE,
            context.server_fields,
            context,
        )
        if head.http11:
            environ["wsgi.early_hints"] = exchange.early_hints
        peer.exchange = exchange
        peer.environ = environ
        me.peer = peer
        slot = self.slot
        cells, cell = slot.cells, me.cell
        text = line.text
        start = (cell + _T_TEXT) * 8
        slot.memory[start : start + len(text)] = text
        cells[cell + _T_START] = now
        cells[cell + _T_STATE] = 1
        return exchange, environ

    def _account(self, peer: Peer, exchange: Exchange, took: int) -> None:
        """Count an answered request; the loop's owner alone."""
        if exchange.phase is Phase.EXPIRED:
            return  # counted when it expired
        cells = self.slot.cells
        if peer.requests:
            cells[_REUSED] += 1
        peer.requests += 1
        self.context.record(peer, exchange, peer.environ, took)

    def _next(self, peer: Peer, exchange: Exchange, now: int) -> bool:
        """After a complete response: True when another complete request is already here."""
        if peer.out_bytes and not peer.gone:
            self._await_reader(peer, now)
            return False
        peer.exchange = None
        peer.environ = peer.base
        if peer.gone or not peer.finish(exchange.persistent):
            self._part(peer, now)
            return False
        peer.since_ns = now
        peer.hold = _WATCHED
        if peer.pending:
            try:
                if peer.advance():
                    return True
            except (ProtocolError, OSError) as error:
                self.refuse(peer, error, now)
                return False
            self._incomplete(peer, now)
        else:
            peer.stage = _IDLE
        if peer.mask != _EPOLLIN:
            self.arm(peer, _EPOLLIN)
        return False

    # --- requests that other threads run ---

    def _hand_over(self, peer: Peer, now: int) -> None:
        peer.hold = _HELD
        peer.started_ns = now
        self._count_outstanding(1)
        self.slot.cells[scoreboard.HANDED_OVER] += 1
        self._crew.give(peer)

    def _count_outstanding(self, change: int) -> None:
        self.outstanding = outstanding = self.outstanding + change
        cells = self.slot.cells
        cells[scoreboard.BUSY_THREADS] = min(outstanding, self.threads)
        cells[scoreboard.WAITING] = max(0, outstanding - self.threads)

    def _work(self, me: Member, peer: Peer) -> None:
        """Run one request, or go on with a result, away from the loop."""
        cpu = time.thread_time_ns()
        started = time.monotonic_ns()
        if peer.owner is None:
            exchange, environ = self._begin(me, peer, started)
            complete = exchange.run(self.context.application, environ)
        else:
            complete = self._go_on(me, peer)
        took = time.monotonic_ns() - started
        self._finish_elsewhere(me, peer, complete, max(1, took - (time.thread_time_ns() - cpu)))

    def _go_on(self, me: Member, peer: Peer) -> bool:
        """Pull more of a result, on the thread that called the application for it."""
        exchange, line = peer.exchange, peer.line
        assert exchange is not None
        assert line is not None
        me.peer = peer
        slot = self.slot
        start = (me.cell + _T_TEXT) * 8
        slot.memory[start : start + len(line.text)] = line.text
        slot.cells[me.cell + _T_START] = time.monotonic_ns()  # while its client was reading, it ran nothing
        slot.cells[me.cell + _T_STATE] = 1
        if peer.gone:
            exchange.abandon()
            return True
        return exchange.resume()

    def _finish_elsewhere(self, me: Member, peer: Peer, complete: bool, blocked_ns: int) -> None:
        """Give the connection back to the loop, which another thread has."""
        self.slot.cells[me.cell + _T_STATE] = 0
        me.peer = None
        peer.owner = None if complete else me
        peer.blocked_ns = blocked_ns
        self.returned.append(peer)
        if self._polling:
            self._polling = False
            self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _take_back(self, me: Member, peer: Peer, now: int) -> int:
        """A connection that another thread gives back; as `_serve`."""
        self._count_outstanding(-1)
        exchange = peer.exchange
        assert exchange is not None
        self._judge(peer.blocked_ns)
        if peer.owner is not None:
            self._await_reader(peer, now)
            return now
        self._account(peer, exchange, now - peer.started_ns)
        if self._next(peer, exchange, now):
            return self._serve(me, peer, now)
        return now

    def _judge(self, blocked_ns: int) -> None:
        """Learn from a call that took long, or was measured, whether requests should be handed over."""
        if not self._sample:  # long, but perhaps busy: measure the next ones
            self._sample = self.threads > 1
            self._blocked_ns = 0.0
            return
        self._blocked_ns += (max(0, blocked_ns) - self._blocked_ns) * _WEIGHT
        if self._blocked_ns > _SLOW_NS:
            self._slow = True
        elif self._blocked_ns < _FAST_NS:
            self._slow = False
            self._sample = self._blocked_ns > _FAST_NS / 16

    def _lost(self, peer: Peer) -> None:
        """Called by the watcher, which has taken the loop from the thread that runs `peer` and not yet given it on."""
        peer.hold = _HELD
        self._count_outstanding(1)
        self.slot.cells[scoreboard.TAKEN_OVER] += 1

    def _broken(self, error: BaseException) -> NoReturn:
        """Called by a thread that fails where nothing should: its connection, or the loop, would be lost for ever."""
        import traceback

        self.context.log.error("the worker itself failed\n" + "".join(traceback.format_exception(error)))
        self.context.leave_at_once(1)

    # --- everything but requests ---

    def arm(self, peer: Peer, mask: int) -> None:
        """Which events of a connection are wanted; the loop's owner alone."""
        if peer.mask != mask:
            peer.mask = mask
            self.epoll.modify(peer.sock.fileno(), mask)

    def admit(self, peer: Peer) -> None:
        """A new connection."""
        fd = peer.sock.fileno()
        self.peers[fd] = peer
        self.epoll.register(fd, _EPOLLIN)
        self.slot.cells[scoreboard.ACCEPTED] += 1
        self.slot.cells[scoreboard.CONNECTIONS] = len(self.peers)

    def drop(self, peer: Peer) -> None:
        """Close a connection that nobody holds."""
        fd = peer.sock.fileno()
        del self.peers[fd]
        self.epoll.unregister(fd)  # closing does not, while a process that the application has forked has a copy
        peer.discard()
        peer.close()
        peer.sock.close()
        self.slot.cells[scoreboard.CLOSED] += 1
        self.slot.cells[scoreboard.CONNECTIONS] = len(self.peers)

    def refuse(self, peer: Peer, error: ProtocolError | OSError, now: int) -> None:
        """A request that is none."""
        self._answer_and_close(peer, self.context.refuse_error(peer, peer.base, error), now)

    def _answer_and_close(self, peer: Peer, answer: bytes, now: int) -> None:
        try:
            peer.send(answer)
        except Disconnected:
            self.drop(peer)
            return
        peer.close()
        self._part_slowly(peer, now)

    def _part(self, peer: Peer, now: int) -> None:
        """The last response is out. What a client that knew nothing of this sends must not make the close a reset."""
        if peer.gone or (not peer.pending and peer.head is not None and not peer.head.persistent):
            self.drop(peer)
        else:
            self._part_slowly(peer, now)

    def _part_slowly(self, peer: Peer, now: int) -> None:
        """Shut down for writing and wait a little for the client's end (RFC 9112 section 9.6)."""
        try:
            peer.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(peer)
            return
        peer.hold = _LINGERING
        peer.since_ns = now
        self.arm(peer, _EPOLLIN)

    def _linger(self, peer: Peer) -> None:
        try:
            if peer.sock.recv(RECEIVE_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.drop(peer)

    def _incomplete(self, peer: Peer, now: int) -> None:
        """Bytes, but no whole request yet: the head's and the body's time counts from the first."""
        if peer.stage is not peer.state:
            peer.stage = peer.state
            peer.since_ns = now
            peer.progress = 0
        if peer.wants_continue:
            peer.wants_continue = False
            try:
                peer.send(CONTINUE)
            except Disconnected:
                self.drop(peer)

    def _end_of_input(self, peer: Peer, now: int) -> None:
        """The client sends no more."""
        try:
            peer.end_of_input()
        except ProtocolError as error:
            self.refuse(peer, error, now)
        else:
            self.drop(peer)

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
            self.drop(peer)
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
        me.calls.append(peer)
        complete = self._go_on(me, peer)
        try:
            me.calls.pop()
        except IndexError:
            self._finish_elsewhere(me, peer, complete, 1)
            return 0
        self.slot.cells[me.cell + _T_STATE] = 0
        me.peer = None
        now = time.monotonic_ns()
        if not complete:
            self._await_reader(peer, now)
            return now
        peer.owner = None
        exchange = peer.exchange
        assert exchange is not None
        self._account(peer, exchange, now - peer.started_ns)
        if self._next(peer, exchange, now):
            return self._serve(me, peer, now)
        return now

    def _may_resume(self, me: Member) -> bool:
        """Whether the leader may go on with results of its own: not if nobody is left to take the loop from it."""
        if self.outstanding - len(me.mailbox) < self.threads or self._crew.has_spare:
            return True
        self._crew.seek_relief()
        return False

    def wake_owner(self, peer: Peer) -> None:
        """Have the thread that owns an unfinished result go on with it, or close it if the client is gone."""
        peer.hold = _HELD
        self._count_outstanding(1)
        self._crew.post(peer)

    def _await_reader(self, peer: Peer, now: int) -> None:
        """Bytes wait for the client to read."""
        peer.hold = _WRITING
        peer.since_ns = now
        peer.progress = queued_bytes(peer.sock)
        self.arm(peer, _EPOLLOUT)

    def forsake(self, peer: Peer) -> None:
        """The client of a response that is under way has gone, or does not read."""
        peer.gone = True
        peer.discard()
        if peer.owner is None:
            self.slot.cells[scoreboard.ABORTED] += 1
            self.drop(peer)
        else:
            self.wake_owner(peer)  # close() of a result belongs to the thread that called the application

    def _other(self, fd: int, now: int) -> bool:
        """Something that is no client's; True: another thread leads from here on."""
        if fd == self._wake_fd:
            try:
                os.eventfd_read(fd)
            except BlockingIOError:
                pass
            return self._crew.stand_up()
        if fd in self._order_fds:
            self.orders.read()
            if self.orders.deaf:
                for gone in self._order_fds:
                    if gone not in self.orders.fds():
                        self.epoll.unregister(gone)
                self._order_fds = self.orders.fds()
        else:
            self._acceptor.accept(fd, now)
        return False

    def _check_running(self, now: int) -> None:
        """Answer for requests that exceed `request_timeout`."""
        limit = self.context.settings.request_timeout
        if not limit:
            return
        cells = self.slot.cells
        for member in self._crew.members:
            peer = member.peer
            exchange = peer.exchange if peer is not None else None  # before its state and start: see `_begin`
            if peer is None or exchange is None or not cells[member.cell + _T_STATE]:
                continue
            if now - cells[member.cell + _T_START] > limit * NANOSECONDS:
                expire(self.context, self.orders, peer, exchange, peer.environ, member.number, now)

    def _ended(self, now: int) -> bool:
        """While the duty is not to serve: go on towards the end; True when it is reached."""
        context = self.context
        if context.duty is Duty.EMPTY:
            self._acceptor.empty(self.orders.emptying, now)
            context.duty = Duty.DRAIN
        self._acceptor.close()
        self._sweep.close_silent(now)
        return not (self.peers or self.outstanding) or self.orders.expired(now)
