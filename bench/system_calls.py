"""System calls of a server's processes, counted by strace while they are loaded: a run of its own, as it slows them."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.processes import ServerError

ATTACH_SECONDS = 10.0
_TOTAL = re.compile(r"^100\.00\s+[\d.]+\s+(?:[\d.]+\s+)?(\d+)\s+(?:\d+\s+)?total$", re.MULTILINE)


class Count:
    """How many there were: known when they have been counted."""

    calls: int | None = None


@contextmanager
def counted(pids: Sequence[int], output: Path) -> Iterator[Count]:
    """Count what these processes and their threads call meanwhile. Raises ServerError when strace cannot."""
    strace = shutil.which("strace")
    if strace is None:
        raise ServerError("strace is not installed")
    count = Count()
    argv = [strace, "-f", "-c", "-qq", "-o", str(output), *(f"-p{pid}" for pid in pids)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        deadline = time.monotonic() + ATTACH_SECONDS
        while not all(map(_traced, pids)):
            if process.poll() is not None or time.monotonic() > deadline:
                complaint = process.stderr.read().decode("utf-8", "replace") if process.poll() is not None else ""  # type: ignore[union-attr]
                raise ServerError(f"strace could not attach: {complaint.strip()[:120]}")
            time.sleep(0.01)
        yield count
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=ATTACH_SECONDS)
    finally:
        process.kill()
        process.communicate()
    count.calls = parse_strace(output.read_text("utf-8", "replace"))


def parse_strace(text: str) -> int:
    """The total of a summary by `strace -c`. Raises ServerError when there is none."""
    total = _TOTAL.search(text)
    if total is None:
        raise ServerError(f"strace said: {text.strip()[:120] or 'nothing'}")
    return int(total[1])


def _traced(pid: int) -> bool:
    """Whether every thread has its tracer; a process that is gone counts as traced."""
    try:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            if "TracerPid:\t0\n" in status.read_text("utf-8", "replace"):
                return False
    except OSError:
        pass
    return True
