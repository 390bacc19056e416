# Answers that wait for each other: a client whose answers come at once, those of a turn, is woken once. `held.h` keeps
# the bytes, and sends them when nobody else comes to it; here is whose they are, and when they are worth it. What one
# client's blocks and answers wait for, by the same limits, is told in `wire.pxi`.

cdef enum:
    RECENT = 8  # calls of which a mean is made


cdef class Held:
    """Those of a turn. Everything belongs to the loop's owner, but for limits and batches. Times are nanoseconds."""

    cdef public int64_t old_ns  # then they are sent, between two calls …
    cdef public int64_t late_ns  # … and then by the thread, whatever a call does
    cdef public int64_t retry_ns  # so often it tries again what a client has not taken; set before the first is held
    cdef public int64_t short_ns  # longer calls are not waited for, nor what took longer to make
    cdef public int64_t tiny_ns  # after shorter ones the turn is over before it would have been worth the while
    cdef mw_held *answers
    cdef int timer  # its descriptor; below 0: there is none
    cdef bint impossible
    cdef list conversations  # in the order of their answers; `due` is what each has to do yet
    cdef int64_t since_ns  # when the first of them was ready
    cdef int64_t last_ns, mean_ns  # of calls, with what was received for them and, if that was at once, sent

    def __cinit__(self):
        self.old_ns, self.late_ns, self.short_ns, self.tiny_ns = 500_000, 700_000, 200_000, 10_000
        self.retry_ns = 20_000_000
        self.timer = -1
        self.conversations = []
        self.last_ns = self.mean_ns = self.short_ns

    def __dealloc__(self):
        if self.answers != NULL:
            mw_held_free(self.answers)

    cdef bint open(self) noexcept:
        """Have a place for answers, and the thread. False: they cannot be had here, and nothing is held."""
        if self.answers == NULL and not self.impossible:
            self.answers = mw_held_new(self.retry_ns)
            self.impossible = self.answers == NULL
            if self.answers != NULL:
                self.timer = self.answers.timer
        return not self.impossible

    cdef void called(self, int64_t took_ns) noexcept:
        """So long a call has taken."""
        self.last_ns = took_ns
        self.mean_ns += (took_ns - self.mean_ns) // RECENT

    cdef bint is_worth_it(self) noexcept:
        """Whether the next call's answer may be held: as long as they are short, and take any time."""
        return self.tiny_ns < self.mean_ns and self.calls_are_short()

    cdef bint calls_are_short(self) noexcept:
        return self.last_ns < self.short_ns and self.mean_ns < self.short_ns and not self.impossible

    cdef bint add(self, ConversationState conversation, const char *data, size_t size) except -1:
        """Hold a whole answer. False: it is to be sent."""
        if conversation.shared.calls is not None and not PySet_Contains(conversation.shared.calls, conversation):
            return False  # its thread has lost the loop
        if conversation._http.pending:
            return False  # the client has sent more, which is not to wait
        if not self.open():
            return False
        self.conversations.append(conversation)
        conversation.held_at = mw_hold(self.answers, conversation.fd, data, size, self.late_ns)
        if conversation.held_at < 0:
            self.conversations.pop()
            return False
        return True

    cdef int send(self) except -1:
        """Send them, and tell each conversation what has come of it."""
        cdef ConversationState conversation
        cdef mw_answer *answer
        if self.answers == NULL or not self.answers.count:
            return 0
        mw_send_held(self.answers)
        for conversation in self.conversations:
            if conversation.held_at < 0:
                continue
            answer = &self.answers.answers[conversation.held_at]
            conversation.held_at = -1
            conversation.held = None
            if mw_has_failed(answer):
                conversation.gone = True
                conversation._call._break_off()
            elif answer.sent < answer.size:
                conversation._keeping().keep(memoryview(rest_of(self.answers, answer)))
        mw_clear_held(self.answers)
        return 0

    cdef int forget(self, ConversationState conversation) except -1:
        """It is closed before its answer was sent."""
        mw_forget_answer(self.answers, conversation.held_at)
        conversation.held_at = -1
        conversation.held = None
        return 0
