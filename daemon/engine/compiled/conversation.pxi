# One client's exchange, in the order in which it happens: the usual path of engine.plain.

cdef object READING = Stage.READING
cdef object UNPARSED = Stage.UNPARSED
cdef object REQUEST_STAGE = Stage.REQUEST
cdef object ANSWERING = Stage.ANSWERING
cdef object ANSWERED = Stage.ANSWERED
cdef object OVER = Stage.OVER
cdef object CLOSED_STAGE = Stage.CLOSED
cdef object CLOSED_PARSING = Parsing.CLOSED
cdef object IDLE = Outcome.IDLE
cdef object AGAIN = Outcome.AGAIN
cdef object END = Outcome.END
cdef object LAST = Outcome.LAST
cdef object MORE = Outcome.MORE
cdef object REQUEST = Outcome.REQUEST
cdef object DONE = Outcome.DONE
cdef object PAUSED = Outcome.PAUSED
cdef object TAKEN = Outcome.TAKEN
cdef object GONE = Outcome.GONE
cdef object BETWEEN = Parsing.IDLE
cdef object OPEN_TO_CLIENT = scoreboard.Closed.CLIENT
cdef object CLOSED_BY_SERVER = scoreboard.Closed.SERVER
cdef object CLOSED_WHILE_ANSWERED = scoreboard.Closed.ABORTED
cdef Py_ssize_t FLIGHT = FLIGHT_BYTES

cdef object REQUEST_METHOD = sys.intern("REQUEST_METHOD")
cdef object PATH_INFO = sys.intern("PATH_INFO")
cdef object QUERY_STRING = sys.intern("QUERY_STRING")
cdef object REQUEST_URI = sys.intern("REQUEST_URI")
cdef object RAW_URI = sys.intern("RAW_URI")
cdef object INPUT = sys.intern("wsgi.input")
cdef object EARLY_HINTS = sys.intern("wsgi.early_hints")
cdef object REDIRECTED = sys.intern(REDIRECT)
cdef object WITH_HSTS = sys.intern(HSTS)
cdef object REQUEST_ID = sys.intern(request_ids.VARIABLE)

cdef size_t RECEIVED = RECEIVE_BYTES


cdef Py_ssize_t head_of(Framed framed, Py_ssize_t length, char *outgoing):
    """Put a head together in `outgoing`; its size."""
    cdef Py_ssize_t before = PyBytes_GET_SIZE(framed.before), behind = PyBytes_GET_SIZE(framed.behind)
    memcpy(outgoing, PyBytes_AS_STRING(framed.before), before)
    if framed.kind is SIZED:
        before += digits_of(length, outgoing + before)
        memcpy(outgoing + before, PyBytes_AS_STRING(framed.behind), behind)
        return before + behind
    return before


cdef Py_ssize_t chunk_of(Py_ssize_t at, Py_ssize_t size, char *outgoing) noexcept:
    """Put the line of a chunk behind what is in `outgoing` (RFC 9112 section 7.1); the size of all."""
    cdef char[20] digits
    cdef int count = 0
    while size:
        digits[count] = b"0123456789abcdef"[size & 15]
        size >>= 4
        count += 1
    while count:
        count -= 1
        outgoing[at] = digits[count]
        at += 1
    outgoing[at], outgoing[at + 1] = 13, 10
    return at + 2


cdef int digits_of(uint64_t number, char *room) noexcept:
    cdef char[20] digits
    cdef int count = 0, at
    while True:
        digits[count] = <char>(48 + number % 10)
        number //= 10
        count += 1
        if not number:
            break
    for at in range(count):
        room[at] = digits[count - 1 - at]
    return count


cdef enum:
    BASE_REFERENCES = 3  # of what a conversation's requests share, while it has none: its own two, and its parser's
    LEFT_HEAD_BYTES = 2048  # larger ones are not kept for the next client


cdef class ConversationState(WireState):
    """The fields of a Conversation."""

    cdef public object base, stage, thread, _proxy, _part, _call, _environ, _variables
    cdef readonly ConnectionState _http
    cdef public bint _complete, _checked
    cdef bint mounted  # SCRIPT_NAME depends on the request
    cdef public int64_t mask
    cdef public int64_t since_ns, since_bytes, ready_ns, called_ns, ended_ns, queued_ns
    cdef public Py_ssize_t requests
    cdef bint pipes  # answers to what the client has sent ahead may wait for each other
    cdef Beginning beginning  # to which it may be left when it has ended; None: it may not
    cdef ConversationState behind  # among those that are left
    cdef object due  # what a turn that holds answers has to do for it: an outcome

    def __init__(self, site, sock, base, now):
        self._sock = sock
        self.fd = sock.fileno()
        self.start(site, base, now, None)

    cdef int start(self, object site, object base, int64_t now, Beginning known) except -1:
        self.site = site
        self.base = base
        self._settings = site.settings
        if known is None or known.http is None:
            self._proxy = site.proxy_for(base)
            self._http = site.parser_for(base, Connection)
            self._http.anew = self._proxy is not None
            self.mounted = site.mount.splits(self._proxy)
            self._checked = site.checks(self._proxy)
        else:
            self._http = known.http.another(base)
            self.mounted = known.mounted
            self._checked = known.checked
            self.beginning = known
        self.stage = READING
        self.closed = OPEN_TO_CLIENT
        self.since_ns = now
        self._part = BETWEEN
        self._environ = base
        self._complete = True
        self.shared = shared_by(site)
        self.held_at = self.batch = -1
        self.shared.cells[ACCEPTED] += 1  # `Account.accepted`
        return 0

    cdef int begin_again(self, str host, str port, int64_t now) except -1:
        """As the next client's: what the last one's requests were like is known, as if it were the same one."""
        cdef dict template = self._http.kept.template
        if mw_get(self.base, REMOTE_ADDR) != <PyObject *>host:
            PyDict_SetItem(self.base, REMOTE_ADDR, host)
            PyDict_SetItem(template, REMOTE_ADDR, host)
        PyDict_SetItem(self.base, REMOTE_PORT, port)
        PyDict_SetItem(template, REMOTE_PORT, port)
        self.stage = READING
        self._http.state = IDLE_PARSING
        self.closed = OPEN_TO_CLIENT
        self.since_ns = now
        self.since_bytes = self.ready_ns = self.called_ns = self.ended_ns = self.queued_ns = 0
        self.requests = 0
        self.mask = 0
        self.thread = None
        self.begun().shared.cells[ACCEPTED] += 1
        return 0

    cdef bint is_free(self):
        """Whether it is closed, nobody but the caller and the thread that has run it knows it, and nothing is left."""
        cdef ConnectionState http = self._http
        cdef Py_ssize_t known = 1 + (mw_in_slot(self.shared.thread, CONVERSATION) == <PyObject *>self)
        return (
            Py_REFCNT(<PyObject *>self) == known and Py_REFCNT(<PyObject *>http) == 2  # with that name here
            and Py_REFCNT(<PyObject *>self.base) == BASE_REFERENCES and type(self) is Conversation
            and self._sock is None and self._kept is None and self.pipeline is None and not self.gone
            and http.kept is not None and http.head is http.kept and http.kept.raw_room <= LEFT_HEAD_BYTES
            and http._body_reader is None and not http._empty_lines
        )

    def serve(self, thread, int64_t now):
        """`receive`, `answer` and `settle` in a row. See the contract."""
        self.begun().shared.look(thread)
        self.pipes = False  # that is a turn's affair, and may have been its last one's
        return self.run(thread, now)

    def receive(self, int64_t now):
        """Take once what has come, and parse it. See the contract."""
        return self.begun().take(now)

    def answer(self, thread, int64_t now):
        """Call the application, send what it gives. See the contract."""
        self.begun().shared.look(thread)
        self.pipes = False
        return self.respond(thread, now)

    def resume(self, thread, int64_t now):
        """Go on with a result, on the thread that called the application for it. See the contract."""
        self.block_ns = now
        outcome = ConversationSteps.resume(self, thread, now)
        self.shared.text = None
        return outcome

    def settle(self):
        """Count and log an answer that is complete. See the contract."""
        return self.begun().end()

    def expire(self, int64_t limit_ns, int64_t now):
        """Answer in the application's place, behind what it has given. See the contract."""
        if now - self.called_ns > limit_ns:
            send_ahead(self)
        return ConversationSteps.expire(self, limit_ns, now)

    def close(self):
        """Keep nothing any more. See the contract."""
        self.keep_nothing()

    cdef int keep_nothing(self) except -1:
        cdef ConnectionState http = self._http
        call = self._call
        self.due = None
        if self.held_at >= 0:
            self.held.forget(self)
        if self.batch >= 0:
            self.forget_batch()
        self.pipeline = None
        self.fd = -1  # its number may soon be another's
        if http is None or http.body is not None or self._kept is not None or self.shared is None:
            ConversationSteps.close(self)
        else:
            self.stage = CLOSED_STAGE
            self._call = self._variables = None
            self.keep_of_environ(<dict>self.base)
            http.state = CLOSED_PARSING
            http.pending = b""
            http.unparsed = http.wants_continue = False
            if self.shared.account is self.site.account:
                count_closed(self.shared.cells, self.closed)
            else:
                self.site.account.closed(self.closed)
        if call is not None:
            let_go(call)
        return 0

    @property
    def can_wait(self):
        """See contract.Conversation."""
        cdef ConnectionState http = self._http
        call = self._call
        persistent = (<CallState>call).persistent if type(call) is Call else call.persistent
        return bool(self._complete and persistent and not (self.gone or self.unsent or http.pending))

    def whole_environ(self):
        """See engine.plain."""
        http = self._http
        if type(http.head) is Head:  # whose template is completed with its first answer
            self.make_template(<Head>http.head, <Line>http.line)
        return ConversationSteps.whole_environ(self)

    cdef ConversationState begun(self):
        if self.shared is None or self._http is None:
            raise RuntimeError("a conversation that was never begun")
        if <PyObject *>self.shared.account != mw_in_slot(self.site, ACCOUNT):
            self.shared = shared_by(self.site)
        return self

    cdef object run(self, object thread, int64_t now):
        outcome = self.ask(thread, now)
        return self.end() if outcome is DONE or outcome is PAUSED else outcome

    cdef object ask(self, object thread, int64_t now):
        """`receive` and `answer` in a row. TAKEN as of `serve`; DONE, PAUSED: `end` is to follow."""
        cdef object calls = self.shared.calls  # one for all threads of a pool
        if self.stage is not REQUEST_STAGE:
            outcome = self.take(now)
            if outcome is not REQUEST:
                return outcome
        self.ready_ns = now
        if calls is None:
            return self.respond(thread, now)
        PySet_Add(calls, self)
        outcome = self.respond(thread, now)
        return outcome if PySet_Discard(calls, self) else TAKEN

    cdef object take(self, int64_t now):
        global mw_received, mw_received_size
        cdef ConnectionState http = self._http
        cdef Py_ssize_t size, used
        if self.stage is UNPARSED:
            return self._parse(None, now)
        size = recv(self.fd, self.shared.received, RECEIVED, MSG_DONTWAIT)
        if size < 0:
            return MORE if errno == EAGAIN or errno == EINTR else self._leave(GONE)
        received = self.shared.received
        mw_received, mw_received_size = received, size
        if size and http.state is IDLE_PARSING:
            used = http.usual(received, size)
            if used:
                if used < size:
                    http.pending = PyBytes_FromStringAndSize(<char *>received + used, size - used)
                if self._checked and (self._proxy is not None or self.may_be_static()):
                    outcome = give_file(self, now)
                    return self._has_come(now) if outcome is None else outcome
                self.stage = REQUEST_STAGE
                self.ready_ns = now
                return REQUEST
        return self._parse(PyBytes_FromStringAndSize(<char *>received, size), now)

    def keep_file(self, route, answer, head):
        """See engine.file_steps."""
        keep_file(self, route, answer, head)

    cdef bint may_be_static(self) except -1:
        cdef Line line = <Line>self._http.line
        if line.whose == UNKNOWN:
            line.whose = MAYBE_STATIC if line.path.startswith(self.site.static.prefixes) else APPLICATIONS
        return line.whose == MAYBE_STATIC

    cdef object respond(self, object thread, int64_t now):
        cdef ConnectionState http = self._http
        cdef Shared shared = self.shared
        cdef Line line
        cdef Head head
        cdef dict environ
        cdef CallState call
        cdef uint64_t number
        cdef bint complete, persistent
        if type(http.head) is not Head:
            outcome = ConversationSteps.answer(self, thread, now)
            shared.text = None
            return outcome
        line, head = <Line>http.line, <Head>http.head
        self.make_template(head, line)
        request_id = self.site.request_ids.given(head.template) if self._proxy is not None else None
        if request_id:
            number = 0
            thread.show_given_id(request_id)
            PyDict_SetItem(head.template, REQUEST_ID, request_id)
            head.request_id = NULL
        else:
            number = shared.numbers.next()
            request_id = head.identify(shared.prefix, number)
        persistent = head.persistent and not <object>mw_in_slot(self.site, CLOSING)
        if persistent:
            parts = <object>mw_in_slot(self.site, PARTS)
            persistent = parts is None or not parts(self)
        call = new_call(shared, self, line, persistent, request_id)
        call.traced = head.traced
        if line.http11:
            call.hints = head.hints_of(call)
        environ = PyDict_Copy(head.template)
        if http.body is not None:
            PyDict_SetItem(environ, INPUT, http.body.file())
        self._environ = environ
        self.joins = (
            self.pipes and PyBytes_GET_SIZE(http.pending) != 0 and not self._checked  # see `take`
            and (self.batch >= 0 or self.pipeline is None)
        )
        self.called_ns = self.block_ns = now  # before the call can be seen: see `expire`
        self.queued_ns = now - self.ready_ns
        self._call = call
        self.thread = thread
        self.stage = ANSWERING
        variables = shared.variables() if shared.context is None else PyContext_Copy(shared.context)
        application, routes = shared.application, shared.routes
        shared.begin(thread, self, line, number, now)
        PyContext_Enter(variables)
        try:
            complete = call.call(application, routes, environ)
        finally:
            PyContext_Exit(variables)
        self._complete = complete
        if not complete:
            self._variables = variables
        self.ended_ns = now_ns()
        self.stage = ANSWERED
        return DONE if complete else PAUSED

    cdef int make_template(self, Head head, Line line) except -1:
        """All of a request's environ but its id, its hints and its body: `environ.request_environ`."""
        cdef dict template = head.template
        if not head.complete:
            complete_template(template, head.http11, self._proxy)
            head.complete = True
        if head.line is not line:
            head.line = line
            PyDict_SetItem(template, REQUEST_METHOD, line.method)
            PyDict_SetItem(template, QUERY_STRING, line.query)
            PyDict_SetItem(template, REQUEST_URI, line.target)
            PyDict_SetItem(template, RAW_URI, line.target)
            PyDict_SetItem(template, PATH_INFO, line.path)
            if self.mounted:
                self.site.mount.split(template, line.path, self._proxy)
        return 0

    cdef object end(self):
        cdef CallState call
        cdef ConnectionState http = self._http
        cdef Py_ssize_t size = -1
        if self.batch >= 0 or self.pipeline is not None:
            if goes_on(self):
                return REQUEST
            settle_pipeline(self)
        if not self.is_usual_end():
            return self.end_plainly()
        call = <CallState>self._call
        if http.body is not None:
            size = http.body.size
            http.body = None
        self.shared.answered(
            call, <dict>self._environ, size, not self.requests, self.ended_ns - self.ready_ns, self.queued_ns
        )
        self.requests += 1
        self._call = None
        self.keep_of_environ(<dict>self.base)
        if not call.persistent:
            return self.end_last(call, size > 0)
        spare(self.shared, call)
        http.state = IDLE_PARSING
        self.since_ns = self.ended_ns
        self._part = BETWEEN
        if http.pending:
            self.stage = UNPARSED
            return self.take(self.ended_ns)
        self.stage = READING
        if self.requests == 1:
            http.forget()  # as in engine.plain
        return IDLE

    cdef bint is_usual_end(self):
        cdef CallState call
        if not self._complete or type(self._call) is not Call or self.stage is not ANSWERED:
            return False
        call = <CallState>self._call
        return not (
            call.phase is EXPIRED or call.aborted or call.failed or self.gone
            or (self._kept is not None and (self._kept.unsent or not call.persistent))
        )

    cdef object end_last(self, CallState call, bint has_body):
        """It was the connection's last answer, and all of it is sent: `_last` and `_is_agreed` of engine.plain."""
        cdef ConnectionState http = self._http
        cdef Head head = <Head>http.head
        cdef bint agreed = self.is_agreed(call, has_body)
        if head.persistent and self.closed is OPEN_TO_CLIENT:  # the client would have gone on
            self.closed = CLOSED_BY_SERVER
        spare(self.shared, call)
        http.state = CLOSED_PARSING
        self.stage = OVER
        return END if agreed else LAST

    cdef bint is_agreed(self, CallState call, bint has_body):
        """Whether the client has said that nothing follows its request: `_is_agreed` of engine.plain."""
        cdef ConnectionState http = self._http
        return call.sent <= FLIGHT and not ((<Head>http.head).persistent or has_body or http.pending)

    cdef int keep_of_environ(self, dict kept) except -1:
        """Have that in the environ's place, which goes only then: what the application has put there may run Python."""
        environ, self._environ = self._environ, kept
        return 0

    cdef dict told_environ(self):
        """Of an answer that waits: what counting and the log ask for. What else the application has put there need not."""
        cdef PyObject *route
        cdef PyObject *computed
        cdef dict told
        if (
            self.shared.log is not None or (<CallState>self._call).traced
            or self.ended_ns - self.ready_ns >= self.shared.slow_ns
        ):
            return <dict>self._environ
        route = mw_get(self._environ, ROUTE)
        if route == NULL:
            return <dict>self.base
        told = {ROUTE: <object>route}
        computed = mw_get(self._environ, CPU_NS)
        if computed != NULL:
            told[CPU_NS] = <object>computed
        return told

    cdef object end_plainly(self):
        call = self._call
        outcome = ConversationSteps.settle(self)
        if self._call is not call:
            let_go(call)
        return outcome


cdef Shared shared_by(object site):
    shared = <object>mw_in_slot(site, SHARED) if type(site) is Site else site.shared
    if shared is None or (<Shared>shared).account is not site.account:
        shared = site.shared = Shared(site)
    return <Shared>shared


def trim_memory():
    """Give the system what is free. See `choice.Begin`."""
    mw_trim_memory()


class Conversation(ConversationState, ConversationSteps):
    """One client's, over a socket. See `contract.Conversation`."""

    @classmethod
    def accept(cls, site, listening, now):
        """Begin with the next client of a listening socket. Raises OSError."""
        conversation = new_client(cls, site, listening, listening.fileno(), listening.family, now)
        if conversation is None:
            raise OSError(errno, os.strerror(errno))
        return conversation

    @staticmethod
    def streamed():
        """See `choice.Begin`."""
        return StreamConversation

    engine = "compiled"
    turn = Turn
    doze = staticmethod(doze)
    access_lines = access_lines
    append = Append
    trim_memory = staticmethod(trim_memory)

    __slots__ = ()
