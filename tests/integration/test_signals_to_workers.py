"""TERM to a worker, by whomever, and what an application does with signals: the pool's duties are not its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest

from tests.support.daemon import ALONE
from tests.support.ports import free_port
from tests.support.service import HELLO, Service, get
from tests.support.waiting import PATIENCE_SECONDS

HANDLERS = """
import signal, sys

def own(number, frame):
    sys.exit("the application's own handler")

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2):
    signal.signal(number, own)
"""


@pytest.mark.parametrize("preload", ["true", "false"])
def test_a_lone_worker_that_is_sent_sigterm_has_its_successor_first(service: Service, preload: str) -> None:
    """Whatever handlers the application has."""
    service.write(HANDLERS + HELLO)
    daemon = service.start("--workers", "1", "--preload", preload)
    daemon.settle(1)
    first = daemon.workers()[0]
    os.kill(first, signal.SIGTERM)
    served = {first}
    while served == {first}:
        served.add(int(get(daemon).split()[1]))  # none is refused, none waits for a back-off
    daemon.wait_for_log("has left: recycled (signal)")
    log = daemon.log()
    assert log.index("was sent SIGTERM") < log.index("has left: recycled (signal)")
    assert log.count("is ready after") == 2
    assert "the next one in" not in log
    assert "the application's own handler of SIGINT, SIGQUIT, SIGTERM is not called" in log


def test_sigterm_to_the_whole_group_is_a_graceful_stop(service: Service) -> None:
    service.write(HANDLERS + HELLO)
    daemon = service.start("--workers", "2")
    daemon.settle(2)
    os.killpg(daemon.process.pid, signal.SIGTERM)
    assert daemon.process.wait(PATIENCE_SECONDS) == 0
    assert "was killed" not in daemon.log()
    assert "the next one in" not in daemon.log()


EVENT_LOOP = """
import asyncio, signal

def application(environ, start_response):
    async def main():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, print, "the application's")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    LOOPS.append(loop)
    start_response("200 OK", [])
    return [b"v1"]

LOOPS = []
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pool_single_stops_although_an_event_loop_has_taken_its_signals(service: Service, number: int) -> None:
    service.write(EVENT_LOOP)
    port = free_port()
    command = [sys.executable, "-m", "miniwsgi.daemon", "serve", "app", "--pool", "single"]
    with subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}"],
        cwd=service.directory,
        env={**os.environ, **ALONE},
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        try:
            while b"listening" not in (line := process.stderr.readline()):
                assert line
            assert urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_SECONDS).read() == b"v1"
            process.send_signal(number)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
