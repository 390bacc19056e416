"""What a process has of the application that was imported before the fork, and that is its parent's to end.

The first worker that ends must not delete what all share: finalizers of before the fork are disarmed in it, and run in
the launcher when its generation is over, or when it imports nothing after all. Exit functions (`atexit`) run in each
worker: agents flush by them. Standard library only.
"""

from __future__ import annotations

import atexit
import re
import sys
import traceback
from types import TracebackType
from typing import Any

from ..unpatched import os, signal, start_thread, time
from .fork_safety import Before, child_processes, open_descriptors

EXIT_FUNCTION_SECONDS = 2.0
TERMINATION_SECONDS = 1.0
# Whose functions change what is outside of the process: as finalizers they are not even called when the object goes.
OUTSIDE = frozenset({"tempfile", "shutil", "os", "posix", "pathlib", "subprocess", "signal", "_posixshmem"})
_SHOWN_FUNCTION = re.compile(r"<(?:function|bound method) (\S+)")


# --- in the child ----------------------------------------------------------------------------------------
def disarm() -> None:
    """Called after a fork: forget the finalizers of before, and multiprocessing's processes and fork server."""
    for finalizer in list(getattr(_module("weakref.finalize"), "_registry", ())):
        alive = finalizer.peek()
        if alive is not None and getattr(alive[1], "__module__", None) in OUTSIDE:
            finalizer.detach()
        else:
            finalizer.atexit = False  # what keeps the books of this process goes on doing so
    util, process = _module("multiprocessing.util"), _module("multiprocessing.process")
    if util is not None and process is not None:  # as in processes of its own (BaseProcess._bootstrap)
        util._finalizer_registry.clear()
        process._children.clear()
        util._run_after_forkers()
    server = getattr(_module("multiprocessing.forkserver"), "_forkserver", None)
    if server is not None and server._forkserver_pid is not None:
        # As ForkServer.ensure_running does with one that is dead: it waits for it, and can only for a child of its own.
        os.close(server._forkserver_alive_fd)
        server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None


def _module(name: str) -> Any:
    """A module, or what it has, if it is imported; else None."""
    if name in sys.modules:
        return sys.modules[name]
    parent, _, last = name.rpartition(".")
    return getattr(sys.modules.get(parent), last, None)


class HookFailures:
    """A context around os.fork(): what the application's at-fork functions raise, which Python only prints."""

    def __init__(self) -> None:
        self.error = ""  # one line; "" if there was nothing
        self.traceback = ""
        self._previous: Any = None

    def __enter__(self) -> HookFailures:
        self._previous, sys.unraisablehook = sys.unraisablehook, self._take
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.unraisablehook = self._previous

    def _take(self, unraisable: Any) -> None:
        shown = _SHOWN_FUNCTION.search(unraisable.err_msg or "")  # from Python 3.14 on without an object
        name = shown[1] if shown else getattr(unraisable.object, "__qualname__", repr(unraisable.object))
        if name.endswith("__del__"):  # the garbage collector may run at any time
            self._previous(unraisable)
            return
        error = unraisable.exc_value
        self.error = f"an at-fork function of the application, {name}, raised {type(error).__name__}: {error}"
        self.traceback += "".join(traceback.format_exception(error))


# --- in the launcher that imports nothing after all ------------------------------------------------------
def end_import(before: Before) -> None:
    """End what the import began, as Python's own end would, before this program is executed again.

    What was opened since then is closed by execve(2), whoever opened it.
    """
    ended = start_thread(atexit._run_exitfuncs, "mw-exit")
    ended(EXIT_FUNCTION_SECONDS)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in child_processes():
            try:
                os.kill(pid, number)  # our own child, and not yet waited for: the pid is not another's
            except (ProcessLookupError, PermissionError):
                pass  # it has ended, or has become another user's
        if _reap_all(TERMINATION_SECONDS):
            break
    for fd in open_descriptors().keys() - before.descriptors.keys():
        os.set_inheritable(fd, False)


def _reap_all(seconds: float) -> bool:
    """Whether all children have ended in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if not pid:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
