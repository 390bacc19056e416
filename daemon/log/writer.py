"""Lines to a descriptor or a file: out at once where that is possible, else through a bounded ring and a thread.

Assumes that lines end in a newline and that several processes may share the target. Promises: `put` never waits for a
reader; what does not fit or cannot be written is dropped and counted; order is kept; lines up to PIPE_BUF bytes
arrive whole (pipe(7)); nothing raises but opening a path. What waits is in the ring: in shared memory it outlives the
process. A child that inherits a writer leaves its parent's ring alone and starts afresh. Standard library only.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from enum import Enum

from ..unpatched import Condition, Lock, RLock, os, start_thread, time
from .fork_reset import start_afresh_in_children
from .log_file import open_log_file
from .outlet import Outlet, outlet
from .ring import Ring, private_ring

UNREAD = "nobody read them"
_NEWLINE = 10
THREAD_NAME = "mw-log"
WAIT_SECONDS = 1.0  # between looks whether the reader is back, should poll(2) not tell
REFUSED_SECONDS = 0.01  # after poll(2) has told so, and it was not

Notice = Callable[[int, str], bytes]


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
    """Lines to `target`: a descriptor, or a path that is created and appended to.

    `at_once`: `put` itself writes what the target takes without waiting. Otherwise all goes through the thread, which
    lets lines gather for `linger_seconds`: a busy caller is then interrupted a few times a second instead of at every
    line. `ring` is where lines wait: private memory by default. `notice` words the line about lost ones. `lost`
    counts them, `reason` is why the last ones were. `wary` is for root where others may write: a link that another
    user has made is not followed. Raises OSError when a path cannot be opened.
    """

    def __init__(
        self,
        target: int | str,
        *,
        at_once: bool = False,
        linger_seconds: float = 0.0,
        ring: Ring | None = None,
        notice: Notice | None = None,
        wary: bool = False,
    ) -> None:
        # Absolute, because a worker changes its directory between here and reopen().
        self.path = os.path.abspath(target) if isinstance(target, str) else ""
        self.fd = open_log_file(self.path, wary=wary) if isinstance(target, str) else target
        self.notice = notice
        self._outlet = self._make_outlet()
        self._start_afresh(ring, at_once=at_once, linger_seconds=linger_seconds)
        start_afresh_in_children(self)

    def __repr__(self) -> str:
        target = self.path or f"fd {self.fd}"
        waiting = self._ring.used if self._ring is not None else 0
        return f"<Writer {target} {self._state.value} waiting={waiting} lost={self.lost}>"

    def _make_outlet(self) -> Outlet:
        return outlet(self.fd)

    def _after_fork(self) -> None:
        # What waits is the parent's to write, and so is its ring. A child may end at any time, by os._exit().
        if self._ring is not None:
            self._ring.pause()
        self._start_afresh(None, at_once=True, linger_seconds=0.0)

    def _start_afresh(self, ring: Ring | None, *, at_once: bool, linger_seconds: float) -> None:
        self.lost = 0
        self.reason = UNREAD
        self._ring = ring  # None: not needed yet
        # The hot path, which whoever calls it need not lock out others for if it is an engine's; None: `put` alone.
        self.append = ring.append if ring is not None and linger_seconds else None
        self._at_once = at_once
        self._linger = linger_seconds
        self._lock = lock = RLock()  # re-entrant: a signal handler or a finaliser may log in the midst of put()
        self._acquire, self._release = lock.acquire, lock.release
        self._settling = Condition(lock)
        self._wake = Lock()  # a binary semaphore: the thread acquires it, others release it
        self._wake.acquire()
        self._idle = True  # the thread is not there, or asleep
        self._waiters = 0
        self._inside = False  # put()
        self._late: deque[bytes] = deque()  # entries of whoever has interrupted put()
        self._reported = 0  # of the lost ones, those told of
        self._gap = 0  # where in the ring the others are missing
        self._midline = False  # what was written last ended in half a line
        self._torn = False  # and its other half was dropped
        self._state = State.ABSENT
        self._join: Callable[[float], bool] = lambda _timeout: True

    def start(self) -> None:
        """Have the thread now, rather than when something has to wait; if it can be had."""
        with self._lock:
            if self._state is State.ABSENT:
                self._start()

    @property
    def untold(self) -> int:
        """How many lines were lost that the log does not tell of yet: while there are some, it loses more."""
        return self.lost - self._reported

    def put(self, entry: bytes) -> None:
        """Write or keep one entry: a line with its newline, or several that belong together. Never blocks."""
        self._acquire()
        try:
            if self._inside:
                self._late.append(entry)
                return
            self._inside = True
            try:
                if self.append is None or not self.append(entry):
                    self._write_or_keep(entry)
            finally:
                self._inside = False
            while self._late:
                self.put(self._late.popleft())
        finally:
            self._release()

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all lines so far are written or given up; if they are."""
        with self._lock:
            ring = self._ring
            if ring is None or not ring.used:
                return True
            if self._state is State.ABSENT:
                self._start()
            goal = ring.head
            return self._wait(lambda: ring.tail >= goal, timeout)

    def stop(self, timeout: float) -> bool:
        """Flush and end the thread, so that a fork finds none; if it ended. The next line may start another."""
        with self._lock:
            if self._state is State.ABSENT:
                return self._ring is None or not self._ring.used
            self._state = State.STOPPING
            join = self._join
            if not self._wait(lambda: self._state is not State.STOPPING, timeout):
                return False
        return join(timeout)

    def close(self, timeout: float) -> bool:
        """Stop, and close the file if it was opened here; if all was written."""
        stopped = self.stop(timeout)
        if stopped:
            self._outlet.close()
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
        fd = open_log_file(self.path)
        with self._lock:
            if self.fd < 0:
                self.fd = fd
            else:
                os.dup2(fd, self.fd, inheritable=False)  # under the thread's feet: its write ends in either
                os.close(fd)
            self._outlet = self._make_outlet()
            self._midline = self._torn = False

    # --- inside put() ---

    def _write_or_keep(self, entry: bytes) -> None:
        if not self._at_once or (self._ring is not None and self._ring.used) or self._outlet.waits:
            self._keep(entry)
            return
        done = 0
        try:
            while done < len(entry) and (count := self._write(entry[done:] if done else entry)):
                done += count
        except OSError as error:
            self._drop(1, _words(error))
            return
        if done < len(entry):
            self._keep(entry[done:])
        elif self.lost > self._reported:
            self._tell_of_lost()

    def _keep(self, entry: bytes) -> None:
        ring = self._ring
        if ring is None:
            try:
                ring = self._ring = private_ring()
            except OSError as error:  # no memory
                self._drop(1, _words(error))
                return
        if not ring.append_anywhere(self._framed(entry)):
            if len(entry) < ring.capacity or ring.used or not self._write_whole(entry):
                self._drop(1, UNREAD)
        elif self._idle or (self._linger and ring.used > ring.capacity >> 2):  # enough have gathered: linger no longer
            self._rouse()

    def _write_whole(self, entry: bytes) -> bool:
        """What is larger than the ring, which is empty, may still be taken at once."""
        try:
            return not self._outlet.waits and self._write(entry) == len(entry)
        except OSError:
            return False

    def _rouse(self) -> None:
        if self._state is State.ABSENT:
            self._start()
        else:
            self._wake_up()

    def _drop(self, entries: int, reason: str) -> None:
        ring = self._ring
        if ring is not None:
            if self.lost == self._reported:
                self._gap = ring.head
            ring.note_lost(entries)
        self.lost += entries
        self.reason = reason
        if ring is None or not ring.used:
            self._torn = self._midline

    def _wait(self, done: Callable[[], bool], timeout: float) -> bool:
        self._waiters += 1
        self._rouse()
        try:
            return self._settling.wait_for(done, timeout)
        finally:
            self._waiters -= 1

    def _wake_up(self) -> None:
        self._idle = False
        if self._wake.locked():
            self._wake.release()

    def _start(self) -> None:
        self._state, self._idle = State.RUNNING, False
        try:
            self._join = start_thread(self._run, THREAD_NAME)
        except RuntimeError:  # no more threads here now; the next line tries again
            self._state, self._idle = State.ABSENT, True
            if self._ring is not None:
                self._ring.pause()

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._lock:
                ring = self._ring
                if ring is not None:
                    ring.pause()  # before the look: an entry that is not seen finds this thread asleep, and rouses it
                idle = ring is None or not ring.used
                self._idle = idle
                if idle and self._state is State.STOPPING:
                    self._state = State.ABSENT
                    self._settling.notify_all()
                    return
            if ring is None or idle:
                self._wake.acquire()
                continue
            if self._linger and not self._waiters and ring.used <= ring.capacity >> 2:
                self._wake.acquire(timeout=self._linger)
            self._drain(ring)

    def _drain(self, ring: Ring) -> None:
        while waiting := self._next(ring):
            refused = False
            error = None
            while waiting:
                try:
                    done = self._write(waiting)
                except OSError as failure:
                    error = failure
                    break
                if done:
                    waiting = waiting[done:]
                    ring.advance(self._framed_bytes(done))
                else:
                    self._outlet.wait(WAIT_SECONDS)
                    if refused:
                        time.sleep(REFUSED_SECONDS)
                refused = not done
            with self._lock:
                if error is not None:
                    ring.advance(self._framed_bytes(len(waiting)))
                    self._drop(self._entries(waiting), _words(error))
                    self._torn = self._midline
                elif self.lost > self._reported and ring.tail >= self._gap:
                    self._tell_of_lost()
                if self._waiters:
                    self._settling.notify_all()

    def _next(self, ring: Ring) -> bytes:
        """What goes out next: as many lines as one write may carry, or one that is longer."""
        limit = self._outlet.whole_bytes
        waiting = ring.peek(limit)
        while len(waiting) == limit:
            if end := waiting.rfind(b"\n") + 1:
                return waiting[:end]
            limit *= 4
            waiting = ring.peek(limit)
        return waiting

    # --- both -----------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> int:
        """Write lines whole, as many as are taken now; how many bytes (0: wait for the reader). Raises OSError."""
        outlet = self._outlet
        mended = 1 if self._torn else 0
        if mended:
            data = b"\n" + data
        done = 0
        while done < len(data):
            end = done + outlet.whole_bytes
            if end < len(data):
                end = data.rfind(b"\n", done, end) + 1 or end
            try:
                done += outlet.write(data[done:end] if done or end < len(data) else data)
            except BlockingIOError:
                break
            except OSError as error:
                if (
                    error.errno == errno.EBADF and outlet.fd != self.fd
                ):  # the application has closed what is not its own
                    outlet = self._outlet = self._make_outlet()
                elif done:
                    break  # the next call will say so
                else:
                    raise
        if done:
            self._torn = False
            self._midline = data[done - 1] != _NEWLINE
        return max(0, done - mended)

    def _tell_of_lost(self) -> None:
        """The reader is back and has come to the gap: one line for all that are missing there."""
        lines = self.lost - self._reported
        line = (self.notice or plain_notice)(lines, self.reason)
        try:
            told = self._write(line)
        except OSError:
            return
        if told:
            self._torn = self._midline
            self._reported += lines
            if self._ring is not None:
                self._ring.note_told(lines)

    # --- for entries that are no lines, see JournalWriter ---

    def _framed(self, entry: bytes) -> bytes:
        """An entry as it waits in the ring."""
        return entry

    def _framed_bytes(self, count: int) -> int:
        """How many bytes of the ring so many of what `_next` gave are."""
        return count

    def _entries(self, data: bytes) -> int:
        return max(1, data.count(b"\n"))


def _words(error: OSError) -> str:
    return UNREAD if isinstance(error, BrokenPipeError) else error.strerror or str(error)
