# An application whose requests have routes: `routes.routed.Routed`, called without its closures.

cdef Py_ssize_t ROUTE_CHARACTERS = MAX_CHARACTERS
cdef int MARK_MEASURED = MEASURED
cdef int MARK_ENDS_WINDOW = ENDS_WINDOW


cdef inline int64_t thread_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at)
    return at.tv_sec * <int64_t>1000000000 + at.tv_nsec


cdef inline object frame_now():
    """The innermost frame of Python that this thread runs; None: there is none."""
    cdef PyObject *found = PyEval_GetFrame()
    return None if found == NULL else <object>found


cdef class Routes:
    """What a site's `Routed` does for each request."""

    cdef object routed, application, finder
    cdef bytes marks
    cdef Py_ssize_t at  # in `marks`
    cdef int64_t weight

    def __init__(self, routed):
        self.routed, self.application, self.finder = routed, routed.application, routed.finder
        self.marks = MARKS
        self.weight = 1

    cdef object call(self, CallState call, dict environ):
        """Call the application. Raises what it raises."""
        cdef int mark = PyBytes_AS_STRING(self.marks)[self.at]
        cdef int64_t began = 0, weight
        self.at = (self.at + 1) % PyBytes_GET_SIZE(self.marks)
        if mark >= MARK_ENDS_WINDOW:
            self.weight = self.routed.weigh()
        weight = self.weight
        if weight > 1 and not mark & MARK_MEASURED:
            weight = 0
        call.routes = self
        if weight:
            began = thread_ns()
        try:
            return self.application(environ, call.start)
        except BaseException as error:
            if mw_get(environ, ROUTE) == NULL:
                self.routed.settle_raised(environ, error)
            raise
        finally:
            if weight:
                PyDict_SetItem(environ, CPU_NS, (thread_ns() - began) * weight)
                if weight > 1:
                    PyDict_SetItem(environ, CPU_OF, weight)

    cdef int find(self, CallState call, object status) except -1:
        """The response is begun, by the innermost frame there is."""
        cdef ConversationState transport = call._transport
        cdef dict environ
        if transport is None or transport._call is not call or type(transport._environ) is not dict:
            return 0  # long over
        if transport._environ is transport.base:
            return 0  # over, and its answer waits
        environ = <dict>transport._environ
        if mw_get(environ, ROUTE) != NULL:
            return 0
        caller = frame_now()
        try:
            route = self.finder(environ, caller)
        except Exception:
            route = None
        if type(route) is str and PyUnicode_GET_LENGTH(route) <= ROUTE_CHARACTERS:
            PyDict_SetItem(environ, ROUTE, route)
        else:
            self.routed.settle(environ, route, caller, status)
        return 0
