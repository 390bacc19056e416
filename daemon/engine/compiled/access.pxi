# Lines of the access log (daemon.log.access_format): usual ones, in which nothing has to be escaped and all is of the type
# that it should be. Every other line is rendered by the plain function, which alone knows how. Usual ones go straight to
# where lines wait (daemon.log.ring), which says where that is and when it wants to be asked.

cdef enum:
    ATOMS = 64
    LINE_BYTES = 4096  # a longer line is unusual
    TIMESTAMP_BYTES = 24
    SECOND_BYTES = 20  # of these, those that stay for a second

# As access_format.Kind, by their names.
cdef enum Kind:
    KIND_KEY = 1
    KIND_WORD, KIND_DASH, KIND_USER, KIND_TIME, KIND_REQUEST, KIND_STATUS, KIND_BODY_BYTES, KIND_BODY_BYTES_OR_DASH
    KIND_SECONDS, KIND_MILLISECONDS, KIND_MICROSECONDS, KIND_DECIMAL_SECONDS, KIND_PROCESS, KIND_FIELD, KIND_VARIABLE
    KIND_TIMESTAMP, KIND_TEXT, KIND_ADDRESS, KIND_TARGET, KIND_CODE, KIND_DURATION, KIND_REQUEST_ID
    KIND_TRACE_ID, KIND_SPAN_ID, KIND_TRACE

cdef dict KINDS = {
    "KEY": KIND_KEY,
    "WORD": KIND_WORD,
    "DASH": KIND_DASH,
    "USER": KIND_USER,
    "TIME": KIND_TIME,
    "REQUEST": KIND_REQUEST,
    "STATUS": KIND_STATUS,
    "BODY_BYTES": KIND_BODY_BYTES,
    "BODY_BYTES_OR_DASH": KIND_BODY_BYTES_OR_DASH,
    "SECONDS": KIND_SECONDS,
    "MILLISECONDS": KIND_MILLISECONDS,
    "MICROSECONDS": KIND_MICROSECONDS,
    "DECIMAL_SECONDS": KIND_DECIMAL_SECONDS,
    "PROCESS": KIND_PROCESS,
    "FIELD": KIND_FIELD,
    "VARIABLE": KIND_VARIABLE,
    "TIMESTAMP": KIND_TIMESTAMP,
    "TEXT": KIND_TEXT,
    "ADDRESS": KIND_ADDRESS,
    "TARGET": KIND_TARGET,
    "CODE": KIND_CODE,
    "DURATION": KIND_DURATION,
    "REQUEST_ID": KIND_REQUEST_ID,
    "TRACE_ID": KIND_TRACE_ID,
    "SPAN_ID": KIND_SPAN_ID,
    "TRACE": KIND_TRACE,
}

cdef uint8_t[256] PLAIN  # printable ASCII without the quote and the backslash
cdef int _code
for _code in range(256):
    PLAIN[_code] = 0x20 <= _code < 0x7F and _code not in (0x22, 0x5C)


cdef struct Place:
    Py_ssize_t size
    const char *literal
    int kind  # of the atom behind it …
    PyObject *key

cdef struct Room:
    char *at
    char *end


cdef inline bint put(Room *room, const char *data, Py_ssize_t size) noexcept nogil:
    if room.end - room.at < size:
        return False
    memcpy(room.at, data, size)
    room.at += size
    return True


cdef inline bint put_text(Room *room, PyObject *found, bint word) noexcept:
    """A text that is harmless as it is; `word`: also where a space is not."""
    cdef const uint8_t *data
    cdef Py_ssize_t size, at
    value = <object>found
    if not (PyUnicode_CheckExact(value) and PyUnicode_IS_COMPACT_ASCII(value)):
        return False
    data = <const uint8_t *>PyUnicode_DATA(value)
    size = PyUnicode_GET_LENGTH(value)
    for at in range(size):
        if not PLAIN[data[at]] or (word and data[at] == 0x20):
            return False
    return put(room, <const char *>data, size)


cdef inline bint put_quoted(Room *room, PyObject *found) noexcept:
    return put(room, '"', 1) and put_text(room, found, False) and put(room, '"', 1)


cdef inline bint put_number(Room *room, int64_t number, int digits) noexcept nogil:
    """At least so many digits of it."""
    cdef char[20] text
    cdef int at = 20
    while number or digits > 0:
        at -= 1
        text[at] = <char>(0x30 + number % 10)
        number //= 10
        digits -= 1
    return put(room, text + at, 20 - at)


cdef inline bint put_code(Room *room, status) noexcept:
    """The code of a status that is a usual one."""
    cdef const char *data
    cdef int at
    if not PyUnicode_IS_COMPACT_ASCII(status) or PyUnicode_GET_LENGTH(status) < 3:
        return False
    data = <const char *>PyUnicode_DATA(status)
    for at in range(3):
        if not (0x31 if at == 0 else 0x30) <= data[at] <= 0x39:
            return False
    return put(room, data, 3)


cdef inline bint is_empty(PyObject *found) noexcept:
    return PyUnicode_CheckExact(<object>found) and not PyUnicode_GET_LENGTH(<object>found)


cdef inline bint put_path_and_query(Room *room, PyObject *found) noexcept:
    """Two values in JSON, of a target that is not empty."""
    cdef const char *data
    cdef const char *mark
    cdef Py_ssize_t size, path
    if not (put(room, '"path":"', 8) and put_text(room, found, False)):
        return False
    size = PyUnicode_GET_LENGTH(<object>found)
    data = <const char *>PyUnicode_DATA(<object>found)
    mark = <const char *>memchr(data, 0x3F, size)
    if mark == NULL:
        return put(room, '","query":null', 14)
    path = mark - data
    room.at -= size - path  # the rest once more, behind its key
    return put(room, '","query":"', 11) and put(room, mark + 1, size - path - 1) and put(room, '"', 1)


cdef inline char *traceparent(PyObject *found) noexcept:
    """Of a traceparent in version 00 that is valid; NULL: `daemon.traceparent` is to look at it."""
    cdef char *data
    cdef int at
    cdef char code, trace = 0x30, span = 0x30
    value = <object>found
    if not (PyUnicode_CheckExact(value) and PyUnicode_IS_COMPACT_ASCII(value)) or PyUnicode_GET_LENGTH(value) != 55:
        return NULL
    data = <char *>PyUnicode_DATA(value)
    for at in range(55):
        code = data[at]
        if at == 2 or at == 35 or at == 52:
            if code != 0x2D:
                return NULL
        elif not (0x30 <= code <= 0x39 or 0x61 <= code <= 0x66) or (at < 2 and code != 0x30):
            return NULL
        elif at < 35:
            trace |= code
        elif at < 52:
            span |= code
    return NULL if trace == 0x30 or span == 0x30 else data


cdef inline bint put_field(Room *room, object headers, object name) noexcept:
    """A field of the response that is there once at most; `name` is ASCII, in lower case."""
    cdef const char *wanted = <const char *>PyUnicode_DATA(name)
    cdef const char *found
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(name), at, entry
    cdef PyObject *value = NULL
    if not (PyUnicode_IS_COMPACT_ASCII(name) and PyList_CheckExact(headers)):
        return False
    for entry in range(PyList_GET_SIZE(headers)):
        pair = <object>PyList_GET_ITEM(headers, entry)
        if not (PyTuple_CheckExact(pair) and PyTuple_GET_SIZE(pair) == 2):
            return False
        field = <object>PyTuple_GET_ITEM(pair, 0)
        if not (PyUnicode_CheckExact(field) and PyUnicode_IS_COMPACT_ASCII(field)):
            return False
        if PyUnicode_GET_LENGTH(field) != size:
            continue
        found = <const char *>PyUnicode_DATA(field)
        at = 0
        while at < size and (found[at] | (0x20 if 0x41 <= found[at] <= 0x5A else 0)) == wanted[at]:
            at += 1
        if at == size:
            if value != NULL:
                return False
            value = PyTuple_GET_ITEM(pair, 1)
    return put(room, "-", 1) if value == NULL or is_empty(value) else put_text(room, value, False)


cdef inline bint put_variable(Room *room, object environ, object names) noexcept:
    cdef PyObject *found = NULL
    for name in <tuple>names:
        found = PyDict_GetItem(environ, name)
        if found != NULL:
            return put_text(room, found, False)
    return put(room, "-", 1)


@cython.no_gc_clear
cdef class Append:
    """`daemon.log.ring.Append`. Between its look at the limit and its last store no other thread runs."""

    cdef public uint64_t limit
    cdef object kept  # what the pointers lead to
    cdef uint64_t *head
    cdef char *data
    cdef uint64_t capacity

    def __init__(self, head, data):
        cdef Py_buffer view
        self.kept = head, data
        PyObject_GetBuffer(head, &view, PyBUF_WRITABLE)
        self.head = <uint64_t *>view.buf
        PyBuffer_Release(&view)
        PyObject_GetBuffer(data, &view, PyBUF_WRITABLE)
        self.data, self.capacity = <char *>view.buf, view.len
        PyBuffer_Release(&view)

    def __call__(self, bytes entry not None):
        return self.take(PyBytes_AS_STRING(entry), PyBytes_GET_SIZE(entry))

    cdef bint take(self, const char *entry, uint64_t size) noexcept:
        cdef uint64_t head = self.head[0], at = head % self.capacity
        if head + size > self.limit or size > self.capacity - at:  # the cell is the application's memory, too
            return False
        memcpy(self.data + at, entry, size)
        mw_store_behind(self.head, head + size)
        return True


cdef class Lines:
    """Renders the lines of one format; of its parts, a literal stands before each atom, and one behind the last."""

    cdef object plain, time_of_second, timestamp
    cdef Append append  # None: somebody else's
    cdef list kept  # what the pointers lead to
    cdef Place[ATOMS + 1] places
    cdef int count
    cdef bint has_time, has_timestamp
    cdef int64_t second  # of which the two are:
    cdef bytes text
    cdef char[TIMESTAMP_BYTES] stamp

    def __init__(self, list parts, plain, time_of_second, timestamp, append):
        """`time_of_second()` and `timestamp(seconds)` are what access_format says of now. Raises ValueError: this
        format is not for us."""
        cdef bytes literal = b""
        self.plain, self.time_of_second, self.timestamp = plain, time_of_second, timestamp
        self.append = append if type(append) is Append else None
        self.kept = []
        self.second = -1
        for part in parts:
            if isinstance(part, str):
                literal += part.encode()
                continue
            if part.kind.name not in KINDS or self.count == ATOMS:
                raise ValueError(part.kind.name)
            key = part.key
            if part.kind.name == "VARIABLE":  # as `access_format` looks for it
                key = (key, key.upper(), key.lower())
            self.place(literal, KINDS[part.kind.name], key)
            self.count += 1
            literal = b""
        self.place(literal, 0, "")

    cdef object place(self, bytes literal, int kind, key):
        cdef Place *place = &self.places[self.count]
        self.kept += [literal, key]
        place.literal, place.size = PyBytes_AS_STRING(literal), PyBytes_GET_SIZE(literal)
        place.kind, place.key = kind, <PyObject *>key
        self.has_time = self.has_time or kind == KIND_TIME
        self.has_timestamp = self.has_timestamp or kind == KIND_TIMESTAMP

    def __call__(self, environ, status, headers, body_bytes, duration_ns):
        """The line of a request, see access_format."""
        cdef char[LINE_BYTES] line
        cdef int64_t sent, took
        cdef int large_sent, large_took
        cdef Py_ssize_t size
        if PyLong_CheckExact(body_bytes) and PyLong_CheckExact(duration_ns):
            sent = PyLong_AsLongLongAndOverflow(body_bytes, &large_sent)
            took = PyLong_AsLongLongAndOverflow(duration_ns, &large_took)
            if not (large_sent or large_took):
                size = self.compose(line, environ, status, headers, sent, took)
                if size:
                    return PyBytes_FromStringAndSize(line, size)
        return self.plain(environ, status, headers, body_bytes, duration_ns)

    cdef bint log(self, environ, status, headers, int64_t body_bytes, int64_t duration_ns) except -1:
        """Append the line of a request. False: it is not a usual one, or has to be put by the writer."""
        cdef char[LINE_BYTES] line
        cdef Py_ssize_t size
        if self.append is None:
            return False
        size = self.compose(line, environ, status, headers, body_bytes, duration_ns)
        return size and self.append.take(line, size)

    cdef Py_ssize_t compose(
        self, char *line, environ, status, headers, int64_t body_bytes, int64_t duration_ns
    ) except -1:
        """How long the line is; 0: it is not a usual one."""
        cdef Room room
        cdef timespec now
        if not (PyDict_CheckExact(environ) and PyUnicode_CheckExact(status)):
            return 0
        clock_gettime(CLOCK_REALTIME, &now)
        if now.tv_sec != self.second:  # first: it may run other threads
            self.refresh(now.tv_sec)
        room.at = line
        room.end = line + LINE_BYTES
        if not self.put_line(&room, environ, status, headers, body_bytes, duration_ns, now.tv_nsec // 1000000):
            return 0
        return room.at - line

    cdef int refresh(self, int64_t second) except -1:
        cdef bytes stamp
        if self.has_time:
            self.text = self.time_of_second().encode("ascii")
        if self.has_timestamp:
            stamp = self.timestamp(float(second)).encode("ascii")
            memcpy(self.stamp, PyBytes_AS_STRING(stamp), min(TIMESTAMP_BYTES, PyBytes_GET_SIZE(stamp)))
        self.second = second
        return 0

    cdef bint put_line(
        self, Room *room, environ, status, headers, int64_t body_bytes, int64_t duration_ns, int millisecond
    ) noexcept:
        cdef Place *place = self.places
        cdef Place *last = self.places + self.count
        if body_bytes < 0 or duration_ns < 0:
            return False
        while place != last:
            if not (
                put(room, place.literal, place.size)
                and self.put_atom(room, place, environ, status, headers, body_bytes, duration_ns, millisecond)
            ):
                return False
            place += 1
        return put(room, place.literal, place.size)

    cdef inline bint put_atom(
        self, Room *room, Place *place, environ, status, headers, int64_t body_bytes, int64_t duration_ns,
        int millisecond,
    ) noexcept:
        cdef int kind = place.kind
        cdef PyObject *found
        cdef char *data
        if kind == KIND_KEY or kind == KIND_WORD:
            found = PyDict_GetItem(environ, <object>place.key)
            if found == NULL or is_empty(found) or (kind == KIND_KEY and <object>found is None):
                return put(room, "-", 1)
            return put_text(room, found, kind == KIND_WORD)
        if kind == KIND_TEXT or kind == KIND_ADDRESS:
            found = PyDict_GetItem(environ, <object>place.key)
            if found == NULL or <object>found is None or (kind == KIND_ADDRESS and is_empty(found)):
                return put(room, "null", 4)
            return put_quoted(room, found)
        if kind == KIND_REQUEST:
            found = PyDict_GetItem(environ, "REQUEST_METHOD")
            if found == NULL or not (put_text(room, found, False) and put(room, " ", 1)):
                return False
            found = PyDict_GetItem(environ, "RAW_URI")
            if found == NULL or not (put_text(room, found, False) and put(room, " ", 1)):
                return False
            found = PyDict_GetItem(environ, "SERVER_PROTOCOL")
            return found != NULL and put_text(room, found, False)
        if kind == KIND_TARGET:
            found = PyDict_GetItem(environ, <object>place.key)
            return found != NULL and not is_empty(found) and put_path_and_query(room, found)
        if kind == KIND_REQUEST_ID:
            found = PyDict_GetItem(environ, <object>place.key)
            if found == NULL or <object>found is None:
                return True
            return put(room, ',"request_id":', 14) and put_quoted(room, found)
        if kind == KIND_TRACE or kind == KIND_TRACE_ID or kind == KIND_SPAN_ID:
            found = PyDict_GetItem(environ, TRACEPARENT)
            if found == NULL:
                return kind == KIND_TRACE or put(room, "-", 1)
            data = traceparent(found)
            if data == NULL:
                return False
            if kind == KIND_TRACE_ID:
                return put(room, data + 3, 32)
            if kind == KIND_SPAN_ID:
                return put(room, data + 36, 16)
            return (
                put(room, ',"trace_id":"', 13) and put(room, data + 3, 32)
                and put(room, '","span_id":"', 13) and put(room, data + 36, 16) and put(room, '"', 1)
            )
        if kind == KIND_USER:
            return PyDict_GetItem(environ, "HTTP_AUTHORIZATION") == NULL and put(room, "-", 1)
        if kind == KIND_STATUS or kind == KIND_CODE:
            return put_code(room, status)
        if kind == KIND_TIME:
            return put(room, PyBytes_AS_STRING(self.text), PyBytes_GET_SIZE(self.text))
        if kind == KIND_TIMESTAMP:
            return (
                put(room, self.stamp, SECOND_BYTES) and put_number(room, millisecond, 3)
                and put(room, self.stamp + SECOND_BYTES + 3, TIMESTAMP_BYTES - SECOND_BYTES - 3)
            )
        if kind == KIND_DURATION:
            duration_ns = (duration_ns + 500) // 1000
            return (
                put_number(room, duration_ns // 1000, 1) and put(room, ".", 1)
                and put_number(room, duration_ns % 1000, 3)
            )
        if kind == KIND_DASH or (kind == KIND_BODY_BYTES_OR_DASH and not body_bytes):
            return put(room, "-", 1)
        if kind == KIND_BODY_BYTES or kind == KIND_BODY_BYTES_OR_DASH:
            return put_number(room, body_bytes, 1)
        if kind == KIND_SECONDS:
            return put_number(room, duration_ns // 1000000000, 1)
        if kind == KIND_MILLISECONDS:
            return put_number(room, duration_ns // 1000000, 1)
        if kind == KIND_MICROSECONDS:
            return put_number(room, duration_ns // 1000, 1)
        if kind == KIND_DECIMAL_SECONDS:
            return (
                put_number(room, duration_ns // 1000000000, 1) and put(room, ".", 1)
                and put_number(room, duration_ns // 1000 % 1000000, 6)
            )
        if kind == KIND_FIELD:
            return put_field(room, headers, <object>place.key)
        if kind == KIND_VARIABLE:
            return put_variable(room, environ, <object>place.key)
        if kind == KIND_PROCESS:
            return put(room, "<", 1) and put_number(room, getpid(), 1) and put(room, ">", 1)
        return False


def access_lines(list parts, plain, time_of_second, timestamp, append=None):
    """`plain`, or what renders the lines of these parts faster."""
    try:
        return Lines(parts, plain, time_of_second, timestamp, append)
    except ValueError:
        return plain
