# Requests: what the scanner finds, as Python's objects; and what is remembered of it, as clients repeat themselves.

cdef enum:
    LINES = 128  # of a head, its request line included; more are the plain parser's
    KEPT_LINES = 1024
    KEPT_LINE_BYTES = 512
    KEPT_NAMES = 2048
    KEPT_TEXT_BYTES = 1024
    ID_BYTES = 48  # 17 of a prefix, 20 digits
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
    TRACEPARENT_NAME, "HTTP_TRACESTATE",
)}
cdef object HOST = USUAL["HTTP_HOST"]
cdef object CONNECTION = USUAL["HTTP_CONNECTION"]
cdef object CONTENT_LENGTH = USUAL["CONTENT_LENGTH"]
cdef object TRANSFER_ENCODING = USUAL["HTTP_TRANSFER_ENCODING"]
cdef object EXPECT = USUAL["HTTP_EXPECT"]
cdef object TRACEPARENT = USUAL[TRACEPARENT_NAME]

cdef enum Meaning:
    UNUSUAL  # for the plain parser
    NOTHING  # for the server
    SOMETHING


cdef enum Whose:
    UNKNOWN
    APPLICATIONS
    MAYBE_STATIC  # its path begins as those of static files do


cdef enum Asks:
    NOT_LOOKED_AT
    FOR_ALL
    FOR_A_PART  # or under conditions


cdef class Line:
    """A request line, as http.head.RequestLine."""

    cdef readonly str method, target, path, query
    cdef readonly bytes text
    cdef readonly bint http11
    cdef readonly object authority
    cdef bytes raw
    cdef bint is_head
    cdef Whose whose  # the same for all sites that share it
    cdef dict files  # answers by Accept-Encoding, None without one: see file.pxi

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
    uint16_t room  # of the value's text in the template; 0: it is not to be written
    uint8_t matters  # its value means something to the server
    PyObject *value  # that text, which is the template's


cdef class Head:
    """The fields of a request as http.head.Head, and all that is needed to make the next one's of them.

    `template` is what the environ of a request with these fields begins with. A field that differs in the next request
    is changed in it; when the names do, it is made anew.
    """

    cdef dict template
    cdef readonly bint http11, persistent
    cdef readonly Py_ssize_t length
    cdef uint8_t *raw  # from the request line's CRLF to the empty line's
    cdef uint32_t raw_size, raw_room
    cdef FieldLine *lines
    cdef int count
    cdef list keys
    cdef Asks asks  # by their names
    cdef bint traced  # one of them is traceparent
    cdef bint complete  # the template has all that is not of the request line
    cdef Line line  # of which the template is
    # The template's own, put there anew when somebody has got hold of them: see `identify` and `Hints`.
    cdef PyObject *request_id
    cdef PyObject *hints

    chunked = False
    expects_continue = False
    upgrade = False

    def __dealloc__(self):
        free(self.raw)
        free(self.lines)

    @property
    def template(self):
        """What the environ of a request with these fields begins with, as far as it is known."""
        template = self.template.copy()
        if self.complete:
            template[REQUEST_ID], template[EARLY_HINTS] = "", None
        return template

    @property
    def fields(self):
        """Those of the request alone, by meta-variable."""
        return {key: self.template[key] for key in self.keys}

    cdef void prefetch(self) noexcept:
        """Its values, while lines are looked for: with many clients each has left the nearest cache meanwhile."""
        cdef int at
        for at in range(self.count):
            mw_prefetch(self.lines[at].value)
        mw_prefetch(self.request_id)
        mw_prefetch(self.hints)

    cdef int keep(self, const uint8_t *raw, uint32_t size) except -1:
        if size > self.raw_room:
            room = <uint8_t *>realloc(self.raw, size)
            if room == NULL:
                raise MemoryError
            self.raw, self.raw_room = room, size
        memcpy(self.raw, raw, size)
        self.raw_size = size
        return 0

    cdef int set(self, int at, object key, const uint8_t *value, Py_ssize_t size, bint high) except -1:
        """Put a value into the template, as a text of its own that the next one may have room in."""
        cdef FieldLine *line = &self.lines[at]
        line.room = 0
        if high or not 0 < size < KEPT_TEXT_BYTES:
            text = text_of(value, size, high)
        else:
            line.room = <uint16_t>(size | 31)
            text = mw_new_text(value, size, line.room)
        PyDict_SetItem(self.template, key, text)
        line.value = <PyObject *>text
        return 0

    cdef object identify(self, bytes prefix, uint64_t number):
        """Put a request's id into the template: f"{prefix}{number}"."""
        cdef char[ID_BYTES] text
        cdef Py_ssize_t size = PyBytes_GET_SIZE(prefix)
        memcpy(text, PyBytes_AS_STRING(prefix), size)
        size += digits_of(number, text + size)
        if self.request_id != NULL and mw_put_text(self.request_id, text, size, ID_BYTES - 1):
            return <object>self.request_id
        made = mw_new_text(text, size, ID_BYTES - 1)
        PyDict_SetItem(self.template, REQUEST_ID, made)
        self.request_id = <PyObject *>made
        return made

    cdef Hints hints_of(self, CallState call):
        """What is `wsgi.early_hints` in the template, for this call."""
        cdef Hints hints
        if self.hints != NULL and are_forgotten(self.hints):
            hints = <Hints>PyMethod_GET_SELF(self.hints)
        else:
            hints = Hints.__new__(Hints)
            method = PyMethod_New(GIVE_HINTS, hints)
            PyDict_SetItem(self.template, EARLY_HINTS, method)
            self.hints = <PyObject *>method
        hints.call = call
        return hints

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
            if line.matters and kept.field(kept.keys[at], value, end - value) == UNUSUAL:
                return False
            if high or not line.room or not mw_put_text(line.value, value, end - value, line.room):
                kept.set(at, kept.keys[at], value, end - value, high)
            line.size = size
        line.start = start - first
        start = ends[at + 1] + 2
    return True
