# A client whose bytes go through an object that behaves like a socket (`tls.stream`): its descriptor is only watched.
#
# What is parsed and called is as for all others; what is sent goes by engine.wire, each block as it comes.

cdef class StreamState(ConversationState):
    """The fields of a StreamConversation, which are the same."""

    cdef object take(self, int64_t now):
        global mw_received, mw_received_size
        cdef ConnectionState http = self._http
        cdef bytes data
        cdef const uint8_t *received
        cdef Py_ssize_t size, used
        if self.stage is UNPARSED:
            return self._parse(None, now)
        try:
            data = self._sock.recv(RECEIVED)
        except BlockingIOError:
            return MORE
        except OSError:
            return self._leave(GONE)
        size = PyBytes_GET_SIZE(data)
        received = <const uint8_t *>PyBytes_AS_STRING(data)
        mw_received_size = min(size, <Py_ssize_t>RECEIVED)  # for a crash's report, which may outlast `data`
        mw_received = self.shared.received
        memcpy(self.shared.received, received, mw_received_size)
        if size and http.state is IDLE_PARSING:
            used = http.usual(received, size)
            if used:
                if used < size:
                    http.pending = data[used:]
                if self._checked:
                    return self._has_come(now)
                self.stage = REQUEST_STAGE
                self.ready_ns = now
                return REQUEST
        return self._parse(data, now)

    cdef bint put(self, Py_ssize_t head_size, bytes data, bint chunk, Follows follows) except -1:
        # What lies in `outgoing` is everybody's: before anything that is Python.
        cdef bytes head = PyBytes_FromStringAndSize(self.shared.outgoing, head_size)
        cdef bytes end = b"\r\n" if chunk else b""
        if PyBytes_GET_SIZE(data) <= JOINED_BYTES:
            return Wire.send(self, head + data + end)
        return Wire.send_parts(self, (head, data, end))


class StreamConversation(StreamState, ConversationSteps):
    """See `choice.Begin.streamed`."""

    engine = "compiled"
    turn = Turn
    doze = staticmethod(doze)
    access_lines = access_lines
    append = Append
    trim_memory = staticmethod(trim_memory)

    __slots__ = ()
