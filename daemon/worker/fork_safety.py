"""Whether it is safe to fork after the application was imported, and if not, why.

A forked child has none of its parent's threads (and their locks stay locked) and has its parent's descriptors, which
are then two processes' at once. `KINDS` is the rule: what the import left is a reason if workers that share it do
harm which workers that import by themselves would not do, or would be told of by an error. No reason is what is made to
be shared (shared memory, semaphores, multiprocessing's resource tracker, prometheus_client's files of values), what
each writes whole (files for writing or appending, datagram sockets), what is only read, and listening sockets.
Standard library only; assumes /proc.
"""

from __future__ import annotations

import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..unpatched import os, socket, time
from . import native_threads

MAX_NAMES = 4
MAX_NAME_CHARS = 100
EXECUTION_SECONDS = 0.5
MEMORY_DEVICES = 1  # the major number of /dev/null, /dev/zero, /dev/urandom … (mem(4), null(4))
SHARED_MEMORY = ("/memfd:", "/dev/shm/")  # noqa: S108 - compared, not opened
SQLITE_HEADER = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat2.html#magic_header_string
VALUES_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


# --- what there is ---------------------------------------------------------------------------------------
class Descriptor(NamedTuple):
    """An open descriptor, as /proc/self/fd and fdinfo show it (proc(5))."""

    fd: int
    link: str
    status: os.stat_result
    flags: int  # of open(2)
    locks: tuple[str, ...]  # "flock", "posix", "ofdlck", "lease"

    @property
    def is_written_and_read(self) -> bool:
        return self.flags & os.O_ACCMODE == os.O_RDWR

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)


class Before(NamedTuple):
    """What there was before the import: an agent of a sitecustomize has made it, and would make it anew."""

    descriptors: Mapping[int, str]
    threads: frozenset[int]  # native ids
    children: frozenset[int]


def before_import() -> Before:
    """What there is now: pass it to `reason_not_to_fork` after the import."""
    threads = frozenset(int(name) for name in os.listdir("/proc/self/task"))
    return Before(open_descriptors(), threads, frozenset(child_processes()))


def open_descriptors() -> dict[int, str]:
    """What is open now, by descriptor."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the one that listed the directory
    return found


def _opened_since(known: Mapping[int, str]) -> Iterator[Descriptor]:
    spared = _made_to_be_shared()
    for fd, link in sorted(open_descriptors().items()):
        if known.get(fd) == link or fd in spared:
            continue
        flags, locks = 0, []
        try:
            with open(f"/proc/self/fdinfo/{fd}") as info:
                for line in info:
                    key, _, value = line.partition(":")
                    if key == "flags":
                        flags = int(value, 8)
                    elif key == "lock":
                        locks.append(value.split()[1].lower())
            yield Descriptor(fd, link, os.fstat(fd), flags, tuple(locks))
        except OSError:
            continue


def _made_to_be_shared() -> set[int]:
    """The pipe to multiprocessing's resource tracker: forked processes are meant to write to it, too."""
    tracker = _resource_tracker()
    return {tracker._fd} if tracker is not None else set()


def _resource_tracker() -> Any:
    module = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(module, "_resource_tracker", None)


# --- the kinds -------------------------------------------------------------------------------------------
def _lock(opened: Descriptor) -> str | None:
    """Forked workers would all hold a lock of open files, and none one of the process (flock(2), fcntl(2))."""
    return f"{opened.link} ({', '.join(dict.fromkeys(opened.locks))})" if opened.locks else None


def _sqlite(opened: Descriptor) -> str | None:
    """https://www.sqlite.org/howtocorrupt.html, section 2.6: a connection must not be carried across a fork."""
    if not (opened.is_file and opened.is_written_and_read):
        return None
    try:  # not by another descriptor: closing that would let go of the locks of this one
        is_one = os.pread(opened.fd, len(SQLITE_HEADER), 0) == SQLITE_HEADER
    except OSError:
        return None
    return opened.link if is_one else None


def _file(opened: Descriptor) -> str | None:
    """Workers would move each other's position in it: what one reads or overwrites is elsewhere than it thinks."""
    if not (opened.is_file and opened.is_written_and_read) or opened.flags & os.O_APPEND:
        return None
    return None if opened.link.startswith(SHARED_MEMORY) else opened.link


def _pipe(opened: Descriptor) -> str | None:
    """What is said on it is read by whichever process reads first."""
    return opened.link if stat.S_ISFIFO(opened.status.st_mode) else None


def _socket(opened: Descriptor) -> str | None:
    """Connected: answers to one worker are read by another. A datagram is whole, whoever sends it."""
    if not stat.S_ISSOCK(opened.status.st_mode):
        return None
    try:
        with socket.socket(fileno=os.dup(opened.fd)) as copy:
            peer = copy.getpeername()
            return None if copy.type == socket.SOCK_DGRAM else _peer(peer)
    except OSError:
        return None  # not connected


def _device(opened: Descriptor) -> str | None:
    """A context of a GPU and the like; a terminal is only written to."""
    if not stat.S_ISCHR(opened.status.st_mode) or not opened.is_written_and_read:
        return None
    harmless = os.major(opened.status.st_rdev) == MEMORY_DEVICES or os.isatty(opened.fd)
    return None if harmless else opened.link


def _anonymous(name: str) -> Callable[[Descriptor], str | None]:
    """Of the kernel's objects without a file: events and what is registered would be everybody's."""
    links = {f"anon_inode:[{name}]", f"anon_inode:{name}"}
    return lambda opened: opened.link if opened.link in links else None


class LeftoverKind(NamedTuple):
    """A kind of descriptors that workers must not share, and how it is seen: `names` is None for any other."""

    one: str
    many: str
    names: Callable[[Descriptor], str | None]
    is_named: bool = True  # the name says something to people


# The first kind that a descriptor is of counts.
KINDS = (
    LeftoverKind("held lock", "held locks", _lock),
    LeftoverKind("SQLite database opened for writing", "SQLite databases opened for writing", _sqlite),
    LeftoverKind("file opened for reading and writing", "files opened for reading and writing", _file),
    LeftoverKind("pipe", "pipes", _pipe, is_named=False),
    LeftoverKind("connected socket", "connected sockets", _socket),
    LeftoverKind("device opened for reading and writing", "devices opened for reading and writing", _device),
    LeftoverKind("event loop's epoll", "event loops' epolls", _anonymous("eventpoll"), is_named=False),
    LeftoverKind("io_uring", "io_urings", _anonymous("io_uring"), is_named=False),
    LeftoverKind("eventfd", "eventfds", _anonymous("eventfd"), is_named=False),
    LeftoverKind("timerfd", "timerfds", _anonymous("timerfd"), is_named=False),
    LeftoverKind("inotify watch", "inotify watches", _anonymous("inotify"), is_named=False),
    LeftoverKind("fanotify watch", "fanotify watches", _anonymous("fanotify"), is_named=False),
)


# --- the verdict -----------------------------------------------------------------------------------------
def reason_not_to_fork(before: Before) -> str:
    """Why forking is not safe now: what the import left behind that workers must not share; "" if it is safe."""
    found = [*_threads(before.threads), *_children(before.children), *_descriptors(before.descriptors)]
    return "the import left " + ", and ".join(found) if found else ""


def _threads(known: frozenset[int]) -> Iterator[str]:
    main = threading.main_thread()  # whose native_id a fork leaves as it was
    # A patched `threading` has a main thread of its own making, which has no number.
    not_left = {None, getattr(main, "native_id", None), *known}
    others = [each for each in threading.enumerate() if getattr(each, "native_id", None) not in not_left]
    if others:
        yield _said(len(others), "thread running", "threads running", [thread.name for thread in others])
    yield from native_threads.reasons(known | {thread.native_id for thread in others})


def _children(known: frozenset[int]) -> Iterator[str]:
    tracker = getattr(_resource_tracker(), "_pid", None)
    names = [_process_name(pid) for pid in child_processes() if pid != tracker and pid not in known]
    if names:
        yield _said(len(names), "child process", "child processes", names)


def child_processes() -> list[int]:
    """The pids of this process's children, of whatever thread, that have not ended. Needs no privileges (proc(5))."""
    found = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as file:
                found += [int(pid) for pid in file.read().split()]
        except OSError:
            continue  # the thread has ended, or the kernel was built without this file
    return [pid for pid in found if not _has_ended(pid)]


def _has_ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _process_name(pid: int) -> str:
    """multiprocessing's name for it (a manager is called so), else its command."""
    module = sys.modules.get("multiprocessing.process")
    for process in getattr(module, "_children", ()):
        if process.pid == pid:
            return f"{process.name} (multiprocessing, pid {pid})"
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    if getattr(server, "_forkserver_pid", None) == pid:  # whose children are not ours
        return f"forkserver (multiprocessing, pid {pid})"
    command = _command(pid)
    if command == _command(os.getpid()):
        command = "forked"  # and has not executed anything
    return f"{_shown(command)} (pid {pid})"


def _command(pid: int) -> str:
    """Its arguments; "" if it has ended. A process that has just begun to execute a program has none for a moment."""
    deadline = time.monotonic() + EXECUTION_SECONDS
    while True:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            return ""
        if command or _has_ended(pid) or time.monotonic() > deadline:
            return command
        time.sleep(0.001)


def _descriptors(known: Mapping[int, str]) -> Iterator[str]:
    values = os.environ.get(VALUES_VARIABLE)
    found: dict[LeftoverKind, list[str]] = {}
    for opened in _opened_since(known):
        if values and os.path.dirname(opened.link) == os.path.realpath(values):
            continue  # prometheus_client opens them again after a fork; so do our locks of them
        for kind in KINDS:
            if (name := kind.names(opened)) is not None:
                found.setdefault(kind, []).append(name)
                break
    for kind in KINDS:
        names = list(dict.fromkeys(found.get(kind, ())))  # a pipe has two ends
        if names:
            yield _said(len(names), kind.one, kind.many, map(_shown, names) if kind.is_named else ())


# --- words -----------------------------------------------------------------------------------------------
def _said(number: int, one: str, many: str, names: Iterable[str]) -> str:
    listed = list(names)
    more = ", …" if len(listed) > MAX_NAMES else ""
    shown = ": " + ", ".join(listed[:MAX_NAMES]) + more if listed else ""
    return f"{number} {one if number == 1 else many}{shown}"


def _shown(text: str) -> str:
    """One line, whatever a path or a command is made of."""
    line = text if text.isprintable() else ascii(text)
    return line if len(line) <= MAX_NAME_CHARS else line[: MAX_NAME_CHARS - 1] + "…"


def _peer(address: Any) -> str:
    """A peer's address as people write it: getpeername's depends on the family."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    name = address.decode("utf-8", "replace") if isinstance(address, bytes) else str(address)
    return name.replace("\0", "@") or "itself (a socket pair)"
