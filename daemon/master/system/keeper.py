"""The keeper: a small process that keeps the rights of root, which the master gives up for `server.user`.

It makes log files where that user may make none, when it is asked to after a rotation, opens renewed certificates and
keys, and removes files of ours at the end, also when the master is killed: the end of its channel tells. What it may do
is settled at the start. Directories are held by descriptors, or passed only if they are root's: whoever may write
above them cannot lead it elsewhere by a link.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from ...log.log_file import FILE_MODE
from .roots_own import open_roots_own_directory, open_roots_own_file

ANSWER_SECONDS = 2.0
LOCK_SECONDS = 0.5  # less than that
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MAKE, _OPEN, _END = b"make", b"open", b"end"
_BUFFER = 1 << 16


class LogFiles:
    """Those of `paths` in directories that root alone decides about, for `uid` and `gid`. -1: ours.

    `groups` are those of that user. Elsewhere it may make files itself, and could put links in root's way.
    """

    def __init__(self, paths: Sequence[str], uid: int, gid: int, groups: Collection[int]) -> None:
        self._owner = (uid, gid)
        self._places: list[tuple[int, str]] = []
        self.paths: list[str] = []
        for path in paths:
            directory, name = os.path.split(path)
            fd = open_roots_own_directory(directory, groups)
            if fd is not None:
                self._places.append((fd, name))
                self.paths.append(path)

    def __repr__(self) -> str:
        return f"<LogFiles {[name for _, name in self._places]}>"

    @property
    def fds(self) -> list[int]:
        return [fd for fd, _ in self._places]

    def make(self) -> None:
        """Make those that are missing; what is there stays as it is. Whoever opens them says what is wrong."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for directory, name in self._places:
            try:
                fd = os.open(name, flags, FILE_MODE, dir_fd=directory)
            except OSError:
                continue
            try:
                self.give(fd)
            except OSError:
                pass
            finally:
                os.close(fd)

    def give(self, fd: int) -> None:
        """A log that root has just made is the user's, who will have to write to it. Raises OSError."""
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and (found.st_uid, found.st_nlink, found.st_size) == (0, 1, 0):
            os.fchown(fd, *self._owner)

    def close(self) -> None:
        while self._places:
            os.close(self._places.pop()[0])


class KeptFile(Struct, frozen=True):
    """A file of ours, or a directory, by its name in log lines; which it was when it was made."""

    name: str
    path: str
    device: int
    inode: int
    for_the_next: bool = False  # stays when the master is killed: the next one goes on with it


class Keeper:
    """As the master asks it, from any thread. Its methods block for a moment, at most ANSWER_SECONDS each."""

    def __init__(self, channel: socket.socket, pid: int, log_paths: Iterable[str] = ()) -> None:
        self.pid = pid
        self.log_paths = frozenset(log_paths)  # those that it makes
        self._channel = channel
        self._lock = threading.Lock()
        self._asked = 0

    def __repr__(self) -> str:
        return f"<Keeper pid={self.pid}>"

    def make_logs(self) -> None:
        """Raises OSError if it is not there, or too slow."""
        self._ask(_MAKE)

    def open_certificate(self, path: str) -> int:
        """A descriptor to read from. Raises OSError, also for a path that was not named at the start."""
        answer, fds = self._ask(b"\0".join([_OPEN, os.fsencode(path)]))
        if not fds:
            raise PermissionError(errno.EACCES, answer.decode())
        return fds[0]

    def end(self, names: Sequence[str]) -> set[str]:
        """It removes what has these names, and ends. Those that are left."""
        try:
            failed, _fds = self._ask(b"\0".join([_END, *map(os.fsencode, names)]))
        except OSError:
            return set(names)
        finally:
            self._channel.close()
        return {os.fsdecode(name) for name in failed.split(b"\0") if name}

    def _ask(self, what: bytes) -> tuple[bytes, list[int]]:
        with self._lock:
            self._asked += 1
            number = str(self._asked).encode()
            self._channel.send(number + b" " + what)
            while True:  # an answer that came too late may be waiting
                received, fds, _flags, _address = socket.recv_fds(self._channel, _BUFFER, 1)
                answered, _, answer = received.partition(b" ")
                if answered == number:
                    return answer, fds
                for fd in fds:
                    os.close(fd)
                if not answered:
                    raise ConnectionResetError


def start(logs: LogFiles, files: Sequence[KeptFile], certificates: Collection[str] = ()) -> Keeper:
    """Fork it, while we are root. `certificates` are the paths that it opens when asked to. Raises OSError.

    It has no descriptors but its channel and those of directories: none of a listener, a lock or the log.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(ANSWER_SECONDS)
    pid = os.fork()
    if not pid:
        try:
            ours.close()
            if not os.fork():  # nobody's child: the master's children are those that it may signal
                _become_keeper({theirs.fileno(), *logs.fds})
                _keep(theirs, logs, files, certificates)
        finally:
            os._exit(0)
    theirs.close()
    os.waitpid(pid, 0)
    try:
        if its_pid := ours.recv(_BUFFER):
            return Keeper(ours, int(its_pid), logs.paths)
        raise ChildProcessError(errno.ECHILD, "it has ended at once")
    except OSError:
        ours.close()
        raise


def _become_keeper(kept: set[int]) -> None:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in kept:
            try:
                os.close(fd)
            except OSError:
                pass  # that of the listing itself
    os.chdir("/")
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write("mw-keeper")


def _keep(channel: socket.socket, logs: LogFiles, files: Sequence[KeptFile], certificates: Collection[str]) -> None:
    # Opened now: later somebody else may have put a link above it.
    held = [(file, os.open(os.path.dirname(file.path) or "/", _DIRECTORY)) for file in files]
    try:
        channel.send(str(os.getpid()).encode())
        while asked := channel.recv(_BUFFER):
            number, _, what = asked.partition(b" ")
            if what == _MAKE:
                logs.make()
                channel.send(number + b" ")
            elif what.startswith(_OPEN):
                _hand_over(channel, number, os.fsdecode(what.partition(b"\0")[2]), certificates)
            else:
                names = {os.fsdecode(name) for name in what.split(b"\0")[1:]}
                failed = [file.name for file, fd in held if file.name in names and not _remove(file, fd)]
                channel.send(number + b" " + b"\0".join(map(os.fsencode, failed)))
                return
    except OSError:
        pass  # the master went in between
    for file, fd in held:
        if not file.for_the_next:
            _remove(file, fd)


def _hand_over(channel: socket.socket, number: bytes, path: str, certificates: Collection[str]) -> None:
    """Open a certificate or key. Raises OSError if the master is gone."""
    if path not in certificates:
        channel.send(number + b" only root may read it, and it was not named at the start: restart the daemon")
        return
    try:
        fd = open_roots_own_file(path)
    except OSError as error:
        channel.send(number + b" " + (error.strerror or str(error)).encode())
        return
    try:
        socket.send_fds(channel, [number + b" "], [fd])
    finally:
        os.close(fd)


def _remove(file: KeptFile, directory: int) -> bool:
    """Remove it if it is still ours, and no other daemon's by now; whether it is gone."""
    name = os.path.basename(file.path)
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if (found.st_dev, found.st_ino) != (file.device, file.inode):
            return True
        if stat.S_ISDIR(found.st_mode):
            os.rmdir(name, dir_fd=directory)
        elif stat.S_ISREG(found.st_mode):
            _remove_unlocked(name, directory)
        else:
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _lock(fd: int) -> None:
    """A killed master's lock may go a moment after its channel. Raises OSError if another daemon has it."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _remove_unlocked(name: str, directory: int) -> None:
    """A pid file: a daemon that was started meanwhile has locked it. Raises OSError."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        _lock(fd)
        if os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=directory, follow_symlinks=False)):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(fd)
