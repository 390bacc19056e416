"""The file whose lock a leader holds (fcntl(2)), so that leaders of two masters exclude each other, too: of one that
was killed, whose workers still finish, and of the one that took its place.

The kernel lets go of the lock with the process. The file lies beside the control socket, whose path is what two masters
of one service have in common.
"""

from __future__ import annotations

import fcntl
import os

from miniwsgi.codes import Code

from ...log.error_log import ErrorLog

SUFFIX = ".leader"


class LeaderLock:
    """`path`: "" for none. The file is made when it is first needed, and belongs to this daemon's user alone."""

    def __init__(self, log: ErrorLog) -> None:
        self.path = ""
        self._log = log
        self._fd = -1

    def __repr__(self) -> str:
        return f"<LeaderLock {self.path} fd={self._fd}>"

    def open(self) -> int:
        """Its descriptor, for workers to inherit; -1 if there is none, which is told."""
        if self._fd < 0 and self.path:
            try:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                what = "should this master be killed, the next one's leader does not wait for the end of this one's"
                self._log.warning(Code.LEADER_LOCK_UNUSABLE, f"{self.path} cannot be had ({error.strerror}): {what}")
        return self._fd

    def close(self) -> None:
        """At the end, when no worker is left. The control socket is still ours, so that no other master has it.

        The file stays while another master's leader holds it: the next master's must find that lock.
        """
        if self._fd < 0:
            return
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(self.path)
        except BlockingIOError:
            self._log.info(f"{self.path} stays: the leader of a master that was killed has not ended")
        except OSError as error:
            told = f"{self.path} cannot be removed: {error.strerror}; the next start uses it"
            self._log.warning(Code.FILE_LEFT, told)
        finally:
            os.close(self._fd)
            self._fd = -1
