# Answers: what is remembered of heads that an application gives again and again. What they look like on the wire, and how
# their bodies are framed, is http.response's to say; here only the number of bytes is put into its words.

cdef enum:
    ANSWERS = 16
    ANSWER_FIELDS = 64
    FRAMINGS = 8
    ANSWER_ROUTES = 128

cdef Py_ssize_t SERVER_LINES = mw_slot(ServerFields, b"lines")
cdef object SIZED = Framing.SIZED
cdef object CHUNKED = Framing.CHUNKED
cdef object NONE = Framing.NONE


cdef class Framed:
    """A head, and the framing of its body; of a sized one without the number of bytes, which is between the two parts."""

    cdef object kind
    cdef bint persistent
    cdef tuple lines  # the server's own, of this second
    cdef bytes before, behind


cdef class Answer:
    """A status and fields that were checked and encoded."""

    cdef str status
    cdef list items
    cdef object encoded
    cdef Py_ssize_t length  # as the application announced it; below 0: it did not
    cdef list framings
    cdef object method  # of the series
    cdef Py_ssize_t series  # 0: none had it yet
    cdef dict routes  # the same of requests with a route, by its name

    cdef bint says(self, object status, list headers):
        cdef Py_ssize_t at, count = len(self.items)
        if len(headers) != count or not same(status, self.status):
            return False
        for at in range(count):
            given, kept = headers[at], <tuple>self.items[at]
            if given is kept:
                continue
            if type(given) is not tuple or len(<tuple>given) != 2:
                return False
            if not same((<tuple>given)[1], (<tuple>kept)[1]) or not same((<tuple>given)[0], (<tuple>kept)[0]):
                return False
        return True

    cdef Framed framed(self, CallState call, Py_ssize_t length):
        """The head of an answer of so many bytes (below 0: not known). None: the plain engine's affair."""
        cdef Framed found
        cdef object server = call.shared.server_fields, lines = <object>mw_in_slot(server, SERVER_LINES)
        cdef int at = call.http11 | call.persistent << 1 | (length >= 0) << 2
        if call.is_head:
            return None
        found = <Framed>self.framings[at]
        if found is not None and found.lines is lines:
            return found
        head, kind, announced, persistent = frame(
            self.encoded, call.method, call.http11, call.persistent, None if length < 0 else length, server
        )
        if kind is NONE:
            return None
        found = Framed.__new__(Framed)
        found.kind, found.persistent, found.lines = kind, persistent, lines
        found.before, found.behind = head, b""
        if kind is SIZED:
            digits = b"%d" % announced
            end = head.rindex(b"\r\nContent-Length: " + digits + b"\r\n") + 18
            found.before, found.behind = head[:end], head[end + len(digits):]
        if PyBytes_GET_SIZE(found.before) + PyBytes_GET_SIZE(found.behind) > HEAD_BYTES - 64:
            return None
        self.framings[at] = found
        return found


cdef inline bint same(object given, str kept):
    """Whether both are the same text, in latin-1; never asks an application's object."""
    cdef Py_ssize_t size
    if given is kept:
        return True
    if type(given) is not str or PyUnicode_KIND(given) != 1:
        return False
    size = PyUnicode_GET_LENGTH(kept)
    return PyUnicode_GET_LENGTH(given) == size and not memcmp(PyUnicode_DATA(given), PyUnicode_DATA(kept), size)


cdef Answer find(Shared shared, object status, list headers):
    cdef Answer answer = shared.last
    if answer is not None and answer.says(status, headers):
        return answer
    for answer in shared.answers:
        if answer.says(status, headers):
            shared.last = answer
            return answer
    return None


cdef Answer remember(Shared shared, object status, list given, list headers, object encoded):
    """`given` is what `headers` were before they were encoded. None: they are not to be remembered."""
    cdef Answer answer
    if not encoded.kept or encoded.mistakes or len(given) > ANSWER_FIELDS or len(given) != len(headers):
        return None
    if not is_text(status):
        return None
    for now, item in zip(headers, given):
        if now is not item:  # another thread of the application changes them
            return None
        if type(item) is not tuple or len(item) != 2 or not is_text(item[0]) or not is_text(item[1]):
            return None
    answer = Answer.__new__(Answer)
    answer.status = status
    answer.items = given
    answer.encoded = encoded
    answer.framings = [None] * FRAMINGS
    answer.length = -1 if encoded.length is None else encoded.length
    if len(shared.answers) >= ANSWERS:
        del shared.answers[0]
    shared.answers.append(answer)
    shared.last = answer
    return answer


cdef inline bint is_text(object text):
    return type(text) is str and PyUnicode_KIND(text) == 1
