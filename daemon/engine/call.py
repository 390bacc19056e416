"""One request's call of the application: start_response, the body, the end (PEP 3333).

A call knows neither sockets nor threads: bytes go to a `Transport`, which may ask it to pause. It promises that
the head is framed once, that nothing is sent past Content-Length, that `close()` of a result is called once whatever
happens, and that no exception of the application gets past it. A process that the application forked in it, and that
comes back here, ends here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from types import TracebackType
from typing import Any, Protocol

from ..http.response import (
    LAST_CHUNK,
    BadResponse,
    Body,
    Encoded,
    Encodings,
    ServerFields,
    early_hints,
    encode,
    frame,
    identified,
    refusal,
)
from .after_fork import process
from .blocks import join
from .claim import Claim, Taken
from .file_wrapper import FileWrapper
from .transport import Disconnected, Transport

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]
Headers = list[tuple[str, str]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_NONE, _SIZED, _CHUNKED, _CLOSE = Body


class CallSite(Protocol):
    """What a call shares with the others of its worker (`site.Site`), and who is told of an application's mistakes."""

    server_fields: ServerFields
    encodings: Encodings
    answers: Claim[CallSteps]

    def exception(self, call: CallSteps, error: BaseException, /) -> None: ...
    def mistake(self, call: CallSteps, what: str, /) -> None: ...


class Phase(Enum):
    OPEN = "open"  # nothing is on the wire
    STARTED = "started"  # the head is
    DONE = "done"  # all of it is sent, or kept for sending
    BROKEN = "broken"  # its end is missing: the client is gone, or the application has failed
    EXPIRED = "expired"  # somebody else has answered, or cut the connection, in the application's place


_OPEN, _STARTED, _DONE, _BROKEN, _EXPIRED = Phase
TIMED_OUT = "504 Gateway Timeout"
GATHERED_BYTES = 16 * 1024  # larger blocks are not copied to be put between head, size and end of a chunk


class CallSteps:
    """What a call does; its state is its subclass's."""

    __slots__ = tuple[str, ...]()  # see ConnectionSteps

    by_application = True

    _result: Any  # of the application, if it is not sent in one go; set with the first pull
    _iterator: Iterator[bytes] | None

    def __init__(
        self, site: CallSite, transport: Transport, method: str, http11: bool, persistent: bool, request_id: str = ""
    ) -> None:
        self._site = site
        self._transport = transport
        self._encoded: Encoded | None = None
        self.method = method
        self.request_id = request_id
        self.http11 = http11
        self.persistent = persistent  # in the end: whether the connection goes on
        self.phase = _OPEN  # as the thread of the call knows it; also read by whoever has taken the answer
        self.status = ""
        self.headers: Headers = []
        self.sent = 0  # bytes of the body
        self.failed = False  # the application raised
        self.aborted = False  # the response is not complete
        site.answers.offer(self)

    def __repr__(self) -> str:
        return f"<Call {self.method} {self.phase.value} {self.status!r} sent={self.sent}>"

    def known_by(self) -> dict[str, str]:
        """What an entry of the log calls the request."""
        trace_id = self._transport.trace_id()
        named = {"request_id": self.request_id}
        return named if trace_id is None else {**named, "trace_id": trace_id}

    # --- the application's side ---

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable". Raises BadResponse for what cannot be sent."""
        if exc_info is not None:
            try:
                if self.phase is not _OPEN or self not in self._site.answers:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._encoded is not None:
            raise BadResponse("start_response was called twice, without exc_info")
        self._encoded = None
        if type(status) is not str and isinstance(status, str):
            status = str.__str__(status)  # it is remembered and counted: its own methods may do anything
        encoded = encode(status, headers, self._site.encodings)
        self._encoded = encoded
        if self.phase is _OPEN:  # else somebody has answered in the application's place: that is what is recorded
            self.status = status
            self.headers = headers
        if encoded.mistakes:
            for mistake in encoded.mistakes:
                self._site.mistake(self, mistake)
        return self.write

    def write(self, data: bytes) -> None:
        """The write() callable (PEP 3333): blocks while the client does not read. Raises Disconnected."""
        if process.forked:
            process.end()
        if self._emit(data):
            self._transport.wait_writable()
        elif not data:
            self._check_client()

    def early_hints(self, headers: Headers) -> None:
        """`wsgi.early_hints`: send a 103 (RFC 8297). Ignored behind the head and in HTTP/1.0. Raises BadResponse."""
        if process.forked:
            process.end()
        hints = early_hints(headers, self._site.encodings)
        if self.phase is _OPEN and self.http11:
            answers = self._site.answers
            try:
                answers.take(self)
            except Taken:
                return
            try:
                self._transport.send(hints)
            finally:
                answers.offer(self)

    # --- the server's side ---

    def run(self, application: Application, environ: dict[str, Any]) -> bool:
        """Call the application and send what it gives. False: paused, call `resume` when the client has read."""
        try:
            result = application(environ, self.start_response)
            if process.forked:
                process.end()
            if type(result) is list or type(result) is tuple:
                self._send_whole(result[0] if len(result) == 1 else join(result))
                return True
        except BaseException as error:
            self._fail(error)
            return True
        return self._give(result)

    def _give(self, result: Any) -> bool:
        """Send a result that is more than a plain list; as `run`."""
        self._result = result
        try:
            if isinstance(result, FileWrapper) and self._send_extent(result):
                self._close()
                return True
            if isinstance(result, (list, tuple)) or getattr(result, "streaming", None) is False:
                # A list with a close(), or Django's HttpResponse, which says that all of it is in memory: joining it
                # delays no block (PEP 3333, "Buffering and Streaming") and gives it a length.
                self._send_whole(join(result))
                self._transport.wait_sent()
                self._close()
                return True
            self._iterator = iter(result)
        except BaseException as error:
            self._fail(error)
            self._close()
            return True
        return self.resume()

    def resume(self) -> bool:
        """Go on pulling from the result, on the thread that called the application. As `run`."""
        iterator = self._iterator
        assert iterator is not None
        try:
            for data in iterator:
                if process.forked:
                    process.end()
                if not data:
                    join((data,))
                    self._check_client()
                    continue
                pause = self._emit(data)
                if self._body is _NONE or self._left < 0:
                    break  # nothing more will go out: an endless generator need not be pulled
                if pause or (self._transport.turn_is_over() and not (self._body is _SIZED and not self._left)):
                    return False  # what is out whole has only to be closed, and its client waits for nothing
            self._finish()
        except BaseException as error:
            self._fail(error)
        self._close()
        return True

    def abandon(self) -> bool:
        """The client has gone while the call was paused: no more is pulled."""
        self._end()
        self._break_off()
        self._close()
        return True

    def expire(self) -> bytes | None:
        """Take the answer from an application that takes too long. Called by another thread.

        Returns the 504 to be sent in its place, b"" if a head is out already: then the connection is to be cut. None:
        the application was faster, or is beginning its answer just now.
        """
        try:
            self._site.answers.take(self)
        except Taken:
            return None
        return self._identified(refusal(504, self._site.server_fields), []) if self.phase is _OPEN else b""

    # --- inside ---

    def _take(self) -> None:
        """Nobody else may answer from here on, unless it is offered again. Raises Disconnected: somebody has."""
        try:
            self._site.answers.take(self)
        except Taken:
            raise self._expired() from None

    def _expired(self) -> Disconnected:
        """Somebody else has answered, and has had that counted."""
        self.phase = _EXPIRED
        self.status = TIMED_OUT
        return Disconnected()

    def _check_wanted(self) -> None:
        """Raises Disconnected if somebody else has answered meanwhile."""
        if self not in self._site.answers:
            raise self._expired()

    def _start(self, length: int | None) -> bytes:
        """The head; from here on the response is on its way."""
        encoded = self._encoded
        if encoded is None:
            raise BadResponse("the application did not call start_response before its result")
        head, self._body, self._left, self.persistent = frame(
            encoded, self.method, self.http11, self.persistent, length, self._site.server_fields
        )
        self._take()
        self.phase = _STARTED
        self._site.answers.offer(self)  # who takes it now finds that a head is out
        return head if self._site.server_fields.request_id_header is None else self._identified(head, self.headers)

    def _identified(self, head: bytes, headers: Headers) -> bytes:
        """The head with the request's id in it."""
        return identified(head, headers, self._site.server_fields, self.request_id)

    def _send_whole(self, data: bytes) -> None:
        """A body that is complete: head and body in one go."""
        if type(data) is not bytes:
            data = join((data,))
        if self.phase is _STARTED:  # write() came before
            if data:
                self._emit(data)
            self._finish()
            return
        length = len(data)
        encoded = self._encoded
        if encoded is None:
            raise BadResponse("the application did not call start_response before its result")
        server = self._site.server_fields
        head, body, announced, self.persistent = frame(
            encoded, self.method, self.http11, self.persistent, length, server
        )
        if server.request_id_header is not None:
            head = self._identified(head, self.headers)
        try:
            self._site.answers.take(self)
        except Taken:
            raise self._expired() from None
        self.phase = _DONE
        if body is _SIZED:
            if announced != length:
                data = self._mismatch(data, announced - length)
                length = len(data)
            self.sent = length
            if length < GATHERED_BYTES:
                self._transport.send(head + data)
            else:
                self._transport.send_parts((head, data))
        elif body is _NONE:
            self._transport.send(head)
        else:  # HTTP/1.1 always knows a length here, and so does HTTP/1.0
            raise AssertionError(f"a whole body framed as {body!r}")

    def _mismatch(self, data: bytes, left: int) -> bytes:
        if left < 0:
            self._site.mistake(self, f"the body has {-left} bytes more than Content-Length says: cut")
            return data[:left]
        self._site.mistake(self, f"the body has {left} bytes fewer than Content-Length says: connection closed")
        self.persistent = False
        self.aborted = True
        return data

    def _emit(self, data: bytes) -> bool:
        """One block of the body; True: pause."""
        if type(data) is not bytes:
            data = join((data,))
        if self.phase is _OPEN:
            if not data:
                return False
            head = self._start(None)
        elif self.phase is _STARTED:
            self._check_wanted()
            head = b""
        else:
            raise Disconnected
        body = self._body
        if body is _NONE:
            return bool(head) and self._transport.send(head)
        if body is _SIZED:
            left = self._left
            if len(data) > left:
                if left >= 0:
                    self._site.mistake(self, "the body has more bytes than Content-Length says: cut")
                data = data[: max(0, left)]
                self._left = -1  # said once
            else:
                self._left = left - len(data)
        size = len(data)
        self.sent += size
        if body is _CHUNKED:
            if size < GATHERED_BYTES:
                return bool(data) and self._transport.send(b"%b%x\r\n%b\r\n" % (head, size, data))
            return self._transport.send_parts((b"%b%x\r\n" % (head, size), data, b"\r\n"))
        if head and size >= GATHERED_BYTES:
            return self._transport.send_parts((head, data))
        return self._transport.send(head + data) if head or data else False

    def _send_extent(self, result: FileWrapper) -> bool:
        """Send a file by the kernel; False if it has to be read like any other iterable."""
        extent = result.extent()
        if extent is None:
            return False
        fd, offset, size = extent
        if self.phase is _OPEN:
            self._transport.send(self._start(size))
        self._check_wanted()
        if self._body is _CHUNKED or self._body is _CLOSE:  # write() came before, without a length
            return False
        if self._body is _SIZED:
            count = min(size, self._left)
            if size > self._left:
                self._site.mistake(self, "the file has more bytes than Content-Length says: cut")
            self._transport.send_file(fd, offset, count)
            self.sent += count
            self._left -= count
        self._finish()
        return True

    def _finish(self) -> None:
        """The application has given all it has."""
        if process.forked:
            process.end()
        if self.phase is _OPEN:
            self._transport.send(self._start(0))
        self._take()
        self.phase = _DONE  # before the end is sent: should that fail, nobody else has answered
        if self._body is _CHUNKED:
            self._transport.send(LAST_CHUNK)
        elif self._body is _SIZED and self._left > 0:
            self._mismatch(b"", self._left)

    def _check_client(self) -> None:
        """The application gives nothing, and may go on like that for ever: only if somebody waits for it."""
        self._check_wanted()
        self._transport.check_client()

    def _fail(self, error: BaseException) -> None:
        if process.forked:
            process.end(error)
        may_answer = self._end()
        if issubclass(type(error), Disconnected):  # isinstance would ask the application's object for its __class__
            self._break_off()
            return
        self.failed = True
        try:
            self._site.exception(self, error)
            if may_answer:
                self.status = "500 Internal Server Error"
                self.headers = []
                self.persistent = self.persistent and self.http11
                head_only = self.method == "HEAD"
                answer = refusal(500, self._site.server_fields, persistent=self.persistent, head_only=head_only)
                self.sent = len(answer) - answer.index(b"\r\n\r\n") - 4
                self._transport.send(self._identified(answer, []))
            else:  # too late for another answer: the missing end tells the client
                self._break_off()
        except Disconnected:
            self._break_off()

    def _break_off(self) -> None:
        """What is sent has no end."""
        if self.phase is not _EXPIRED:
            self.phase = _BROKEN
        self.aborted = True
        self.persistent = False

    def _end(self) -> bool:
        """Nobody may answer any more; whether there is no answer yet."""
        is_open = self.phase is _OPEN
        if is_open or self.phase is _STARTED:
            try:
                self._site.answers.take(self)
            except Taken:
                self._expired()
                return False
            self.phase = _DONE
        return is_open

    def _close(self) -> None:
        result, self._result, self._iterator = self._result, None, None
        try:
            close = getattr(result, "close", None)
            if close is not None:
                close()
            if process.forked:
                process.end()
        except BaseException as error:
            if process.forked:
                process.end(error)
            self._site.exception(self, error)  # the response is out: it can only be told


class Call(CallSteps):
    """Runs the application for one request. `run`, `resume`, `abandon` belong to one thread and one context (PEP 567).

    While it is in `site.answers` the answer may be begun, or ended: whoever wants to do that takes it from there.
    """

    __slots__ = (
        "_body", "_encoded", "_iterator", "_left", "_result", "_site", "_transport",
        "aborted", "failed", "headers", "http11", "method", "persistent", "phase", "request_id", "sent",
        "status",
    )  # fmt: skip
