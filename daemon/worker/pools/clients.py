"""The connections of an epoll worker between requests: taking them in, refusing, waiting, parting.

Everything here belongs to whoever holds the loop. Nothing here calls the application.
"""

from __future__ import annotations

from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Closed

from ...http.errors import ProtocolError
from ...http.response import CONTINUE
from ...unpatched import select, socket
from ...wsgi.exchange import Disconnected
from ..context import Context, refusal_closes
from .peer import Hold, Peer
from .progress import queued_bytes

RECEIVE_BYTES = 65536
EVENTS = 256  # a turn


class Clients:
    """All connections of the worker, by descriptor, and the epoll that watches them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._cells = context.slot.cells
        self.epoll = select.epoll(EVENTS)
        self.peers: dict[int, Peer] = {}

    def __repr__(self) -> str:
        return f"<Clients {len(self.peers)}>"

    def arm(self, peer: Peer, mask: int) -> None:
        """Which events of a connection are wanted; the loop's owner alone."""
        if peer.mask != mask:
            peer.mask = mask
            self.epoll.modify(peer.sock.fileno(), mask)

    def admit(self, peer: Peer) -> None:
        """A new connection."""
        fd = peer.sock.fileno()
        self.peers[fd] = peer
        self.epoll.register(fd, select.EPOLLIN)
        self._cells[scoreboard.ACCEPTED] += 1
        self._cells[scoreboard.CONNECTIONS] = len(self.peers)

    def drop(self, peer: Peer) -> None:
        """Close a connection that nobody holds."""
        fd = peer.sock.fileno()
        del self.peers[fd]
        self.epoll.unregister(fd)  # closing does not, while a process that the application has forked has a copy
        peer.discard()
        peer.close()
        peer.sock.close()
        scoreboard.count_closed(self._cells, peer.closed)
        self._cells[scoreboard.CONNECTIONS] = len(self.peers)

    def refuse(self, peer: Peer, error: ProtocolError | OSError, now: int) -> None:
        """A request that is none."""
        peer.closed = refusal_closes(error)
        self.answer_and_close(peer, self._context.refuse_error(peer, peer.base, error), now)

    def answer_and_close(self, peer: Peer, answer: bytes, now: int) -> None:
        try:
            peer.send(answer)
        except Disconnected:
            self.drop(peer)
            return
        peer.close()
        self.part_slowly(peer, now)

    def part(self, peer: Peer, now: int) -> None:
        """The last response is out. What a client that knew nothing of this sends must not make the close a reset."""
        asked = peer.head is not None and not peer.head.persistent
        if not asked and peer.closed is Closed.CLIENT:
            peer.closed = Closed.SERVER
        if peer.gone or (asked and not peer.pending):
            self.drop(peer)
        else:
            self.part_slowly(peer, now)

    def part_slowly(self, peer: Peer, now: int) -> None:
        """Shut down for writing and wait a little for the client's end (RFC 9112 section 9.6)."""
        try:
            peer.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(peer)
            return
        peer.hold = Hold.LINGERING
        peer.since_ns = now
        self.arm(peer, select.EPOLLIN)

    def linger(self, peer: Peer) -> None:
        try:
            if peer.sock.recv(RECEIVE_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.drop(peer)

    def incomplete(self, peer: Peer, now: int) -> None:
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

    def end_of_input(self, peer: Peer, now: int) -> None:
        """The client sends no more."""
        try:
            peer.end_of_input()
        except ProtocolError as error:
            self.refuse(peer, error, now)
        else:
            self.drop(peer)

    def await_reader(self, peer: Peer, now: int) -> None:
        """Bytes wait for the client to read."""
        peer.hold = Hold.WRITING
        peer.since_ns = now
        peer.progress = queued_bytes(peer.sock)
        self.arm(peer, select.EPOLLOUT)
