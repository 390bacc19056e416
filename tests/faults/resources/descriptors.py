"""No more descriptors: in workers, in the launcher, in the master, and from the start."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket

from tests.support.daemon import Daemon

from .clients import get
from .limits import few_descriptors, unlimited
from .stage import Outcome, Stage


def workers_without_descriptors(stage: Stage) -> Outcome:
    """EMFILE in the workers, from silent connections: nobody is turned away, everybody waits"""
    stage.configure(rest="[timeouts]\nhead = 1")
    daemon = stage.start()
    load = stage.load()
    with few_descriptors(daemon.workers(), spare=16), contextlib.ExitStack() as silent:
        for _ in range(stage.size(40, 300)):
            silent.enter_context(socket.create_connection(daemon.address))
        daemon.wait_for_log("cannot accept connections")
        load.wait_for_more(100)  # behind the silent ones, which their timeout ends
    stage.lifted()
    stage.recovered()
    return stage.conclude()


def master_without_descriptors(stage: Stage) -> Outcome:
    """EMFILE in the master, from control connections: it serves on, a reload and a scale fail, and work again"""
    daemon = stage.start()
    load = stage.load()
    with few_descriptors([daemon.process.pid], spare=20), contextlib.ExitStack() as idle:
        for _ in range(stage.size(60, 400)):
            client = idle.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(stage.control_path))
        daemon.wait_for_log("out of system resource: Too many open files")
        assert not daemon.reload()
        load.wait_for_more(50)
        assert not _scaled(daemon, signal.SIGTTIN)
        load.wait_for_more(50)
    stage.lifted()
    daemon.wait(daemon.reload, "a reload that works")  # the kernel may not have given all of them back
    stage.recovered()
    assert stage.tool()("status").status == 0
    return stage.conclude()


def master_with_few_descriptors(stage: Stage) -> Outcome:
    """EMFILE at every step of a reload and a scale in the master: each works or fails, and takes nothing along"""
    return _at_each_step(stage, lambda daemon: [daemon.process.pid])


def launcher_with_few_descriptors(stage: Stage) -> Outcome:
    """EMFILE at every step of a fork in the launcher and of a worker's boot: it works or fails, the launcher lives"""
    return _at_each_step(stage, Daemon.launchers)


def _at_each_step(stage: Stage, whose: object) -> Outcome:
    assert callable(whose)
    in_launcher = whose is Daemon.launchers
    daemon = stage.start()
    load = stage.load()
    counts = {True: 0, False: 0}
    for spare in range(26) if stage.full else (2, 4, 10, 20):
        (launcher,) = daemon.launchers()
        with few_descriptors(whose(daemon), spare):
            done = _scaled(daemon, signal.SIGTTIN)
            counts[done] += 1
            if not in_launcher:
                counts[daemon.reload()] += 1
        for pid in [*daemon.workers(), *daemon.launchers()]:  # what is started meanwhile inherits the limit
            unlimited(pid, resource.RLIMIT_NOFILE)
        if in_launcher:
            assert daemon.launchers() == [launcher], f"the launcher did not survive {spare} descriptors"
        if done:
            assert _scaled(daemon, signal.SIGTTOU)
        daemon.wait(lambda: len(daemon.workers()) == 2 and len(daemon.launchers()) == 1, "two workers, one launcher")
        load.wait_for_more(10)
    stage.note(f"{counts[True]} changes worked, {counts[False]} failed")
    assert all(counts.values()), counts
    stage.lifted()
    daemon.wait(daemon.reload, "a reload that works")
    stage.recovered()
    return stage.conclude()


def _scaled(daemon: Daemon, number: signal.Signals) -> bool:
    """TTIN or TTOU, and whether it succeeded."""

    def verdicts() -> tuple[int, int]:
        lines = [line for line in daemon.log().splitlines() if "scale to " in line]
        return sum(": done after " in line for line in lines), sum(" failed: " in line for line in lines)

    before = verdicts()
    daemon.signal(number)
    daemon.wait(lambda: verdicts() != before, "the verdict of a scale")
    return verdicts()[0] > before[0]


def starts_with_few_descriptors(stage: Stage) -> Outcome:
    """A start with a hard limit of N open files, for many N: it serves, or says why not and leaves nothing"""
    counts = {True: 0, False: 0}
    for limit in range(12, 64, stage.size(16, 2)):
        prefix = ["prlimit", f"--nofile={limit}:{limit}"]
        try:
            daemon = stage.start(prefix, ready=0, watch=False)
        except AssertionError:
            counts[False] += 1
            log = (stage.directory / "daemon.log").read_text("utf-8", "replace")
            assert stage.daemon.process.returncode > 0, f"neither served nor gave up with {limit} open files:\n{log}"
            assert "too many open files" in log.lower(), log
        else:
            counts[True] += 1
            assert get(daemon, "/").status == 200
            assert daemon.stop() == 0
        stage.forget()
        left = [str(path) for path in stage.aftermath.temporary.rglob("*")] + list(stage.aftermath._sockets())
        assert not left, left
    stage.note(f"{counts[True]} served; {counts[False]} refused to start")
    assert all(counts.values()), counts
    stage.start()
    stage.load()
    return stage.conclude()
