"""Signals of launchers and workers: handlers that do nothing, and a descriptor that gets their numbers (signal(3)).

Handlers rather than SIG_IGN, so that programs which the application executes have the default actions. What the pool
must obey is its own whatever the application installs (`DUTIES`); of the others it keeps off the default actions alone,
because a terminal or a service manager may send them to the whole process group, on which the master acts.
"""

from __future__ import annotations

import faulthandler
from _signal import getsignal as _handler_of  # type: ignore[import-not-found]  # it makes no enum of handlers
from typing import Any

from ..unpatched import get_ident, os, signal, socket

STACK_SIGNAL = signal.SIGUSR2  # faulthandler writes every thread's stack to the pipe that the master reads
DUTIES = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
OTHERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU)
GROUP_SIGNALS = (*DUTIES, *OTHERS, STACK_SIGNAL)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


_pipe: SignalPipe | None = None  # this process's, if it has one


def nothing(number: int, frame: object) -> None:
    """The handler of all signals that are ours. They are told by the descriptor; but somebody may have taken that."""
    if _pipe is not None:
        _pipe.made_up_for(number)


def seize(numbers: tuple[signal.Signals, ...]) -> dict[signal.Signals, Any]:
    """Make these signals ours; what the application had installed for them. On the main thread only."""
    theirs = {}
    for number in numbers:
        handler = signal.getsignal(number)
        if handler is nothing:
            continue
        if handler not in _DEFAULTS and handler is not None:  # None: a library's, in C
            theirs[number] = handler
        signal.signal(number, nothing)
        signal.siginterrupt(number, False)
    return theirs


def give_back(numbers: tuple[signal.Signals, ...]) -> None:
    """The actions that a Python program has, for those of the signals that are still ours."""
    for number in numbers:
        if signal.getsignal(number) is nothing:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def write_stacks_to(fd: int) -> None:
    """Have STACK_SIGNAL write all stacks to a descriptor, whoever has taken the signal meanwhile."""
    faulthandler.unregister(STACK_SIGNAL)
    faulthandler.register(STACK_SIGNAL, file=fd, all_threads=True, chain=False)


class SignalPipe:
    """Where a worker reads the numbers of its signals: `fd`, non-blocking. Made on the main thread."""

    def __init__(self) -> None:
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        self._reader, self.fd = reader, reader.fileno()
        self._writer = writer.detach()
        self._main_thread = get_ident()
        self.overruled: set[str] = set()  # the duties for which the application had a handler of its own
        self._taken = False  # the wake-up descriptor has been another's, and may be: handlers tell what they run for
        self.take()
        _use(self)

    def __repr__(self) -> str:
        return f"<SignalPipe {self.fd}>"

    def fds(self) -> tuple[int, int]:
        return self.fd, self._writer

    def read(self) -> bytes:
        """The numbers that have come."""
        try:
            return os.read(self.fd, 64)
        except BlockingIOError:
            return b""

    def take(self) -> None:
        """Make the signals ours, after the application may have taken them. On the main thread."""
        self.overruled.update(number.name for number in seize(DUTIES))
        seize(tuple(number for number in OTHERS if signal.getsignal(number) in _DEFAULTS))
        self._taken = True  # for handlers that run in the next line, of signals that have come before it
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._taken = False
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*GROUP_SIGNALS, signal.SIGCHLD))

    def keep(self) -> None:
        """Take them again if a request has taken one. 0.15 µs; on other threads than the main one it does nothing."""
        for number in DUTIES:
            if (self._taken or _handler_of(number) is not nothing) and get_ident() == self._main_thread:
                self.take()

    def made_up_for(self, number: int) -> None:
        """Called by our handler, on the main thread: an event loop that is closed, for one, leaves no descriptor.

        Whose it is then keeps it until `keep`: were it ours at once, the handlers of others that have come as well, and
        which run next, could not know that nobody has been told of those.
        """
        theirs = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if theirs != self._writer:
            self._taken = True
            try:
                signal.set_wakeup_fd(theirs)
            except (OSError, ValueError):
                pass  # it is closed, or another file has its number
        if self._taken and number not in self._unread():
            try:
                os.write(self._writer, bytes([number]))
            except BlockingIOError:
                pass  # more have come than anybody reads

    def _unread(self) -> bytes:
        """While the descriptor changes hands a signal may be told by both; the same number is not told twice."""
        try:
            return self._reader.recv(64, socket.MSG_PEEK)
        except OSError:
            return b""

    def close(self) -> None:
        """In a process that the server has forked for itself, and which makes another one."""
        _use(None)
        signal.set_wakeup_fd(-1)
        self._reader.close()
        os.close(self._writer)


def _use(pipe: SignalPipe | None) -> None:
    global _pipe  # noqa: PLW0603 - signals are the process's
    _pipe = pipe
