"""Lines to a descriptor or a file from a bounded queue, by a thread of their own: nobody waits for a reader.

Assumes that lines end in a newline and that several processes may share the target. Promises: `put` returns
at once whatever the reader does; what does not fit or cannot be written is dropped and counted; lines up to
PIPE_BUF bytes arrive whole (pipe(7)); nothing raises but opening a path. The thread starts with the first
line, so nothing exists before a fork, and a writer that a child inherits starts afresh there. Standard
library only.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

FILE_MODE = 0o640
FILE_BATCH_BYTES = 64 * 1024  # O_APPEND writes to a file are whole at any length
QUEUED_BYTES_A_LINE = 1024  # the queue's bound in bytes is its capacity times this
THREAD_NAME = "miniwsgi-log"
UNREAD = "nobody read them"

Notice = Callable[[int, str], bytes]


class _Forked(Protocol):
    def _after_fork(self) -> None: ...


_objects: weakref.WeakSet[_Forked] = weakref.WeakSet()


def start_afresh_in_children(thing: _Forked) -> None:
    """Have `thing._after_fork()` called in every child that `os.fork` makes while it lives.

    A lock that another thread held at the fork would stay locked in the child for ever.
    """
    _objects.add(thing)


def _after_fork_in_child() -> None:
    for thing in list(_objects):
        thing._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


class State(Enum):
    """What the writer's thread is about."""

    ABSENT = "absent"
    RUNNING = "running"
    STOPPING = "stopping"


def plain_notice(lines: int, reason: str) -> bytes:
    """The line that tells of lost ones, in words: "3 log lines were lost: nobody read them"."""
    return (lost_message(lines, reason) + "\n").encode()


def lost_message(lines: int, reason: str) -> str:
    return f"{lines} log {'line was' if lines == 1 else 'lines were'} lost: {reason}"


class Writer:
    """A bounded queue of lines in front of `target`: a descriptor, or a path that is created and appended to.

    `capacity` is in lines. `linger_seconds` is how long the thread lets lines gather before it writes them: a
    busy caller is then interrupted a few times a second instead of at every line. `notice` words the line
    about lost ones. `lost` counts them. `wary` is for root where others may write: a link that another user
    has made is not followed. Raises OSError when a path cannot be opened.
    """

    def __init__(
        self,
        target: int | str,
        capacity: int = 10_000,
        *,
        linger_seconds: float = 0.0,
        notice: Notice | None = None,
        wary: bool = False,
    ) -> None:
        # Absolute, because a worker changes its directory between here and reopen().
        self.path = os.path.abspath(target) if isinstance(target, str) else ""
        self.fd = _open(self.path, wary=wary) if isinstance(target, str) else target
        self.notice = notice
        self._capacity = capacity
        self._capacity_bytes = capacity * QUEUED_BYTES_A_LINE
        self._linger = linger_seconds
        self._gathered = capacity // 4
        self._whole_bytes = _whole_bytes(self.fd)
        self._after_fork()
        start_afresh_in_children(self)

    def __repr__(self) -> str:
        target = self.path or f"fd {self.fd}"
        return f"<Writer {target} {self._state.value} queued={len(self._queue)} lost={self.lost}>"

    def _after_fork(self) -> None:
        # What is queued now is the parent's to write.
        self.lost = 0
        self._lock = threading.RLock()  # re-entrant: a signal handler may log in the midst of put()
        self._settling = threading.Condition(self._lock)
        self._wake = threading.Lock()  # a binary semaphore: the thread acquires it, others release it
        self._wake.acquire()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._accepted = 0  # lines ever queued
        self._settled = 0  # of these, written or given up
        self._reported = 0  # of the lost ones, those told of
        self._gap = 0  # after how many settled lines the others are missing
        self._reason = self._error = UNREAD
        self._waiters = 0
        self._asleep = False
        self._torn = False  # the target ends in half a line
        self._state = State.ABSENT

    def put(self, line: bytes) -> None:
        """Queue one entry: a line with its newline, or several that belong together. Never blocks."""
        size = len(line)
        with self._lock:
            queued = len(self._queue)
            if queued and (queued >= self._capacity or self._queued_bytes + size > self._capacity_bytes):
                self._lose(1, UNREAD, self._accepted)
                return
            self._queue.append(line)
            self._queued_bytes += size
            self._accepted += 1
            if self._state is State.ABSENT:
                self._start()
            elif self._asleep:
                self._asleep = False
                self._wake_up()
            elif queued == self._gathered:
                self._wake_up()  # enough have gathered: linger no longer

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all lines queued so far are written or given up; if they are."""
        with self._lock:
            if self._settled == self._accepted:
                return True
            if self._state is State.ABSENT:
                self._start()
            goal = self._accepted
            return self._wait(lambda: self._settled >= goal, timeout)

    def stop(self, timeout: float) -> bool:
        """Flush and end the thread, so that a fork finds none; if it ended. The next line starts another."""
        with self._lock:
            if self._state is State.ABSENT:
                return self._settled == self._accepted
            self._state = State.STOPPING
            thread = self._thread
            if not self._wait(lambda: self._state is not State.STOPPING, timeout):
                return False
        thread.join(timeout)
        return not thread.is_alive()

    def close(self, timeout: float) -> bool:
        """Stop, and close the file if it was opened here; if all was written."""
        stopped = self.stop(timeout)
        if stopped and self.path and self.fd >= 0:  # else the thread is still in a write to it
            os.close(self.fd)
            self.fd = -1
        return stopped

    def reopen(self) -> None:
        """Go on in a new file of the same path (after a rotation). Nothing to do for a descriptor.

        Raises OSError when it cannot be opened; the old file then stays in use.
        """
        if not self.path:
            return
        fd = _open(self.path)
        with self._lock:
            if self.fd < 0:
                self.fd = fd
            else:
                os.dup2(fd, self.fd, inheritable=False)  # under the thread's feet: its write ends in either
                os.close(fd)
            self._whole_bytes = _whole_bytes(self.fd)
            self._torn = False

    def _lose(self, lines: int, reason: str, gap: int) -> None:
        if self.lost == self._reported:
            self._gap = gap
        self.lost += lines
        self._reason = reason

    def _wait(self, done: Callable[[], bool], timeout: float) -> bool:
        self._waiters += 1
        self._wake_up()
        try:
            return self._settling.wait_for(done, timeout)
        finally:
            self._waiters -= 1

    def _wake_up(self) -> None:
        if self._wake.locked():
            self._wake.release()

    def _start(self) -> None:
        self._state = State.RUNNING
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads here now; the next line tries again
            self._state = State.ABSENT

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._lock:
                asleep = self._asleep = not self._queue
                if asleep and self._state is State.STOPPING:
                    self._state = State.ABSENT
                    self._settling.notify_all()
                    return
            if asleep:
                self._wake.acquire()
            if self._linger and not self._waiters and len(self._queue) <= self._gathered:
                self._wake.acquire(timeout=self._linger)
            self._drain()

    def _drain(self) -> None:
        queue = self._queue
        while queue:
            batch = [queue.popleft()]
            size = len(batch[0])
            while queue and size + len(queue[0]) <= self._whole_bytes:
                line = queue.popleft()
                batch.append(line)
                size += len(line)
            written = self._write(b"".join(batch))
            settled = self._settled + len(batch)
            if written == size and self.lost > self._reported and settled >= self._gap:
                self._tell_of_lost()
            with self._lock:
                self._queued_bytes -= size
                self._settled = settled
                if written < size:
                    self._lose(_lines_beyond(batch, written), self._error, settled)
                if self._waiters:
                    self._settling.notify_all()

    def _tell_of_lost(self) -> None:
        """The reader is back and has come to the gap: one line for all that are missing there."""
        lines = self.lost - self._reported
        line = (self.notice or plain_notice)(lines, self._reason)
        if self._write(line) == len(line):
            self._reported += lines

    def _write(self, data: bytes) -> int:
        """Write whole lines and wait as long as it takes; how many bytes went out before an error."""
        mended = 1 if self._torn else 0
        if mended:
            data = b"\n" + data
        view = memoryview(data)
        done = 0
        refused = False
        while done < len(data):
            end = done + self._whole_bytes
            if end < len(data):
                end = data.rfind(b"\n", done, end) + 1 or end
            try:
                done += os.write(self.fd, view[done:end])
                refused = False
            except BlockingIOError:  # somebody who shares the open file made it non-blocking
                _wait_writable(self.fd)
                if refused:
                    time.sleep(0.01)  # writable and yet refused: do not spin
                refused = True
            except OSError as error:  # no space, no reader, closed
                self._error = UNREAD if isinstance(error, BrokenPipeError) else error.strerror or str(error)
                if done:
                    self._torn = data[done - 1 : done] != b"\n"
                return max(0, done - mended)
        self._torn = False
        return done - mended


def _open(path: str, *, wary: bool = False) -> int:
    # Non-blocking for the opening alone: a FIFO without a reader is then an error (ENXIO), not a hang.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW if wary else flags, FILE_MODE)
    except OSError as error:
        if not wary or error.errno != errno.ELOOP:
            raise
        fd = _open_linked(path, flags & ~os.O_CREAT)
    os.set_blocking(fd, True)
    return fd


def _open_linked(path: str, flags: int) -> int:
    """What root's own link leads to, such as /dev/stderr; root writes nowhere because somebody else points there."""
    fd = os.open(path, flags)
    if os.lstat(path).st_uid or not os.path.samestat(os.fstat(fd), os.stat(path)):
        os.close(fd)
        raise PermissionError(errno.EPERM, "it is a link that another user has made")
    return fd


def _whole_bytes(fd: int) -> int:
    """How much one write may carry without another process's lines getting in between."""
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        regular = False
    return FILE_BATCH_BYTES if regular else select.PIPE_BUF


def _wait_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll(1000)


def _lines_beyond(batch: list[bytes], written: int) -> int:
    """How many entries of the batch were not written to their end."""
    end = 0
    for number, line in enumerate(batch):
        end += len(line)
        if end > written:
            return len(batch) - number
    return 0
