# New clients: accept4(2) and all that follows, engine.plain's `accept`, in one step.

cdef int ACCEPTED = scoreboard.ACCEPTED
cdef int CLOSED_COUNT = scoreboard.CLOSED
cdef int CLOSED_BY = scoreboard.CLOSED_BY
cdef object REMOTE_ADDR = sys.intern("REMOTE_ADDR")
cdef object REMOTE_PORT = sys.intern("REMOTE_PORT")


cdef object new_client(object cls, object site, object listening, int64_t now):
    """Begin with the next client of a listening socket. Raises OSError, also if there is none."""
    cdef ConversationState conversation
    cdef sockaddr_storage address
    cdef socklen_t size = sizeof(address)
    cdef char[64] host
    cdef int family = listening.family, came
    cdef int fd = accept4(listening.fileno(), <sockaddr *>&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if fd < 0:
        raise OSError(errno, os.strerror(errno))
    try:
        conversation = <ConversationState>cls.__new__(cls)
    except BaseException:
        close(fd)
        raise
    conversation.descriptor = fd
    came = address.ss_family
    if came == AF_INET and family == AF_INET:
        inet_ntop(came, &(<sockaddr_in *>&address).sin_addr, host, sizeof(host))
        base = base_of(shared_by(site), listening, host.decode("ascii"), ntohs((<sockaddr_in *>&address).sin_port))
    elif came == AF_INET6:
        inet_ntop(came, &(<sockaddr_in6 *>&address).sin6_addr, host, sizeof(host))
        place = host.decode("ascii"), ntohs((<sockaddr_in6 *>&address).sin6_port)
        base = site.connection_environ(listening.listener, place)
    else:
        base = site.connection_environ(listening.listener, "")
    conversation.start(site, None, fd, base, now)
    return conversation


cdef dict base_of(Shared shared, object listening, str host, uint16_t port):
    """What the requests of an IPv4 client share: what those of the listener's first one did, but for its address."""
    cdef char[8] digits
    cdef dict base
    found = <PyObject *>PyDict_GetItem(shared.bases, listening)
    if found == NULL:
        base = shared.bases[listening] = shared.site.connection_environ(listening.listener, (host, 0))
    else:
        base = <dict>found
    base = PyDict_Copy(base)
    PyDict_SetItem(base, REMOTE_ADDR, host)
    PyDict_SetItem(base, REMOTE_PORT, text_of(<uint8_t *>digits, digits_of(port, digits), False))
    return base


cdef inline void count_closed(uint64_t *cells, object why):
    """`Account.closed`."""
    cells[CLOSED_COUNT] += 1
    cells[CLOSED_BY + <int>why] += 1
