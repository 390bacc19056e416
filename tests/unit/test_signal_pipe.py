"""The descriptor that gets a worker's signals, when something else has been made the process's wake-up descriptor."""

from __future__ import annotations

import subprocess
import sys

import pytest

BOTH_COME = """
import os, signal
from miniwsgi.daemon.worker.signals import SignalPipe

def send(*numbers):
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # now they come, and then their handlers run

pipe = SignalPipe()
{taken}
send(signal.SIGINT, signal.SIGTERM)
print(sorted(pipe.read()))
pipe.keep()
send(signal.SIGINT, signal.SIGTERM)
print(sorted(pipe.read()))
"""

NOBODYS = "signal.set_wakeup_fd(-1)"
ANOTHERS = "from socket import *; its, other = socketpair(); its.setblocking(False); signal.set_wakeup_fd(its.fileno())"


@pytest.mark.parametrize("taken", ["", NOBODYS, ANOTHERS, f"{ANOTHERS}; its.close()"])
def test_signals_that_come_together_are_all_told_once_whoever_has_the_descriptor(taken: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOTH_COME.format(taken=taken)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[2, 15]\n[2, 15]\n", done.stderr  # where Python complains of a closed descriptor
