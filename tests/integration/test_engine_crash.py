"""A worker that crashes in C code: inside the engine it is told as a fault of ours, inside the application as ever."""

from __future__ import annotations

import http.client
import os
import signal

import pytest
from miniwsgi.daemon.engine import choice

from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.service import Service, get

OURS = "was killed by SIGSEGV inside miniwsgi's compiled engine"
APPLICATION = """
import ctypes, gc

def application(environ, start_response):
    if environ["PATH_INFO"] == "/crash":
        ctypes.string_at(0)
    if environ["PATH_INFO"] == "/inside":
        return map(ctypes.CDLL(None).strlen, [0])  # called by the engine, with no frame of Python between
    start_response("200 OK", [])
    return [b"%d" % site.after_crash for site in gc.get_objects() if type(site).__name__ == "Site"]
"""


@pytest.fixture
def daemon(service: Service) -> Daemon:
    service.write(APPLICATION)
    started = service.start("--workers", "1", "--control", str(service.directory / "control.sock"))
    started.settle(1)
    return started


def test_in_the_application_it_is_the_applications(daemon: Daemon, service: Service) -> None:
    assert get(daemon) == "0"
    with pytest.raises((OSError, http.client.HTTPException)):
        get(daemon, "/crash?token=secret")
    daemon.wait_for_log("was killed by SIGSEGV while it ran GET /crash (request id")
    daemon.settle(1)
    assert "in string_at" in daemon.log()
    assert "Please report" not in daemon.log()
    assert get(daemon) == "1"  # the next worker knows


@pytest.mark.skipif("compiled" not in choice.available(), reason="no compiled engine in this Python")
def test_in_the_engine_it_is_ours_with_a_report(daemon: Daemon, service: Service) -> None:
    client = http.client.HTTPConnection(*daemon.address)
    client.request("GET", "/inside?token=secret", headers={"Cookie": "session=secret"})
    daemon.wait_for_log(OURS)
    daemon.settle(1)
    log = daemon.log()
    assert "This is a fault of miniwsgi's" in log
    assert "engine compiled, Python 3." in log
    assert "| GET /inside?<12 bytes> HTTP/1.1\n" in log
    assert "| Cookie: <14 bytes>\n" in log
    assert "secret" not in log
    (shown,) = Control(service.directory / "control.sock").workers()
    assert shown["last_exit"].startswith(OURS)
    assert get(daemon) == "1"


def test_what_somebody_has_sent_is_nobodys(daemon: Daemon) -> None:
    assert get(daemon) == "0"
    (worker,) = daemon.workers()
    os.kill(worker, signal.SIGSEGV)  # while it waits, or is about to: in no code of the application's
    daemon.wait_for_log("was killed by SIGSEGV")
    daemon.settle(1)
    assert OURS not in daemon.log()
    if "compiled" in choice.available():
        assert f"was sent it by process {os.getpid()}\n" in daemon.log()
