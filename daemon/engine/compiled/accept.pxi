# New clients: accept4(2) and all that follows, engine.plain's `accept`, in one step.

cdef int ACCEPTED = scoreboard.ACCEPTED
cdef int CLOSED_COUNT = scoreboard.CLOSED
cdef int CLOSED_BY = scoreboard.CLOSED_BY
cdef object REMOTE_ADDR = sys.intern("REMOTE_ADDR")
cdef object REMOTE_PORT = sys.intern("REMOTE_PORT")


cdef enum:
    MOST_LEFT = 64  # as many as may come at once, before one has ended


cdef class Beginning:
    """What the IPv4 clients of one listener begin with: what the first one did, or what one that has ended leaves."""

    cdef dict base
    cdef ConnectionState http  # None: it depends on the client, which may be a trusted proxy
    cdef bint mounted
    cdef bint checked  # see `Site.checks`
    cdef uint32_t address  # of the last one
    cdef str host  # the same as text
    cdef ConversationState left  # one that nobody else has got hold of, and others behind it
    cdef int count  # of them

    cdef int leave(self, ConversationState conversation) except -1:
        """One that has ended is the next client's, if that can be."""
        if self.count < MOST_LEFT and conversation.is_free():
            conversation.behind, self.left = self.left, conversation
            self.count += 1
        return 0

    cdef ConversationState take(self):
        cdef ConversationState taken = self.left
        self.left, taken.behind = taken.behind, None
        self.count -= 1
        return taken


cdef ConversationState new_client(object cls, object site, object listening, int listening_fd, int family, int64_t now):
    """Begin with the next client of a listening socket. None: errno says why there is none."""
    cdef ConversationState conversation
    cdef Beginning known = None
    cdef sockaddr_storage address
    cdef socklen_t size = sizeof(address)
    cdef char[64] host
    cdef int came
    cdef bint is_new = True
    cdef int fd = accept4(listening_fd, <sockaddr *>&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if fd < 0:
        return None
    came = address.ss_family
    try:
        if came == AF_INET and family == AF_INET:
            known = beginning_of(shared_by(site), listening)
        if known is not None and known.left is not None:
            conversation = known.take()
            is_new = False
        else:
            conversation = <ConversationState>cls.__new__(cls)
    except BaseException:
        close(fd)
        raise
    conversation.descriptor = conversation.fd = fd
    conversation.tcp = came == AF_INET or came == AF_INET6
    if known is not None:
        address_text = host_of(known, (<sockaddr_in *>&address).sin_addr.s_addr)
        port_text = port_of(ntohs((<sockaddr_in *>&address).sin_port))
        if not is_new:
            conversation.begin_again(address_text, port_text, now)
            return conversation
        base = PyDict_Copy(known.base)
        PyDict_SetItem(base, REMOTE_ADDR, address_text)
        PyDict_SetItem(base, REMOTE_PORT, port_text)
    elif came == AF_INET6:
        inet_ntop(came, &(<sockaddr_in6 *>&address).sin6_addr, host, sizeof(host))
        place = host.decode("ascii"), ntohs((<sockaddr_in6 *>&address).sin6_port)
        base = site.connection_environ(listening.listener, place)
    else:
        base = site.connection_environ(listening.listener, "")
    conversation.start(site, base, now, known)
    return conversation


cdef Beginning beginning_of(Shared shared, object listening):
    """As the listener's first IPv4 client found it."""
    cdef Beginning made
    found = mw_get(shared.beginnings, listening)
    if found != NULL:
        return <Beginning>found
    made = Beginning.__new__(Beginning)
    site = shared.site
    made.base = site.connection_environ(listening.listener, ("127.0.0.1", 0))
    if not site.trusts_proxies:
        made.http = site.parser_for(made.base, Connection)
        made.mounted = site.mount.splits(None)
        made.checked = site.checks(None)
    shared.beginnings[listening] = made
    return made


cdef str host_of(Beginning known, uint32_t address):
    """An address as text. Those of one listener often have the same, which is a proxy's."""
    cdef char[16] host
    if known.host is None or known.address != address:
        inet_ntop(AF_INET, &address, host, sizeof(host))
        known.host = host.decode("ascii")
        known.address = address
    return known.host


cdef str port_of(uint16_t port):
    cdef char[8] digits
    return text_of(<uint8_t *>digits, digits_of(port, digits), False)


cdef class Door:
    """A listener's, of one turn."""

    cdef Turn turn
    cdef object site, listening
    cdef int fd, family

    def __init__(self, turn, site, listening):
        self.turn, self.site, self.listening = turn, site, listening
        self.fd, self.family = listening.fileno(), listening.family

    def __call__(self, thread, int64_t now):
        """See `contract.Door`."""
        cdef ConversationState conversation = new_client(
            Conversation, self.site, self.listening, self.fd, self.family, now
        )
        if conversation is None:
            return -errno
        self.turn.conversations[conversation.fd] = conversation
        conversation.begun().shared.cells[CONNECTIONS_NOW] += 1
        conversation.shared.look(thread)
        return self.turn.first(thread, conversation, now)


cdef inline void count_closed(uint64_t *cells, object why):
    """`Account.closed`."""
    cells[CLOSED_COUNT] += 1
    cells[CLOSED_BY + <int>why] += 1
