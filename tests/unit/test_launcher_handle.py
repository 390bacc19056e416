"""A launcher as the master holds it: which of its workers are held, and when the slot of one that is not is free."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from miniwsgi.daemon.channel import Channel
from miniwsgi.daemon.master.running import launcher_handle
from miniwsgi.daemon.master.running.launcher_handle import LauncherHandle
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.worker import launcher
from miniwsgi.manager.daemon_threads import DaemonThreads

from tests.support.waiting import PATIENCE_SECONDS

SLOT, PID = 3, 4711


def test_an_interpreter_that_does_not_load_holds_nobody_and_is_killed_once_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It lies on a disk that hangs: exec(3) waits, in a thread."""
    gate = threading.Event()
    processes: list[subprocess.Popen[bytes]] = []

    def execute(*_arguments: object) -> subprocess.Popen[bytes]:
        gate.wait(PATIENCE_SECONDS)
        processes.append(subprocess.Popen(["sleep", "600"]))
        return processes[0]

    monkeypatch.setattr(launcher_handle, "execute", execute)
    events: list[ev.SupervisorEvent] = []
    nothing: Any = None
    config: Any = SimpleNamespace(app=SimpleNamespace(python="/nfs/bin/python"))
    settings: Any = SimpleNamespace(module="app", descriptors=[])
    handle = LauncherHandle(1, config, settings, events.append, nothing, nothing, nothing)

    async def story() -> None:
        booting = asyncio.create_task(handle.boot({}, DaemonThreads()))
        await asyncio.sleep(0)
        assert not booting.done()
        handle.kill()  # timeouts.boot
        assert events == [ev.LauncherExited(1, "was not executed in time")]
        gate.set()
        await booting
        assert _pidfds() <= before

    before = _pidfds()
    asyncio.run(story())
    (process,) = processes
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    assert len(events) == 1


def _pidfds() -> set[str]:
    """Of this process: those that other tests have left open, too."""
    return {fd for fd in os.listdir("/proc/self/fd") if _link(fd).endswith("[pidfd]")}


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # that of the directory itself
        return ""


def test_an_interpreter_that_cannot_be_executed_has_exited_once_though_it_is_killed_for_it() -> None:
    events: list[ev.SupervisorEvent] = []
    nothing: Any = None

    def emit(event: ev.SupervisorEvent) -> None:
        events.append(event)
        if isinstance(event, ev.LauncherFailed):
            handle.kill()

    config: Any = SimpleNamespace(app=SimpleNamespace(python="/nowhere/python"))
    settings: Any = SimpleNamespace(module="app", descriptors=[0])
    handle = LauncherHandle(1, config, settings, emit, nothing, nothing, nothing)
    asyncio.run(handle.boot({}, DaemonThreads()))
    failed, exited = events
    assert isinstance(failed, ev.LauncherFailed)
    assert failed.error == "app.python: /nowhere/python cannot be executed: No such file or directory"
    assert exited == ev.LauncherExited(1, "could not be executed")


def test_the_slot_of_a_worker_that_cannot_be_held_is_free_once_it_is_gone() -> None:
    events: list[ev.SupervisorEvent] = []
    orders: list[tuple[str, dict[str, Any]]] = []
    exits: list[tuple[int, int, int]] = []
    nothing: Any = None
    handle = LauncherHandle(1, nothing, nothing, events.append, nothing, lambda *exit_: exits.append(exit_), nothing)
    handle._link = cast("Any", SimpleNamespace(send=lambda kind, **fields: orders.append((kind, fields))))
    handle._receive({"kind": "forked", "slot": SLOT, "pid": PID}, [])  # descriptors did not fit
    assert (events, orders) == ([], [("kill", {"pid": PID})])
    handle._receive({"kind": "exited", "slot": 0, "pid": 1, "status": 0}, [])
    assert (events, exits) == ([], [(0, 1, 0)])
    handle._receive({"kind": "exited", "slot": SLOT, "pid": PID, "status": signal.SIGKILL}, [])
    assert events == [ev.ForkFailed(SLOT, "it could not be taken over: too many open files (ulimit -n)")]
    assert len(exits) == 1


def test_a_worker_of_which_the_master_does_not_know_leaves_its_slot_alone() -> None:
    masters_end, workers_end = Channel.pair()
    pid = os.fork()
    if not pid:
        launcher.run_worker = lambda *_arguments: os._exit(99)  # type: ignore[assignment]
        reader, writer = os.pipe()
        held = SimpleNamespace(
            _applications={}, channel=Channel.pair()[0], _stack_fd=os.dup(reader), _wakeup=os.dup(reader),
            _wakeup_end=os.dup(reader), _relays=[], settings=SimpleNamespace(), application=None,
        )  # fmt: skip
        become = launcher.Launcher._become_worker
        become(cast("Any", held), SLOT, (masters_end, reader), workers_end, writer, cast("Any", SimpleNamespace()))
    masters_end.close()  # the launcher dies before it can hand it over
    workers_end.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == launcher.EXIT_GENERATION_OVER
