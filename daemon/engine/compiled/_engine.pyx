# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""The compiled engine: the plain one with its usual path overridden. See the package's docstring.

What it assumes: the interpreter's lock, and that only a loop's owner receives. Nothing between a head put together and
its `send` runs Python, so that the lock is not given away: one buffer for outgoing bytes serves all threads of a site.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
cimport cython
from cpython.dict cimport PyDict_CheckExact, PyDict_Copy, PyDict_GetItem, PyDict_SetItem
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t, Py_UCS4)
    void *PyUnicode_DATA(object)
    int PyUnicode_KIND(object)
    int PyUnicode_IS_COMPACT_ASCII(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    object PyUnicode_DecodeLatin1(const char *, Py_ssize_t, const char *)
    Py_ssize_t Py_REFCNT(PyObject *)
    int PyList_CheckExact(object)
    Py_ssize_t PyList_GET_SIZE(object)
    PyObject *PyList_GET_ITEM(object, Py_ssize_t)
    int PyTuple_CheckExact(object)
    Py_ssize_t PyTuple_GET_SIZE(object)
    PyObject *PyTuple_GET_ITEM(object, Py_ssize_t)
    long long PyLong_AsLongLongAndOverflow(object, int *) except? -1
    int PySet_Add(object, object) except -1
    int PySet_Discard(object, object) except -1
    int PySet_Contains(object, object) except -1
    object PyContext_Copy(object)
    object PyMethod_New(object, object)
    PyObject *PyMethod_GET_SELF(PyObject *)
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1
    PyObject *PyEval_GetFrame()  # borrowed

cdef extern from "objects.h":
    bint mw_is_alone(PyObject *)  # there is one reference to it, and no weak one
    PyObject *mw_get(object, object)
    Py_ssize_t mw_slot(object, const char *) except -1
    void mw_set_slot(object, Py_ssize_t, object)
    PyObject *mw_in_slot(object, Py_ssize_t)  # a reference that is the object's
    object mw_new_text(const void *, Py_ssize_t, Py_ssize_t)
    void mw_prefetch(const void *) nogil
    bint mw_put_text(PyObject *, const void *, Py_ssize_t, Py_ssize_t)

cdef extern from * nogil:
    """
    static inline void mw_store_behind(uint64_t *cell, uint64_t value) {
        __atomic_store_n(cell, value, __ATOMIC_RELEASE);
    }
    """
    void mw_store_behind(uint64_t *, uint64_t)  # whoever sees it sees what was stored before

cdef extern from "<unistd.h>" nogil:
    int getpid()
    int close(int)

cdef extern from "scan.h" nogil:
    ctypedef struct mw_line:
        uint32_t method_size, target_start, target_size, path_size
        uint8_t has_query, escaped, high, http11
    long mw_scan_lines(const uint8_t *, size_t, uint32_t *, int, int *, int *)
    int mw_request_line(const uint8_t *, size_t, mw_line *)
    size_t mw_unescape(const uint8_t *, size_t, uint8_t *, int *)
    size_t mw_meta_variable(const uint8_t *, size_t, char *)
    void mw_trim(const uint8_t **, const uint8_t **)
    int mw_host(const uint8_t *, size_t)
    int mw_connection(const uint8_t *, size_t)
    int64_t mw_content_length(const uint8_t *, size_t)

cdef extern from "crash.h" nogil:
    const uint8_t *mw_received
    size_t mw_received_size
    void mw_show_crashes(int)

cdef extern from * nogil:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #define mw_trim_memory() malloc_trim(0)
    #else
    #define mw_trim_memory() 0
    #endif
    """
    int mw_trim_memory()

cdef extern from "held.h":
    ctypedef struct mw_answer:
        int error
        uint32_t start, size, sent
    ctypedef struct mw_held:
        int timer, count
        mw_answer *answers
        char *bytes
    mw_held *mw_held_new(long)
    void mw_held_free(mw_held *)
    int mw_hold(mw_held *, int, const char *, size_t, long)
    void mw_send_held(mw_held *)
    void mw_forget_answer(mw_held *, int)
    void mw_clear_held(mw_held *)
    int mw_open_batch(mw_held *, int)
    int mw_grow(mw_held *, int, size_t)
    void mw_fill(mw_held *, int, const char *, size_t)
    void mw_hold_batch(mw_held *, int, int, long)
    void mw_send_filled(mw_held *, int)
    void mw_send_batch(mw_held *, int)
    uint32_t mw_left_of_batch(mw_held *, int)
    bint mw_has_failed(const mw_answer *)
    void mw_will_send(mw_held *, int, long)
    void mw_take_batch(mw_held *, int)
    void mw_close_batch(mw_held *, int)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int, timespec *)
    int nanosleep(const timespec *, timespec *)
    int CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID
    int CLOCK_MONOTONIC, CLOCK_REALTIME

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    Py_ssize_t recv(int, void *, size_t, int)
    Py_ssize_t send(int, const void *, size_t, int)
    Py_ssize_t sendmsg(int, const msghdr *, int)
    int MSG_NOSIGNAL, MSG_DONTWAIT, MSG_MORE
    int shutdown(int, int)
    int SHUT_WR

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct sockaddr_storage:
        int ss_family
    int accept4(int, sockaddr *, socklen_t *, int)
    int AF_INET, AF_INET6, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC

cdef extern from "<arpa/inet.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    struct in6_addr:
        pass
    struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t ntohs(uint16_t)
    const char *inet_ntop(int, const void *, char *, socklen_t)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_wait(int, epoll_event *, int, int)
    int epoll_ctl(int, int, int, epoll_event *)
    int EPOLL_CTL_ADD, EPOLL_CTL_DEL

import io
import os
import sys
from contextvars import Context

from miniwsgi.metrics import scoreboard

from ...unpatched import Socket
from ...http.connection import ConnectionSteps, Parsing
from ...http.head import Known
from ...http.response import Body as Framing
from ...http.response import LAST_CHUNK, Encodings, ServerFields, early_hints, frame
from ...routes.asking import MAX_CHARACTERS
from ...routes.routed import ENDS_WINDOW, MARKS, MEASURED, Routed
from ...routes.variables import CPU_NS, CPU_OF, MOST_CPU_NS, ROUTE
from ...traceparent import VARIABLE as TRACEPARENT_NAME
from .. import request_ids
from ..account import ThreadAccount
from ..after_fork import process
from ..blocks import join
from ..call import CallSteps, Phase
from ..claim import Claim, Taken
from ..contract import Outcome, Stage
from ..environ import complete_template
from ..file_wrapper import FileWrapper
from ..https_policy import HSTS, REDIRECT
from ..plain import FLIGHT_BYTES, RECEIVE_BYTES, ConversationSteps
from ..presence import LEFT
from ..site import Site
from ..transport import Disconnected
from ..wire import Wire


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec * <int64_t>1000000000 + at.tv_nsec


cdef object PROCESS = process
cdef Py_ssize_t FORKED = mw_slot(type(process), b"forked")


cdef inline bint is_forked() noexcept:
    """Whether the application has forked this process: `after_fork`."""
    return <object>mw_in_slot(PROCESS, FORKED) is True  # a cast of True itself would be that of a C 1


cdef inline object text_of(const uint8_t *data, Py_ssize_t size, bint high):
    """Bytes as latin-1 text (PEP 3333, "Unicode Issues"); `high`: some may be above 0x7f."""
    if size == 0:
        return ""
    if high:
        return PyUnicode_DecodeLatin1(<const char *>data, size, NULL)
    text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_DATA(text), data, size)
    return text


def show_received(int fd):
    """From now on a crash of this process shows there what it has received last: see `crash.h`."""
    mw_show_crashes(fd)


cdef class Answer
cdef class CallState
cdef class Lines
cdef class Hints
cdef class ConversationState
cdef class Held
cdef class Beginning
cdef class Turn
cdef class Pipeline
cdef class Routes

include "head.pxi"
include "connection.pxi"
include "account.pxi"
include "answer.pxi"
include "wire.pxi"
include "call.pxi"
include "routes.pxi"
include "held.pxi"
include "turn.pxi"
include "access.pxi"
include "pipeline.pxi"
include "accept.pxi"
include "conversation.pxi"
include "file.pxi"
include "stream.pxi"
