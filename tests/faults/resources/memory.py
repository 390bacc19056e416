"""Too little memory and too few processes: in the application, at fork, for threads, and by the kernel's own hand."""

from __future__ import annotations

import os
import signal

from tests.support.load import Failure, Report
from tests.support.sanitizer import SANITIZED

from .cgroups import cgroup, entering
from .clients import Crowd, get, post_length
from .limits import little_memory
from .stage import Outcome, Stage

MIB = 1 << 20
BROKEN = {Failure.CLOSED, Failure.RESET, Failure.TRUNCATED, Failure.REFUSED}


def memory_limit(stage: Stage) -> Outcome:
    """An address-space limit: the application's MemoryError is a 500, big bodies are spooled, the workers live on"""
    stage.configure(rest="[limits]\nbody_memory = '64 KiB'")
    daemon = stage.start()
    load = stage.load()
    workers = daemon.workers()
    with little_memory(workers, 96 * MIB):
        for _ in range(stage.size(5, 50)):
            assert get(daemon, "/eat?mb=512").status == 500
            assert post_length(daemon, 8 * MIB) == 200
            load.wait_for_more(10)
        with Crowd(
            daemon, stage.size(20, 40), b"GET /eat?mb=200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ) as crowd:
            crowd.listen(lambda: crowd.open == 0, "an answer to each")
            assert set(crowd.ended) == {"500"}, crowd.ended
    stage.lifted()
    assert get(daemon, "/eat?mb=512").status == 200
    assert daemon.workers() == workers, daemon.log()
    assert "MemoryError" in daemon.log()
    stage.recovered()
    return stage.conclude()


def killed_for_memory(stage: Stage) -> Outcome:
    """A cgroup's memory limit: the kernel kills who has too much, the log says so, another takes its place"""
    with cgroup("memory") as group:
        limit = next(path for name in ("memory.max", "memory.limit_in_bytes") if (path := group / name).exists())
        # The daemon would replace a worker in peace before it comes to that.
        stage.configure(rest="[recycle]\nmax_rss = 'off'")
        daemon = stage.start(entering(group))
        # A sanitizer's own memory would make the master the largest process there is, which the kernel chooses.
        most = 1600 * MIB if SANITIZED else 400 * MIB
        limit.write_text(str(most))
        load = stage.load()
        before = set(daemon.workers())
        with Crowd(daemon, 1, b"GET /keep?mb=%d HTTP/1.1\r\nHost: x\r\n\r\n" % (1.5 * most / MIB)) as greedy:
            greedy.listen(lambda: greedy.open == 0, "the end of the greedy one")
            stage.lifted()
        daemon.wait_for_log("killed by SIGKILL" if stage.pool != "fork" else "was ended by SIGKILL")
        if stage.pool != "fork":  # there it is the process of one connection
            daemon.wait(lambda: len(daemon.workers()) == 2 and before != set(daemon.workers()), "a new worker")
        stage.recovered()
        assert len(load.report.lost) <= 8, load.report
        return stage.conclude(_only_broken, allowance="what it ran (8)")


def _only_broken(report: Report) -> str:
    wrong = [lost for lost in report.lost if lost.kind not in BROKEN]
    return str(wrong or report.lost) if wrong or len(report.lost) > 8 else ""


def _not_broken(report: Report) -> str:
    """In pool fork: a connection for which there is no process is closed; no answer is wrong."""
    return str([lost for lost in report.lost if lost.kind not in BROKEN] or "")


def no_more_processes(stage: Stage) -> Outcome:
    """No more processes (pids cgroup): scale, reload, threads, children fail in order; nobody is turned away"""
    with cgroup("pids") as group:
        limit = group / "pids.max"
        daemon = stage.start(entering(group))
        load = stage.load()
        limit.write_text("1")
        victim = daemon.workers()[0]
        assert stage.tool()("scale", "3").status != 0
        assert not daemon.reload()
        if stage.pool != "fork":  # where each new connection is a process
            load.wait_for_more(50)
            slow = Crowd(daemon, 20, b"GET /slow?ms=20 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with slow as crowd:  # threads that the application wants now
                crowd.listen(lambda: crowd.open == 0, "an answer to each")
                assert set(crowd.ended) == {"200"}, crowd.ended
        assert victim in daemon.workers()
        limit.write_text("max")
        stage.lifted()
        assert stage.tool()("scale", "3").status == 0
        assert stage.tool()("scale", "2").status == 0
        stage.recovered()
        if stage.pool == "fork":
            return stage.conclude(_not_broken, allowance="no process")
        return stage.conclude()


def a_worker_dies_when_none_can_be_forked(stage: Stage) -> Outcome:
    """A worker is killed while there are no more processes: the other serves, and it comes back by itself"""
    with cgroup("pids") as group:
        limit = group / "pids.max"
        daemon = stage.start(entering(group))
        load = stage.load()
        limit.write_text("1")
        victim = daemon.workers()[0]
        os.kill(victim, signal.SIGKILL)
        daemon.wait_for_log("could not be forked", times=2)
        if stage.pool != "fork":
            load.wait_for_more(50)
        limit.write_text("max")
        stage.lifted()
        stage.recovered()
        if stage.pool == "fork":
            return stage.conclude(_not_broken, allowance="no process")
        return stage.conclude(_only_broken, allowance="what it ran (8)")
