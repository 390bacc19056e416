"""Log injection: whatever a client or an application says, a line of a log is one line, and nothing steers a terminal.

Formats and the journal's protocol have tests of their own: test_access_log.py, test_logs_error_log.py, test_journal.py.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniwsgi.manager.client.text import clean, clean_json

from tests.support.daemon import Daemon
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS

APP = """
import os, time

FORGED = "2026-01-01T00:00:00.000Z error   master    forged\\r\\n\\x1b[2J\\x9b2J\\u202e\\u2028forged"

def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise ValueError("first\\n" + FORGED)
    if environ["PATH_INFO"] == "/write":
        environ["wsgi.errors"].write("first\\n" + FORGED + "\\n")
    if environ["QUERY_STRING"] == "hold":
        open("begun", "a").close()
        while os.path.exists("held"):
            time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]
"""
NASTY = b"\xc2\x9b31m\x9b2J\xe2\x80\xae\"'\\x0a%0d%0a%1b[2J"  # C1 as UTF-8 and bare, the direction turned, quotes


def basic(user: bytes) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(user + b":secret")


REQUESTS = [
    (b"GET /%b HTTP/1.1" % NASTY, b""),
    (b"GET /?%b HTTP/1.1" % NASTY, b""),
    (b"GET http://a/%b HTTP/1.1" % NASTY, b""),
    (b"G'`|~ET / HTTP/1.1", b""),
    (b"GET / HTTP/1.1", b"User-Agent: " + NASTY),
    (b"GET / HTTP/1.1", b'User-Agent: x" 200 0 "-" "-" \\'),
    (b"GET / HTTP/1.1", b"User-Agent: tab\there"),
    (b"GET / HTTP/1.1", b"Referer: " + NASTY),
    (b"GET / HTTP/1.1", basic(b"a b\r\n203.0.113.9 - - forged")),
    (b"GET / HTTP/1.1", basic(NASTY)),
    (b"GET / HTTP/1.1", basic(b"\x1b[2J\x00\x07")),
    (b"GET / HTTP/1.1", b"X-Forwarded-For: 1.2.3.4\x85, " + NASTY),
    (b"GET / HTTP/1.1", b"X-Request-ID: " + NASTY),
    (b"GET /\x00 HTTP/1.1", b""),  # these two are refused
    (b"GET / HTTP/1.1", b"X: \x1b"),
]
COMBINED = re.compile(
    r"127\.0\.0\.1 - [!-~]+ \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    r'"[^"]*" \d{3} (?:\d+|-) "[^"]*" "[^"]*"'
)
ENTRY = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:debug|info|warning|error)\s+(?:master|launcher|worker/0)\s"
)


def ask(daemon: Daemon, start: bytes, line: bytes = b"") -> bytes:
    """The answer to one request."""
    with socket.create_connection(daemon.address, timeout=PATIENCE_SECONDS) as client, client.makefile("rb") as answer:
        client.sendall(b"\r\n".join([start, b"Host: a", b"Connection: close", *([line] if line else [])]) + b"\r\n\r\n")
        return answer.read()


@pytest.mark.parametrize("format", ["combined", "json"])
def test_each_request_is_one_line_of_the_access_log(format: str, service: Service) -> None:
    service.write(APP)
    path = service.directory / "access.log"
    configuration = service.configure(
        f"""
        [server]
        workers = 1
        [proxy]
        trusted = ["192.0.2.1"]
        [log]
        access_log = "{path}"
        access_log_format = "{format}"
        """
    )
    daemon = service.start("-c", configuration)
    for start, line in REQUESTS:
        assert ask(daemon, start, line).startswith(b"HTTP/1.1 ")
    assert daemon.stop() == 0
    data = path.read_bytes()
    assert set(data) <= {0x0A, *range(0x20, 0x7F)}, "nothing but printable ASCII"
    lines = data.decode().splitlines()
    assert len(lines) == len(REQUESTS)
    for shown in lines:
        if format == "json":
            assert json.loads(shown)["remote"] == "127.0.0.1"
        else:
            assert COMBINED.fullmatch(shown.replace('\\"', "").replace("\\x22", "")), shown
    assert "secret" not in data.decode(), "passwords are not logged"
    assert entries_of(daemon), "what it says of what it has refused"


def entries_of(daemon: Daemon) -> list[str]:
    """The lines of the error log, each of which begins an entry or is indented, with nothing in it that steers."""
    data = daemon.log_path.read_bytes().decode("utf-8")
    lines = data.removesuffix("\n").split("\n")
    assert all(character.isprintable() or character in "\n\t" for character in data), ascii(data)
    for line in lines:
        assert ENTRY.match(line) or line.startswith("    "), line
    return lines


def test_what_an_application_says_stays_within_its_entries(service: Service) -> None:
    service.write(APP)
    daemon = service.start("--workers", "1")
    assert ask(daemon, b"GET /raise HTTP/1.1").startswith(b"HTTP/1.1 500 ")
    assert ask(daemon, b"GET /write HTTP/1.1").startswith(b"HTTP/1.1 200 ")
    assert daemon.stop() == 0
    lines = entries_of(daemon)
    forged = [line for line in lines if "forged" in line]
    assert forged
    for line in forged:
        assert line.startswith("    ") or re.search(r"Z (?:error  |info   ) worker/0 ", line), line


def ctl(path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "miniwsgi.manager.client", "--socket", str(path), *arguments],
        capture_output=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8") + done.stderr.decode("utf-8")


def test_what_a_client_asks_for_cannot_steer_an_operators_terminal(service: Service) -> None:
    service.write(APP)
    service.hold()
    socket_path = service.directory / "control.sock"
    configuration = service.configure('[server]\nworkers = 1\n[log]\nslow_request = "100ms"')
    daemon = service.start("-c", configuration, "--control", str(socket_path))
    with socket.create_connection(daemon.address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"GET /%b?hold HTTP/1.1\r\nHost: a\r\n\r\n" % NASTY)
        daemon.wait(service.has_begun, "the request runs")
        daemon.wait_for_log("has been running for")
        shown = {
            arguments: ctl(socket_path, *arguments.split())
            for arguments in ("workers", "events", "stack 0", "-o json workers", "-o json events", "-o json stack 0")
        }  # fmt: skip
        service.release()
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    for arguments, text in shown.items():
        assert all(character.isprintable() or character == "\n" for character in text), (arguments, ascii(text))
    told = [json.loads(line)["message"] for line in shown["-o json events"].splitlines()]
    assert any("\x9b" in message for message in told), "programs still get what was sent"
    assert "\\x9b" in shown["workers"]
    assert "\\u009b" in shown["-o json workers"]
    service.release()
    assert daemon.stop() == 0
    entries_of(daemon)


@given(st.text())
def test_whatever_it_is_it_is_shown_harmlessly(text: str) -> None:
    assert clean(text).isprintable()
    document = json.dumps({text: [text]}, ensure_ascii=False, indent=2)
    assert all(character.isprintable() or character == "\n" for character in clean_json(document))
    assert json.loads(clean_json(document)) == json.loads(document)
