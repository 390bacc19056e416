# A turn of a loop: engine.turn, with epoll_wait(2) and what is usual in one crossing; and answers that wait for each other.

cdef enum:
    EVENTS = 256  # of one turn
    EPOLLIN = 1

cdef uint32_t LEFT_MASK = LEFT
cdef int CONNECTIONS_NOW = scoreboard.CONNECTIONS


cdef inline bint is_ours(PyObject *conversation):
    """Whether it is this engine's: of a socket that does not speak HTTP it is the plain one's."""
    return isinstance(<object>conversation, ConversationState)


cdef class Turn:
    """See `contract.Turn`."""

    lets_go = False

    cdef public bint inline, holds
    cdef readonly list others
    cdef public Py_ssize_t served
    cdef public int64_t ends_ns
    cdef int fd, count
    cdef int64_t long_ns
    cdef dict conversations
    cdef object epoll, unusual, go_on
    cdef readonly Held held
    cdef ConversationState piped  # the client whose answers wait in its batch while the next one is made
    cdef epoll_event[EVENTS] events

    def __init__(self, epoll, conversations, unusual, go_on, long_ns):
        self.inline = True
        self.epoll = epoll
        self.fd = epoll.fileno()
        self.conversations = conversations
        self.unusual = unusual
        self.go_on = go_on
        self.long_ns = long_ns
        self.held = Held()
        self.others = []

    def __repr__(self):
        return f"<Turn served={self.served} held={len(self.held.conversations)}>"

    def open(self):
        """Make what it needs, in the process that serves."""
        if self.holds:
            self.held.open()

    def descriptors(self):
        """What is open for it, also in a child, where `held.h` knows nothing any more."""
        return () if self.held.timer < 0 else (self.held.timer,)

    def wait(self, double seconds):
        """How many descriptors have something to tell; after `seconds` none."""
        cdef int milliseconds = <int>(seconds * 1000 + 0.999)
        cdef int count
        if not milliseconds:
            count = epoll_wait(self.fd, self.events, EVENTS, 0)
        else:
            with nogil:
                count = epoll_wait(self.fd, self.events, EVENTS, milliseconds)
        if count < 0:
            if errno != EINTR:  # a signal has come, which has a descriptor of its own
                raise OSError(errno, os.strerror(errno))
            count = 0
        self.count = count
        return count

    def serve(self, thread, int64_t now):
        """Let all of them go on; when that was over, or 0 if the loop was lost."""
        cdef ConversationState conversation
        cdef Shared looked = None
        cdef Held held = self.held
        cdef int at, fd, count = self.count
        cdef uint32_t mask
        cdef bint holds = self.holds and count > 1
        for at in range(count):
            fd, mask = self.events[at].data.fd, self.events[at].events
            if len(held.conversations) and now - held.since_ns > held.old_ns:
                now = self.release(thread)
                looked = None
                if not now:
                    return 0
            found = mw_get(self.conversations, fd)
            if found == NULL:
                self.others.append(fd)
                continue
            if (
                not is_ours(found) or (<ConversationState>found).stage is not READING
                or mask & LEFT_MASK or not self.inline
            ):
                if len(held.conversations):
                    now = self.release(thread)
                if now:
                    now = self.unusual(thread, fd, mask, now)
                looked = None
                if not now:
                    return 0
                continue
            conversation = <ConversationState>found
            if conversation.shared is not looked:
                looked = conversation.begun().shared
                looked.look(thread)
                looked.held = held if self.holds else None
            if holds and held.is_worth_it():
                conversation.held = held
            conversation.pipes = self.holds and held.calls_are_short()
            outcome = conversation.ask(thread, now)
            if outcome is TAKEN:
                conversation.pipes = False
                if conversation.held_at < 0:
                    conversation.held = None
                return self.go_on(thread, conversation, outcome, now)
            if outcome is DONE:
                held.called(conversation.ended_ns - now)
                if conversation.held_at >= 0 and conversation.ended_ns - now <= self.long_ns:
                    if len(held.conversations) == 1:
                        held.since_ns = conversation.ended_ns
                    conversation.due = outcome
                    now = conversation.ended_ns
                    conversation.keep_of_environ(conversation.told_environ())
                    continue
            if len(held.conversations):  # all in their order
                conversation.due = outcome
                if conversation.held_at < 0:
                    conversation.held = None
                    held.conversations.append(conversation)
                now = self.release(thread)
            else:
                conversation.held = None
                if outcome is DONE or outcome is PAUSED:
                    outcome = self.follow(thread, conversation, conversation.end())
                    now = conversation.called_ns
                    if self.is_over(conversation, outcome):
                        self.served += 1
                        now = conversation.ended_ns
                        continue
                if self.is_usual(conversation, outcome):
                    self.served += 1
                    now = conversation.ended_ns
                    continue
                now = self.go_on(thread, conversation, outcome, now)
            looked = None
            if not now:
                return 0
        return self.release(thread) if len(held.conversations) else now

    cdef object follow(self, object thread, ConversationState conversation, object outcome):
        """Run what the client has sent ahead, while its turn lasts; what has come of the last one."""
        cdef int64_t began = conversation.called_ns
        while (
            outcome is REQUEST and self.inline and conversation.ended_ns <= self.ends_ns
            and conversation.ended_ns - began <= self.long_ns
        ):
            self.served += 1
            self.held.called(conversation.ended_ns - began)
            self.piped = conversation if conversation.pipeline is not None else None
            conversation.pipes = self.holds and self.held.calls_are_short()
            began = conversation.ended_ns
            outcome = conversation.run(thread, began)
        conversation.pipes = False
        if outcome is TAKEN:  # what waits is the next owner's to settle
            return outcome
        self.piped = None
        if conversation.pipeline is not None:
            settle_pipeline(conversation)
            if conversation.gone:
                conversation.closed = CLOSED_WHILE_ANSWERED
                return conversation._leave(GONE)
        return outcome

    def door(self, site, listening):
        """See `contract.Turn`."""
        return Door(self, site, listening)

    cdef object first(self, object thread, ConversationState conversation, int64_t now):
        """Serve a new client."""
        cdef epoll_event event
        conversation.pipes = False
        outcome = conversation.run(thread, now)
        if conversation.called_ns == now and self.is_over(conversation, outcome):
            self.served += 1
            return conversation.ended_ns
        if outcome is MORE and not conversation.mask:
            event.events, event.data.fd = EPOLLIN, conversation.fd
            if not epoll_ctl(self.fd, EPOLL_CTL_ADD, conversation.fd, &event):
                conversation.mask = EPOLLIN
                return now
        return self.go_on(thread, conversation, outcome, now)

    def settle(self, thread, int64_t now):
        """What was held when the loop was lost."""
        cdef ConversationState piped = self.piped
        self.piped = None
        if piped is not None:
            send_ahead(piped)
        self.held.called(self.long_ns)  # one has lasted at least so long
        return self.release(thread) if len(self.held.conversations) else now

    cdef bint is_usual(self, ConversationState conversation, object outcome):
        return (
            outcome is IDLE and conversation.mask == EPOLLIN
            and conversation.ended_ns - conversation.called_ns <= self.long_ns
        )

    cdef bint is_over(self, ConversationState conversation, object outcome) except -1:
        """Whether it was its last answer, behind a call that did not last; then the connection is closed."""
        if outcome is not END or conversation.ended_ns - conversation.called_ns > self.long_ns:
            return False
        # Closing does not end it: the application may have forked a copy.
        if conversation.mask and epoll_ctl(self.fd, EPOLL_CTL_DEL, conversation.fd, NULL):
            return False
        del self.conversations[conversation.fd]
        conversation.keep_nothing()
        conversation.close_descriptor()
        conversation.shared.cells[CONNECTIONS_NOW] -= 1
        if conversation.beginning is not None:
            conversation.beginning.leave(conversation)
        return True

    cdef int64_t release(self, object thread) except -1:
        """Send what is held, and have each conversation go on; the time now, or 0 if the loop was lost.

        Then the rest is whose the loop is.
        """
        cdef ConversationState conversation
        cdef list conversations = self.held.conversations
        cdef int64_t began
        self.held.send()
        while len(conversations):
            conversation = <ConversationState>conversations.pop(0)
            outcome, conversation.due = conversation.due, None
            if outcome is None:  # its thread has lost the loop in its call, and gives it back
                continue
            began = 0
            if outcome is DONE or outcome is PAUSED:
                outcome = conversation.end()
                if outcome is REQUEST:
                    conversation.begun().shared.look(thread)
                    outcome = self.follow(thread, conversation, outcome)
                began = conversation.called_ns
                if self.is_usual(conversation, outcome):
                    self.served += 1
                    continue
            if not self.go_on(thread, conversation, outcome, began or now_ns()):
                return 0
        return now_ns()


cdef enum:
    LOOKS = 16  # of one doze: then whoever dozes has to see whether all has ended


def doze(cells, Py_ssize_t thread, expected, int64_t sleep_ns, int64_t long_ns, int64_t late_ns):
    """Sleep, again and again while calls are short, without the interpreter's lock. See `contract.Doze`.

    Returns behind a sleep: when a call began more than `long_ns` ago, and another one has not; when it woke `late_ns`
    late; or after some time.
    """
    cdef Py_buffer cells_buffer, told_buffer
    cdef uint64_t *seen
    cdef int64_t *told
    cdef int64_t now
    cdef int look = 0
    cdef timespec pause, computed
    pause.tv_sec, pause.tv_nsec = sleep_ns // 1000000000, sleep_ns % 1000000000
    PyObject_GetBuffer(cells, &cells_buffer, PyBUF_WRITABLE)
    try:
        PyObject_GetBuffer(expected, &told_buffer, PyBUF_WRITABLE)
        try:
            seen, told = <uint64_t *>cells_buffer.buf, <int64_t *>told_buffer.buf
            with nogil:
                while look < LOOKS:
                    nanosleep(&pause, NULL)
                    look += 1
                    now = now_ns()
                    if now - told[1] > late_ns:
                        break
                    if seen[thread + T_STATE] == RUNNING and now - <int64_t>seen[thread + T_START] > long_ns:
                        break
                    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &computed)
                    told[2] = computed.tv_sec * <int64_t>1000000000 + computed.tv_nsec
                    told[0], told[1] = now, now + sleep_ns
        finally:
            PyBuffer_Release(&told_buffer)
    finally:
        PyBuffer_Release(&cells_buffer)
    return look
