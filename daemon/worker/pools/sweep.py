"""What the epoll pool does about time: once a second over all connections, and more often while it drains.

Each state has its limit: silence between requests, a head or a body that does not come, a client that does not read, a
goodbye that is not answered. Minimum progress is measured over windows of the timeout's own length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miniwsgi.metrics.scoreboard import Closed

from ...http.connection import State
from ...http.errors import body_too_slow, head_too_late
from ..context import NANOSECONDS, Context
from ..recycling import Recycling
from .peer import Hold, Peer
from .progress import input_waits, queued_bytes

if TYPE_CHECKING:
    from .epoll import EpollPool

FORGET_NS = 1 * NANOSECONDS  # after this time of silence what made the next request faster is dropped


class Sweep:
    """All methods belong to whoever has the loop."""

    def __init__(self, pool: EpollPool, context: Context) -> None:
        settings = context.settings
        self._pool = pool
        self._clients = pool.clients
        self._context = context
        self._keep_alive_ns = int(settings.keep_alive_timeout * NANOSECONDS)
        self._head_ns = int(settings.head_timeout * NANOSECONDS)
        self._body_ns = int(settings.body_timeout * NANOSECONDS)
        self._send_ns = int(settings.send_timeout * NANOSECONDS)
        self._recycling = Recycling(context)
        self._draining_since_ns = 0

    def every_second(self, now: int) -> None:
        """Timeouts of connections, and whether the worker has lived long enough."""
        for peer in list(self._clients.peers.values()):
            hold = peer.hold
            if hold is Hold.WATCHED:
                self._waiting(peer, now)
            elif hold is Hold.WRITING:
                self._writing(peer, now)
        self._clients.lingering.look(now)
        self._context.tidy()
        self._recycling.look(self._pool.orders, now)
        self._pool.orders.keep_signals()

    def close_silent(self, now: int) -> None:
        """While draining: close the connections that have kept silent for `drain_idle` since it began."""
        if not self._draining_since_ns:
            self._draining_since_ns = now
        patience = int(self._context.settings.drain_idle * NANOSECONDS)
        if now - self._draining_since_ns < patience:
            return
        for peer in list(self._clients.peers.values()):
            if (
                peer.hold is Hold.WATCHED
                and peer.state is State.IDLE
                and now - peer.since_ns >= patience
                and not input_waits(peer.sock)
            ):
                peer.closed = Closed.SERVER
                self._clients.part_from_silent(peer, now)

    def _waiting(self, peer: Peer, now: int) -> None:
        state = peer.state
        waited = now - peer.since_ns
        if state is State.IDLE:
            if waited > (self._keep_alive_ns if peer.requests else self._head_ns):
                if not input_waits(peer.sock):
                    peer.closed = Closed.IDLE if peer.requests else Closed.TIMEOUT
                    self._clients.part_from_silent(peer, now)
            elif waited > FORGET_NS and peer.head is not None:
                peer.forget()
        elif state is State.HEAD:
            if waited > self._head_ns and not input_waits(peer.sock):
                self._clients.refuse(peer, head_too_late(), now)
        elif state is State.BODY and waited > self._body_ns and not input_waits(peer.sock):
            if peer.received - peer.progress < self._context.settings.minimum_rate * waited / NANOSECONDS:
                self._clients.refuse(peer, body_too_slow(), now)
            else:
                peer.since_ns = now
                peer.progress = peer.received

    def _writing(self, peer: Peer, now: int) -> None:
        waited = now - peer.since_ns
        if waited <= self._send_ns:
            return
        queued = queued_bytes(peer.sock)
        if peer.progress - queued >= self._context.settings.minimum_rate * waited / NANOSECONDS:
            peer.since_ns = now
            peer.progress = queued
            return
        what = "a client does not read its response: closed; the limit is timeouts.minimum_rate"
        self._context.log.limited("not-read", "warning", what)
        peer.closed = Closed.TIMEOUT
        self._pool.forsake(peer)
