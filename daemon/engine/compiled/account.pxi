# Counting: the cells of a slot (metrics.scoreboard) as plain stores, by the rules of engine.account.

cdef enum:
    BUCKETS = 96  # room for the bounds of durations
    SIZE_BITS = 65

cdef int REQUESTS = scoreboard.REQUESTS
cdef int FIRSTS = scoreboard.FIRSTS
cdef int BYTES_IN = scoreboard.BYTES_IN
cdef int BYTES_OUT = scoreboard.BYTES_OUT
cdef int S_SUM = scoreboard.S_SUM
cdef int S_SENT = scoreboard.S_SENT
cdef int S_QUEUED = scoreboard.S_QUEUED
cdef int S_CPU = scoreboard.S_CPU
cdef int S_BUCKETS = scoreboard.S_BUCKETS
cdef int T_STATE = scoreboard.T_STATE
cdef int T_START = scoreboard.T_START
cdef int T_NUMBER = scoreboard.T_NUMBER
cdef int T_TEXT = scoreboard.T_TEXT
cdef uint64_t RUNNING = scoreboard.RUNNING
cdef int REQUEST_SIZES = scoreboard.REQUEST_SIZES
cdef int RESPONSE_SIZES = scoreboard.RESPONSE_SIZES
cdef int64_t MOST_NS = MOST_CPU_NS
cdef int64_t[BUCKETS] BOUNDS_NS
cdef int BOUNDS = len(scoreboard.BOUNDS_NS)
cdef int[SIZE_BITS] SIZE_BUCKET
cdef int _at
for _at in range(BOUNDS):
    BOUNDS_NS[_at] = scoreboard.BOUNDS_NS[_at]
for _at in range(SIZE_BITS):
    SIZE_BUCKET[_at] = scoreboard.SIZE_BUCKET[_at]
if BOUNDS >= BUCKETS:
    raise AssertionError("the scoreboard has more bounds than there is room for")


cdef inline int bucket_of(int64_t duration_ns) noexcept nogil:
    cdef int low = 0, high = BOUNDS, middle
    if duration_ns <= BOUNDS_NS[0]:
        return 0
    while low < high:
        middle = (low + high) >> 1
        if duration_ns <= BOUNDS_NS[middle]:
            high = middle
        else:
            low = middle + 1
    return low


cdef inline int size_bucket(uint64_t size) noexcept nogil:
    cdef int bits = 0
    if size:
        size -= 1
    while size:
        bits += 1
        size >>= 1
    return SIZE_BUCKET[bits]


cdef uint64_t *cells_of(object thread) except NULL:
    """Of a thread, which keeps them. In pool fork they are in another slot than what is counted."""
    cdef Py_buffer view
    cdef uint64_t *found
    PyObject_GetBuffer(thread.cells, &view, PyBUF_WRITABLE)
    found = <uint64_t *>view.buf + <Py_ssize_t>thread.cell
    PyBuffer_Release(&view)
    return found


# Where a site and a thread keep what every turn, or every request, asks for.
cdef Py_ssize_t ACCOUNT = mw_slot(Site, b"account")
cdef Py_ssize_t APPLICATION = mw_slot(Site, b"application")
cdef Py_ssize_t CLOSING = mw_slot(Site, b"closing")
cdef Py_ssize_t PARTS = mw_slot(Site, b"parts")
cdef Py_ssize_t SHARED = mw_slot(Site, b"shared")
cdef Py_ssize_t REQUEST_VARIABLES = mw_slot(Site, b"request_variables")
cdef Py_ssize_t CONVERSATION = mw_slot(ThreadAccount, b"conversation")


cdef int check_slots(object thing, object cls, tuple names) except -1:
    """That these are where the class keeps them: a subclass may have a slot, or a property, of the same name. Raises
    TypeError."""
    for name in names:
        if getattr(type(thing), name, None) is not getattr(cls, name) or not hasattr(thing, name):
            raise TypeError(f"{type(thing).__name__} does not keep {name!r} where {cls.__name__} does")
    return 0


cdef class Numbers:
    """Those of requests: itertools.count, which is quicker to ask here."""

    cdef uint64_t number

    def __init__(self, number):
        self.number = number

    def __iter__(self):
        return self

    def __next__(self):
        return self.next()

    cdef uint64_t next(self) noexcept:
        self.number += 1
        return self.number - 1


cdef class Unanswered:
    """engine.claim.Claim of calls, where those of this engine bear a mark of their own instead.

    As there nothing divides what is done: it is C, under the interpreter's lock.
    """

    cdef Py_ssize_t count
    cdef object others  # calls of the plain engine

    def __init__(self):
        self.others = Claim()

    def __len__(self):
        return self.count + len(self.others)

    def __contains__(self, call):
        return (<CallState>call).wanted if isinstance(call, CallState) else call in self.others

    def offer(self, call):
        """Let one have it."""
        if isinstance(call, CallState):
            self.add(<CallState>call)
        else:
            self.others.offer(call)

    def take(self, call):
        """Have it. Raises Taken."""
        if not isinstance(call, CallState):
            self.others.take(call)
        elif not self.discard(<CallState>call):
            raise Taken(call)

    cdef void add(self, CallState call) noexcept:
        self.count += not call.wanted
        call.wanted = True

    cdef bint discard(self, CallState call) noexcept:
        cdef bint wanted = call.wanted
        self.count -= wanted
        call.wanted = False
        return wanted


cdef object context_of(object variables):
    """Of which Context that is the `copy`; None: it is something else."""
    found = getattr(variables, "__self__", None)
    return found if type(found) is Context and variables == found.copy else None


cdef class Shared:
    """What the conversations of a site share here; made anew when the site counts in another slot."""

    cdef readonly object account
    cdef object log  # of the access log, which decides of whom there is a line unless it is `every`; None: there is none
    cdef Lines lines  # that renders each of them; None: it has none of ours
    cdef Py_buffer *view  # out of the collector's sight, which would clear it without a release
    cdef uint64_t *cells
    cdef int64_t slow_ns
    cdef bytes prefix
    cdef Numbers numbers
    cdef Unanswered unanswered
    cdef object server_fields
    cdef bint remembers  # heads, which are the same whatever the request's id is
    cdef list answers
    cdef dict beginnings  # what clients begin with, by their listening sockets: see accept.pxi
    cdef Answer last
    cdef CallState spare
    # Of the site and of the thread as they were when a turn, or a call from outside, began: see `look`.
    cdef object site, application, variables, thread, calls
    cdef Routes routes  # by which the application is called; None: they have none
    cdef object context  # that `variables` copies; None: it does something else
    cdef uint64_t *cell  # the first of the thread's
    cdef Held held  # of whose turns it is, if they may hold anything
    cdef bytes text  # that the thread's cells show; None: it is not known
    cdef uint8_t *received  # the owner's of the loop, from a receive to what is made of it
    cdef char *outgoing  # a head, and a small body behind it

    def __init__(self, site not None):
        check_slots(site, Site, ("account", "application", "closing", "parts", "request_variables"))
        self.site = site
        self.account = site.account
        access = site.account.access
        if access is not None:
            self.log = access.log
            self.lines = access.render if access.every and type(access.render) is Lines else None
        self.view = <Py_buffer *>malloc(sizeof(Py_buffer))
        self.received = <uint8_t *>malloc(RECEIVED)
        self.outgoing = <char *>malloc(HEAD_BYTES + JOINED_BYTES + 64)
        if self.view == NULL or self.received == NULL or self.outgoing == NULL:
            raise MemoryError
        PyObject_GetBuffer(site.account.cells, self.view, PyBUF_WRITABLE)
        self.cells = <uint64_t *>self.view.buf
        self.slow_ns = site.account.slow_ns
        self.prefix = site.request_ids.prefix.encode()
        if type(site.request_ids.numbers) is not Numbers:
            site.request_ids.numbers = Numbers(next(site.request_ids.numbers))
        self.numbers = site.request_ids.numbers
        if type(site.answers) is not Unanswered:
            site.answers = Unanswered()
        self.unanswered = site.answers
        self.server_fields = site.server_fields
        check_slots(self.server_fields, ServerFields, ("lines",))
        self.remembers = site.server_fields.request_id_header is None
        self.answers = []
        self.beginnings = {}

    def __dealloc__(self):
        global mw_received
        if self.cells != NULL:
            PyBuffer_Release(self.view)
        free(self.view)
        if mw_received == self.received:
            mw_received = NULL
        free(self.received)
        free(self.outgoing)

    cdef int look(self, object thread) except -1:
        """To be called on the thread before the first request of a turn, and again behind whatever was Python."""
        site = self.site
        application = <object>mw_in_slot(site, APPLICATION)
        if application is not self.application:
            self.application = application
            self.routes = Routes(application) if type(application) is Routed else None
        variables = <object>mw_in_slot(site, REQUEST_VARIABLES)
        if variables is not self.variables:
            self.variables = variables
            self.context = context_of(variables)
        self.text = thread.text
        if thread is not self.thread:
            check_slots(thread, ThreadAccount, ("conversation",))
            self.thread = thread
            self.calls = thread.calls
            self.cell = cells_of(thread)
        return 0

    cdef int begin(self, object thread, object conversation, Line line, uint64_t number, int64_t now) except -1:
        """From now on the request is seen as running: `ThreadAccount.begin`."""
        cdef uint64_t *cell
        if thread is not self.thread:  # another one was looked at, in what was Python since
            self.look(thread)
        cell = self.cell
        cell[T_START] = now
        cell[T_NUMBER] = number
        text = line.text
        if self.text is not text:
            self.text = thread.text = text
            memcpy(cell + T_TEXT, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        mw_set_slot(thread, CONVERSATION, conversation)
        cell[T_STATE] = RUNNING
        return 0

    cdef object answered(
        self, CallState call, dict environ, Py_ssize_t received, bint first, int64_t duration_ns, int64_t queued_ns
    ):
        """An answer of the application: `Account.answered`."""
        cdef uint64_t *cells = self.cells
        cdef Py_ssize_t series
        cdef Answer answer = call.answer
        cdef PyObject *route = mw_get(environ, ROUTE)
        cdef int64_t computed_ns
        cdef int over
        if answer is None or (route != NULL and type(<object>route) is not str):
            self.account.answered(
                call.method, call.status, call.headers, call.sent, environ, received, first, duration_ns, queued_ns
            )
            return
        if answer.method is not call.method:
            answer.method = call.method
            answer.series = 0
            answer.routes = {}
        if route == NULL:
            series = answer.series
            if not series:
                series = answer.series = self.account.series(call.method, call.status)
        else:
            series = self.series_of(answer, <str>route)
            cells[series + S_SENT] += call.sent
            computed = mw_get(environ, CPU_NS)
            if computed != NULL and type(<object>computed) is int:
                computed_ns = PyLong_AsLongLongAndOverflow(<object>computed, &over)
                if not over and 0 < computed_ns < MOST_NS:
                    cells[series + S_CPU] += computed_ns
        cells[series + S_SUM] += duration_ns
        cells[series + S_QUEUED] += queued_ns
        if duration_ns <= BOUNDS_NS[0]:
            cells[series + S_BUCKETS] += 1
        else:
            cells[series + S_BUCKETS + bucket_of(duration_ns)] += 1
            if duration_ns >= self.slow_ns:
                self.account.on_slow(environ, call.status, duration_ns, queued_ns)
        cells[REQUESTS] += 1
        cells[RESPONSE_SIZES + size_bucket(call.sent)] += 1
        cells[BYTES_OUT] += call.sent
        if first:
            cells[FIRSTS] += 1
        if received >= 0:
            cells[REQUEST_SIZES + size_bucket(received)] += 1
            cells[BYTES_IN] += received
        if call.traced:
            self.account.traced(series, environ, duration_ns)
        if self.lines is not None and self.lines.log(environ, call.status, call.headers, call.sent, duration_ns):
            return
        if self.log is not None:
            self.log(environ, call.status, call.headers, call.sent, duration_ns)

    cdef Py_ssize_t series_of(self, Answer answer, str route) except -1:
        """Where the answer's requests with this route are counted."""
        cdef PyObject *found = mw_get(answer.routes, route)
        if found != NULL:
            return <Py_ssize_t><object>found
        series = self.account.series(answer.method, answer.status, route)
        if len(answer.routes) >= ANSWER_ROUTES:  # they are the application's: there may be any number
            answer.routes.clear()
        answer.routes[route] = series
        return series
