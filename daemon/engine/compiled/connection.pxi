# The usual request: what the scanner finds, within what clients may send; all else is http.connection's.


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
        kept = mw_get(self.lines, raw)
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
        kept = mw_get(self.names, raw)
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
    cdef public bint anew  # the template is not to be changed: a proxy's words are in it
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

    cdef ConnectionState another(self, dict base):
        """A new connection's that came in where this one did."""
        cdef ConnectionState made = <ConnectionState>Connection.__new__(Connection)
        made.limits, made.known, made.rules = self.limits, self.known, self.rules
        made.body_memory_bytes, made.spool_directory = self.body_memory_bytes, self.spool_directory
        made.base = base
        made.state = IDLE_PARSING
        made.pending = b""
        return made

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
        if kept is not None and size - kept.raw_size > kept.length:
            line_size = size - kept.raw_size - kept.length
            if not memcmp(data + line_size, kept.raw, kept.raw_size):
                # The same fields as last time, behind what may be a request line, and before their body.
                line = self.line_of(data, line_size)
                if line is not None and line.http11 == kept.http11:
                    if not self.take_body(data + size - kept.length, kept.length):
                        return 0
                    self.line = line
                    return size
        if kept is not None:
            kept.prefetch()
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
        if kept.length > size - used or not self.take_body(data + used, kept.length):
            return 0
        self.line = line
        return used + kept.length

    cdef bint take_body(self, const uint8_t *data, Py_ssize_t length) except -1:
        """One that is here. False: for the plain parser."""
        if not length:
            return True
        if length > self.body_memory_bytes or length > self.rules.body_bytes:
            return False
        self.body = Body.__new__(Body)
        (<Body>self.body).data = PyBytes_FromStringAndSize(<const char *>data, length)
        return True

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
            elif key is TRACEPARENT:
                kept.traced = True
            kept.set(at, key, value, end - value, high)
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


class Connection(ConnectionState, ConnectionSteps):
    """Bytes in, requests out. While `state` is ANSWERING, `line`, `head` and `body` are the request's."""

    __slots__ = ()
