# New clients: accept4(2) and all that follows, engine.plain's `accept`, in one step.

cdef int ACCEPTED = scoreboard.ACCEPTED
cdef int CLOSED_COUNT = scoreboard.CLOSED
cdef int CLOSED_BY = scoreboard.CLOSED_BY
cdef object REMOTE_ADDR = sys.intern("REMOTE_ADDR")
cdef object REMOTE_PORT = sys.intern("REMOTE_PORT")


cdef object new_client(object cls, object site, object listening, int64_t now):
    """Begin with the next client of a listening socket. Raises OSError, also if there is none."""
    cdef ConversationState conversation
    cdef Beginning known = None
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
        address_text = host.decode("ascii")
        known = beginning_of(shared_by(site), listening, address_text)
        base = base_of(known, address_text, ntohs((<sockaddr_in *>&address).sin_port))
    elif came == AF_INET6:
        inet_ntop(came, &(<sockaddr_in6 *>&address).sin6_addr, host, sizeof(host))
        place = host.decode("ascii"), ntohs((<sockaddr_in6 *>&address).sin6_port)
        base = site.connection_environ(listening.listener, place)
    else:
        base = site.connection_environ(listening.listener, "")
    conversation.fd = fd
    conversation.start(site, base, now, known)
    return conversation


cdef Beginning beginning_of(Shared shared, object listening, str host):
    """As the listener's first IPv4 client found it."""
    cdef Beginning made
    found = <PyObject *>PyDict_GetItem(shared.beginnings, listening)
    if found != NULL:
        return <Beginning>found
    made = Beginning.__new__(Beginning)
    site = shared.site
    made.base = site.connection_environ(listening.listener, (host, 0))
    if not site.trusts_proxies:
        made.http = site.parser_for(made.base, Connection)
        made.mounted = site.mount.splits(None)
        made.checked = site.checks(None)
    shared.beginnings[listening] = made
    return made


cdef dict base_of(Beginning known, str host, uint16_t port):
    """What the requests of a client share: what those of the first one did, but for its address."""
    cdef char[8] digits
    cdef dict base = PyDict_Copy(known.base)
    PyDict_SetItem(base, REMOTE_ADDR, host)
    PyDict_SetItem(base, REMOTE_PORT, text_of(<uint8_t *>digits, digits_of(port, digits), False))
    return base


cdef inline void count_closed(uint64_t *cells, object why):
    """`Account.closed`."""
    cells[CLOSED_COUNT] += 1
    cells[CLOSED_BY + <int>why] += 1
