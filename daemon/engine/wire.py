"""The seam where bytes go out: a client's socket, as the Transport of calls. Nothing blocks but `wait_writable`.

What the client does not take at once is kept (`outgoing`). A socket may be `tls.stream`, which behaves like one.
"""

from __future__ import annotations

from miniwsgi.metrics.scoreboard import Closed

from ..settings import Settings
from ..unpatched import Socket
from .outgoing import SENDFILE_BYTES, Outgoing, send_ahead, send_extent
from .presence import has_left
from .progress import NotRead, Progress, queued_bytes
from .transport import Disconnected


class Wire:
    """One client's. `gone`: nothing more can be sent; `closed`: why the connection will have been closed."""

    __slots__ = tuple[str, ...]()  # what is set here lies in the conversation: see ConnectionSteps

    def __init__(self, sock: Socket, settings: Settings) -> None:
        self.sock = sock
        self.gone = False
        self.closed = Closed.CLIENT
        self._settings = settings
        self._kept: Outgoing | None = None  # made when the client first does not take all at once

    def fileno(self) -> int:
        """See contract.Conversation."""
        return self.sock.fileno()

    def hang_up(self) -> None:
        """See contract.Conversation."""
        self.sock.close()

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        return 0 if self._kept is None else self._kept.unsent

    @property
    def has_room(self) -> bool:
        """Whether more of a result may be pulled."""
        return self._kept is None or self._kept.has_room

    def send(self, data: bytes, /) -> bool:
        if self.gone:
            raise Disconnected
        kept = self._kept
        if kept is not None and kept.unsent:
            kept.keep(memoryview(data))
            return kept.is_full
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.gone = True
            raise Disconnected from None
        return sent != len(data) and self._keep((data,), sent)

    def send_before_file(self, data: bytes, /) -> None:
        """Send what `send_file` follows at once: the client is woken once, by a full segment (tcp(7), MSG_MORE)."""
        if self.gone or self.unsent:
            self.send(data)
            return
        try:
            sent = send_ahead(self.sock, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.gone = True
            raise Disconnected from None
        self._keep((data,), sent)

    def send_parts(self, parts: tuple[bytes, ...], /) -> bool:
        if self.gone:
            raise Disconnected
        sent = 0
        if not self.unsent:
            try:
                sent = self.sock.sendmsg(parts)
            except BlockingIOError:
                pass
            except OSError:
                self.gone = True
                raise Disconnected from None
        return self._keep(parts, sent)

    def _keep(self, parts: tuple[bytes, ...], sent: int) -> bool:
        """What is left of them, of which so much is sent."""
        for part in parts:
            if sent < len(part):
                self._keeping().keep(memoryview(part)[sent:])
            sent = max(0, sent - len(part))
        return self._kept is not None and self._kept.is_full

    def send_file(self, fd: int, offset: int, count: int, /) -> None:
        if self.gone:
            raise Disconnected
        sent = 0
        if count and not self.unsent:
            try:
                sent = send_extent(self.sock, fd, offset, min(count, SENDFILE_BYTES))
            except BlockingIOError:
                pass
            except OSError:
                self.gone = True
                raise Disconnected from None
            offset += sent
            count -= sent
        if count:
            self._keeping().keep_file(fd, offset, count)
            if sent == SENDFILE_BYTES:  # the client may take more
                self.flush_kept()
                if self.gone:
                    raise Disconnected

    def check_client(self) -> None:
        if self.gone or has_left(self.sock):
            self.gone = True
            raise Disconnected

    def wait_sent(self) -> None:
        if self._kept is not None and not self._kept.ahead:
            self.wait_writable()

    def wait_writable(self) -> None:
        """For write(): wait until the client has read. The loop, if this thread has it, is taken over meanwhile."""
        progress = Progress(self.sock, self._settings)
        while not self.has_room:
            try:
                progress.wait()
            except NotRead:
                self.gone = True
                self.closed = Closed.TIMEOUT
                raise
            self.flush_kept()
            if self.gone:
                raise Disconnected

    def flush_kept(self) -> None:
        """Send what is kept, as far as the client takes it; `gone` says if it will never."""
        if self._kept is not None:
            try:
                self._kept.flush()
            except OSError:
                self.gone = True

    def discard_kept(self) -> None:
        """Forget it."""
        if self._kept is not None:
            self._kept.discard()

    def taken(self) -> int:
        """Bytes of what was kept that the client has got, by the kernel's account; below 0 what it owes of others."""
        return (0 if self._kept is None else self._kept.sent) - queued_bytes(self.sock)

    def _keeping(self) -> Outgoing:
        if self._kept is None:
            self._kept = Outgoing(self.sock, ahead=self._settings.pool == "epoll")
        return self._kept
