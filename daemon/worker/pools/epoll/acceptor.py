"""How the epoll pool takes connections: a few a turn, and none while it has more than its share.

Listeners are level-triggered in every worker. A worker with two connections more than the least loaded ready one takes
its listeners out of its epoll and looks again 2 ms later: so a worker whose interpreter is busy swallows no wake-ups
while others are idle.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import Any

from miniwsgi.metrics.scoreboard import CONNECTIONS

from ....engine.account import ThreadAccount
from ....engine.contract import Conversation, Turn
from ....engine.listening_socket import ListeningSocket
from ....engine.progress import input_waits
from ....unpatched import select
from ... import children
from ...balance import Balance, accept_again_seconds
from ...context import Context
from .clients import Clients

MOST = 16  # connections of one listener in a turn
MAX_EMPTYING = 65536  # connections accepted at most while a queue is emptied

Newcomer = Callable[[Any, Conversation, int], int]  # serves one that is among the clients; as `contract.GoOn`


class Acceptor:
    """The listening side of one pool; all methods belong to the owner of the loop."""

    def __init__(self, clients: Clients, context: Context, turn: Turn, newcomer: Newcomer) -> None:
        self._clients = clients
        self._turn = turn
        self._newcomer = newcomer
        self._context = context
        self._sockets = {listener.fd: ListeningSocket(listener) for listener in context.settings.listeners}
        self._begin = {
            fd: partial(context.begin_of(listening.listener).accept, context.site, listening)
            for fd, listening in self._sockets.items()
        }
        self._doors = {
            fd: door
            for fd, listening in self._sockets.items()
            if fd not in context.openers and context.begin_of(listening.listener) is context.engine.begin
            and (door := turn.door(context.site, listening)) is not None
        }  # fmt: skip
        self._most = 1  # of this turn
        self._lone_turns = 0  # so many more take one only …
        self._next_lone_turns = 0  # … and so many will, when a second one is looked for in vain again
        self._watched = False
        self._again_ns = 0  # when to look again, while listeners are not watched
        self._balance = Balance(context)
        self._cells = context.slot.cells
        self._surplus: list[None] = []  # one for each connection that is to end with an answer; threads pop them
        children.withhold("listeners", lambda: self._sockets)

    def __contains__(self, fd: int) -> bool:
        return fd in self._sockets

    @property
    def fds(self) -> list[int]:
        """The listeners, for whatever thread."""
        return list(self._sockets)

    def open(self) -> None:
        """Begin to accept."""
        for fd in self._sockets:
            self._clients.epoll.register(fd, select.EPOLLIN)
        self._watched = True

    def close(self) -> None:
        """Accept nothing more from here on; other processes may go on with the same sockets."""
        if self._watched:
            self._unwatch()
        for sock in self._sockets.values():
            sock.close()
        self._sockets = {}
        self._begin = {}
        self._doors = {}

    def timeout(self, now: int) -> float:
        """Seconds until the pool should come back to look again; 0 if listeners are watched."""
        if self._watched or not self._sockets:
            return 0.0
        if now < self._again_ns:
            return (self._again_ns - now) / 1e9
        wait = self._balance.wait(self._cells[CONNECTIONS])
        if wait:
            self._again_ns = now + int(wait * 1e9)
            return wait
        for fd in self._sockets:
            self._clients.epoll.register(fd, select.EPOLLIN)
        self._watched = True
        return 0.0

    def keep_nonblocking(self) -> None:
        """See that no accept waits for a client. To be called once a second.

        Whether it does is a property of the listener (O_NONBLOCK, open(2)), which processes of the application may have
        got from elsewhere and changed; it would hold the loop, and the interpreter, until somebody connects.
        """
        for sock in self._sockets.values():
            sock.setblocking(False)

    def look(self) -> None:
        """See whether connections should go to workers that have fewer. To be called some ten times a second."""
        surplus = self._surplus = [None] * self._balance.surplus(self._cells[CONNECTIONS])
        self._context.site.parts = self._parts if surplus else None

    def accept(self, me: ThreadAccount, fd: int, now: int) -> int:
        """Take connections from a readable listener, each only when the one before is served; as `contract.Door`.

        Twice as many as in its last turn if all of those were there, else one: to look in vain costs as much as a
        request. Where clients come one by one a second one is looked for ever less often.
        """
        turn, door = self._turn, self._doors.get(fd)
        for taken in range(self._most):
            if not self._watched or fd not in self._sockets:
                return now  # an event of this very turn
            wait = self._balance.wait(self._cells[CONNECTIONS])
            if not wait:
                then = self._pass(me, fd, now) if door is None or not turn.inline else door(me, now)
                if then >= 0:
                    now = then
                    if not now or now > turn.ends_ns:
                        return now
                    continue
                wait = accept_again_seconds(-then, self._context.log)
                if taken == 1:
                    self._lone_turns = self._next_lone_turns
                    self._next_lone_turns = min(MOST, 2 * self._next_lone_turns or 1)
            self._most = 1
            if wait:
                self._unwatch()
                self._again_ns = now + int(wait * 1e9)
            return now
        if self._most > 1:
            self._next_lone_turns = 0
        if self._lone_turns:
            self._lone_turns -= 1
        else:
            self._most = min(MOST, 2 * self._most)
        return now

    def empty(self, fds: frozenset[int], now: int) -> None:
        """Take all that the kernel has queued for these listeners: whoever was let in is answered."""
        for fd in fds & self._sockets.keys():
            for _ in range(MAX_EMPTYING):
                try:
                    conversation = self._take(fd, now)
                    if conversation is not None:
                        self._clients.arm(conversation, select.EPOLLIN)
                except OSError as error:
                    if accept_again_seconds(error.errno, self._context.log) or error.errno == errno.EAGAIN:
                        break  # else that client has gone, and others wait behind it

    def _pass(self, me: ThreadAccount, fd: int, now: int) -> int:
        """What a door does, in the pool's own steps."""
        try:
            conversation = self._take(fd, now)
        except OSError as error:
            return -(error.errno or errno.EIO)
        return now if conversation is None else self._newcomer(me, conversation, now)

    def _take(self, fd: int, now: int) -> Conversation | None:
        """Accept one connection. Raises OSError, also if there is none."""
        conversation = self._begin[fd](now)
        self._clients.admit(conversation)
        return conversation

    def _parts(self, conversation: Conversation) -> bool:
        """Whether this answer is the connection's last, for its client to find a worker that has fewer.

        Not the first one, and none behind which the client has sent more: that would be lost. On any thread.
        """
        if not conversation.requests or conversation.ahead or input_waits(conversation.sock):
            return False
        try:
            self._surplus.pop()
        except IndexError:
            return False  # another thread was faster
        return True

    def _unwatch(self) -> None:
        for fd in self._sockets:
            self._clients.epoll.unregister(fd)
        self._watched = False


class OpeningAcceptor(Acceptor):
    """Of a worker with listeners whose clients have to send something before their first request."""

    def _take(self, fd: int, now: int) -> Conversation | None:
        """As there; None: it is not that far."""
        openings = self._clients.openings
        if fd not in openings.openers:
            return super()._take(fd, now)
        opening = openings.admit(fd, *self._sockets[fd].accept(), now)
        return self._clients.begin(opening, now) if opening is not None else None


def acceptor_of(clients: Clients, context: Context, turn: Turn, newcomer: Newcomer) -> Acceptor:
    """What a pool accepts with."""
    return (OpeningAcceptor if context.openers else Acceptor)(clients, context, turn, newcomer)
