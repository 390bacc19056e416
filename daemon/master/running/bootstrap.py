"""How a launcher is executed: which interpreter, environment and descriptors. What it runs is worker/launch.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping

import miniwsgi.daemon

# By its path, as it need not be importable where it runs; nothing of the worker is imported here.
PROGRAM = os.path.join(os.path.abspath(miniwsgi.daemon.__path__[0]), "worker", "launch.py")

# Until the launcher has its own handlers, what a terminal sends to the whole group must not end it.
BLOCKED = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
}

if sys.version_info < (3, 11, 4):  # vfork(2) holds the interpreter there, and so all threads, until exec(3) is done
    vars(subprocess)["_USE_VFORK"] = False


def execute(
    python: str, application: str, channel_fd: int, fds: Iterable[int], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a launcher that inherits `fds` and its channel. Raises OSError if `python` cannot be executed."""
    shown = application if application.isprintable() else "?"
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    try:
        return subprocess.Popen(  # noqa: S603 - no shell: the operator's interpreter, our code
            [python, "-P", PROGRAM, shown, str(channel_fd), ""],
            stdin=subprocess.DEVNULL,
            env=dict(environment),
            pass_fds=[channel_fd, *fds],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
