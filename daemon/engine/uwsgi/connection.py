"""One connection of uwsgi without its socket: bytes in, one complete request out.

The states are HTTP's (`http.connection.STATES`), but for the empty line, and each answer is the last: nginx ends the
connection behind it. What is sent behind a request is none.
"""

from __future__ import annotations

from typing import Final

from ...http.body import Sized, Spool
from ...http.connection import Connection, Parsing
from ...http.errors import ProtocolError
from .packet import HEADER_BYTES, PROTOCOL, block_bytes, read_variables
from .request import read_request

_IDLE, _HEAD, _BODY, _ANSWERING, _CLOSED = Parsing
_OF_HEAD: Final = {_IDLE, _HEAD}


class UwsgiConnection(Connection):
    """As `http.connection.Connection`, whose fields it has."""

    __slots__ = ("stranger",)

    stranger: str  # whose peer must not speak uwsgi: its address; "" for all others

    def receive(self, data: bytes) -> bool:
        """Take bytes from the client; True when the request is complete. Raises ProtocolError."""
        if self.state in _OF_HEAD:
            return self._parse_packet(self.pending + data)
        if self.state is _BODY:
            return self._parse_body(data)
        if self.state is _ANSWERING:
            self.pending = data  # that there is something is all that is to be known
        return False

    def advance(self) -> bool:
        """There is nothing left unparsed, and no second request."""
        return False

    def end_of_input(self) -> None:
        """The client sends no more. Raises ProtocolError (400) if a request is cut off by that."""
        if self.state in {_HEAD, _BODY}:
            self._fail()
            raise ProtocolError(400, "the packet, or the body behind it, ends before its end", PROTOCOL)

    def _parse_packet(self, data: bytes) -> bool:
        try:
            if self.stranger:
                detail = f"{self.stranger} is not in proxy.trusted, and uwsgi says who the client is"
                raise ProtocolError(403, detail, "RFC 9110 section 15.5.4")
            if len(data) < HEADER_BYTES:
                self.pending, self.state = data, _HEAD
                return False
            end = HEADER_BYTES + block_bytes(data[:HEADER_BYTES], self.limits)
            if len(data) < end:
                self.pending, self.state = data, _HEAD
                return False
            variables = read_variables(data[HEADER_BYTES:end], self.limits)
            self.asked_head = variables.get("REQUEST_METHOD") == "HEAD"  # should it be refused
            self.line, head = read_request(variables, self.base, self.limits, self.known)
        except ProtocolError:
            self._fail()
            raise
        self.head = head
        rest = data[end:]
        if not head.length:
            self.pending = rest
            self.state = _ANSWERING
            return True
        self.pending = b""
        self.state = _BODY
        self.received = 0
        spool = self.body = Spool(self.body_memory_bytes, self.spool_directory)
        self._body_reader = Sized(spool, head.length)
        return self._parse_body(rest) if rest else False
