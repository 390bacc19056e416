"""The system's clock steps while everything runs: by seconds, a day, years, forwards and backwards.

A time namespace has no wall clock of its own, and to set the machine's would harm others: a small library, compiled
here, stands before the C library's (clock.c).
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

from tests.support.waiting import PATIENCE_SECONDS

from .clients import get
from .stage import Impossible, Outcome, Stage

DAY = 86_400
STEPS = (3600, -3600, DAY, -DAY, 10 * 365 * DAY, -365 * DAY, 5, 0)  # seconds that the clock is off, one after another
NEAR = 120.0  # seconds, on however slow a machine


class Clock:
    """The wall clock of a daemon."""

    def __init__(self, stage: Stage) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise Impossible("needs a C compiler (Debian: gcc libc6-dev)")
        self._file = stage.directory / "offset"
        self._file.write_bytes(struct.pack("q", 0))
        library = stage.directory / "clock.so"
        source = Path(__file__).with_name("clock.c")
        done = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-o", library, source], capture_output=True, text=True
        )
        if done.returncode:
            raise Impossible(f"the compiler fails: {done.stderr.strip()[:200]}")
        self.prefix = ["env", f"CLOCK_OFFSET_FILE={self._file}", f"LD_PRELOAD={library}"]

    def step(self, seconds: int) -> None:
        """So far off is it from now on."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))


def clock_steps(stage: Stage) -> Outcome:
    """Clock steps, up to ten years: no timeout fires, nothing is lost, Date follows, durations stay what they were"""
    clock = Clock(stage)
    # Whatever were measured by the wall clock would be over at the first step.
    stage.configure(rest="[timeouts]\nhead = 600\nbody = 600\nkeep_alive = 600\nrequest = 300\nwedge = 300")
    daemon = stage.start(clock.prefix)
    load = stage.load()
    slow = stage.load(path="/slow?ms=300", connections=2, answered=2)
    with socket.create_connection(daemon.address) as half_head, socket.create_connection(daemon.address) as half_body:
        half_head.sendall(b"GET /?token=head HTTP/1.1\r\nHost:")
        half_body.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        workers = daemon.workers()
        began, worst = time.monotonic(), 0.0
        for seconds in STEPS if stage.full else STEPS[2:6]:
            clock.step(seconds)
            stage.lifted()
            daemon.wait(lambda seconds=seconds: abs(_date(stage) - time.time() - seconds) < NEAR, "Date follows")
            worst = max(worst, time.monotonic() - stage._lifted_at)
            load.wait_for_more(50)
            slow.wait_for_more(2)
        assert daemon.workers() == workers, daemon.log()
        for half, rest, answer in ((half_head, b" x\r\n\r\n", b" head\n"), (half_body, b"cd", b" 4\n")):
            half.sendall(rest)
            assert answer in _read(half, answer), "its time is over"
    for seconds in (DAY, -DAY):
        clock.step(seconds)
        assert daemon.reload()
        load.wait_for_more(20)
    with stage.control() as control:
        status = control.status()
    assert 0 < status["uptime_seconds"] < time.monotonic() - began + PATIENCE_SECONDS
    assert 0 < status["duration_total"]["p50"] <= status["duration_total"]["p99"] < PATIENCE_SECONDS, status
    assert stage.tool()("status").status == 0
    stage.recovered()
    stage.outcome.seconds = worst
    return stage.conclude()


def _date(stage: Stage) -> float:
    """What the Date field says, as seconds since the epoch."""
    return parsedate_to_datetime(get(stage.daemon, "/").headers["Date"]).timestamp()


def _read(sock: socket.socket, until: bytes) -> bytes:
    """What comes, up to `until` or the end. Raises TimeoutError."""
    sock.settimeout(PATIENCE_SECONDS)
    heard = b""
    while until not in heard and (data := sock.recv(65536)):
        heard += data
    return heard
