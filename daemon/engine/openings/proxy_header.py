"""The PROXY header at the beginning of a connection: read without a byte of what follows, and what it changes.

Only peers in proxy.trusted may send it, and they have to: who could leave it out could be anybody. From there on the
client is who the header says, for everything: REMOTE_ADDR, the logs, and whether X-Forwarded-For and its kin are
believed. A proxy that forwards bytes passes on those fields as the client has sent them, so it is the client itself
that must be trusted, and one whom the header does not name is not.

A level-triggered poller tells again of what is only looked at (MSG_PEEK). So what must belong to the header is taken
at once, and only the rest of the line of version 1, whose end is not known, is looked at before.
"""

from __future__ import annotations

from miniwsgi.metrics.scoreboard import Closed

from ...unpatched import Socket, socket
from .opening import ClientLeft, Opening, Opens, TurnedAway
from .proxy_protocol import (
    FIXED_BYTES,
    LINE_BYTES,
    SIGNATURE,
    HeaderError,
    Transport,
    parse_binary,
    parse_line,
    rest_of_binary,
)
from .proxy_variables import variables

_KIND = "proxy-header"
_LINE_BEGINS = b"PROXY "
_MISSING = "it does not begin with a PROXY header; is the proxy told to send one, and does nobody else get here?"


class ProxyHeader:
    """See `opening.Step`."""

    __slots__ = ("_header", "_is_known", "limit_ns")

    late = "its PROXY header did not come in time; the limit is timeouts.head"

    def __init__(self, limit_ns: int) -> None:
        self.limit_ns = limit_ns
        self._header = b""  # as far as it has come
        self._is_known = False  # who sends it is in proxy.trusted

    def __repr__(self) -> str:
        return f"<ProxyHeader {self._header!r}>"

    def advance(self, opening: Opening, _now: int) -> Opens:
        if not self._is_known:
            if not opening.trusts_peer():
                raise TurnedAway("proxy-peer", "its peer is not in proxy.trusted, and proxy_protocol is on there")
            self._is_known = True
        try:
            while wanted := self._wanted(opening.sock):
                self._header += self._came(opening.sock.recv(wanted))
            return self._take_up(opening)
        except BlockingIOError:
            return Opens.READ
        except HeaderError as error:
            raise TurnedAway(_KIND, f"{error} ({error.section})") from None

    def end(self, _opening: Opening, _why: Closed) -> None:
        pass

    def _wanted(self, sock: Socket) -> int:
        """How many bytes may be taken that belong to the header, or to what is none anyway; 0: it is whole.

        Raises HeaderError, TurnedAway, ClientLeft, OSError.
        """
        header = self._header
        if header.startswith(SIGNATURE[:1]):
            if not SIGNATURE.startswith(header[: len(SIGNATURE)]):
                raise TurnedAway(_KIND, _MISSING)
            known = FIXED_BYTES if len(header) < FIXED_BYTES else FIXED_BYTES + rest_of_binary(header)
            return known - len(header)
        if header.endswith(b"\n"):
            return 0
        room = LINE_BYTES - len(header)
        if not room:
            raise HeaderError("its PROXY line is too long", "PROXY protocol section 2.1")
        ahead = self._came(sock.recv(room, socket.MSG_PEEK))
        if not header and ahead.startswith(SIGNATURE[:1]):
            return FIXED_BYTES
        if not _LINE_BEGINS.startswith((header + ahead)[: len(_LINE_BEGINS)]):
            raise TurnedAway(_KIND, _MISSING)
        end = ahead.find(b"\n")
        return end + 1 if end >= 0 else len(ahead)

    def _came(self, data: bytes) -> bytes:
        if data:
            return data
        if self._header:
            raise TurnedAway(_KIND, "it ended within its PROXY header")
        raise ClientLeft  # a probe of the port

    def _take_up(self, opening: Opening) -> Opens:
        """Raises HeaderError."""
        header = parse_line(self._header) if self._header.startswith(_LINE_BEGINS) else parse_binary(self._header)
        if header.transport not in {Transport.LOCAL, Transport.UNKNOWN}:
            opening.environ["REMOTE_ADDR"] = header.source.host
            opening.environ["REMOTE_PORT"] = header.source.port
        opening.environ.update(variables(header, ssl=opening.listener.tls is None))
        return Opens.READY
