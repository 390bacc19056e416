"""The benchmark's clocks of processor time: exact in all, a share for what the program itself took."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.cpu_time import Clock, Cpu, read, reaped, sum_cpu

STAT = "4242 (a) b (c) S 41 4242 4242 0 -1 4194560 1 2 3 4 150 50 30 20 20 0 9 0 12345 1000000 2000 0 1 1 0 0 0 0 0\n"
LITTLE = 0.0005  # seconds: less than any tick


def compute(seconds: float) -> float:
    """Use at least so much processor time in this thread; how much it was."""
    begin = time.thread_time()
    while (used := time.thread_time() - begin) < seconds:
        pass
    return used


@contextmanager
def child(program: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program that runs until its standard input ends, once it has said something."""
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_less_than_a_tick_is_seen() -> None:
    me = [os.getpid()]
    before = sum_cpu(me)
    used = compute(LITTLE)
    assert (sum_cpu(me) - before).total >= used


def test_threads_count_even_when_they_have_ended() -> None:
    me = [os.getpid()]
    before, used = sum_cpu(me), []
    thread = threading.Thread(target=lambda: used.append(compute(LITTLE)))
    thread.start()
    thread.join()
    assert (sum_cpu(me) - before).total >= used[0]


def test_another_process_is_read_as_it_reads_itself() -> None:
    program = "import sys, time; print(time.process_time(), flush=True); sys.stdin.read(); print(time.process_time())"
    with child(program) as process:
        between = read(process.pid, Clock.EXACT)
        output, _ = process.communicate()
    assert 0.0 < between < float(output)


def test_a_process_that_is_gone_counts_nothing() -> None:
    with child("print(1)") as process:
        process.communicate()
    assert sum_cpu([process.pid]) == Cpu()


def test_reaped_children_count_as_the_kernel_has_them() -> None:
    assert reaped(STAT) == Cpu(0.5, sampled=0.5, sampled_user=0.3)


@pytest.mark.parametrize(
    ("cpu", "user"),
    [
        (Cpu(1.0, sampled=0.9, sampled_user=0.3), 1 / 3),
        (Cpu(0.001), 0.001),  # no tick has found anything
        (Cpu(3.0, 3.0, 2.0) - Cpu(1.0, 1.0, 1.0), 1.0),
    ],
)
def test_the_sampled_share_is_applied_to_the_exact_sum(cpu: Cpu, user: float) -> None:
    assert cpu.user == pytest.approx(user)
    assert cpu.user + cpu.system == pytest.approx(cpu.total)
