"""Load by wrk: one thread, pinned apart from the server; its report parsed into numbers. A closed loop.

Assumes Debian's wrk 4 (`--latency`). Promises: errors of any kind are in the `Load`, never lost.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "wrk"
_SATURATED = 0.97  # of a core: the generator may have been what was measured

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PERCENTILE = re.compile(r"^\s+(\d+(?:\.\d+)?)%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h), ", re.MULTILINE)
_SOCKET = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")


class LoadError(Exception):
    """wrk is missing, failed, or said what we do not understand."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk reports: seconds are seconds, latencies too."""

    requests: int
    seconds: float
    latency: dict[float, float]  # percentile (50, 75, 90, 99) -> seconds
    socket_errors: int
    status_errors: int
    generator_cpu: float = 0.0  # share of a core that wrk used

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0

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
    socket_errors = _SOCKET.search(text)
    status = _STATUS.search(text)
    return Load(
        requests=int(total[1]),
        seconds=float(total[2]) * _UNITS[total[3]],
        latency=latency,
        socket_errors=sum(map(int, socket_errors.groups())) if socket_errors else 0,
        status_errors=int(status[1]) if status else 0,
        generator_cpu=generator_cpu,
    )


def run_wrk(
    url: str,
    *,
    seconds: float,
    connections: int,
    script: str | None = None,
    cpus: Sequence[int] = (),
) -> Load:
    """Load `url` for so many seconds (whole ones, at least 1). Raises LoadError."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadError("wrk is not installed (apt-get install wrk)")
    argv = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "5s"]
    if script:
        argv += ["-s", str(SCRIPTS / script)]
    if cpus:
        argv = ["taskset", "-c", ",".join(map(str, cpus)), *argv]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*argv, url],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds + 30,
        start_new_session=True,
    )
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        raise LoadError(f"wrk ended with status {done.returncode}: {text.strip()[:200]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return parse_wrk(text, spent / max(1, round(seconds)))
