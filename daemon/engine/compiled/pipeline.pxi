# A pipeline: answers to requests that a client has sent ahead go out together, in its batch (`wire.pxi`).
#
# An answer waits there while the client's next request is here, whole and usual, for as long as the turn goes on with the
# same client. What is counted and logged of it waits as well, until it is known what has become of the batch, and comes
# in the order of the answers, before anything else that is told of the client. A turn has one such client at a time.

cdef enum Sent:
    NOT_YET
    SENT
    LOST  # its client was gone


cdef class Waiting:
    """An answer in a batch, to be counted when that is sent."""

    cdef CallState call
    cdef dict environ
    cdef Py_ssize_t received  # of the request's body; below 0: it had none
    cdef bint first
    cdef int64_t duration_ns, queued_ns


cdef class Pipeline:
    """Those of one batch, in their order."""

    cdef Sent state
    cdef list answers

    def __cinit__(self):
        self.answers = []

    def __repr__(self):
        return f"<Pipeline of {len(self.answers)} {('not sent yet', 'sent', 'lost')[self.state]}>"


cdef bint goes_on(ConversationState conversation) except -1:
    """Leave the present answer in the batch, if the client's next request is here, which is parsed. False: settle."""
    cdef ConnectionState http = conversation._http
    cdef Waiting waiting
    cdef CallState call
    cdef bytes pending = http.pending
    cdef Py_ssize_t used
    if conversation.batch < 0 or not (conversation.joins and conversation.pipes and conversation.is_usual_end()):
        return False
    call = <CallState>conversation._call
    if not call.persistent:
        return False
    head, body = http.head, http.body
    http.state, http.body = IDLE_PARSING, None
    used = http.usual(<const uint8_t *>PyBytes_AS_STRING(pending), PyBytes_GET_SIZE(pending))
    if not used:
        http.state, http.head, http.body = ANSWERING_PARSING, head, body
        return False
    http.pending = pending[used:]
    waiting = Waiting.__new__(Waiting)
    waiting.call = call
    waiting.environ = conversation.told_environ()
    if waiting.environ is not conversation.base:
        waiting.environ = PyDict_Copy(waiting.environ)  # the application may still change its own …
    if conversation.shared.log is not None:
        call.headers = tuple(call.headers)  # … and these
    waiting.received = -1 if body is None else body.size
    waiting.first = not conversation.requests
    waiting.duration_ns = conversation.ended_ns - conversation.ready_ns
    waiting.queued_ns = conversation.queued_ns
    if conversation.pipeline is None:
        conversation.pipeline = Pipeline.__new__(Pipeline)
    conversation.pipeline.answers.append(waiting)
    conversation.requests += 1
    conversation._call = None
    conversation.keep_of_environ(<dict>conversation.base)
    give_up_hints(call)
    conversation.since_ns = conversation.ready_ns = conversation.ended_ns
    conversation._part = BETWEEN
    conversation.stage = REQUEST_STAGE
    return True


cdef int settle_pipeline(ConversationState conversation) except -1:
    """Send what is held, and count what has waited for that; by the thread that runs the conversation."""
    try:
        conversation.let_out()
    except Disconnected:
        if conversation._call is not None:  # its answer was in it, too
            conversation._call._break_off()
    return count_pipeline(conversation)


cdef int send_ahead(ConversationState conversation) except -1:
    """The same while that thread is inside the application: it looks itself what has become of its batch."""
    if conversation.batch >= 0:
        mw_send_batch(conversation.held_by(), conversation.batch)
        if mw_left_of_batch(conversation.held_by(), conversation.batch):  # the thread tries again
            mw_will_send(conversation.held_by(), False, conversation.shared.held.late_ns)
        if conversation.pipeline is not None:
            conversation.pipeline.state = LOST if conversation.has_failed() else SENT
    return count_pipeline(conversation)


cdef int count_pipeline(ConversationState conversation) except -1:
    cdef Pipeline pipeline = conversation.pipeline
    cdef Waiting waiting
    cdef CallState call
    conversation.pipeline = None
    if pipeline is None:
        return 0
    for waiting in pipeline.answers:
        call, waiting.call = waiting.call, None
        if pipeline.state == LOST:
            call._break_off()
            conversation.site.account.answered(
                call.method, conversation._failure(call), call.headers, call.sent, waiting.environ, waiting.received,
                waiting.first, waiting.duration_ns, waiting.queued_ns,
            )
        else:
            conversation.shared.answered(
                call, waiting.environ, waiting.received, waiting.first, waiting.duration_ns, waiting.queued_ns
            )
        spare(conversation.shared, call)  # its hints are given up
    return 0
