"""An application that answers "v1 PID TOKEN" like those of the load client, and harms itself and its server on request.

`/NAME` runs the function `NAME` below, which may return what is to be answered; everything else is answered at once.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Environ = dict[str, Any]
BLOCK = b"." * 8192
NOISE = "~" * 4095 + "\n"  # a line of the log that says nothing
LEAKED_BYTES = 48 << 20  # a request
SWEPT = 1024  # descriptors below this number

_leaked: list[bytearray] = []
_never = threading.Lock()
_never.acquire()


def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    harm = HARMS.get(environ["PATH_INFO"][1:])
    found = harm(environ) if harm is not None else None
    if isinstance(found, Iterator):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return found
    if milliseconds := _argument(environ, "ms"):
        time.sleep(int(milliseconds) / 1000)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"v1 {os.getpid()} {_argument(environ, 'token') if found is None else found}\n".encode()]


def _argument(environ: Environ, name: str) -> str:
    for part in environ["QUERY_STRING"].split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return str(value)
    return ""


# --- it ends, or tries to --------------------------------------------------------------------------------------------


def exit_at_once(_environ: Environ) -> None:
    os._exit(7)


def sys_exit(_environ: Environ) -> None:
    sys.exit(3)


def raise_base_exception(_environ: Environ) -> None:
    raise BaseException("on purpose")


def raise_keyboard_interrupt(_environ: Environ) -> None:
    raise KeyboardInterrupt("on purpose")


def raise_generator_exit(_environ: Environ) -> None:
    raise GeneratorExit("on purpose")


def crash_in_c(_environ: Environ) -> None:
    import ctypes

    ctypes.string_at(0)


def abort(_environ: Environ) -> None:
    os.abort()


# --- it does not come back -------------------------------------------------------------------------------------------


def deadlock(_environ: Environ) -> None:
    _never.acquire()


def spin(_environ: Environ) -> None:
    while True:
        pass


def regular_expression(_environ: Environ) -> None:
    """Hours in C code that does not let go of the interpreter's lock."""
    import re

    re.match(r"(a+)+$", "a" * 60 + "b")


def deadlock_in_c(_environ: Environ) -> None:
    """Such code that only waits, for a lock of C's: it takes no time of the processor from others."""
    import ctypes

    mutex = ctypes.create_string_buffer(64)  # zeros: PTHREAD_MUTEX_INITIALIZER
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)


def power(_environ: Environ) -> None:
    """The same, where no signal is looked at either."""
    pow(3, 10**10)


def yield_for_ever(_environ: Environ) -> Iterator[bytes]:
    while True:
        yield BLOCK


def trickle_for_ever(_environ: Environ) -> Iterator[bytes]:
    """The client is never the slower one."""
    while True:
        yield b"."
        time.sleep(0.01)


# --- it takes what there is ------------------------------------------------------------------------------------------


def leak(environ: Environ) -> None:
    """In the process that is named, or in any."""
    if _argument(environ, "pid") in {"", str(os.getpid())}:
        _leaked.append(bytearray(b"x") * LEAKED_BYTES)


def stderr(environ: Environ) -> None:
    """So many mebibytes of noise, as logging and careless libraries write it."""
    for _ in range(int(_argument(environ, "mib")) * 256):
        sys.stderr.write(NOISE)


def stderr_raw(environ: Environ) -> None:
    """The same past Python's streams."""
    chunk = NOISE.encode() * 256
    for _ in range(int(_argument(environ, "mib"))):
        os.write(2, chunk)


# --- it forks --------------------------------------------------------------------------------------------------------


def fork_and_outlive(environ: Environ) -> str:
    """A child that goes on after the response, until a file is there. The answer names it."""
    end = Path(_argument(environ, "until"))
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            while not end.exists():
                time.sleep(0.05)
        finally:
            os._exit(0)
    return str(pid)


def fork_and_return(_environ: Environ) -> str:
    """The child answers, too."""
    pid = os.fork()
    return str(pid or "child")


def fork_and_raise(_environ: Environ) -> str:
    pid = os.fork()
    if not pid:
        raise ValueError("in the child")
    return str(pid)


def fork_and_sys_exit(_environ: Environ) -> str:
    """What scripts do."""
    pid = os.fork()
    if not pid:
        sys.exit(5)
    return str(pid)


def fork_in_a_stream(_environ: Environ) -> Iterator[bytes]:
    yield b"first\n"
    pid = os.fork()
    yield b"second of the child\n" if not pid else b"second\n"


def fork_with_multiprocessing(_environ: Environ) -> str:
    import multiprocessing

    process = multiprocessing.get_context("fork").Process(target=time.time)
    process.start()
    process.join()
    return str(process.exitcode)


# --- it breaks what is not its own -----------------------------------------------------------------------------------


def close_everything(_environ: Environ) -> None:
    os.closerange(3, SWEPT)


def close_listeners(_environ: Environ) -> None:
    for fd in range(3, SWEPT):
        try:
            with socket.socket(fileno=os.dup(fd)) as copy:
                listens = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            continue
        if listens:
            os.close(fd)


def close_epoll(_environ: Environ) -> None:
    _close("anon_inode:[eventpoll]")


def close_scoreboard(_environ: Environ) -> None:
    _close("/memfd:miniwsgi")


def close_unix_sockets(_environ: Environ) -> None:
    """The channel of the master's orders among them."""
    for fd in range(3, SWEPT):
        try:
            with socket.socket(fileno=os.dup(fd)) as copy:
                unix = copy.family == socket.AF_UNIX
        except OSError:
            continue
        if unix:
            os.close(fd)


def close_standard_streams(_environ: Environ) -> None:
    os.closerange(0, 3)


def _close(beginning: str) -> None:
    for fd in range(3, SWEPT):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if link.startswith(beginning):
            os.close(fd)


# --- it changes the process ------------------------------------------------------------------------------------------


def change_signals(_environ: Environ) -> None:
    """Only a main thread may: in another one nothing is changed."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
    except ValueError:
        pass
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGQUIT, signal.SIGALRM})


def change_surroundings(_environ: Environ) -> None:
    os.chdir("/")
    os.umask(0o777)
    os.environ.clear()
    sys.path.clear()
    sys.modules.pop("json", None)


def limit_recursion(_environ: Environ) -> None:
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    sys.setrecursionlimit(depth + 3)


class _Useless:
    def write(self, _text: str) -> int:
        raise RuntimeError("this stream is useless")

    def flush(self) -> None:
        raise RuntimeError("this stream is useless")


def replace_streams(_environ: Environ) -> None:
    sys.stdout = _Useless()  # type: ignore[assignment]
    sys.stderr = None  # type: ignore[assignment]


def stop_the_clock(_environ: Environ) -> None:
    """As libraries for tests do that freeze time."""
    now, wall = time.monotonic(), time.time()
    time.monotonic = lambda: now
    time.time = lambda: wall
    time.monotonic_ns = lambda: int(now * 1e9)


def patch_sockets(_environ: Environ) -> None:
    class Socket(socket.socket):
        def __init__(self, *_arguments: object, **_named: object) -> None:
            raise RuntimeError("no sockets in tests")

    socket.socket = Socket  # type: ignore[misc]
    socket.create_connection = Socket  # type: ignore[assignment]


# --- its request's body ----------------------------------------------------------------------------------------------


def ignore_body(environ: Environ) -> str:
    return str(environ["CONTENT_LENGTH"])


def read_beyond(environ: Environ) -> str:
    body = environ["wsgi.input"]
    return ".".join(str(len(body.read(1 << 30))) for _ in range(3))


HARMS: dict[str, Callable[[Environ], Any]] = {
    name: function
    for name, function in list(globals().items())
    if callable(function) and getattr(function, "__module__", "") == __name__ and not name.startswith("_")
    if name != "application"
}
