"""The connections of an epoll worker between requests: taking them in, refusing, waiting, closing.

Everything here belongs to whoever holds the loop. Nothing here calls the application.
"""

from __future__ import annotations

from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Closed

from ...engine.call import Disconnected
from ...http.errors import ProtocolError
from ...http.response import CONTINUE
from ...unpatched import select
from .. import children
from ..context import Context, refusal_closes
from .lingering import Lingering
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
        self.lingering = Lingering(self.epoll, context.settings)
        children.withhold("connections", lambda: (self.epoll.fileno(), *self.peers))

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
        """Close a connection at once: the client has gone, or has had everything and long been silent."""
        self.epoll.unregister(peer.sock.fileno())  # closing does not: the application may have forked a copy
        self._forget(peer)
        peer.sock.close()

    def _forget(self, peer: Peer) -> None:
        del self.peers[peer.sock.fileno()]
        peer.discard()
        peer.close()
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
        if peer.out_bytes:
            self.await_reader(peer, now)
        else:
            self.part(peer, now)

    def end(self, peer: Peer, now: int) -> None:
        """The last response is out."""
        asked = peer.head is not None and not peer.head.persistent
        if not asked and peer.closed is Closed.CLIENT:
            peer.closed = Closed.SERVER
        if peer.gone:
            self.drop(peer)
        else:
            self.part(peer, now)

    def part(self, peer: Peer, now: int) -> None:
        """Close in stages: nothing that the client sends must cost it what it has not got yet."""
        self.arm(peer, select.EPOLLIN)
        self._forget(peer)
        self.lingering.add(peer.sock, now)

    def part_from_silent(self, peer: Peer, now: int) -> None:
        """The same for one that has kept silent: it has had time to get everything, which the kernel knows."""
        if queued_bytes(peer.sock):
            self.part(peer, now)
        else:
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
