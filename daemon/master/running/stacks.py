"""Stack dumps: what every thread of a launcher or worker is doing, even one that holds the GIL in C code.

The process has registered faulthandler for SIGUSR2 with the write end of a pipe; here is the read end. The
handler runs in the signal's context, so the process need not cooperate. It does not answer while it is
stopped or inside the kernel; then its state is told. A worker is asked by an order first: the handler reads the stacks
of threads that run on meanwhile, which has been seen to crash a busy one.
"""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Iterable

from miniwsgi.metrics.scoreboard import Running

from .readable import readable

STACK_SIGNAL = signal.SIGUSR2
ORDER_SECONDS = 1.0  # for a process to obey
LIMIT_SECONDS = 2.0  # for the first line to come
NO_STACKS = "no stacks: "  # how a text begins that says why there are none
CRASH = b"Fatal Python error: "  # how faulthandler begins when the process dies of it
RECEIVED = b"miniwsgi received "  # how a line of the compiled engine's begins that comes before (compiled/crash.h)
SENT = b"miniwsgi was sent it by process "  # another one: the signal came by kill(2), and nothing has crashed
END = b"\0"  # of a dump that was ordered
QUIET_SECONDS = 0.05  # a pause of this length ends one that was signalled: it has no end mark …
LAST_LINES = (b" in <module>\n", b"...\n")  # … but its last thread is the main thread, which began like this
INTERRUPTED_SECONDS = 0.5

HEADING = re.compile(r"^(?:Current t|T)hread (0x[0-9a-f]+).*:$", re.MULTILINE)  # of a thread, as faulthandler has it
_STATES = {"T": "stopped", "t": "traced", "D": "waiting inside the kernel", "Z": "ended"}


async def dump_stacks(pid: int, pidfd: int, fd: int, *, seconds: float = LIMIT_SECONDS) -> str:
    """The stacks of all threads as faulthandler writes them, or a line that says why there are none."""
    if not _ask(pidfd, fd):
        return _why_not(pid)
    return await await_stacks(fd, seconds) or _why_not(pid)


async def await_stacks(fd: int, seconds: float) -> str:
    """What a process writes about its stacks; "" if nothing has come within so long."""
    fd = os.dup(fd)  # the process may be reaped, and its descriptors closed, meanwhile
    try:
        return await _collect(fd, seconds)
    finally:
        os.close(fd)


async def _collect(fd: int, seconds: float) -> str:
    text = b""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and await readable(fd, min(left, _patience(text))):
        chunk = _read(fd)
        if not chunk:
            break
        text += chunk
        if text.endswith(END):
            break
    return text.replace(END, b"").decode("utf-8", "replace").rstrip()


def dump_stacks_blocking(pid: int, pidfd: int, fd: int, *, seconds: float = LIMIT_SECONDS) -> str:
    """The same for a program without an event loop."""
    if not _ask(pidfd, fd):
        return _why_not(pid)
    text = b""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([fd], [], [], min(left, _patience(text)))
        chunk = _read(fd) if ready else b""
        if not chunk:
            break
        text += chunk
    return text.decode("utf-8", "replace").rstrip() or _why_not(pid)


def _patience(text: bytes) -> float:
    """How long to wait for more: on a busy machine a process may be interrupted in the middle of its dump."""
    if not text:
        return LIMIT_SECONDS
    return QUIET_SECONDS if text.endswith(LAST_LINES) else INTERRUPTED_SECONDS


def with_requests(text: str, running: Iterable[Running], now_ns: int) -> str:
    """The stacks with, below each thread's heading, the request that it runs."""
    found = {one.ident: one for one in running if one.ident}

    def beside(heading: re.Match[str]) -> str:
        one = found.get(int(heading[1], 16))
        if one is None:
            return heading[0]
        seconds = max(0, now_ns - one.started_ns) / 1e9
        return f"{heading[0]}\n  # runs {one.method} {one.path} for {seconds:.1f} s"

    return HEADING.sub(beside, text)


def discard(fd: int) -> bool:
    """Forget what is in the pipe and nobody waits for any more; whether there was something."""
    found = False
    while _read(fd):
        found = True
    return found


def crash_stacks(fd: int) -> str:
    """What a process that has crashed in C code wrote about that; "" if it has not. SENT first, if it was told to."""
    return read_crash(fd)[0]


def read_crash(fd: int) -> tuple[str, bytes]:
    """The same, and what it had received last, if it ran the compiled engine: not for other eyes as it is."""
    text = b""
    while chunk := _read(fd):
        text += chunk
    before, found, stacks = text.rpartition(CRASH)
    if not found:
        return "", b""
    sender = SENT + before.rpartition(SENT)[2].partition(b"\n")[0] + b"\n" if SENT in before else b""
    digits = before.rpartition(RECEIVED)[2].partition(b"\n")[0] if RECEIVED in before else b""
    try:
        received = bytes.fromhex(digits.decode("ascii"))
    except ValueError:  # the pipe was full, or it is somebody else's line
        received = b""
    return (sender + found + stacks).replace(END, b"").decode("utf-8", "replace").rstrip(), received


def _ask(pidfd: int, fd: int) -> bool:
    discard(fd)
    try:
        signal.pidfd_send_signal(pidfd, STACK_SIGNAL)
    except OSError:
        return False
    return True


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""


def _why_not(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return f"{NO_STACKS}the process is gone"
    return f"{NO_STACKS}the process does not answer; its state is {state} ({_STATES.get(state, 'running')})"
