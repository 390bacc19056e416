"""The reference engine: one client's HTTP exchange with the application, in the order in which it happens.

`contract` says who may call what, and when. Here each call is written plainly: receive, answer, settle; then what
becomes of answers that the client does not take in one go; then the ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from miniwsgi.metrics.scoreboard import Closed

from ..http.connection import Connection, ConnectionSteps, Parsing
from ..http.errors import ProtocolError, body_too_slow, head_too_late
from ..http.response import CONTINUE
from ..traceparent import trace_id_of
from ..unpatched import Socket, socket, time
from . import request_ids, upgrade
from .account import CLIENT_CLOSED, TIMED_OUT, ThreadAccount, routed_environ
from .call import Call, Phase
from .claim import Taken
from .contract import Awaited, Expired, Outcome, Refusal, Stage
from .environ import request_environ
from .file_steps import FileCall, FileSteps
from .listening_socket import ListeningSocket
from .progress import queued_bytes
from .site import Site
from .transport import Disconnected
from .turn import Turn

if TYPE_CHECKING:
    from .proxy import Proxy

RECEIVE_BYTES = 65536
# Closing in stages is for clients that may still send something (RFC 9112 section 9.6). One that has asked for the end
# must not, in the same section's words; should it do so all the same, the reset comes behind an answer that needed
# nothing of the client to be sent: it is in TCP's first flight (RFC 6928).
FLIGHT_BYTES = 8192

(
    _READING, _UNPARSED, _REQUEST, _ANSWERING, _ANSWERED, _PAUSED, _RESUMABLE, _UNSENT, _OVER, _CLOSED,
) = Stage  # fmt: skip
IDLE, MORE, AGAIN, REQUEST, UPGRADE, DONE, PAUSED, TAKEN, UNSENT, RESUME, LAST, REFUSED, END, GONE = Outcome
_REQUEST_ID = request_ids.VARIABLE
_EXPIRED = Phase.EXPIRED
_REFUSED_BY_POOL = {Refusal.HEAD_LATE: head_too_late, Refusal.BODY_SLOW: body_too_slow}
_BETWEEN = Parsing.IDLE
_AWAITED = {
    Parsing.IDLE: Awaited.REQUEST,
    Parsing.HEAD: Awaited.HEAD,
    Parsing.BODY: Awaited.BODY,
}


class ConversationSteps(FileSteps):
    """What a conversation does; its state is its subclass's."""

    __slots__ = tuple[str, ...]()  # see ConnectionSteps

    def __init__(self, site: Site, sock: Socket, base: dict[str, Any], now: int) -> None:
        """`base` is what all requests of the connection share: of `site.connection_environ`."""
        super().__init__(sock, site.settings)
        self.site = site
        self.base = base
        self._begin()
        self._checked = site.checks(self._proxy)
        self.stage = _READING
        self.requests = 0
        self.since_ns = now
        self.since_bytes = 0
        self._part = _BETWEEN  # of a request: what `since_ns` belongs to
        self.mask = 0
        # the request that is answered
        self._call: Call | FileCall | None = None
        self._environ = base
        self._variables: Any = None  # its context (PEP 567), while the application has more of its result
        self._complete = True  # the application has given all of its result
        self.thread: ThreadAccount | None = None
        self.ready_ns = self.called_ns = self.ended_ns = self.queued_ns = 0
        site.account.accepted()

    def _begin(self) -> None:
        """Settle whom to trust, and the grammar: see `uwsgi.conversation`."""
        self._proxy: Proxy | None = self.site.proxy_for(self.base)
        self._http: ConnectionSteps = self.site.parser_for(self.base, Connection)

    @classmethod
    def accept(cls, site: Site, listening: ListeningSocket, now: int) -> Self:
        """Begin with the next client of a listening socket. Raises OSError."""
        sock, address = listening.accept()
        return cls(site, sock, site.connection_environ(listening.listener, address), now)

    @classmethod
    def streamed(cls) -> type[Self]:
        """See `choice.Begin`."""
        return cls

    @staticmethod
    def trim_memory() -> None:
        """See `choice.Begin`."""

    def __repr__(self) -> str:
        client = f"{self.base['REMOTE_ADDR']}:{self.base['REMOTE_PORT']}"
        return f"<Conversation {client} {self.stage.value}{' gone' * self.gone} unsent={self.unsent}>"

    @property
    def awaited(self) -> Awaited:
        stage = self.stage
        if stage is _READING:
            return _AWAITED[self._http.state]
        return Awaited.READER if stage in {_PAUSED, _UNSENT, _OVER} else Awaited.NOTHING

    @property
    def ahead(self) -> bool:
        return bool(self._http.pending)

    @property
    def can_wait(self) -> bool:
        call: Any = self._call
        return self._complete and call.persistent and not (self.gone or self.unsent or self._http.pending)

    def trace_id(self) -> str | None:
        return trace_id_of(self._environ)

    # --- the three in a row ---

    def serve(self, thread: ThreadAccount, now: int) -> Outcome:
        if self.stage is not _REQUEST:
            outcome = self.receive(now)
            if outcome is not REQUEST:
                return outcome
        self.ready_ns = now
        calls = thread.calls
        if calls is None:
            self.answer(thread, now)
        else:
            calls.offer(self)
            self.answer(thread, now)
            try:
                calls.take(self)
            except Taken:
                return TAKEN
        return self.settle()

    # --- receive ---

    def receive(self, now: int) -> Outcome:
        if self.stage is _UNPARSED:
            return self._parse(None, now)
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return MORE
        except OSError:
            return self._leave(GONE)
        return self._parse(data, now)

    def _parse(self, data: bytes | None, now: int) -> Outcome:
        """What comes of bytes from the client (b"": it sends no more), or, None, of those that are here already."""
        http = self._http
        try:
            if data:
                complete = http.receive(data)
            elif data is None:
                complete = http.advance()
            else:
                http.end_of_input()
                return self._leave(END)
        except (ProtocolError, OSError) as error:  # OSError: the body could not be kept
            return self._refuse(error)
        return self._has_come(now) if complete else self._incomplete(now)

    def _has_come(self, now: int) -> Outcome:
        """A whole request."""
        head: Any = self._http.head
        if self._checked:
            if self._proxy is not None:
                try:
                    self._proxy.check(head.fields)
                except ProtocolError as error:
                    return self._refuse(error)
            static, line = self.site.static, self._http.line
            if static is not None and line is not None and line.path.startswith(static.prefixes):
                outcome = self.answer_file(now)
                if outcome is not None:
                    return outcome
        self.stage = _REQUEST
        self.ready_ns = now
        return UPGRADE if head.upgrade and upgrade.is_offered(self) else REQUEST

    def _incomplete(self, now: int) -> Outcome:
        """Bytes, but no whole request yet: the head's and the body's time counts from the first."""
        http = self._http
        if self._part is not http.state:
            self._part = http.state
            self.since_ns, self.since_bytes = now, 0
        if http.wants_continue:
            http.wants_continue = False
            try:
                self.send(CONTINUE)
            except Disconnected:
                return self._leave(GONE)
        if http.unparsed:
            self.stage = _UNPARSED
            return AGAIN
        self.stage = _READING
        return MORE

    # --- answer ---

    def answer(self, thread: ThreadAccount, now: int) -> Outcome:
        site, http = self.site, self._http
        line: Any = http.line  # it and the head are there, as the request is complete
        head: Any = http.head
        environ = request_environ(http, site.mount, self._proxy)
        ids = site.request_ids
        if self._proxy is None or not (request_id := ids.given(environ)):
            number = next(ids.numbers)
            request_id = f"{ids.prefix}{number}"
        else:
            number = 0
            thread.show_given_id(request_id)
        environ[_REQUEST_ID] = request_id
        persistent = head.persistent and not site.closing and not (site.parts is not None and site.parts(self))
        call = Call(site, self, line.method, head.http11, persistent, request_id)
        if head.http11:
            environ["wsgi.early_hints"] = call.early_hints
        self._environ = environ
        self.called_ns = now  # before the call can be seen: see `expire`
        self.queued_ns = now - self.ready_ns
        self._call = call
        self.thread = thread
        self.stage = _ANSWERING
        thread.begin(self, line, number, now)
        application = upgrade.application_for(self, environ, call) if head.upgrade else site.application
        variables = site.request_variables()
        self._complete = complete = variables.run(call.run, application, environ)
        if not complete:
            self._variables = variables
        self.ended_ns = time.monotonic_ns()
        self.stage = _ANSWERED
        return DONE if complete else PAUSED

    # --- settle ---

    def settle(self) -> Outcome:
        if not self._complete:
            return self._await_reader(_PAUSED)
        call: Any = self._call
        http, ended_ns = self._http, self.ended_ns
        if call.phase is not _EXPIRED and self.stage is _ANSWERED:  # else it is counted
            status = call.status
            if call.aborted or call.failed:
                status = self._failure(call)
            body = http.body
            self.site.account.answered(
                call.method, status, call.headers, call.sent, self._environ, -1 if body is None else body.size,
                not self.requests, ended_ns - self.ready_ns, self.queued_ns,
            )  # fmt: skip
            self.requests += 1
        if self._kept is not None and self._kept.unsent and not self.gone:
            return self._await_reader(_UNSENT)
        self._call = None
        self._environ = self.base
        if not http.finish(call.persistent and not self.gone):
            return self._last(call)
        self.since_ns = ended_ns
        self._part = _BETWEEN
        if http.pending:
            self.stage = _UNPARSED
            # A client's next file is for the next turn: thousands may have been sent ahead.
            return self.receive(ended_ns) if call.by_application else AGAIN
        self.stage = _READING
        if self.requests == 1:
            http.forget()  # many never send another, and thousands may come at once
        return IDLE

    def _failure(self, call: Call) -> str:
        """Count what went wrong; the status under which the request is recorded."""
        account = self.site.account
        if call.failed:
            account.failed()
        if call.aborted:
            account.aborted(self.closed)
            return CLIENT_CLOSED
        return call.status

    def _last(self, call: Call) -> Outcome:
        """It was the connection's last answer."""
        head: Any = self._http.head
        if self.closed is Closed.CLIENT:
            if call.aborted:
                self.closed = Closed.TIMEOUT if call.phase is _EXPIRED else Closed.ABORTED
            elif head.persistent and not self.gone:  # the client would have gone on
                self.closed = Closed.SERVER
        return self._leave(GONE if self.gone else END if self._is_agreed(call) else LAST)

    def _is_agreed(self, call: Call) -> bool:
        """Whether the client has said that nothing follows its request, and its answer is on its way: FLIGHT_BYTES."""
        http = self._http
        head: Any = http.head
        return (
            self._kept is None and not call.aborted and call.sent <= FLIGHT_BYTES
            and not (head.persistent or head.length or head.chunked or http.pending)
        )  # fmt: skip

    # --- answers that the client does not take in one go ---

    def resume(self, thread: ThreadAccount, now: int) -> Outcome:
        call: Any = self._call
        line: Any = self._http.line
        self.called_ns = now
        self.stage = _ANSWERING
        thread.show_given_id(call.request_id)
        thread.begin(self, line, 0, now)
        self._complete = complete = self._variables.run(call.abandon if self.gone else call.resume)
        if complete:
            self._variables = None
        self.ended_ns = time.monotonic_ns()
        self.stage = _ANSWERED
        return DONE if complete else PAUSED

    def flush(self) -> Outcome:
        self.flush_kept()
        if self.gone:
            return self.abandon()
        unsent, stage = self.unsent, self.stage
        if not self._complete:
            if not self.has_room:
                return UNSENT
            self.stage = _RESUMABLE
            return RESUME
        if unsent:
            return UNSENT
        if stage is _UNSENT:
            self.ended_ns = time.monotonic_ns()
            return self.settle()
        return DONE if stage is _ANSWERED else LAST

    def delivered(self) -> int:
        return self._http.received if self.stage is _READING else self.taken()

    def _await_reader(self, stage: Stage) -> Outcome:
        self.stage = stage
        self.since_ns = time.monotonic_ns()
        self.since_bytes = self.taken()
        return PAUSED if stage is _PAUSED else UNSENT

    # --- the ends ---

    def refuse(self, why: Refusal) -> Outcome:
        make = _REFUSED_BY_POOL.get(why)
        return self._refuse(why.value if make is None else make())

    def _refuse(self, why: ProtocolError | OSError | str) -> Outcome:
        http = self._http
        late = isinstance(why, ProtocolError) and why.status == 408
        self.closed = Closed.TIMEOUT if late else Closed.REFUSED
        begun = http.state is not _BETWEEN  # else the line is the last request's
        head_only = http.asked_head or (begun and http.line is not None and http.line.method == "HEAD")
        answer = self.site.refuse(why, self.base, head_only=head_only)
        http.close()
        try:
            self.send(answer)
        except Disconnected:
            return self._leave(GONE)
        self._await_reader(_OVER)
        return REFUSED

    def dismiss(self, *, draining: bool) -> Outcome:
        self.closed = Closed.SERVER if draining else Closed.IDLE if self.requests else Closed.TIMEOUT
        return self._leave(LAST if queued_bytes(self.sock) else GONE)  # it has had time for everything

    def abandon(self, *, slow: bool = False) -> Outcome:
        stage = self.stage
        self.gone = True
        if slow:
            self.closed = Closed.TIMEOUT
        elif self.closed is Closed.CLIENT and stage is not _UNPARSED:
            self.closed = Closed.ABORTED
        self.discard_kept()
        if not self._complete:
            self.stage = _RESUMABLE  # close() of a result belongs to the thread that called the application
            return RESUME
        if stage is _ANSWERED:
            call: Any = self._call
            call.aborted, call.persistent = True, False
            return DONE
        if stage is _REQUEST:
            self._count_unanswered(time.monotonic_ns())
        elif stage is not _UNPARSED:
            self.site.account.aborted(self.closed)
        return self._leave(GONE)

    def _count_unanswered(self, now: int) -> None:
        """A complete request that never reached the application: as one whose client left during its answer."""
        site, line, body = self.site, self._http.line, self._http.body
        assert line is not None
        environ = self.whole_environ()
        waited_ns = now - self.ready_ns
        site.account.aborted(self.closed)
        site.account.answered(
            line.method, CLIENT_CLOSED, [], 0, environ, -1 if body is None else body.size, not self.requests, waited_ns,
            waited_ns,
        )  # fmt: skip
        site.account.waited(waited_ns)
        self.requests += 1

    def expire(self, limit_ns: int, now: int) -> Expired | None:
        call = self._call  # before its time: should another call be running by now, it has a time of its own
        if call is None or now - self.called_ns <= limit_ns:
            return None
        # What is told is the request's own only as long as the answer is not taken: then its thread may end it.
        environ, body, took_ns = self._environ, self._http.body, now - self.ready_ns
        answer = call.expire()
        if answer is None:
            return None
        try:
            if self.unsent:
                answer = b""  # it would come in the middle of what the client has not taken yet
            if answer:
                self.sock.send(answer, socket.MSG_DONTWAIT)
            self.sock.shutdown(socket.SHUT_WR if answer else socket.SHUT_RDWR)
        except OSError:
            pass
        account = self.site.account
        account.timed_out()
        account.answered(
            call.method, TIMED_OUT, call.headers, call.sent, routed_environ(environ, self.thread),
            -1 if body is None else body.size, not self.requests, took_ns, self.queued_ns,
        )  # fmt: skip
        request = f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')}"  # as the application has left it
        return Expired(request, call.request_id, took_ns / 1e9, trace_id_of(environ))

    def forget(self) -> None:
        self._http.forget()

    def close(self) -> None:
        self.stage = _CLOSED
        self._call = self._variables = None  # the call and its environ know this conversation, too
        self._environ = self.base
        self.discard_kept()
        self._http.close()
        self.site.account.closed(self.closed)

    def _leave(self, outcome: Outcome) -> Outcome:
        self.stage = _OVER
        self.gone = self.gone or outcome is GONE
        return outcome

    def turn_is_over(self) -> bool:
        thread: Any = self.thread
        ends_ns = thread.turn_ends_ns
        return bool(ends_ns) and time.monotonic_ns() > ends_ns


class Conversation(ConversationSteps):
    """One client's, over a socket. See `contract.Conversation`."""

    engine = "plain"
    turn = Turn
    doze = None
    access_lines = None
    append = None

    __slots__ = (
        "_call", "_checked", "_complete", "_environ", "_http", "_kept", "_part", "_proxy", "_settings", "_variables",
        "base", "called_ns", "closed", "ended_ns", "gone", "mask", "queued_ns", "ready_ns", "requests", "since_bytes",
        "since_ns", "site", "sock", "stage", "thread",
    )  # fmt: skip
