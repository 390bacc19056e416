"""The master as a process: its user, its orphans, the stacks of others."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys

import pytest
from miniwsgi.daemon.master.running.stacks import dump_stacks, dump_stacks_blocking, with_requests
from miniwsgi.daemon.master.system.process import StartError, drop_privileges
from miniwsgi.metrics.scoreboard import Running

from tests.support.daemon import suspend
from tests.support.users import as_root

# --- user ------------------------------------------------------------------------------------------------------------


def in_child(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() + done.stderr.strip()


DROP = """
import os
from miniwsgi.daemon.master.system.process import StartError, drop_privileges
try:
    drop_privileges({user!r}, {group!r})
    print(os.getresuid(), os.getresgid(), os.getgroups())
except StartError as error:
    print(error)
"""


@as_root
@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [
        ("12345", "54321", "(12345, 12345, 12345) (54321, 54321, 54321) [54321]"),
        ("12345", "", "server.user: 12345 has no account that names its group; set server.group, too"),
        ("", "54321", "(0, 0, 0) (54321, 54321, 54321) [54321]"),
        ("no-such-user", "", "no-such-user"),
    ],
)
def test_becoming_somebody_else(user: str, group: str, expected: str) -> None:
    assert expected in in_child(DROP.format(user=user, group=group))


def test_nobody_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setresuid", None)
    drop_privileges("", "")


def test_without_root_it_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_ids: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "initgroups", refuse)
    with pytest.raises(StartError, match=r"only root can; start as root, or leave server\.user"):
        drop_privileges("root", "")


# --- orphans ---------------------------------------------------------------------------------------------------------

ORPHANS = """
import os, subprocess, sys, time
from miniwsgi.daemon.master.running.reaper import Reaper, become_subreaper, children, end_children
become_subreaper()
reaper = Reaper()

def orphan(status):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            time.sleep(0.05)
            os._exit(status)
        os.write(writer, str(grandchild).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(reader, 20))

def wait(count):
    found = []
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        found += reaper.reap()
        time.sleep(0.01)
    return found
"""


def test_while_a_process_is_started_only_those_that_are_held_are_reaped() -> None:
    """Its exec(3) may hang for as long as a disk does: the slots of workers that end meanwhile become free."""
    code = ORPHANS + (
        """
pid = orphan(7)
started = subprocess.Popen(["true"])  # nobody knows its pid yet
with reaper.waiting():
    for one in (pid, started.pid):
        os.waitid(os.P_PID, one, os.WEXITED | os.WNOWAIT)
    assert reaper.reap([os.getpid()]) == []
    assert reaper.reap([os.getpid(), pid]) == [(pid, 7 << 8)]
    assert reaper.reap([pid]) == []
assert started.wait() == 0, "nobody stole its exit"
print("fine")
"""
    )
    assert in_child(code) == "fine"


def test_orphans_are_reaped_and_the_children_of_others_are_not() -> None:
    code = ORPHANS + (
        """
known = subprocess.Popen(["true"])
reaper.known.add(known.pid)
os.waitid(os.P_PID, known.pid, os.WEXITED | os.WNOWAIT)
pid = orphan(7)
time.sleep(0.2)
assert reaper.reap() == [], "one that is known stands before it"
assert known.wait() == 0, "nobody stole its exit"
assert wait(1) == [(pid, 7 << 8)]
assert reaper.reap() == []
print("fine")
"""
    )
    assert in_child(code) == "fine"


def test_nobody_is_reaped_while_a_thread_starts_a_process_whose_pid_is_not_known_yet() -> None:
    code = ORPHANS + (
        """
with reaper.waiting():
    started = subprocess.Popen(["true"])
    os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
    assert reaper.reap() == []
    reaper.known.add(started.pid)
assert reaper.reap() == []
assert started.wait() == 0, "nobody stole its exit"
pid = orphan(7)
assert wait(1) == [(pid, 7 << 8)]
print("fine")
"""
    )
    assert in_child(code) == "fine"


def test_at_the_end_what_is_left_is_asked_and_then_killed() -> None:
    code = ORPHANS + (
        """
import signal
polite = subprocess.Popen(["sleep", "1000"])
stubborn = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(1000)"],
    stdout=subprocess.PIPE)
stubborn.stdout.readline()
assert set(children()) == {polite.pid, stubborn.pid}
assert end_children(3) == [stubborn.pid]
assert children() == []
print("fine")
"""
    )
    assert in_child(code) == "fine"


# --- stacks ----------------------------------------------------------------------------------------------------------


def child_with_stacks() -> tuple[int, int, int]:
    """A process that holds the interpreter's lock in C: pid, pidfd, the pipe of its stacks."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        import ctypes

        faulthandler.register(signal.SIGUSR2, file=writer, all_threads=True, chain=False)
        os.write(tell, b"x")
        while True:
            ctypes.PyDLL(None).sleep(1000)
    os.read(told, 1)
    for fd in (writer, told, tell):
        os.close(fd)
    return pid, os.pidfd_open(pid), reader


@pytest.mark.parametrize("blocking", [True, False])
def test_stacks_come_even_from_c_code_that_holds_the_lock(blocking: bool) -> None:
    pid, pidfd, reader = child_with_stacks()
    try:
        for _ in range(2):
            text = (
                dump_stacks_blocking(pid, pidfd, reader) if blocking else asyncio.run(dump_stacks(pid, pidfd, reader))
            )
            assert "in child_with_stacks" in text
        suspend(pid)
        if blocking:
            text = dump_stacks_blocking(pid, pidfd, reader, seconds=0.2)
        else:
            text = asyncio.run(dump_stacks(pid, pidfd, reader, seconds=0.2))
        assert text == "no stacks: the process does not answer; its state is T (stopped)"
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert dump_stacks_blocking(pid, pidfd, reader) == "no stacks: the process is gone"
    os.close(pidfd)
    os.close(reader)


def test_the_request_of_a_thread_stands_below_its_heading() -> None:
    text = (
        "Thread 0x00000a1 (most recent call first):\n  File x\n\nCurrent thread 0x00000a2 [b] (most recent call first):"
    )
    running = [Running(0, 10**9, "GET", "/slow", ident=0xA2), Running(1, 10**9, "GET", "/in-a-child")]
    assert with_requests(text, running, 3 * 10**9) == f"{text}\n  # runs GET /slow for 2.0 s"
