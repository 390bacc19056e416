"""Processes that the application forks have none of the server's descriptors, and the default actions of signals.

They must not answer its clients, keep its connections open, hear the master's orders or write into its pipe of signals,
where a child's SIGTERM would be taken for the worker's. Descriptors are replaced by /dev/null rather than closed: their
Python objects live on in the child, and would close what got the number next. What the server forks for itself keeps
all of it (`fork`). A program that the application executes has nothing anyway: all that is ours is close-on-exec, and
handlers do not survive execve(2).
"""

from __future__ import annotations

import faulthandler
from collections.abc import Callable, Iterable

from ..engine.after_fork import process
from ..unpatched import get_ident, os, signal
from .signals import GROUP_SIGNALS, STACK_SIGNAL, give_back

_SIGNALS = (*GROUP_SIGNALS, signal.SIGCHLD)
_withheld: dict[str, Callable[[], Iterable[int]]] = {}
_masks: dict[int, set[int]] = {}  # by the thread that forks: what it had blocked
_forking = 0  # the thread that forks for the server


def withhold(what: str, fds: Callable[[], Iterable[int]]) -> None:
    """From now on these descriptors are withheld; `fds` is called in each child, and replaces the last of that name."""
    _withheld[what] = fds


def fork() -> int:
    """os.fork() for the server itself: the child keeps all, and its signals wait until it has a SignalPipe.

    Raises OSError.
    """
    global _forking  # noqa: PLW0603 - only the main thread forks for the server
    _forking = get_ident()
    try:
        pid = os.fork()
    finally:
        _forking = 0
    if not pid:
        process.keep()
    return pid


def _before() -> None:
    if _withheld:  # else nothing is ours yet
        # Until the child is itself: its handlers would write into our pipe.
        _masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _after_in_parent() -> None:
    if (mask := _masks.pop(get_ident(), None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_in_child() -> None:
    mask = _masks.get(get_ident())
    _masks.clear()
    if mask is None:
        return
    if _forking != get_ident():
        try:
            _strip()
        finally:
            _withheld.clear()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _strip() -> None:
    fds: set[int] = set()
    failed = None
    for found in _withheld.values():
        try:
            fds.update(fd for fd in found() if fd >= 0)
        except Exception as error:  # whatever state the fork has found it in; the others' are withheld all the same
            failed = error
    if "stacks" in _withheld:
        faulthandler.unregister(STACK_SIGNAL)
    give_back(_SIGNALS)
    wakeup_fd = signal.set_wakeup_fd(-1)
    if wakeup_fd >= 0 and wakeup_fd not in fds:
        signal.set_wakeup_fd(wakeup_fd)  # the application's, of its event loop
    try:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        null = -1
    for fd in fds:
        try:
            os.dup2(null, fd, inheritable=False) if null >= 0 else os.close(fd)
        except OSError:
            pass  # the application has closed it
    if null >= 0:
        os.close(null)
    if failed is not None:
        raise failed  # Python tells of it, and the child goes on


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
