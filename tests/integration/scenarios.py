"""What must not lose a request, done to a real daemon that serves a real Flask or Django application under load.

Each scenario starts its own daemon, does one thing to it while `Load` runs, asserts, and returns the line
that says what was counted. test_under_load.py runs them as tests, evidence.py prints them all.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from tests.support.load import Failure, Load
from tests.support.shops import Site
from tests.support.waiting import PATIENCE_SECONDS

BROKEN = {Failure.CLOSED, Failure.RESET, Failure.TRUNCATED}  # requests of a process that was killed


def reload_with_new_code(site: Site) -> str:
    """(a) SIGHUP with new code, again and again."""
    releases = [f"v{number}" for number in range(1, site.often + 2)]
    with site.daemon() as daemon, Load(daemon.address) as load:
        load.wait_for_version("v1")
        for version in releases[1:]:
            site.release(version)
            assert daemon.reload()
            load.wait_for_version(version)
        load.wait_for_more(100)
        report = load.stop()
        assert daemon.stop() == 0
    assert report.failures() == {}, report.lost
    assert report.order() == releases
    return str(report)


def reload_with_broken_code(site: Site) -> str:
    """(b) SIGHUP with a syntax error in the application."""
    with site.daemon() as daemon, Load(daemon.address) as load:
        load.wait_for_version("v1")
        before = sorted(daemon.workers())
        site.break_code()
        assert not daemon.reload()
        daemon.wait_for_log("boot_check: GET / was answered 500" if site.shop.boot_check else "SyntaxError")
        load.wait_for_more(200)
        daemon.wait(lambda: sorted(daemon.workers()) == before, "the old workers go on, alone")
        assert load.report.order() == ["v1"]
        site.release("v2")
        assert daemon.reload()
        load.wait_for_version("v2")
        load.wait_for_more(100)
        report = load.stop()
    assert report.failures() == {}, report.lost
    assert report.order() == ["v1", "v2"]
    return f"{report}; v1 went on, mended code went live with the next SIGHUP"


def reload_with_broken_configuration(site: Site) -> str:
    """(b) SIGHUP with a syntax error in the configuration."""
    with site.daemon() as daemon, Load(daemon.address) as load:
        load.wait_for_version("v1")
        before = sorted(daemon.workers())
        site.release("v2")
        site.configure("workers = = 2")
        assert not daemon.reload()
        load.wait_for_more(200)
        daemon.wait(lambda: sorted(daemon.workers()) == before, "the old workers go on, alone")
        assert load.report.order() == ["v1"]
        site.configure("workers = 3")
        assert daemon.reload()
        load.wait_for_version("v2")
        assert len(set(daemon.workers()) - set(before)) == 3
        load.wait_for_more(100)
        report = load.stop()
    assert report.failures() == {}, report.lost
    assert report.order() == ["v1", "v2"]
    return f"{report}; v1 went on, the mended configuration went live with the next SIGHUP"


def one_worker_more_and_fewer(site: Site) -> str:
    """(c) TTIN and TTOU; what they set outlives a reload."""
    counts = []
    with site.daemon() as daemon, Load(daemon.address) as load:
        load.wait_for_version("v1")
        for number, expected in (
            (signal.SIGTTIN, 3),
            (signal.SIGTTIN, 4),
            (signal.SIGTTOU, 3),
            (signal.SIGTTOU, 2),
            (signal.SIGTTOU, 1),
            (signal.SIGTTIN, 2),
            (signal.SIGTTIN, 3),
        ):
            daemon.signal(number)
            daemon.wait(lambda expected=expected: len(daemon.workers()) == expected, f"{expected} workers")
            load.wait_for_more(50)
            counts.append(str(expected))
        before = set(daemon.workers())
        site.release("v2")
        assert daemon.reload()
        load.wait_for_version("v2")
        daemon.wait(
            lambda: len(daemon.workers()) == 3 and not before & set(daemon.workers()),
            "three workers after the reload, all new",
        )
        report = load.stop()
    assert report.failures() == {}, report.lost
    return f"{report}; workers 2, {', '.join(counts)}, and 3 after a reload"


def kill_a_worker(site: Site) -> str:
    """(d) kill -9 of a worker."""
    with site.daemon() as daemon, Load(daemon.address) as load:
        load.wait(lambda report: len(report.by_pid) == 2, "answers of both workers")
        before = set(daemon.workers())
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        daemon.wait(lambda: victim not in daemon.workers() and len(daemon.workers()) == 2, "a new worker")
        (fresh,) = set(daemon.workers()) - before
        load.wait(lambda report: fresh in report.by_pid, "an answer of the new worker")
        report = load.stop()
    assert {lost.kind for lost in report.lost} <= BROKEN, report.lost
    assert {lost.pid for lost in report.lost} <= {victim, None}, "only what the killed worker had"
    assert len(report.lost) <= 16, "at most one for each connection"
    return f"{report}; the failed ones were on the killed worker's connections, or on new ones"


def kill_the_launcher(site: Site) -> str:
    """(d) kill -9 of the launcher."""
    with site.daemon() as daemon, Load(daemon.address) as load:
        load.wait(lambda report: len(report.by_pid) == 2, "answers of both workers")
        (victim,) = daemon.launchers()
        before = set(daemon.workers())
        os.kill(victim, signal.SIGKILL)
        load.wait_for_more(100)
        daemon.wait(lambda: victim not in daemon.launchers() and len(daemon.launchers()) == 1, "a new launcher")
        daemon.wait(
            lambda: len(daemon.workers()) == 2 and not before & set(daemon.workers()),
            "two workers of the new launcher",
        )
        load.wait(lambda report: len(report.by_pid) == 4, "answers of the new workers")
        report = load.stop()
    assert report.failures() == {}, report.lost
    return f"{report}; the workers served on until the new launcher's were ready"


def kill_the_master(site: Site) -> str:
    """(d) kill -9 of the master: what runs is finished, then everything ends."""
    with site.daemon() as daemon, Load(daemon.address, path="/slow?ms=300", connections=8) as load:
        load.wait_for_more(16)
        running = load.finish()
        os.kill(daemon.process.pid, signal.SIGKILL)
        report = load.stop()
        daemon.wait(lambda: not daemon.survivors(), "the end of every process")
        assert _refused(daemon.port), "nobody listens any more"
    assert report.failures() == {}, report.lost
    return f"{report}; {running} were running and were answered; no process is left"


def stop_with_queued_connections(site: Site, pool: str = "epoll") -> str:
    """(e) SIGTERM while connections wait in the accept queue."""
    site.configure(f'workers = 1\nthreads = 2\npool = "{pool}"', "[limits]\nconnections = 4")
    with (
        site.daemon() as daemon,
        Load(daemon.address, path="/slow?ms=200", connections=24, pausing=99) as load,
    ):
        load.wait(lambda report: report.answered >= 8 and load.waiting() >= 20, "a queue")
        running = load.finish()
        daemon.signal(signal.SIGTERM)
        report = load.stop()
        status = daemon.process.wait(PATIENCE_SECONDS)
        assert not daemon.survivors()
    assert report.failures() == {}, report.lost
    assert running > 4, "some were queued"
    assert status == 0
    return f"{report}; {running} were running or queued at SIGTERM and were answered; exit status {status}"


def stop_prefork_with_queued_connections(site: Site) -> str:
    """(e) SIGTERM while connections wait in the accept queue, pool prefork."""
    return stop_with_queued_connections(site, "prefork")


SCENARIOS: tuple[Callable[[Site], str], ...] = (
    reload_with_new_code,
    reload_with_broken_code,
    reload_with_broken_configuration,
    one_worker_more_and_fewer,
    kill_a_worker,
    kill_the_launcher,
    kill_the_master,
    stop_with_queued_connections,
    stop_prefork_with_queued_connections,
)


def describe(scenario: Callable[[Site], str]) -> str:
    """A scenario's name for people."""
    return (scenario.__doc__ or scenario.__name__).strip().splitlines()[0]


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False
