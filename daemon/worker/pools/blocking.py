"""One connection served by one thread that has nothing else to do: what prefork, fork and single share.

Requests are read as they come, so that a slow client holds nobody up; the application and the sending of its response
block, with a deadline for a client that does not read. Nothing pauses here: a result is pulled to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Closed, Slot

from ...engine import request_ids
from ...engine.call import Disconnected, Exchange, Phase
from ...engine.environ import request_environ
from ...http.connection import Connection, State
from ...http.errors import ProtocolError, body_too_slow, head_too_late
from ...http.response import CONTINUE
from ...settings import Listener
from ...unpatched import os, socket, time
from ..context import NANOSECONDS, Context, Duty, refusal_closes
from ..orders import Orders
from ..timeouts import expire
from .presence import has_left
from .progress import NotRead, Progress, input_waits, queued_bytes

RECEIVE_BYTES = 65536


class Caller(Connection):
    """A client's connection and its Transport; `thread` numbers the sub-slot of `slot` that shows its request."""

    __slots__ = (
        "_context", "_crowded", "_orders", "_progress", "_seen", "_slot", "_stage", "_thread",
        "closed", "environ", "exchange", "owes_goodbye", "proxy", "requests", "since", "sock",
        "started_ns",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        orders: Orders,
        sock: socket.socket,
        listener: Listener,
        address: Any,
        *,
        slot: Slot,
        thread: int,
        crowded: Callable[[], bool],
    ) -> None:
        base = context.base_environ(listener, address)
        super().__init__(context.limits_for(base), context.settings.body_memory_bytes, context.spool_directory, base)
        sock.setblocking(False)
        self._context = context
        self._orders = orders
        self._slot = slot
        self._thread = thread
        self._crowded = crowded  # others wait for this thread: say good-bye with the response
        self.sock = sock
        self.proxy = context.proxy_for(base)
        self.requests = 0
        self.exchange: Exchange | None = None
        self.environ: dict[str, Any] = base
        self.started_ns = 0
        self.since = time.monotonic()  # when the present state began
        self._stage = self.state
        self.owes_goodbye = False  # it is over, and has to be closed in stages; otherwise its socket is closed
        self._seen = 0  # bytes of a body at the last look
        self._progress: Progress | None = None  # of the response that is sent
        self.closed = Closed.CLIENT  # for the count: why it will have been closed
        context.slot.cells[scoreboard.ACCEPTED] += 1
        slot.cells[slot.thread_cell(thread) + scoreboard.T_PREFIX] = context.request_ids.seed

    def fileno(self) -> int:
        return self.sock.fileno()

    # --- the Transport of exchanges ---

    def send(self, data: bytes, /) -> bool:
        self._orders.keep_signals()  # whoever has the answer may send one
        try:
            sent = self.sock.send(data)
            if sent < len(data):
                self._send_rest(memoryview(data)[sent:])
        except BlockingIOError:
            self._send_rest(memoryview(data))
        except OSError:
            raise Disconnected from None
        return False

    def send_file(self, fd: int, offset: int, count: int, /) -> None:
        while count:
            try:
                sent = os.sendfile(self.sock.fileno(), fd, offset, count)
            except BlockingIOError:
                self._wait()
                continue
            except OSError:
                raise Disconnected from None
            if not sent:  # the file has shrunk
                raise Disconnected
            offset += sent
            count -= sent

    def turn_is_over(self) -> bool:
        """Never: nothing pauses here."""
        return False

    def check_client(self) -> None:
        if has_left(self.sock):
            raise Disconnected

    def wait_writable(self) -> None:
        """Never called: `send` does not ask for a pause."""

    def _send_rest(self, rest: memoryview) -> None:
        while rest:
            self._wait()
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                pass
            except OSError:
                raise Disconnected from None

    def _wait(self) -> None:
        if self._progress is None:
            self._progress = Progress(self.sock, self._context.settings)
        try:
            self._progress.wait()
        except NotRead:
            self.closed = Closed.TIMEOUT
            raise

    # --- a conversation ---

    def converse(self) -> bool:
        """Take what has come and answer the first request in it. True: the connection stays; False: it is over, and
        has to be closed in stages if it `owes_goodbye`.

        To be called when the client has sent something, and at once again while it is `eager`.
        """
        try:
            if self.advance() if self.eager else self._receive():
                if has_left(self.sock):  # while others were served
                    self._context.record_unanswered(self, 0)
                    self.close()
                elif not self._answer():
                    return False
            elif self.wants_continue:
                self.wants_continue = False
                self.send(CONTINUE)
        except (ProtocolError, OSError) as error:
            return self._refuse(error)
        except Disconnected:
            self.close()
        if self.state is State.CLOSED:
            self.hang_up()
            return False
        now = time.monotonic()
        if self.state is not self._stage:
            self._stage = self.state
            self.since = now
            self._seen = 0
        return True

    @property
    def eager(self) -> bool:
        """Whether it has sent more than what has been looked at: the next request, or part of it."""
        return self.unparsed or (self.state is State.IDLE and bool(self.pending))

    def overdue(self, now: float, idle_seconds: float) -> bool:
        """Whether the connection is over because the client has been too slow, as `converse`.

        `idle_seconds` is the patience between requests.
        """
        settings = self._context.settings
        waited = now - self.since
        if self.state is State.IDLE:
            if waited < idle_seconds or self._has_spoken():
                return False
            self.closed = self._reason_of_silence()
            if queued_bytes(self.sock):
                self._part()
            else:  # it has had everything, and time for it
                self.hang_up()
        elif self.state is State.HEAD:
            if waited < settings.head_timeout or self._has_spoken():
                return False
            return not self._refuse(head_too_late())
        else:
            if waited < settings.body_timeout or self._has_spoken():
                return False
            if self.received - self._seen >= settings.minimum_rate * waited:
                self.since, self._seen = now, self.received
                return False
            return not self._refuse(body_too_slow())
        return True

    def _reason_of_silence(self) -> Closed:
        if self._context.duty is not Duty.SERVE:
            return Closed.SERVER
        return Closed.IDLE if self.requests else Closed.TIMEOUT

    def _has_spoken(self) -> bool:
        return self.eager or input_waits(self.sock)

    def hang_up(self) -> None:
        """The client has gone, or has had everything."""
        self.close()
        scoreboard.count_closed(self._context.slot.cells, self.closed)

    def send_end(self) -> None:
        """For a process that ends: the client need not wait for that."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def check_timeout(self, now: int) -> bool:
        """Called by another thread: answer for the application if `request_timeout` is over; True if so."""
        limit = self._context.settings.request_timeout
        exchange = self.exchange
        if not limit or exchange is None or now - self.started_ns <= limit * NANOSECONDS:
            return False
        expire(self._context, self._orders, self, exchange, self.environ, self._thread, now)
        return exchange.phase is Phase.EXPIRED

    def _receive(self) -> bool:
        """Take what has come; True: a request is complete. Raises ProtocolError, OSError from the spool."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            return False
        if not data:
            self.end_of_input()
            self.close()
            return False
        return self.receive(data)

    def _answer(self) -> bool:
        """Run the application for the complete request; False: the connection is closed."""
        context = self._context
        line, head = self.line, self.head
        assert line is not None
        assert head is not None
        context.server_fields.refresh()
        environ = request_environ(self, context.settings.script_name, self.proxy)
        persistent = head.persistent and context.duty is Duty.SERVE and not self._crowded()
        cells, cell = self._slot.cells, self._slot.thread_cell(self._thread)
        ids = context.request_ids
        if self.proxy is None or not (request_id := ids.given(environ)):
            cells[cell + scoreboard.T_NUMBER] = number = next(ids.numbers)
            request_id = f"{ids.prefix}{number}"
        else:
            self._slot.show_given_id(cell, request_id)
        environ[request_ids.VARIABLE] = request_id
        fields, variables = context.server_fields, context.request_variables()
        exchange = Exchange(self, line.method, head.http11, persistent, fields, context, variables, request_id)
        if head.http11:
            environ["wsgi.early_hints"] = exchange.early_hints
        at = (cell + scoreboard.T_TEXT) * scoreboard.CELL
        self._slot.memory[at : at + len(line.text)] = line.text
        self.environ = environ
        self.started_ns = time.monotonic_ns()
        cells[cell + scoreboard.T_START] = self.started_ns
        cells[cell + scoreboard.T_STATE] = scoreboard.RUNNING
        self.exchange = exchange
        try:
            exchange.run(context.application, environ)
        finally:
            self.exchange = None
            cells[cell + scoreboard.T_STATE] = scoreboard.IDLE
        self.environ = self.base
        self._progress = None
        if exchange.phase is not Phase.EXPIRED:
            context.record(self, exchange, environ, time.monotonic_ns() - self.started_ns)
            if not self.requests:
                context.slot.cells[scoreboard.FIRSTS] += 1
            context.slot.cells[scoreboard.INLINE] += 1
            context.slot.cells[scoreboard.QUEUE_BUCKETS] += 1  # it has waited in the kernel, if at all
        self.requests += 1
        self.since = time.monotonic()
        self._stage = State.IDLE
        if self.finish(exchange.persistent):
            return True
        is_deaf = self.closed is Closed.TIMEOUT  # it does not read: there is nobody to say good-bye to
        if exchange.aborted:
            if self.closed is Closed.CLIENT:
                self.closed = Closed.TIMEOUT if exchange.phase is Phase.EXPIRED else Closed.ABORTED
        elif head.persistent:
            self.closed = Closed.SERVER
        if is_deaf:
            self.hang_up()
        else:
            self._part()
        return False

    def _refuse(self, error: ProtocolError | OSError) -> bool:
        """As `converse`."""
        self.closed = refusal_closes(error)
        answer = self._context.refuse_error(self, self.base, error)
        try:
            self.send(answer)
        except Disconnected:
            self.hang_up()
            return False
        self._part()
        return False

    def _part(self) -> None:
        """All is said: whoever has the socket closes it in stages (see `lingering`)."""
        self.close()
        self.owes_goodbye = True
        scoreboard.count_closed(self._context.slot.cells, self.closed)
