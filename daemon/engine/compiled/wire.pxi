# Where bytes go out: engine.wire, but for what is small and may wait for more of the same client's.
#
# A batch (`held.h`) takes blocks of a stream, and answers of a pipeline, that come quickly one after the other. It is let
# out by whoever puts something into it: when it is full, when it is old, when nothing follows, and when a block has been
# long in the making, which is not to wait as well. Should the application go on before that, the thread sends it: PEP
# 3333, "Buffering and Streaming", permits a block to wait if "a different thread ensures" that it is sent. Whatever else is
# to be sent goes behind it. It is empty whenever a conversation waits for anything but the application.

cdef enum:
    HEAD_BYTES = 8192
    JOINED_BYTES = 8192  # a larger body, or block, is sent from where it lies

cdef enum Follows:
    MORE_FOLLOWS  # of the same answer
    NOTHING_FOLLOWS
    NEXT_ANSWER  # it was all of one, and the connection goes on
    END_FOLLOWS  # it was all of the last one, and the client has asked for the end

cdef bytes CHUNKS_END = LAST_CHUNK


cdef class WireState:
    """The fields of a Wire."""

    cdef public object site, closed, _settings, _kept
    cdef public bint gone
    cdef int fd
    cdef int descriptor  # to be closed by this object; below 0: that is `_sock`'s affair
    cdef object _sock  # None until somebody asks for it, which hardly anybody does
    cdef Shared shared
    cdef Held held  # where the present answer may be held, or is …
    cdef int held_at  # … as which one; below 0: it is not
    cdef int batch  # what is put together is that; below 0: there is none
    cdef int64_t batch_ns  # since when
    cdef int64_t block_ns  # when the application was last asked for a block
    cdef bint joins  # the present answer may wait in the batch for the next one's
    cdef bint tcp  # an answer may go out in one segment with the end of the connection
    cdef Pipeline pipeline  # whose answers are, or were, in the batch, and are not counted yet

    def __cinit__(self):
        self.descriptor = -1

    def __dealloc__(self):
        if self.descriptor >= 0:
            close(self.descriptor)

    @property
    def sock(self):
        """See contract.Conversation. By any thread."""
        cdef int fd = self.descriptor
        if fd >= 0:
            sock = Socket(-1, SOCK_STREAM | SOCK_NONBLOCK, 0, fd)
            if self.descriptor == fd:
                self.descriptor, self._sock = -1, sock
            else:  # that was Python: another thread was faster
                sock.detach()
        return Socket.__new__(Socket) if self._sock is None else self._sock  # closed, as it is in the plain engine

    @sock.setter
    def sock(self, sock):
        if self.descriptor >= 0:
            close(self.descriptor)
        self.descriptor, self._sock = -1, sock

    def fileno(self):
        """See contract.Conversation."""
        return self.descriptor if self.descriptor >= 0 or self._sock is None else self._sock.fileno()

    def hang_up(self):
        """See contract.Conversation."""
        self.close_descriptor()

    cdef int close_descriptor(self) except -1:
        cdef int fd = self.descriptor
        self.descriptor = -1
        if fd >= 0:
            close(fd)
        elif self._sock is not None:
            self._sock.close()
        return 0

    @property
    def unsent(self):
        """See wire.Wire. What is left of a batch comes to that when its thread looks at it."""
        kept = self._kept
        left = 0 if kept is None else kept.unsent
        return left if self.batch < 0 else left + mw_left_of_batch(self.held_by(), self.batch)

    def send(self, data, /):
        """See wire.Wire."""
        self.let_out()
        return Wire.send(self, data)

    def send_parts(self, parts, /):
        """See wire.Wire."""
        self.let_out()
        return Wire.send_parts(self, parts)

    def send_file(self, fd, offset, count, /):
        """See wire.Wire."""
        self.let_out()
        Wire.send_file(self, fd, offset, count)

    def check_client(self):
        """See wire.Wire."""
        self.let_out()  # the application has nothing more just now
        Wire.check_client(self)

    cdef bint put(self, Py_ssize_t head_size, bytes data, bint chunk, Follows follows) except -1:
        """Send what is in `outgoing`, the data, and the end of a chunk. True: pause. Raises Disconnected."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), end_size = 2 if chunk else 0, sent
        cdef Py_ssize_t all_size = head_size + size + end_size
        cdef iovec[3] parts
        cdef msghdr message
        cdef char *outgoing = self.shared.outgoing
        cdef char *end
        cdef bint is_new = self.batch < 0
        if self.gone:
            raise Disconnected
        if not is_new and (size > JOINED_BYTES or not mw_grow(self.held_by(), self.batch, all_size)):
            head = PyBytes_FromStringAndSize(outgoing, head_size)
            self.let_out()
            # That may have been Python: another thread may have put its own answer there.
            memcpy(outgoing, PyBytes_AS_STRING(head), head_size)
            is_new = True
        if not is_new:
            return self.add(head_size, data, end_size, follows, False)
        if self._kept is not None and self._kept.unsent:
            sent = 0
        elif size <= JOINED_BYTES:
            if (follows == MORE_FOLLOWS or follows == NEXT_ANSWER) and self.begin_batch(follows):
                return self.add(head_size, data, end_size, follows, True)
            memcpy(outgoing + head_size, PyBytes_AS_STRING(data), size)
            end = outgoing + head_size + size
            end[0], end[1] = 13, 10
            if follows == NEXT_ANSWER and self.held is not None and self.held.add(self, outgoing, head_size + size):
                return False
            if follows == END_FOLLOWS and self.tcp:  # one segment with the end (tcp(7), MSG_MORE)
                sent = send(self.fd, outgoing, all_size, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE)
                if sent == all_size:
                    shutdown(self.fd, SHUT_WR)
            else:
                sent = send(self.fd, outgoing, all_size, MSG_NOSIGNAL | MSG_DONTWAIT)
        else:
            memset(&message, 0, sizeof(message))
            parts[0].iov_base, parts[0].iov_len = outgoing, head_size
            parts[1].iov_base, parts[1].iov_len = PyBytes_AS_STRING(data), size
            parts[2].iov_base, parts[2].iov_len = <char *>b"\r\n", end_size
            message.msg_iov, message.msg_iovlen = parts, 3
            sent = sendmsg(self.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent == all_size:
            return False
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                self.gone = True
                raise Disconnected
            sent = 0
        # Before anything that is Python.
        head = PyBytes_FromStringAndSize(outgoing, head_size)
        return self._keep((head, data, b"\r\n" if chunk else b""), sent)

    cdef bint put_end(self) except -1:
        """The end of a chunked body. As `put`."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(CHUNKS_END)
        memcpy(self.shared.outgoing, PyBytes_AS_STRING(CHUNKS_END), size)
        return self.put(size, b"", False, NOTHING_FOLLOWS)

    cdef mw_held *held_by(self) noexcept:
        return self.shared.held.answers

    cdef bint begin_batch(self, Follows follows) except -1:
        """Whether there is a batch now, empty and the caller's."""
        cdef Held held = self.shared.held
        if held is None or (follows == NEXT_ANSWER and not self.may_join()) or not held.open():
            return False
        self.batch = mw_open_batch(held.answers, self.fd)
        return self.batch >= 0

    cdef bint may_join(self) except -1:
        """Whether the answer may wait for that to the client's next request."""
        calls = self.shared.calls
        return self.joins and (calls is None or PySet_Contains(calls, self))  # else its thread has lost the loop

    cdef bint add(
        self, Py_ssize_t head_size, bytes data, Py_ssize_t end_size, Follows follows, bint is_new
    ) except -1:
        """To the batch, which is the caller's and has room. True: pause. Raises Disconnected."""
        cdef Held held = self.shared.held
        cdef int64_t now = now_ns(), asked_ns = self.block_ns
        mw_fill(held.answers, self.batch, self.shared.outgoing, head_size)
        mw_fill(held.answers, self.batch, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        mw_fill(held.answers, self.batch, b"\r\n", end_size)
        if is_new:
            self.batch_ns = now
        self.block_ns = now
        if (
            (follows == MORE_FOLLOWS or (follows == NEXT_ANSWER and self.may_join()))
            and now - asked_ns <= held.short_ns and now - self.batch_ns <= held.old_ns
        ):
            mw_hold_batch(held.answers, self.batch, is_new, held.late_ns)
            return False
        mw_send_filled(held.answers, self.batch)
        return self.look_at_batch()

    cdef bint let_out(self) except -1:
        """Send what is held of this client's, if anything is. True: pause. Raises Disconnected."""
        if self.batch < 0:
            return False
        mw_send_batch(self.held_by(), self.batch)
        return self.look_at_batch()

    cdef bint has_failed(self) noexcept:
        """Whether a batch that is sent has found its client gone."""
        return mw_has_failed(&self.held_by().answers[self.batch])

    cdef int let_out_what_can_be(self) except -1:
        """Behind an error: who has gone need not be told of again."""
        try:
            self.let_out()
        except Disconnected:
            pass
        return 0

    cdef int forget_batch(self) except -1:
        """What is held is not to be sent any more, and the descriptor not to be used."""
        mw_take_batch(self.held_by(), self.batch)
        mw_close_batch(self.held_by(), self.batch)
        self.batch = -1
        return 0

    cdef bint look_at_batch(self) except -1:
        """What has come of it, once it is sent: as `let_out`."""
        cdef mw_held *held = self.held_by()
        cdef mw_answer *batch = &held.answers[self.batch]
        cdef bint failed
        left = None
        mw_take_batch(held, self.batch)
        failed = self.has_failed()
        if not failed and batch.sent < batch.size:
            left = rest_of(held, batch)
        mw_close_batch(held, self.batch)
        self.batch = -1
        self.joins = False  # what is counted of two batches is not to be mixed up
        if self.pipeline is not None and self.pipeline.state == NOT_YET:
            self.pipeline.state = LOST if failed else SENT
        if failed:
            self.gone = True
            raise Disconnected
        if left is None:
            return False
        kept = self._keeping()
        kept.keep(memoryview(left))
        return kept.is_full


cdef bytes rest_of(mw_held *held, const mw_answer *answer):
    """What the client has not taken of what was sent."""
    return PyBytes_FromStringAndSize(held.bytes + answer.start + answer.sent, answer.size - answer.sent)
