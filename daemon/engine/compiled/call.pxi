# One request's call of the application (PEP 3333): the usual answers. All else is engine.call's, on the same object.

cdef object OPEN = Phase.OPEN
cdef object STARTED = Phase.STARTED
cdef object DONE_PHASE = Phase.DONE
cdef object EXPIRED = Phase.EXPIRED


cdef class CallState:
    """The fields of a Call."""

    cdef public object _body, _encoded, _iterator, _result, _site
    cdef readonly ConversationState _transport
    cdef public object headers, method, phase, request_id, status
    cdef public bint aborted, failed, http11, persistent
    cdef public Py_ssize_t _left, sent
    cdef bint is_head
    cdef Shared shared
    cdef Answer answer  # what `_encoded` is of
    cdef object start, writing  # bound methods, kept with it from one request to the next
    cdef Hints hints
    cdef bint traced  # the request came with a traceparent
    cdef bint wanted  # nobody has taken its answer: see `Unanswered`
    cdef Routes routes  # where the application is called by them

    # --- the application's side ---

    def start_response(self, status, headers, exc_info=None):
        """PEP 3333, "The start_response() Callable". Raises BadResponse for what cannot be sent."""
        cdef Answer answer
        if self.shared is None:
            raise RuntimeError("no request is answered by this")
        if self.routes is not None:
            self.routes.find(self, status)
        given = None
        if exc_info is None and self._encoded is None and type(headers) is list:
            answer = find(self.shared, status, <list>headers)
            if answer is not None:
                self._encoded = answer.encoded
                self.answer = answer
                if self.phase is OPEN:  # else somebody has answered in the application's place
                    self.status = status
                    self.headers = headers
                return self.write if self.writing is None else self.writing
            given = list(headers)
        self.answer = None
        write = CallSteps.start_response(self, status, headers, exc_info)
        if given is not None and self.phase is OPEN and self.shared.remembers:
            self.answer = remember(self.shared, status, given, headers, self._encoded)
        return write

    # --- the server's side ---

    cdef bint call(self, object application, Routes routes, dict environ):
        """Call the application and send what it gives. False: paused. No exception gets past it."""
        try:
            result = application(environ, self.start) if routes is None else routes.call(self, environ)
            if is_forked():
                process.end()
            if type(result) is list:
                self.send_whole((<list>result)[0] if len(<list>result) == 1 else join(result))
                return True
            if type(result) is tuple:
                self.send_whole((<tuple>result)[0] if len(<tuple>result) == 1 else join(result))
                return True
        except BaseException as error:
            self._fail(error)
            return True
        return self.give(result)

    cdef bint give(self, object result):
        self._result = result
        try:
            if isinstance(result, FileWrapper):
                return self._give(result)
            if isinstance(result, (list, tuple)) or getattr(result, "streaming", None) is False:
                self.send_whole(join(result))
                self._transport.wait_sent()
                self.close()
                return True
            self._iterator = iter(result)
        except BaseException as error:
            self._fail(error)
            self.close()
            return True
        return self.pull()

    def resume(self):
        """Go on pulling from the result, on the thread that called the application. As `run`."""
        return self.pull()

    cdef bint pull(self):
        cdef ConversationState transport = self._transport
        cdef int64_t ends_ns
        try:
            for data in self._iterator:
                if is_forked():
                    process.end()
                if not data:
                    join((data,))
                    self._check_client()
                    continue
                pause = self.emit(data)
                if self._body is NONE or self._left < 0:
                    break  # nothing more will go out: an endless generator need not be pulled
                ends_ns = transport.thread.turn_ends_ns
                if pause or (ends_ns and now_ns() > ends_ns and not (self._body is SIZED and not self._left)):
                    transport.let_out()
                    return False
            self.finish()
            transport.let_out()
        except BaseException as error:
            transport.let_out_what_can_be()
            self._fail(error)
        self.close()
        return True

    cdef object send_whole(self, object data):
        """A body that is complete: head and body in one go."""
        cdef Framed framed
        cdef Py_ssize_t size
        if type(data) is bytes and self.phase is OPEN and self.answer is not None:
            size = PyBytes_GET_SIZE(data)
            framed = self.answer.framed(self, size)
            if framed is not None and framed.kind is SIZED and (self.answer.length < 0 or self.answer.length == size):
                self.take()
                self.phase = DONE_PHASE
                self.persistent = framed.persistent
                self.sent = size
                self._transport.put(
                    head_of(framed, size, self.shared.outgoing), <bytes>data, False,
                    NEXT_ANSWER if framed.persistent else
                    END_FOLLOWS if self._transport.is_agreed(self, self._transport._http.body is not None) else
                    NOTHING_FOLLOWS,
                )
                return
        self._send_whole(data)

    cdef bint emit(self, object data) except -1:
        """One block of the body, which is not empty; True: pause."""
        cdef Framed framed
        cdef Py_ssize_t size, head_size = 0
        if type(data) is not bytes:
            return self._emit(data)
        size = PyBytes_GET_SIZE(data)
        if self.phase is OPEN and self.answer is not None:
            framed = self.answer.framed(self, -1)
            if framed is None or not (framed.kind is CHUNKED or (framed.kind is SIZED and self.answer.length >= size)):
                return self._emit(data)
            self.check_wanted()
            self._body, self._left, self.persistent = framed.kind, self.answer.length, framed.persistent
            if framed.kind is CHUNKED:
                self._left = 0
            self.phase = STARTED
            head_size = head_of(framed, self._left, self.shared.outgoing)
        elif self.phase is STARTED and (self._body is CHUNKED or (self._body is SIZED and self._left >= size)):
            self.check_wanted()
        else:
            return self._emit(data)
        self.sent += size
        if self._body is CHUNKED:
            return self._transport.put(chunk_of(head_size, size, self.shared.outgoing), <bytes>data, True, MORE_FOLLOWS)
        self._left -= size
        return self._transport.put(
            head_size, <bytes>data, False,
            MORE_FOLLOWS if self._left else NEXT_ANSWER if head_size and self.persistent else NOTHING_FOLLOWS,
        )

    cdef int take(self) except -1:
        """Nobody else may answer from here on. Raises Disconnected: somebody has."""
        if not self.shared.unanswered.discard(self):
            raise self._expired()
        return 0

    cdef int check_wanted(self) except -1:
        """Raises Disconnected if somebody else has answered meanwhile."""
        if not self.wanted:
            raise self._expired()
        return 0

    cdef object finish(self):
        """The application has given all it has."""
        if self.phase is not STARTED or is_forked() or not (
            self._body is CHUNKED or (self._body is SIZED and self._left == 0)
        ):
            self._finish()
            return
        self.take()
        self.phase = DONE_PHASE
        if self._body is CHUNKED:
            self._transport.put_end()

    cdef object close(self):
        result, self._result, self._iterator = self._result, None, None
        try:
            close = getattr(result, "close", None)
            if close is not None:
                close()
            if is_forked():
                process.end()
        except BaseException as error:
            if is_forked():
                process.end(error)
            self._site.exception(self, error)  # the response is out: it can only be told


class Call(CallState, CallSteps):
    """Runs the application for one request. See engine.call.Call."""

    __slots__ = ()


cdef class Hints:
    """Whose `wsgi.early_hints` a method is; the next request's of its connection, where nobody else has got hold of it."""

    cdef CallState call  # None: it is over


def give_hints(Hints hints not None, headers):
    """See engine.call.Call.early_hints."""
    if hints.call is not None:
        return hints.call.early_hints(headers)
    if is_forked():
        process.end()
    early_hints(headers, Encodings())  # for what it raises


cdef object GIVE_HINTS = give_hints


cdef inline bint are_forgotten(PyObject *hints):
    """Whether the template alone has them."""
    return mw_is_alone(hints) and mw_is_alone(PyMethod_GET_SELF(hints))


cdef CallState new_call(Shared shared, ConversationState conversation, Line line, bint persistent, object request_id):
    """The call of a request; the last one's object, where nobody else has got hold of it."""
    cdef CallState call = shared.spare
    if call is None:
        call = <CallState>Call.__new__(Call)
        call.shared = shared
        call.start = call.start_response
        call.writing = call.write
        call.headers = NO_HEADERS
        call.status = ""
    else:
        shared.spare = None
    call._site = conversation.site
    call._transport = conversation
    call.method = line.method
    call.is_head = line.is_head
    call.http11 = line.http11
    call.persistent = persistent
    call.request_id = request_id
    call.phase = OPEN
    call.sent = 0
    call.failed = call.aborted = False
    call.routes = None
    shared.unanswered.add(call)
    return call


cdef void give_up_hints(CallState call) noexcept:
    """The call is over: who has got hold of its hints has nothing of the next one's."""
    if call.hints is not None:
        call.hints.call = None
        call.hints = None


cdef int spare(Shared shared, CallState call) except -1:
    """The call is over. Where nobody else has got hold of it, nor of one of its methods, it is the next one's."""
    give_up_hints(call)
    if (
        shared.spare is None and Py_REFCNT(<PyObject *>call) == OWN_REFERENCES
        and mw_is_alone(<PyObject *>call.start) and mw_is_alone(<PyObject *>call.writing)
    ):
        call._transport = None
        call.headers = NO_HEADERS
        call.status = call.request_id = ""
        call._encoded = None
        call.answer = None
        shared.spare = call
    else:
        let_go(call)
    return 0


cdef void let_go(object call) noexcept:
    """No circle of it and its methods is left to the collector."""
    cdef CallState state
    if type(call) is Call:
        state = <CallState>call
        state.start = state.writing = None
        give_up_hints(state)


cdef enum:
    OWN_REFERENCES = 3  # of a call that is over: those of its two methods, and the caller's


cdef tuple NO_HEADERS = ()
