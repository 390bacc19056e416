"""The TLS handshake at the beginning of a connection: from a bare socket to one that behaves like it (`tls.stream`).

Nothing is made for a client before its first bytes are here: one that connects and keeps silent costs a descriptor,
as without TLS. What handshakes that have begun may hold is bounded: the oldest gives way to a new one, so that whoever
begins many and ends none shuts nobody out. A step of a handshake takes a thread 0.1 to 1 ms, and is done by the owner
of the loop itself: a loop bounds how many of them come in a row.
"""

from __future__ import annotations

from typing import cast

from miniwsgi.metrics.scoreboard import Closed, Handshake

from ...settings import Settings
from ...tls.contexts import ServerContext
from ...tls.stream import HandshakeFailed, TLSStream
from ...tls.variables import tls_variables
from ...unpatched import Socket, socket
from ..https_policy import HSTS
from .opening import ClientLeft, Opening, Opens, TurnedAway

NANOSECONDS = 1_000_000_000
MOST_BEGUN = 512  # handshakes of one worker that have begun: some 50 KiB each
RECEIVE_BYTES = 65536
_HANDSHAKE = 0x16  # the type of its records (RFC 8446 section 5.1)

_PLAIN_TEXT = b"This port speaks HTTPS: ask for https:// instead.\n"
_PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_PLAIN_TEXT), _PLAIN_TEXT)
)


class Begun:
    """The handshakes of one worker that have begun, the oldest first."""

    def __init__(self) -> None:
        self._openings: dict[Opening, None] = {}

    def __repr__(self) -> str:
        return f"<Begun {len(self._openings)}>"

    def add(self, opening: Opening) -> None:
        """One more; the oldest may have to give way."""
        if len(self._openings) >= MOST_BEGUN:
            oldest = next(iter(self._openings))
            del self._openings[oldest]
            try:
                oldest.sock.shutdown(socket.SHUT_RDWR)  # its poller will tell of it
            except OSError:
                pass
        self._openings[opening] = None

    def remove(self, opening: Opening) -> bool:
        """It is over; False: it has had to give way."""
        return self._openings.pop(opening, opening) is None


class HandshakeStep:
    """See `opening.Step`."""

    __slots__ = ("_begun", "_context", "_result", "_stream", "_watched", "limit_ns")

    late = "its TLS handshake did not come to an end in time; the limit is timeouts.handshake"

    def __init__(self, context: ServerContext, begun: Begun, settings: Settings) -> None:
        self.limit_ns = int(settings.handshake_timeout * NANOSECONDS)
        self._context = context
        self._begun = begun
        self._stream: TLSStream | None = None
        self._watched = False
        self._result = Handshake.REFUSED  # if it is turned away

    def __repr__(self) -> str:
        return f"<HandshakeStep {self._stream}>"

    def advance(self, opening: Opening, _now: int) -> Opens:
        if not self._watched:  # a new client's first bytes are hardly here, and if so it has to wait for its turn
            self._watched = True
            return Opens.READ
        try:
            opens = self._advance(opening)
        except BlockingIOError:
            return Opens.READ if self._stream is None or not self._stream.unsent else Opens.WRITE
        except HandshakeFailed as failed:
            raise TurnedAway(f"handshake-{failed.reason}", f"its TLS handshake failed: {failed}") from None
        if opens is Opens.READY:
            self._begun.remove(opening)
            resumed = opening.environ["SSL_SESSION_RESUMED"] == "Resumed"
            opening.account.shaken_hands(Handshake.RESUMED if resumed else Handshake.COMPLETE)
        return opens

    def _advance(self, opening: Opening) -> Opens:
        stream = self._stream
        if stream is not None:
            stream.flush()
        data = opening.sock.recv(RECEIVE_BYTES)
        if not data:
            raise ClientLeft
        if stream is None:
            if data[0] != _HANDSHAKE:
                self._turn_away(opening, data)
            self._begun.add(opening)
            stream = self._stream = TLSStream(opening.sock, self._context)
        if not stream.handshake(data):
            return Opens.WRITE if stream.unsent else Opens.READ
        opening.sock = cast("Socket", stream)
        opening.environ.update(tls_variables(stream.session))
        if opening.listener.tls is not None and opening.listener.tls.hsts:
            opening.environ[HSTS] = opening.listener.tls.hsts
        opening.make = opening.make.streamed()
        return Opens.READY

    def _turn_away(self, opening: Opening, data: bytes) -> None:
        """Who does not speak TLS, but perhaps HTTP, where a method comes first."""
        if not data[:1].isalpha():
            raise TurnedAway("handshake-none", "it does not begin with a TLS handshake")
        self._result = Handshake.PLAIN
        try:
            opening.sock.send(_PLAIN_ANSWER)
            opening.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        raise TurnedAway("handshake-plain", "it speaks plain HTTP, and https:// is spoken there: answered with 400")

    def end(self, opening: Opening, why: Closed) -> None:
        has_begun = self._stream is not None
        had_to_give_way = has_begun and not self._begun.remove(opening)
        if why is Closed.OPENING:
            opening.account.shaken_hands(self._result)
        elif why is Closed.TIMEOUT or had_to_give_way:
            opening.account.shaken_hands(Handshake.TIMEOUT)
        elif has_begun:
            opening.account.shaken_hands(Handshake.LEFT)
