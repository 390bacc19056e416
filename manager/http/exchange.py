"""A request and its answer, between the server that speaks HTTP and what it serves: plain data, no sockets.

A `HttpRefusal` may be raised wherever a request is worked on; whoever serves decides what an error looks like.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

import msgspec

RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}  # by RFC 9110; Python 3.11 has the old names


class PeerCredentials(msgspec.Struct, frozen=True):
    """Who is at the other end of a Unix socket, by the kernel's word (SO_PEERCRED, SO_PEERGROUPS: unix(7), socket(7)).

    As it was when the peer called connect(2). `groups` is None where the kernel does not tell.
    """

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...] | None = None


class Ends(msgspec.Struct, frozen=True):
    """The two addresses of a TCP connection, without ports. IPv4 over an IPv6 socket is IPv4."""

    client: IPv4Address | IPv6Address
    server: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request. `fields` are keyed as in CGI: HTTP_ACCEPT, CONTENT_TYPE."""

    method: str
    path: str  # percent-decoded
    query: str  # as it came
    fields: Mapping[str, str]
    body: bytes = field(repr=False)
    peer: PeerCredentials | None = None  # None on TCP
    ends: Ends | None = None  # None on a Unix socket


@dataclass(frozen=True, slots=True)
class Answer:
    """A response with its whole body."""

    status: int
    body: bytes = field(repr=False, default=b"")
    content_type: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    close: bool = False  # end the connection after it


@dataclass(frozen=True, slots=True)
class Stream:
    """A response without an end of its own: it lasts until the client, or the daemon, goes.

    `chunks` is pulled only while the client takes what it is sent.
    """

    chunks: Callable[[], AsyncIterator[bytes]] = field(repr=False)
    content_type: str = ""
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()


class HttpRefusal(Exception):
    """A request that is not granted: the status, and for the client what is wrong and how to mend it.

    `code`: the cause, where the status alone does not tell it.
    """

    def __init__(
        self, status: int, detail: str = "", *, fields: tuple[tuple[str, str], ...] = (), code: str = ""
    ) -> None:
        super().__init__(f"{status} {reason(status)}: {detail}")
        self.status = status
        self.detail = detail
        self.fields = fields
        self.code = code


def encoded(body: object) -> bytes:
    """JSON, with an end of line for those who read it in a terminal."""
    return msgspec.json.encode(body) + b"\n"


class Served(Protocol):
    """What a server serves."""

    async def admit(self, request: Request) -> None:
        """Before the body of a request is received, of which nothing is known yet. Raises HttpRefusal."""

    async def respond(self, request: Request) -> Answer | Stream:
        """The answer to a request. Raises HttpRefusal."""

    def refuse(self, refusal: HttpRefusal, path: str) -> Answer:
        """How a refusal looks; also the server's own, for what is no request at all (`path` is then "")."""


def reason(status: int) -> str:
    """The status in words (RFC 9110, section 15)."""
    if status in RENAMED:
        return RENAMED[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
