"""Load by wrk: one thread, pinned apart from the server; its report parsed into numbers. A closed loop.

Assumes Debian's wrk 4 (`--latency`, Lua). Promises: errors of any kind are in the `Load`, never lost. wrk counts its
time in whole seconds; for parts of one it is interrupted, after which it reports what it has, over the time it took.
"""

from __future__ import annotations

import math
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "wrk"
BEGIN_SECONDS = 10.0
_SATURATED = 0.97  # of a core: the generator may have been what was measured

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PERCENTILE = re.compile(r"^\s+(\d+(?:\.\d+)?)%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h), ", re.MULTILINE)
_SOCKET = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_ALSO = re.compile(r"^Also \(us\): mean ([\d.]+) p99\.9 (\d+) max (\d+)\s*$", re.MULTILINE)
_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")


class LoadError(Exception):
    """wrk is missing, failed, or said what we do not understand."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk reports: seconds are seconds, latencies too."""

    requests: int
    seconds: float
    latency: dict[float, float]  # percentile (50, 75, 90, 99, 99.9) -> seconds
    socket_errors: int
    status_errors: int
    generator_cpu: float = 0.0  # share of a core that wrk used
    mean: float = 0.0  # seconds

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def busy_connections(self) -> float:
        """How many connections were waiting for an answer on average, of those that got any (Little's law)."""
        return self.rate * self.mean

    @property
    def errors(self) -> int:
        return self.socket_errors + self.status_errors

    @property
    def saturated(self) -> bool:
        """Whether wrk had no processor time to spare."""
        return self.generator_cpu >= _SATURATED


def parse_wrk(text: str, generator_cpu: float = 0.0) -> Load:
    """Read wrk's report. Raises LoadError when there is no total in it."""
    total = _TOTAL.search(text)
    if total is None:
        raise LoadError(f"wrk said: {text.strip()[:200] or 'nothing'}")
    latency = {float(share): float(value) * _UNITS[unit] for share, value, unit in _PERCENTILE.findall(text)}
    mean = 0.0
    if also := _ALSO.search(text):
        mean, latency[99.9] = float(also[1]) / 1e6, float(also[2]) / 1e6
    socket_errors = _SOCKET.search(text)
    status = _STATUS.search(text)
    return Load(
        requests=int(total[1]),
        seconds=float(total[2]) * _UNITS[total[3]],
        latency=latency,
        socket_errors=sum(map(int, socket_errors.groups())) if socket_errors else 0,
        status_errors=int(status[1]) if status else 0,
        generator_cpu=generator_cpu,
        mean=mean,
    )


def run_wrk(
    url: str,
    *,
    seconds: float,
    connections: int,
    script: str | None = None,
    body: Path | None = None,
    cpus: Sequence[int] = (),
) -> Load:
    """Load `url` for so many seconds; `script`, in bench/wrk, may post what is in the file `body`.

    Raises LoadError.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadError("wrk is not installed (apt-get install wrk)")
    argv = [wrk, "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--latency", "--timeout", "5s"]
    argv += ["-s", str(SCRIPTS / "report.lua")]
    if cpus:
        argv = ["taskset", "-c", ",".join(map(str, cpus)), *argv]
    environment = {
        **os.environ,
        "BENCH_WRK_SCRIPT": str(SCRIPTS / script) if script else "",
        "BENCH_WRK_BODY": str(body or ""),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = _output([*argv, url], environment, seconds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    load = parse_wrk(text)
    return replace(load, generator_cpu=spent / load.seconds if load.seconds else 0.0)


def _output(argv: list[str], environment: dict[str, str], seconds: float) -> str:
    """What wrk prints; interrupted when its whole seconds are more than were asked for."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    try:
        if seconds < math.ceil(seconds):
            _interrupt_after(process, seconds)
        output, _ = process.communicate(timeout=seconds + 30)
    except BaseException:
        process.kill()
        process.wait()
        raise
    text = output.decode("utf-8", "replace")
    if process.returncode:
        raise LoadError(f"wrk ended with status {process.returncode}: {text.strip()[:200]}")
    return text


def _interrupt_after(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Interrupt wrk so long after it has begun: before, it would just end."""
    deadline = time.monotonic() + BEGIN_SECONDS
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None and time.monotonic() < deadline:
        caught = re.search(r"^SigCgt:\s+([0-9a-f]+)$", status.read_text("ascii", "replace"), re.MULTILINE)
        if caught and int(caught[1], 16) >> (signal.SIGINT - 1) & 1:
            break
        time.sleep(0.001)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
