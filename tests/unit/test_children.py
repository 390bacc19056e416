"""What the server withholds from processes that the application forks, whatever goes wrong in finding it."""

from __future__ import annotations

import os
import signal
import sys

from miniwsgi.daemon.worker import children

from .log_pipe import in_a_child


def is_withheld(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}") == "/dev/null"


def test_what_cannot_be_found_costs_the_others_nothing(monkeypatch) -> None:
    """Neither those before it nor those behind it, nor the signals' mask; and it is told."""
    pairs = [os.pipe() for _ in range(3)]

    def broken():
        yield pairs[1][0]
        raise ValueError("I/O operation on closed epoll object")

    children.withhold("before", lambda: pairs[0])
    children.withhold("broken", broken)
    children.withhold("behind", lambda: pairs[2])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda failure: told.append(str(failure.exc_value)))

    def stripped() -> bool:
        fds = [*pairs[0], pairs[1][0], *pairs[2]]
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        return all(map(is_withheld, fds)) and unblocked and told == ["I/O operation on closed epoll object"]

    assert in_a_child(stripped) == 0
    for fd in [fd for pair in pairs for fd in pair]:
        assert not is_withheld(fd)
        os.close(fd)
