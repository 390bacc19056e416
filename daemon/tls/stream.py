"""A client's socket behind TLS, with the methods of a non-blocking socket that conversations use.

What comes is decrypted as far as it goes each time: nothing that could be read stays in here, so that whoever watches
the descriptor misses nothing. What goes out is encrypted in portions, each of which the kernel takes or this keeps
until it does. The bytes of a portion that is kept count as sent only as the kernel takes it: whoever sends tries again
with what was not sent, as with any socket, and is told so then, without their being encrypted twice.

OpenSSL is given memory instead of the descriptor: one recv(2) and one send(2) for several records, and no retries of
writes. The kernel's own TLS cannot be used that way: files are read and encrypted.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any

from ..unpatched import Lock, Socket, os, socket
from .contexts import ServerContext, Session

RECORD_BYTES = 16384  # the most that one holds (RFC 8446 section 5.1)
PORTION_BYTES = 8 * RECORD_BYTES  # encrypted before it is known whether the kernel takes it
SEND_BYTES = 8 * PORTION_BYTES  # with one call: then others want a turn
MOST_LEFT_BYTES = 2 * PORTION_BYTES  # beyond it a client only asks, as for new keys, and reads nothing


class HandshakeFailed(Exception):
    """In OpenSSL's words; `reason` is its name for it."""

    def __init__(self, error: ssl.SSLError) -> None:
        self.reason = error.reason or "unknown"
        told = self.reason.lower().replace("_", " ")
        verified = getattr(error, "verify_message", "")
        super().__init__(f"{told}: {verified}" if verified else told)


class TLSStream:
    """One client's. All methods may raise OSError as a socket's do; BlockingIOError: not now.

    Its calls may come from any thread: those that would meet inside OpenSSL, which the server's own do only when a
    request has taken too long, exclude each other.
    """

    __slots__ = (
        "_early", "_ended", "_failed", "_incoming", "_left", "_lock", "_outgoing", "_owed", "_shut", "_sock", "session",
    )  # fmt: skip

    def __init__(self, sock: Socket, context: ServerContext) -> None:
        """`sock` never blocks; it is this object's from now on."""
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session: Session = context.begin(self._incoming, self._outgoing)
        self._lock = Lock()
        self._left = memoryview(b"")  # encrypted, not taken by the kernel
        self._owed = 0  # bytes that are in there, and have not been counted as sent
        self._early = False  # bytes were there with the end of the handshake
        self._ended = False  # the client has said its end (RFC 8446 section 6.1)
        self._shut = False  # we have
        self._failed = False  # nothing more can be encrypted

    def __repr__(self) -> str:
        return f"<TLSStream fd={self.fileno()} {self.session.version()} left={len(self._left)}>"

    # --- the handshake ---

    def handshake(self, data: bytes) -> bool:
        """Go on with it, with what has come; whether it is complete. Raises HandshakeFailed.

        What is to be sent is sent: see `unsent`.
        """
        self._incoming.write(data)
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self._failed = True
            raise HandshakeFailed(error) from None
        else:
            self._early = bool(self._incoming.pending)
            return True
        finally:
            self._send_all()

    @property
    def unsent(self) -> bool:
        """Whether something of the handshake waits for the client to read: `flush` when the descriptor is writable."""
        return bool(self._left)

    def flush(self) -> None:
        """Send what is left, as far as the kernel takes it. Raises OSError."""
        left = self._left
        while left:
            sent = self._sock.send(left)
            left = self._left = left[sent:]

    def _send_all(self) -> None:
        """What OpenSSL has to say for itself: of handshakes, alerts, answers to key updates. A client that is gone is
        seen elsewhere."""
        self._left = memoryview(bytes(self._left) + self._outgoing.read())
        try:
            self.flush()
        except OSError:
            self._failed = self._failed or len(self._left) > MOST_LEFT_BYTES

    # --- as a socket ---

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """What has come; b"": the client sends no more. `size` is what is taken from the kernel at most.

        With MSG_PEEK: whether anything waits there, of whatever kind.
        """
        if flags & socket.MSG_PEEK:
            return self._sock.recv(size, flags)
        if self._shut:
            return self._sock.recv(size)  # only its end matters any more
        if self._ended:
            return b""
        with self._lock:
            data = self._decrypt() if self._early else b""
            self._early = False
            if data or self._ended:
                return data
            received = self._sock.recv(size)
            if not received:
                self._ended = True  # without its word: HTTP says itself where a request ends
                return b""
            self._incoming.write(received)
            data = self._decrypt()
            if not data and not self._ended:
                raise BlockingIOError
            return data

    def _decrypt(self) -> bytes:
        """All whole records that are here."""
        incoming, read = self._incoming, self.session.read
        parts: list[bytes] = []
        try:
            while incoming.pending:
                part = read(RECORD_BYTES)
                if not part:
                    self._ended = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except OSError:
            self._failed = True
            self._send_all()  # why: an alert
            if not parts:
                raise
            self._ended = True
        if self._outgoing.pending:
            self._send_all()
            if self._failed:
                raise ConnectionAbortedError
        if parts and self._ended:
            self._have_end_seen()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _have_end_seen(self) -> None:
        """The end has come with the last bytes: as the kernel knows nothing of it, nobody would be told to read on."""
        try:
            self._sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # the client is gone, which is readable, too

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0, /) -> int:
        """How many bytes of `data` are sent, or owed from before. Those that are not are to be sent again next."""
        if not self._lock.acquire(not flags & socket.MSG_DONTWAIT):
            raise BlockingIOError
        try:
            view = memoryview(data)
            return self._send(len(view), lambda at, size: view[at : at + size])
        finally:
            self._lock.release()

    def _send(self, size: int, portion_at: Callable[[int, int], memoryview]) -> int:
        """Of so many bytes, which `portion_at` gives by place and size, or fewer if there are no more."""
        sent = self._settle(size)
        most = min(size, SEND_BYTES)
        while sent < most:
            portion = portion_at(sent, min(PORTION_BYTES, most - sent))
            if not portion:
                return sent
            taken = self._portion(portion)
            sent += taken
            if taken < len(portion):
                break
        if not sent and size:
            raise BlockingIOError
        return sent

    def _settle(self, size: int) -> int:
        """Send what is left, and say how many of the next `size` bytes were in it."""
        if self._left:
            self.flush()
        if not self._owed:
            return 0
        paid = min(self._owed, size)
        self._owed -= paid
        return paid

    def _portion(self, data: memoryview) -> int:
        """Encrypt it, have the kernel take what it takes, keep the rest; how much of it counts as sent."""
        self._write(data)
        encrypted = self._outgoing.read()
        try:
            taken = self._sock.send(encrypted)
        except BlockingIOError:
            taken = 0
        if taken == len(encrypted):
            return len(data)
        self._left = memoryview(encrypted)[taken:]
        # All of it is owed until the last byte is out, but what is surely in what was taken: see Outgoing's progress.
        self._owed = len(data) - len(data) * taken // len(encrypted)
        return len(data) - self._owed

    def _write(self, data: memoryview) -> None:
        if self._failed or self._shut:
            raise BrokenPipeError
        try:
            self.session.write(data)
        except OSError:
            self._failed = True
            raise

    def sendmsg(self, parts: Sequence[bytes], /) -> int:
        """The same for several that follow each other."""
        if sum(map(len, parts)) <= PORTION_BYTES:
            return self.send(b"".join(parts))
        sent = 0
        for part in parts:
            try:
                taken = self.send(part)
            except BlockingIOError:
                taken = 0
            sent += taken
            if taken < len(part):
                break
        if not sent:
            raise BlockingIOError
        return sent

    def send_extent(self, fd: int, offset: int, count: int, /) -> int:
        """The same for part of a file; 0: it has no more."""
        with self._lock:
            return self._send(count, lambda at, size: memoryview(os.pread(fd, size, offset + at)))

    def shutdown(self, how: int, /) -> None:
        """Say our end, if the client is to hear it, and shut the socket down."""
        if how == socket.SHUT_WR:
            self._say_end()
        self._sock.shutdown(how)

    def close(self) -> None:
        """The same, and close the descriptor."""
        self._say_end()
        self._sock.close()

    def _say_end(self) -> None:
        """close_notify, where nothing stands in its way: behind a part of a record it would be garbage."""
        if self._shut or not self._lock.acquire(False):
            return
        try:
            if not self._failed and not self._owed:
                try:
                    self.session.unwrap()
                except OSError:
                    pass  # the client has not said its own yet
                self._send_all()
            self._shut = True
        finally:
            self._lock.release()

    @property
    def under(self) -> Socket:
        """The socket itself: for a process that has a copy of it, and not of what TLS has come to since."""
        return self._sock

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def family(self) -> int:
        return self._sock.family

    def getsockopt(self, level: int, option: int, /) -> int:
        return self._sock.getsockopt(level, option)

    def setsockopt(self, level: int, option: int, value: Any, /) -> None:
        self._sock.setsockopt(level, option, value)
