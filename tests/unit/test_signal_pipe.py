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


WHILE_IT_IS_TAKEN = """
import signal
from miniwsgi.daemon.worker import signals

real = signal.set_wakeup_fd

class Interrupted:
    def __getattr__(self, name):
        return getattr(signal, name)

    def set_wakeup_fd(self, fd, **options):
        theirs = real(fd, **options)
        signals.signal = signal
        signal.raise_signal(signal.SIGTERM)  # its number is written where it is to be, and its handler runs at once
        return theirs

pipe = signals.SignalPipe()
signals.signal = Interrupted()
pipe.take()
print(list(pipe.read()))
real(-1)
signal.raise_signal(signal.SIGTERM)
signal.raise_signal(signal.SIGTERM)
print(list(pipe.read()))
"""


def test_a_signal_that_comes_while_the_descriptor_changes_hands_is_told_once() -> None:
    """A second SIGTERM would end at once what the first one lets finish."""
    done = subprocess.run([sys.executable, "-c", WHILE_IT_IS_TAKEN], capture_output=True, text=True, check=False)
    assert done.stdout == "[15]\n[15]\n", done.stderr
