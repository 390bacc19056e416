"""Where a thread is, as people say it: the innermost frame of the application, and the call that it is in from there.

Of a source line only what is plain to be seen is taken: whether it is a `with` of a name, and which calls it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from .evidence import Frame, ThreadSample

LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python\d+\.\d+t?/|^<")
INSTALLED = re.compile(r"/(?:site|dist)-packages/([^/]+)")
STANDARD = re.compile(r"/lib(?:64)?/python\d+\.\d+t?/(.+?)(?:/__init__)?\.py$")
OURS = re.compile(r"/miniwsgi/(?:daemon|metrics)/(?!demo\.py)")

NAME = r"[A-Za-z_][\w.]*(?:\[[^\]()]*\])?"
WITH_NAME = re.compile(rf"^\s*with\s+({NAME})\s*(?:,|:)")
ACQUIRES = re.compile(rf"({NAME})\.acquire\(|\b(?:flock|lockf)\(")
CALLS = re.compile(r"([A-Za-z_]\w*)\s*\(")

LOCKING = {"acquire", "flock", "lockf"}
LOCK_METHODS = {*LOCKING, "__enter__", "wait"}
HANDSHAKES = {"wait", "wait_for", "get", "put", "join", "result"}  # with other threads: conditions, queues, futures
BLOCKING = {
    "sleep", "pause", "select", "poll", "recv", "recv_into", "recvfrom", "recvmsg", "read", "readinto", "readline",
    "readlines", "read1", "write", "send", "sendall", "sendfile", "accept", "connect", "create_connection",
    "getaddrinfo", "gethostbyname", "gethostbyaddr", "getnameinfo", "do_handshake", "fsync", "fdatasync", "flush",
    "communicate", "waitpid", "check_output", "check_call", "run", "urlopen", "execute", "executemany", "fetchall",
    "fetchone", "fetchmany", "commit", "rollback", "query", "request", "getresponse", "open", "_wait", "_try_wait",
    "_recv", "_read", "wait_for_tstate_lock", "_wait_for_tstate_lock", "brpop", "blpop",
}  # fmt: skip
POOL = re.compile(r"(\w*Pool)\.")  # of SQLAlchemy, psycopg, urllib3, redis, …; not concurrent.futures
POOL_DEPTH = 8  # frames from the wait to the pool's method
FILE = "a file"  # the name of what flock(2) and lockf(3) lock
SHOWN_SOURCE = 60  # characters of a line


class Doing(Enum):
    """What a thread that runs a request does there."""

    LOCK = "waiting for a lock"
    OTHERS = "waiting for another thread"
    POOL = "waiting for a connection of a pool"
    WAITS = "waiting"
    RUNS = "running"


class Place(NamedTuple):
    """Threads with the same one do the same."""

    where: Frame  # of the application if there is one, else the innermost
    call: str  # from there: "psycopg2 … execute", "time.sleep(2)", "" if that is not to be seen
    doing: Doing
    blocks: bool = False  # it is known to wait, by what it calls: not for a CPU


class Places:
    """`sources` are the lines of files; `directory` is app.directory: paths below it are shown from there; `package` is
    the application's own, which may be installed like any other."""

    def __init__(self, sources: Mapping[str, Sequence[str]], directory: str, package: str = "") -> None:
        self._sources = sources
        self._package = package
        self._directory = directory.rstrip("/") + "/"

    def shown(self, frame: Frame) -> str:
        """ "shop/db.py:38"."""
        return f"{frame.file.removeprefix(self._directory)}:{frame.line}"

    def is_application(self, frame: Frame) -> bool:
        """Whether it is neither the standard library's, nor of another package that is installed, nor ours."""
        installed = INSTALLED.search(frame.file)
        if installed and installed[1].removesuffix(".py") == self._package:
            return True
        return not LIBRARY.search(frame.file) and not OURS.search(frame.file)

    def application(self, thread: ThreadSample) -> Frame | None:
        """The innermost frame of the application; None: there is none."""
        return next((frame for frame in thread.frames if self.is_application(frame)), None)

    def text(self, frame: Frame) -> str:
        """Its source line, without the blanks around it; "" if it is not known."""
        lines = self._sources.get(frame.file, ())
        return lines[frame.line - 1].strip() if 0 < frame.line <= len(lines) else ""

    def of(self, thread: ThreadSample, quiet: bool, short: bool = False) -> Place:
        """Where it is. `quiet`: its process hardly uses a CPU, so that whoever runs a request waits. `short`: it lacks
        CPU, so that who uses little may just get none."""
        inner = next((at for at, frame in enumerate(thread.frames) if self.is_application(frame)), None)
        where = thread.frames[inner or 0] if thread.frames else Frame("?", 0, "?")
        doing = self._doing(thread, quiet, short)
        return Place(where, self._call(thread.frames[: inner or 0], where), doing, self._blocks(thread, doing))

    def _blocks(self, thread: ThreadSample, doing: Doing) -> bool:
        if doing is Doing.RUNS or not thread.frames:
            return False
        return doing is not Doing.WAITS or bool(self._called(thread.frames[0]) & BLOCKING)

    def _called(self, leaf: Frame) -> set[str]:
        return {_name(leaf), *CALLS.findall(self.text(leaf))}

    def _doing(self, thread: ThreadSample, quiet: bool, short: bool = False) -> Doing:
        if not thread.frames:
            return Doing.WAITS if quiet else Doing.RUNS
        leaf = thread.frames[0]
        called = self._called(leaf)
        if thread.cpu is not None and thread.cpu > 0.2:
            return Doing.RUNS
        if any(_name(frame) in LOCKING for frame in thread.frames[:2]) or self.wanted(taken_at(thread.frames)):
            return Doing.LOCK
        if leaf.file.endswith(("/threading.py", "/queue.py")) and called & HANDSHAKES:
            return Doing.POOL if pool_of(thread.frames) else Doing.OTHERS
        if quiet or called & BLOCKING or (thread.cpu is not None and thread.cpu < 0.02 and not short):
            return Doing.WAITS
        return Doing.RUNS

    def _call(self, inner: Sequence[Frame], where: Frame) -> str:
        """`inner`: the frames of libraries that the application's is in, the innermost first."""
        if not inner:
            text = self.text(where)
            if text.startswith(("def ", "async def ", "class ", "@")):
                return ""  # it has only just come there: its name says more
            return text if len(text) <= SHOWN_SOURCE else f"{text[: SHOWN_SOURCE - 1]}…"
        first, last = inner[-1], inner[0]
        if len(inner) == 1:
            return f"{library(last)}.{_name(last)}"
        return f"{library(first)} … {'' if library(first) == library(last) else library(last) + '.'}{_name(last)}"

    # --- locks ---

    def wanted(self, frame: Frame) -> str:
        """The lock that the frame's line takes, by its name: "self._lock"; "" if it takes none that is to be seen."""
        text = self.text(frame)
        found = WITH_NAME.search(text) or ACQUIRES.search(text)
        return (found[1] or FILE) if found else ""

    def held(self, frame: Frame) -> list[tuple[str, int]]:
        """The locks whose `with` the frame's line is inside of, with the line of each; the innermost first."""
        lines = self._sources.get(frame.file, ())
        if not 0 < frame.line <= len(lines):
            return []
        found, indentation = [], _indentation(lines[frame.line - 1])
        for number in range(frame.line - 1, 0, -1):
            line = lines[number - 1]
            if line.strip() and _indentation(line) < indentation:
                indentation = _indentation(line)
                if named := WITH_NAME.match(line):
                    found.append((named[1], number))
                if not indentation or re.match(r"\s*(async\s+)?def\s", line):
                    break
        return found


def taken_at(frames: Sequence[Frame]) -> Frame:
    """The frame whose line takes the lock that its thread waits for: what the lock itself calls is inside of it."""
    for frame in frames:
        if _name(frame) not in LOCK_METHODS:
            return frame
    return frames[-1]


def pool_of(frames: Sequence[Frame]) -> str:
    """The class of the pool of connections that is waited on: "QueuePool"; "" if there is none."""
    for frame in frames[:POOL_DEPTH]:
        if (found := POOL.match(frame.function)) and (INSTALLED.search(frame.file) or not LIBRARY.search(frame.file)):
            return found[1]
    return ""


def is_ours(frame: Frame) -> bool:
    """Whether it is the server's own."""
    return bool(OURS.search(frame.file))


def library(frame: Frame) -> str:
    """ "psycopg2", "http.client", "app.py"."""
    if found := INSTALLED.search(frame.file):
        return found[1].removesuffix(".py")
    if found := STANDARD.search(frame.file):
        return found[1].replace("/", ".")
    return frame.file.rpartition("/")[2].removesuffix(".py")


def _name(frame: Frame) -> str:
    return frame.function.rpartition(".")[2]


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
