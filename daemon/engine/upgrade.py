"""WebSockets beside WSGI (RFC 6455 section 4.2): a request's own connection, for a library that takes it over.

What asks for an upgrade may get an ordinary answer all the same (RFC 9110 section 7.8), and only the application knows.
So the connection is offered in the environ, as a socket that is made when it is first used. From then on nothing of
ours is written on it, and what the library returns to WSGI in the end is discarded. Where there is no thread for it,
what is found in the environ refuses instead, with an answer in place of the library's exception.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from ..http.errors import REASONS
from ..unpatched import Socket, os, socket
from .call import Application, Phase
from .claim import Taken
from .presence import probe
from .pump import Pump
from .transport import Disconnected

# Where simple-websocket (flask-sock, Flask-SocketIO, python-socketio), and what was made for gunicorn, look for it.
VARIABLES = ("werkzeug.socket", "gunicorn.socket")
NOT_IMPLEMENTED, UNAVAILABLE = 501, 503
# What asks for one of these uses the socket. Looks of debuggers and error trackers do not: repr(), hasattr() and such.
_USES = frozenset(name for name in dir(socket.socket) if not name.startswith("_"))


class Unavailable(BaseException):
    """No connection can be taken over here. No Exception: frameworks answer those themselves, with a traceback."""


class Sockets(Protocol):
    """Who has threads for connections that applications take over: the epoll pool."""

    def offer(self, conversation: Any, call: Any, /) -> Offer | None:
        """What the application may take, if this thread was made for it; None: as many are open as may be."""


class Offer:
    """One request's connection, while the application may take it, and when it has."""

    __slots__ = ("_call", "_conversation", "_tell", "end", "pump", "taken")

    def __init__(self, conversation: Any, call: Any, tell: Callable[[], None]) -> None:
        """`tell` is called when the application has taken it, on that thread."""
        self._conversation = conversation
        self._call = call
        self._tell = tell
        self.taken = False
        self.end: Any = None  # what to shut down, for the application to find the connection's end
        self.pump: Pump | None = None

    def __repr__(self) -> str:
        return f"<Offer {'taken' if self.taken else 'open'} {self._conversation}>"

    def take(self) -> tuple[int, int]:
        """The application has it from here on: the family and the descriptor of a socket. Raises OSError."""
        conversation, call = self._conversation, self._call
        answers = conversation.site.answers
        try:
            answers.take(call)  # for good: whatever else the application would answer is not sent
        except Taken:
            raise ConnectionAbortedError("the request was answered meanwhile") from None
        try:
            if call.phase is not Phase.OPEN:
                raise ConnectionAbortedError("the answer to the request has begun")
            found = self._connection(conversation)
        except BaseException:
            answers.offer(call)
            raise
        self.taken = True
        self._tell()
        return found

    def _connection(self, conversation: Any) -> tuple[int, int]:
        http, sock = conversation._http, conversation.sock
        probe(sock)
        if not http.pending and isinstance(sock, Socket):
            self.end = sock
            return sock.family, os.dup(sock.fileno())
        # Bytes that are here already have to make the application's socket readable, for those who wait with select.
        self.pump = pump = Pump(sock, http.pending)
        http.pending = b""
        self.end = pump.end
        return socket.AF_UNIX, os.dup(pump.end.fileno())


def is_offered(conversation: Any) -> bool:
    """Whether a request whose fields ask for an upgrade is to have a thread of its own."""
    return conversation.site.sockets is not None and conversation._http.line.method == "GET"


def application_for(conversation: Any, environ: dict[str, Any], call: Any) -> Application:
    """The application, for a request whose fields ask for an upgrade; its connection is put into the environ."""
    site = conversation.site
    application: Application = site.application
    if call.method != "GET":
        return application
    offer: Offer | None = None if site.sockets is None else site.sockets.offer(conversation, call)
    if offer is not None:
        offered: Any = _offered(offer)
    elif site.sockets is not None:
        offered = Refused(UNAVAILABLE)
    else:
        offered = Refused(NOT_IMPLEMENTED)
    for name in VARIABLES:
        environ[name] = offered

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        try:
            result = application(environ, start_response)
        except Unavailable as error:
            status: int = error.args[0]
            site.no_socket(status, call.request_id)
            line = f"{status} {REASONS[status]}"
            fields = [("Content-Type", "text/plain; charset=utf-8")]
            if status == UNAVAILABLE:
                fields.append(("Retry-After", "1"))
            start_response(line, fields, sys.exc_info())
            return [f"{line}\n".encode()]
        except (StopIteration, ConnectionError):  # how the libraries end for gunicorn and for Werkzeug
            if offer is None or not offer.taken:
                raise
            result = None
        if offer is None or not offer.taken:
            return result
        close = getattr(result, "close", None)
        if close is not None:
            close()
        raise Disconnected

    return answer


class Refused:
    """Stands where the connection would: whoever uses it has the request answered with `status`."""

    __slots__ = ("_status",)

    def __init__(self, status: int) -> None:
        self._status = status

    def __repr__(self) -> str:
        return f"<no socket: {self._status}>"

    def __getattr__(self, name: str) -> Any:
        if name in _USES:
            raise Unavailable(self._status)
        raise AttributeError(name)


def _offered(offer: Offer) -> Any:
    # What `socket.socket` is by now: gevent's, where the application is patched; greenlets would hang in a real one.
    made = _offered_class(sys.modules["socket"].socket)
    offered = made.__new__(made)
    object.__setattr__(offered, "_offer", offer)
    return offered


@cache
def _offered_class(base: Any) -> Any:
    class UpgradedSocket(base):  # type: ignore[misc]
        """A connection that the application has taken over: a blocking socket, and its own."""

        __slots__ = ("_offer",)

    class OfferedSocket(UpgradedSocket):
        """One that it may take: it becomes an UpgradedSocket when it is first used."""

        __slots__ = ()

        def __getattribute__(self, name: str) -> Any:
            if name in _USES and type(self) is OfferedSocket:
                family, fd = object.__getattribute__(self, "_offer").take()
                self.__class__ = UpgradedSocket
                base.__init__(self, family, socket.SOCK_STREAM, 0, fd)
                self.setblocking(True)
            return base.__getattribute__(self, name)

        def __repr__(self) -> str:
            return "<a socket that nobody has used yet>"

    return OfferedSocket
