# Static files again: an answer that was given to a request line, given to the next one like it. All else about them, and
# the first answer, is engine.file_steps.
#
# What is kept lies with the line, and counts as long as the directory would answer the same without a look: the content
# is the representation's, which has none any more when the directory has forgotten it.

cdef enum:
    KEPT_CODINGS = 8  # values of Accept-Encoding, of which one answer each

# Where a representation has these: not settled before there is one, as workers without static files load none of that.
cdef Py_ssize_t CONTENT = 0
cdef Py_ssize_t FRESH_UNTIL = 0
cdef object ACCEPT_ENCODING = USUAL["HTTP_ACCEPT_ENCODING"]
# What makes another answer of a GET (RFC 9110 sections 13.1 and 14.2).
cdef frozenset CONDITIONS = frozenset((
    "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_IF_RANGE", "HTTP_RANGE",
))


cdef class GivenFile:
    """An answer to a GET without conditions, on a connection that goes on."""

    cdef object account, lines  # by which its head and its series were made
    cdef object representation, status, headers
    cdef dict environ  # of the route
    cdef bytes head
    cdef Py_ssize_t series


cdef bint is_conditional(Head head) except -1:
    if head.asks == NOT_LOOKED_AT:
        head.asks = FOR_A_PART if CONDITIONS.intersection(head.keys) else FOR_ALL
    return head.asks == FOR_A_PART


cdef object accepted_of(Head head):
    """The value of Accept-Encoding, or None."""
    found = mw_get(head.template, ACCEPT_ENCODING)
    return None if found == NULL else <object>found


cdef bint may_be_given(ConversationState conversation) except -1:
    """Whether the answer to the present request depends on nothing but what is kept with one."""
    cdef ConnectionState http = conversation._http
    cdef Head head = <Head>http.head
    cdef dict base = <dict>conversation.base
    return (
        head.persistent and http.body is None and conversation._proxy is None and conversation.shared.remembers
        and not is_conditional(head) and mw_get(base, REDIRECTED) == NULL and mw_get(base, WITH_HSTS) == NULL
    )


cdef int keep_file(ConversationState conversation, object route, object answer, bytes head_bytes) except -1:
    """Keep the answer to the present request, if the next one like it may have the same."""
    global CONTENT, FRESH_UNTIL
    cdef ConnectionState http = conversation._http
    cdef Shared shared = conversation.begun().shared
    cdef Line line
    cdef GivenFile file
    if type(http.line) is not Line or type(http.head) is not Head or len(head_bytes) > HEAD_BYTES:
        return 0
    line = <Line>http.line
    if line.method != "GET" or not may_be_given(conversation):
        return 0
    lines = <object>mw_in_slot(shared.server_fields, SERVER_LINES)
    accepted = accepted_of(<Head>http.head)
    if line.files is None or len(line.files) >= KEPT_CODINGS:
        line.files = {}
    elif (found := line.files.get(accepted)) is not None:
        file = <GivenFile>found
        if file.representation is answer.whole and file.lines is lines and file.account is shared.account:
            return 0  # it was looked at again, and is the same
    if not CONTENT:
        CONTENT, FRESH_UNTIL = mw_slot(type(answer.whole), b"content"), mw_slot(type(answer.whole), b"fresh_until_ns")
    file = GivenFile.__new__(GivenFile)
    file.account, file.lines = shared.account, lines
    file.representation, file.status, file.headers = answer.whole, answer.status, answer.headers
    file.environ = route.environ
    file.head = head_bytes
    file.series = shared.account.series(line.method, answer.status, route.environ[ROUTE])
    line.files[accepted] = file
    return 0


cdef object give_file(ConversationState conversation, int64_t now):
    """Answer the present request, and settle it, as the last one like it: an Outcome. None: it has to be looked at."""
    cdef ConnectionState http = conversation._http
    cdef Shared shared = conversation.begun().shared
    cdef Line line = <Line>http.line
    cdef Head head
    cdef GivenFile file
    cdef dict environ
    cdef uint64_t *cells
    cdef Py_ssize_t head_size, size
    cdef int64_t took_ns
    if line.files is None or not may_be_given(conversation):
        return None
    head = <Head>http.head
    found = mw_get(line.files, accepted_of(head))
    if found == NULL:
        return None
    file = <GivenFile>found
    content = <object>mw_in_slot(file.representation, CONTENT)
    if (
        content is None or <int64_t><object>mw_in_slot(file.representation, FRESH_UNTIL) < now_ns()
        or file.lines is not <object>mw_in_slot(shared.server_fields, SERVER_LINES)
        or file.account is not shared.account
        or <object>mw_in_slot(conversation.site, CLOSING) or <object>mw_in_slot(conversation.site, PARTS) is not None
    ):
        return None
    environ = file.environ
    if shared.log is not None or head.traced:
        conversation.make_template(head, line)
        head.identify(shared.prefix, shared.numbers.next())
        environ = PyDict_Copy(head.template)
        PyDict_SetItem(environ, ROUTE, file.environ[ROUTE])
    conversation.ready_ns = conversation.called_ns = now
    head_size, size = PyBytes_GET_SIZE(file.head), PyBytes_GET_SIZE(content)
    memcpy(shared.outgoing, PyBytes_AS_STRING(file.head), head_size)
    try:
        conversation.put(head_size, <bytes>content, False, NOTHING_FOLLOWS)
    except Disconnected:
        return conversation.settle_file(line.method, file.status, file.headers, 0, environ)
    if conversation._kept is not None and conversation._kept.unsent:
        return conversation.settle_file(line.method, file.status, file.headers, size, environ)
    conversation.ended_ns = now_ns()
    took_ns = conversation.ended_ns - now
    cells = shared.cells
    cells[file.series + S_SUM] += took_ns
    cells[file.series + S_BUCKETS + bucket_of(took_ns)] += 1
    cells[REQUESTS] += 1
    cells[RESPONSE_SIZES + size_bucket(size)] += 1
    cells[BYTES_OUT] += size
    cells[file.series + S_SENT] += size
    if not conversation.requests:
        cells[FIRSTS] += 1
    if head.traced:
        shared.account.traced(file.series, environ, took_ns)
    if shared.log is not None and (
        shared.lines is None or not shared.lines.log(environ, file.status, file.headers, size, took_ns)
    ):
        shared.log(environ, file.status, file.headers, size, took_ns)
    conversation.requests += 1
    http.state = IDLE_PARSING
    conversation.since_ns = conversation.ended_ns
    conversation._part = BETWEEN
    if http.pending:
        conversation.stage = UNPARSED
        return AGAIN  # as in engine.plain
    conversation.stage = READING
    if conversation.requests == 1:
        http.forget()
    return IDLE
