# Requests: what the scanner finds, as Python's objects; and what is remembered of it, as clients repeat themselves.

cdef enum:
    LINES = 128  # of a head, its request line included; more are the plain parser's
    KEPT_LINES = 1024
    KEPT_LINE_BYTES = 512
    KEPT_NAMES = 2048
    TEXT_BYTES = 200  # of a request line, for those who watch: as http.head.RequestLine

cdef object IDLE_PARSING = Parsing.IDLE
cdef object ANSWERING_PARSING = Parsing.ANSWERING
# What applications and the server ask for by name. Nothing else that clients send is interned: that may be for ever.
cdef dict USUAL = {sys.intern(name): sys.intern(name) for name in (
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
    "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "HTTP_ACCEPT_LANGUAGE",
    "HTTP_AUTHORIZATION", "HTTP_CACHE_CONTROL", "HTTP_CONNECTION", "HTTP_COOKIE", "HTTP_EXPECT", "HTTP_HOST",
    "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_ORIGIN", "HTTP_PRAGMA", "HTTP_RANGE", "HTTP_REFERER",
    "HTTP_TRANSFER_ENCODING", "HTTP_UPGRADE_INSECURE_REQUESTS", "HTTP_USER_AGENT", "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REQUESTED_WITH", "HTTP_X_REQUEST_ID",
)}
cdef object HOST = USUAL["HTTP_HOST"]
cdef object CONNECTION = USUAL["HTTP_CONNECTION"]
cdef object CONTENT_LENGTH = USUAL["CONTENT_LENGTH"]
cdef object TRANSFER_ENCODING = USUAL["HTTP_TRANSFER_ENCODING"]
cdef object EXPECT = USUAL["HTTP_EXPECT"]

cdef enum Meaning:
    UNUSUAL  # for the plain parser
    NOTHING  # for the server
    SOMETHING


cdef class Line:
    """A request line, as http.head.RequestLine."""

    cdef readonly str method, target, path, query
    cdef readonly bytes text
    cdef readonly bint http11
    cdef readonly object authority
    cdef bytes raw
    cdef bint is_head

    def __repr__(self):
        return f"<Line {self.method} {self.target} HTTP/1.{int(self.http11)}>"


cdef class Body:
    """A small body that came with its head, as http.body.Spool."""

    cdef bytes data

    @property
    def size(self):
        return PyBytes_GET_SIZE(self.data)

    def file(self):
        """The whole body, from its beginning."""
        return io.BytesIO(self.data)

    def close(self):
        """Nothing is kept elsewhere."""


cdef struct FieldLine:
    uint32_t start  # from the request line's CRLF on
    uint32_t size
    uint16_t name_size
    uint8_t matters  # its value means something to the server


cdef class Head:
    """The fields of a request as http.head.Head, and all that is needed to make the next one's of them.

    `template` is what the environ of a request with these fields begins with. A field that differs in the next request
    is changed in it; when the names do, it is made anew.
    """

    cdef readonly dict template
    cdef readonly bint http11, persistent
    cdef readonly Py_ssize_t length
    cdef uint8_t *raw  # from the request line's CRLF to the empty line's
    cdef uint32_t raw_size, raw_room
    cdef FieldLine *lines
    cdef int count
    cdef list keys
    cdef bint complete  # the template has all that is not of the request line
    cdef Line line  # of which the template is

    chunked = False
    expects_continue = False

    def __dealloc__(self):
        free(self.raw)
        free(self.lines)

    @property
    def fields(self):
        """Those of the request alone, by meta-variable."""
        return {key: self.template[key] for key in self.keys}

    cdef int keep(self, const uint8_t *raw, uint32_t size) except -1:
        if size > self.raw_room:
            room = <uint8_t *>realloc(self.raw, size)
            if room == NULL:
                raise MemoryError
            self.raw, self.raw_room = room, size
        memcpy(self.raw, raw, size)
        self.raw_size = size
        return 0

    cdef Meaning field(self, object key, const uint8_t *value, Py_ssize_t size):
        """What a field tells the server."""
        cdef int wish
        if key is HOST:
            return SOMETHING if mw_host(value, size) else UNUSUAL
        if key is CONNECTION:
            wish = mw_connection(value, size)
            self.persistent = wish == 1
            return SOMETHING if wish else UNUSUAL
        if key is CONTENT_LENGTH:
            self.length = mw_content_length(value, size)
            return UNUSUAL if self.length < 0 else SOMETHING
        if key is TRANSFER_ENCODING or key is EXPECT:
            return UNUSUAL
        return NOTHING


cdef class Rules:
    """What clients may send, and what their request lines and names have meant: one for all connections alike."""

    cdef Py_ssize_t line_bytes, field_bytes, body_bytes
    cdef int fields
    cdef dict lines, names

    def __init__(self, limits):
        self.line_bytes = limits.request_line_bytes
        self.field_bytes = min(limits.field_bytes, limits.fields_bytes)
        self.body_bytes = limits.body_max_bytes
        self.fields = min(limits.fields, LINES - 1)
        self.lines = {}
        self.names = {}

    cdef Line line(self, const uint8_t *data, Py_ssize_t size):
        """None: for the plain parser."""
        cdef mw_line found
        cdef Line line
        if size > self.line_bytes:
            return None
        raw = PyBytes_FromStringAndSize(<const char *>data, size)
        kept = <PyObject *>PyDict_GetItem(self.lines, raw)
        if kept != NULL:
            return <Line>kept
        if not mw_request_line(data, size, &found):
            return None
        line = Line.__new__(Line)
        line.raw = raw
        line.text = raw[:TEXT_BYTES] + b"\r"
        line.http11 = found.http11
        method = text_of(data, found.method_size, False)
        line.method = USUAL.get(method, method)
        line.is_head = line.method == "HEAD"
        target = data + found.target_start
        line.target = text_of(target, found.target_size, found.high)
        if found.escaped:
            line.path = unescaped(target, found.path_size)
        elif found.path_size == found.target_size:
            line.path = line.target
        else:
            line.path = text_of(target, found.path_size, found.high)
        if found.has_query:
            line.query = text_of(target + found.path_size + 1, found.target_size - found.path_size - 1, found.high)
        else:
            line.query = ""
        if size <= KEPT_LINE_BYTES:
            if len(self.lines) >= KEPT_LINES:
                self.lines.clear()
            self.lines[raw] = line
        return line

    cdef str key(self, const uint8_t *name, Py_ssize_t size):
        """The meta-variable of a field's name; None: for the plain parser."""
        cdef char[80] key
        cdef size_t key_size
        raw = PyBytes_FromStringAndSize(<const char *>name, size)
        kept = <PyObject *>PyDict_GetItem(self.names, raw)
        if kept != NULL:
            return <str>kept
        key_size = mw_meta_variable(name, size, key)
        if not key_size:
            return None
        if len(self.names) >= KEPT_NAMES:
            self.names.clear()
        text = text_of(<uint8_t *>key, key_size, False)
        found = USUAL.get(text, text)
        self.names[raw] = found
        return found


cdef object unescaped(const uint8_t *path, Py_ssize_t size):
    cdef int high
    cdef size_t written
    cdef uint8_t *room = <uint8_t *>malloc(size)
    if room == NULL:
        raise MemoryError
    try:
        written = mw_unescape(path, size, room, &high)
        return text_of(room, written, high)
    finally:
        free(room)


cdef class ConnectionState:
    """The fields of a Connection (http.connection), and the usual request."""

    cdef public object limits, known, base, spool_directory, state, line, head, body, _body_reader
    cdef public bytes pending
    cdef public Py_ssize_t body_memory_bytes, _empty_lines, _looked_at, received
    cdef public bint unparsed, wants_continue, asked_head
    cdef bint anew  # the template is not to be changed: a proxy's words are in it
    cdef Head kept
    cdef Rules rules

    def __init__(self, limits, body_memory_bytes=256 * 1024, spool_directory=None, base=None, known=None):
        self.limits = limits
        self.known = Known() if known is None else known
        self.base = {} if base is None else base
        self.body_memory_bytes = body_memory_bytes
        self.spool_directory = spool_directory
        self.state = IDLE_PARSING
        self.pending = b""
        rules = self.known.rules
        if rules is None:
            rules = self.known.rules = Rules(limits)
        self.rules = rules

    def receive(self, data):
        """Take bytes from the client; True when a request is complete. Raises ProtocolError."""
        cdef Py_ssize_t used
        if self.state is IDLE_PARSING and type(data) is bytes:
            used = self.usual(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if used:
                self.pending = (<bytes>data)[used:]
                return True
        return ConnectionSteps.receive(self, data)

    def advance(self):
        """After `finish`, or while `unparsed`: parse what is here. As `receive`."""
        cdef Py_ssize_t used
        pending = self.pending
        if self.state is IDLE_PARSING and pending:
            used = self.usual(<const uint8_t *>PyBytes_AS_STRING(pending), PyBytes_GET_SIZE(pending))
            if used:
                self.pending = pending[used:]
                return True
        return ConnectionSteps.advance(self)

    def forget(self):
        """Drop what was kept to parse the next request faster; for connections that have long been idle."""
        self.head = self.line = self.kept = None

    cdef Py_ssize_t usual(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Take the request that begins here, if it is a usual one and whole: how many bytes it has. 0: it is not.

        To be called between requests. `line`, `head` and `body` are the request's then.
        """
        cdef Py_ssize_t used = 0
        if self._empty_lines == 0:
            used = self.take(data, size)
        if used:
            self.head = self.kept
            self.state = ANSWERING_PARSING
        elif type(self.head) is Head:
            self.head = None  # the plain parser compares with heads of its own
        return used

    cdef Py_ssize_t take(self, const uint8_t *data, Py_ssize_t size) except -1:
        cdef uint32_t[LINES] ends
        cdef int count, high
        cdef long used
        cdef Py_ssize_t line_size
        cdef Head kept = self.kept
        cdef Line line
        if kept is not None and not kept.length and size > kept.raw_size:
            line_size = size - kept.raw_size
            if not memcmp(data + line_size, kept.raw, kept.raw_size):
                # The same fields as last time, behind what may be a request line.
                line = self.line_of(data, line_size)
                if line is not None and line.http11 == kept.http11:
                    self.line = line
                    return size
        used = mw_scan_lines(data, size, ends, LINES, &count, &high)
        if used <= 0 or count - 1 > self.rules.fields or used - ends[0] > self.rules.field_bytes:
            return 0
        line = self.line_of(data, ends[0])
        if line is None:
            return 0
        self.kept = None  # until it is right again
        if (
            kept is None or self.anew or kept.http11 != line.http11 or kept.count != count - 1
            or not change(kept, data, ends, high)
        ):
            kept = self.make(data, ends, count - 1, high, line.http11)
            if kept is None:
                return 0
        kept.keep(data + ends[0], <uint32_t>(used - ends[0]))
        self.kept = kept
        if kept.length:
            if kept.length > size - used or kept.length > self.body_memory_bytes or kept.length > self.rules.body_bytes:
                return 0
            self.body = Body.__new__(Body)
            (<Body>self.body).data = PyBytes_FromStringAndSize(<const char *>data + used, kept.length)
            used += kept.length
        self.line = line
        return used

    cdef Line line_of(self, const uint8_t *data, Py_ssize_t size):
        if type(self.line) is Line:
            raw = (<Line>self.line).raw
            if PyBytes_GET_SIZE(raw) == size and not memcmp(PyBytes_AS_STRING(raw), data, size):
                return <Line>self.line
        return self.rules.line(data, size)

    cdef Head make(self, const uint8_t *data, uint32_t *ends, int count, int high, bint http11):
        """These fields. None: for the plain parser."""
        cdef Head kept = Head.__new__(Head)
        cdef dict template = (<dict>self.base).copy()
        cdef uint32_t first = ends[0], start = first + 2, size
        cdef Py_ssize_t entries = len(template)
        cdef const uint8_t *colon
        cdef const uint8_t *value
        cdef const uint8_t *end
        cdef int at
        cdef Meaning meaning
        cdef bint has_host = False
        kept.lines = <FieldLine *>malloc((count or 1) * sizeof(FieldLine))
        if kept.lines == NULL:
            raise MemoryError
        kept.template, kept.keys, kept.count = template, [], count
        kept.http11 = kept.persistent = http11
        for at in range(count):
            size = ends[at + 1] - start
            colon = <const uint8_t *>memchr(data + start, c":", size)
            if colon == NULL:
                return None
            key = self.rules.key(data + start, colon - data - start)
            if key is None:
                return None
            value, end = colon + 1, data + start + size
            mw_trim(&value, &end)
            meaning = kept.field(key, value, end - value)
            if meaning == UNUSUAL:
                return None
            if key is HOST:
                has_host = True
            PyDict_SetItem(template, key, text_of(value, end - value, high))
            entries += 1
            if len(template) != entries:
                return None  # a repeated field
            kept.keys.append(key)
            kept.lines[at].start = start - first
            kept.lines[at].size = size
            kept.lines[at].name_size = <uint16_t>(colon - data - start)
            kept.lines[at].matters = meaning == SOMETHING
            start = ends[at + 1] + 2
        if http11 and not has_host:
            return None
        return kept


cdef bint change(Head kept, const uint8_t *data, uint32_t *ends, int high) except -1:
    """The same names as last time: change the values that differ. Else False, and the template may be half changed."""
    cdef uint32_t first = ends[0], start = first + 2, size
    cdef FieldLine *line
    cdef const uint8_t *value
    cdef const uint8_t *end
    cdef int at
    for at in range(kept.count):
        line = &kept.lines[at]
        size = ends[at + 1] - start
        if size != line.size or memcmp(data + start, kept.raw + line.start, size):
            if size <= line.name_size or memcmp(data + start, kept.raw + line.start, line.name_size + 1):
                return False
            value = data + start + line.name_size + 1
            end = data + start + size
            mw_trim(&value, &end)
            key = kept.keys[at]
            if line.matters and kept.field(key, value, end - value) == UNUSUAL:
                return False
            PyDict_SetItem(kept.template, key, text_of(value, end - value, high))
            line.size = size
        line.start = start - first
        start = ends[at + 1] + 2
    return True


class Connection(ConnectionState, ConnectionSteps):
    """Bytes in, requests out. While `state` is ANSWERING, `line`, `head` and `body` are the request's."""

    __slots__ = ()
