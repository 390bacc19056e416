"""The standard library as it was before the application was imported: the one place from which worker-side code takes
what waits, starts threads or touches descriptors.

gevent, eventlet and their like replace attributes of `os`, `select`, `signal`, `socket`, `time` and `threading` while
the application is imported, or in the midst of a request: then `select.epoll` is gone, a lock belongs to greenlets and
`time.sleep` runs other code of the application. The server is built on real threads and descriptors, whatever the
application makes of its own. So:

    from ..unpatched import Lock, os, select, start_thread, time        # never `import os`, `import threading`

`os`, `select`, `signal`, `socket` and `time` are copies of these modules, to be used as ever. `Socket` is the class
below `socket.socket`, with no Python code in it. `Lock`, `RLock`, `Condition`, `get_ident`, `get_native_id` and
`start_thread` stand for `threading`, none of whose classes is safe; `import_under_real_locks` is for who has several
threads import. Whatever uses them is imported before the
application is: no imports inside functions (tests/unit/test_unpatched.py). Standard library only.
"""

from __future__ import annotations

import _socket
import _thread
import importlib._bootstrap as _bootstrap_module
import os as _os
import select as _select
import signal as _signal
import socket as _socket_module
import threading as _threading
import time as _time
from collections.abc import Callable
from types import BuiltinFunctionType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

__all__ = [
    "OURS", "Condition", "Lock", "RLock", "Socket", "get_ident", "get_native_id", "import_under_real_locks",
    "is_patched", "os", "select", "signal", "socket", "start_thread", "starts_real_threads", "time",
]  # fmt: skip


def _copy(module: ModuleType) -> Any:
    copy = ModuleType(module.__name__, module.__doc__)
    copy.__dict__.update(vars(module))
    return copy


class _Socket(_socket_module.socket):
    """`socket.socket`, whose accept() looks up the class by its name in the module."""

    __slots__ = ()

    def accept(self) -> tuple[_Socket, Any]:
        fd, address = self._accept()  # type: ignore[attr-defined]
        return _Socket(self.family, self.type, self.proto, fileno=fd), address


def _socketpair(family: int = _socket.AF_UNIX, type: int = _socket.SOCK_STREAM, proto: int = 0) -> Any:
    left, right = _socket.socketpair(family, type, proto)
    return _Socket(family, type, proto, left.detach()), _Socket(family, type, proto, right.detach())


if TYPE_CHECKING:
    import os
    import select
    import signal
    import socket
    import time
else:
    os, select, signal, socket, time = map(_copy, (_os, _select, _signal, _socket_module, _time))
    socket.socket = _Socket
    socket.socketpair = _socketpair

_bootstrap: Any = _bootstrap_module
_real_thread = _copy(_thread)
Socket = _socket.socket  # what `socket.socket` is made of
Lock = _thread.allocate_lock
get_ident = _thread.get_ident
get_native_id = _thread.get_native_id
_start_new_thread = _thread.start_new_thread
_RealRLock = _thread.RLock

_STARTS_THREADS = ("Thread", "_start_new_thread", "_start_joinable_thread", "_allocate_lock", "Lock", "get_ident")
_threading_was = {name: getattr(_threading, name, None) for name in _STARTS_THREADS}


def is_patched() -> bool:
    """Whether this module came too late: something had replaced what it copies before it was imported."""
    return _PATCHED


_PATCHED = not (
    hasattr(_select, "epoll")
    and type(_thread.start_new_thread) is BuiltinFunctionType
    and all(type(function) is BuiltinFunctionType for function in (_os.read, _select.poll, _time.sleep))
    and _threading_was["_allocate_lock"] in {None, Lock}
)


class RLock:
    """A re-entrant lock, also for signal handlers; a context manager, or `acquire()` and `release()`, which cost less.

    The real one is out of sight (`__slots__`): eventlet replaces those that it finds, whoever's they are.
    """

    __slots__ = ("_lock", "acquire", "release")

    def __init__(self) -> None:
        self._lock = lock = _RealRLock()
        self.acquire = lock.acquire
        self.release = lock.release

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Condition:
    """What `threading.Condition` is, with an RLock that its callers hold once."""

    __slots__ = ("_lock", "_waiters")

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._waiters: list[_thread.LockType] = []

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool:
        """Wait up to `timeout` seconds for the predicate; its last value."""
        deadline = time.monotonic() + timeout
        while not (reached := predicate()) and (remaining := deadline - time.monotonic()) > 0:
            waiter = Lock()
            waiter.acquire()
            self._waiters.append(waiter)
            self._lock.release()
            try:
                waiter.acquire(timeout=remaining)
            finally:
                self._lock.acquire()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return reached

    def notify_all(self) -> None:
        """Have all that wait look at their predicates."""
        while self._waiters:
            self._waiters.pop().release()


def starts_real_threads() -> bool:
    """Whether `threading` is, now, what it was: what the application starts with it are threads."""
    return all(getattr(_threading, attribute, None) is was for attribute, was in _threading_was.items())


def import_under_real_locks() -> None:
    """Have modules imported under locks of threads again, if something has replaced them; no other thread runs yet.

    importlib takes its locks from `_thread`. With gevent's, two threads that want the same module at once hang: gevent
    itself imports in each thread, when that first waits. eventlet sees to it by itself. What a greenlet is importing
    just now keeps its locks, and all others with it. See importlib._bootstrap.
    """
    held = [lock for found in list(_bootstrap._module_locks.values()) if (lock := found()) is not None]
    if _bootstrap._thread.allocate_lock is not Lock and all(lock.owner is None for lock in held):
        _bootstrap._thread = _real_thread


OURS = "mw-"  # how the names of the server's own threads begin


def start_thread(run: Callable[[], None], name: str, *, runs_application: bool = False) -> Callable[[float], bool]:
    """Start a real daemon thread. Returns its `join(timeout_seconds)`, which says whether it has ended.

    It is one of `threading`, where that starts real ones. Threads that are started in it are daemons, too, but where it
    `runs_application`, whose threads are the same whatever thread a request came to. Raises RuntimeError if there are
    no more threads here.
    """
    if starts_real_threads():

        def run_as_the_main_thread() -> None:
            _threading.current_thread()._daemonic = False  # type: ignore[attr-defined]  # that is what they inherit
            run()

        target = run_as_the_main_thread if runs_application else run
        thread = _threading.Thread(target=target, name=name, daemon=True)
        thread.start()

        def join(timeout: float) -> bool:
            thread.join(timeout)
            return not thread.is_alive()

        return join
    ended = Lock()
    ended.acquire()

    def run_and_tell() -> None:
        try:
            run()
        finally:
            ended.release()

    def join_raw(timeout: float) -> bool:
        if ended.acquire(timeout=timeout):
            ended.release()
            return True
        return False

    _start_new_thread(run_and_tell, ())
    return join_raw
