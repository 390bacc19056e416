"""What the kernel tells of a process, as psutil reads it; whatever its name is, and when it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import IO

import psutil
import pytest
from miniwsgi.metrics import processes
from miniwsgi.metrics.sampler import sample

ODD_NAME = "a) R 1 (b"  # the fields behind a name begin at the last bracket
PROGRAM = f"open('/proc/self/comm', 'w').write({ODD_NAME!r}); sum(range(10**6)); print(flush=True); input()"


@pytest.fixture(scope="module")
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has done something and now stands still."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        yield process
        process.kill()


def test_a_process_is_read_as_psutil_reads_it(child: subprocess.Popen[bytes]) -> None:
    other = psutil.Process(child.pid)
    times = other.cpu_times()
    assert processes.cpu_seconds(child.pid) == times.user + times.system > 0
    assert processes.resident_bytes(child.pid) == other.memory_info().rss > 0
    assert processes.open_descriptors(child.pid) == other.num_fds()
    assert processes.started_at(child.pid) == pytest.approx(other.create_time(), abs=0.011)
    pss, uss = processes.shares_of_memory(child.pid)
    assert 0 < uss <= pss <= processes.resident_bytes(child.pid)


def test_what_has_ended_and_is_not_reaped_has_cpu_time_and_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", "sum(range(10**6))"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert processes.cpu_seconds(process.pid) > 0
        assert processes.resident_bytes(process.pid) == 0
        with pytest.raises((FileNotFoundError, ProcessLookupError)):
            processes.shares_of_memory(process.pid)
    for function in (processes.cpu_seconds, processes.resident_bytes, processes.shares_of_memory):
        with pytest.raises((FileNotFoundError, ProcessLookupError)):
            function(process.pid)


def test_a_kernel_that_does_not_sum_up_is_read_map_by_map(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """gVisor has /proc/pid/smaps, and no smaps_rollup."""
    summed = processes.shares_of_memory(child.pid)
    monkeypatch.setattr(processes, "open", _without("smaps_rollup"), raising=False)
    assert processes.shares_of_memory(child.pid) == pytest.approx(summed, abs=64 << 10)  # each map rounds down
    (found,) = sample({3: child.pid}, {3}).values()
    assert found.pss is not None
    assert found.rss > 0


def test_a_kernel_without_maps_leaves_the_other_figures(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "open", _without("smaps"), raising=False)
    (found,) = sample({3: child.pid}, {3}).values()
    assert (found.pss, found.uss) == (None, None)
    assert found.rss == processes.resident_bytes(child.pid) > 0
    assert found.fds == processes.open_descriptors(child.pid)


def _without(name: str) -> Callable[..., IO[bytes]]:
    """What opens files, and finds none whose name begins so."""

    def opener(path: str, mode: str) -> IO[bytes]:
        if os.path.basename(path).startswith(name):
            raise FileNotFoundError(2, "No such file or directory", path)
        return open(path, mode)  # type: ignore[return-value]

    return opener
