"""Whose a crash was, by what faulthandler wrote, and what its report shows."""

from __future__ import annotations

import os

import pytest
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.http.head import Known, parse_request_line
from miniwsgi.daemon.master.running.crash_report import OURS, WHERE, inside, masked, report
from miniwsgi.daemon.master.running.stacks import read_crash
from miniwsgi.daemon.master.running.worker_handle import EngineInUse
from miniwsgi.metrics.scoreboard import SLOT_BYTES, T_IDENT
from miniwsgi.metrics.slot import Slot

COMPILED = EngineInUse("compiled", "", "Python 3.11.7")
IDENT = 0x7F00
OF_OURS = f"""Fatal Python error: Segmentation fault

Thread 0x00007f01 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait

Current thread 0x{IDENT:08x} (most recent call first):
  File "{OURS}daemon/worker/pools/epoll/loop.py", line 150 in _loop
  File "{OURS}daemon/worker/pools/epoll/loop.py", line 99 in run"""
OF_THE_APPLICATION = f"""Fatal Python error: Segmentation fault

Current thread 0x{IDENT:08x} [mw-worker/0] (most recent call first):
  File "/srv/app/wsgi.py", line 3 in application
  File "{OURS}daemon/worker/pools/epoll/loop.py", line 150 in _loop"""
NO_FRAME = (
    "Fatal Python error: Segmentation fault\n\nCurrent thread 0x7f00 (most recent call first):\n  <no Python frame>"
)


def slot(line: bytes = b"", *, running: bool = True) -> Slot:
    """As a worker leaves it whose thread has run a request."""
    made = Slot(0, memoryview(bytearray(SLOT_BYTES)))
    thread = ThreadAccount(0, made, 0)
    made.cells[thread.cell + T_IDENT] = IDENT
    if line:
        thread.begin(None, parse_request_line(line, Known()), 1, 5)
        if not running:
            thread.end()
    return made


def test_it_is_ours_where_no_code_of_the_application_was_between() -> None:
    assert inside(OF_OURS, COMPILED) == WHERE


@pytest.mark.parametrize("stacks", [OF_THE_APPLICATION, NO_FRAME, ""], ids=["application", "no frame", "no stacks"])
def test_it_is_not_where_there_was_or_nobody_can_tell(stacks: str) -> None:
    assert not inside(stacks, COMPILED)


@pytest.mark.parametrize("engine", [EngineInUse("plain", ""), None], ids=["plain", "not known"])
def test_python_of_ours_does_not_crash(engine: EngineInUse | None) -> None:
    assert not inside(OF_OURS, engine)


def test_the_report_has_versions_engine_and_the_request_without_its_query() -> None:
    said = report(OF_OURS, COMPILED, slot(b"GET /shop?token=secret HTTP/1.1"))
    assert "miniwsgi 0.1.0, engine compiled, Python 3.11.7, Linux" in said
    assert said.endswith("\n| GET /shop?<12 bytes> HTTP/1.1")
    assert "or compiled code of the application that it had called" in said
    assert "secret" not in said


def test_beside_no_request_the_fault_is_ours_alone() -> None:
    said = report(OF_OURS, COMPILED, slot(b"GET / HTTP/1.1", running=False))
    assert said.startswith("This is a fault of miniwsgi's, if no extension module")
    assert said.endswith("| GET / HTTP/1.1")
    assert "|" not in report(OF_OURS, COMPILED, slot())


def test_what_was_received_last_is_shown_if_it_begins_a_request() -> None:
    shown = slot(b"GET /shown HTTP/1.1")
    said = report(OF_OURS, COMPILED, shown, b"POST /last HTTP/1.1\r\nHost: h\r\nCookie: secret\r\n\r\nsecret body")
    assert said.endswith("\n| POST /last HTTP/1.1\n| Host: h\n| Cookie: <6 bytes>")
    said = report(OF_OURS, COMPILED, shown, b"secret: the rest of a body\r\n\r\n")
    assert said.endswith("\n| GET /shown HTTP/1.1")


def test_both_are_read_from_the_pipe() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.write(writer, b"stacks of before\0miniwsgi received 474554\nFatal Python error: Aborted\n\nthread\n")
    assert read_crash(reader) == ("Fatal Python error: Aborted\n\nthread", b"GET")
    os.write(writer, b"miniwsgi received 47455")
    assert read_crash(reader) == ("", b"")
    os.write(writer, b"miniwsgi received 4745\xff\nFatal Python error: x")
    assert read_crash(reader) == ("Fatal Python error: x", b"")
    os.close(reader)
    os.close(writer)


def test_what_another_process_has_sent_is_no_crash() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.write(writer, b"miniwsgi was sent it by process 47\n" + OF_OURS.encode())
    stacks, received = read_crash(reader)
    assert stacks == f"miniwsgi was sent it by process 47\n{OF_OURS}"
    assert not received
    assert not inside(stacks, COMPILED)
    os.close(reader)
    os.close(writer)


def test_of_a_head_the_harmless_is_shown() -> None:
    head = (
        b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nCookie: s=1\r\nAUTHORIZATION: Basic dTpw\r\nX-Api-Key: k\r\n"
        b"User-Agent: u\xe9\x01\r\njunk\r\n\r\nbody"
    )
    assert masked(head) == [
        "POST /a?<3 bytes> HTTP/1.1", "Host: x", "Cookie: <3 bytes>", "AUTHORIZATION: <10 bytes>",
        "X-Api-Key: <1 bytes>", "User-Agent: u\\xe9\\x01", "<4 bytes>",
    ]  # fmt: skip
    assert masked(b"GET /?" + b"q" * 300) == ["GET /?<300 bytes>"]
    assert masked(b"") == []
