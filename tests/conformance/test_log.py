"""What the log must say: refusals, and each mistake of an application that changes what a client gets.

On the daemon of a profile that nobody else makes complain: its log holds back what comes too often.
"""

from __future__ import annotations

import re
import time

import pytest

from tests.conformance.case import chunked, get, get10, head, request
from tests.conformance.conftest import Servers
from tests.conformance.exchange import Exchange, Send, run
from tests.conformance.server import Pool, Server

LOG_SECONDS = 60.0
CLOSE = b"Connection: close"

# What is sent, and what a new line of the log must match.
MISTAKES: dict[str, tuple[bytes, str]] = {
    "too few bytes": (get(b"/too-few", CLOSE), r" warning .*5 bytes fewer than Content-Length"),
    "too many bytes": (get(b"/too-many-list", CLOSE), r" warning .*9 bytes more than Content-Length"),
    "too many bytes, streamed": (get(b"/too-many", CLOSE), r" warning .*more bytes than Content-Length"),
    "hop-by-hop fields": (get(b"/header/hop-by-hop", CLOSE), r" warning .*hop-by-hop.*Connection.*Transfer-Encoding"),
    "unfit field": (get(b"/bad-header/crlf", CLOSE), r" error .*raised BadResponse"),
    "unfit status": (get(b"/bad-status/word", CLOSE), r" error .*raised BadResponse"),
    "never started": (get(b"/never-start", CLOSE), r"BadResponse: the application did not call start_response"),
    "started twice": (get(b"/double-start", CLOSE), r"start_response was called twice"),
    "text for bytes": (get(b"/result/str-list", CLOSE), r" error .*raised TypeError"),
    "raised at once": (get(b"/raise", CLOSE), r" error .*raised DeliberateError before its response"),
    "its traceback": (get(b"/raise", CLOSE), r"DeliberateError: before start_response"),
    "raised on HEAD": (head(b"/raise"), r" error .*raised DeliberateError before"),
    "raised after the head": (get(b"/raise-later", CLOSE), r" error .*raised DeliberateError during its response"),
    "exc_info after the head": (get10(b"/exc-info/after"), r"DeliberateError: on purpose"),
    "raised in close()": (get(b"/raise-in-close", CLOSE), r"DeliberateError: in close\(\)"),
    "wsgi.errors": (get(b"/errors", CLOSE), r"conformance: a line for the error log"),
    "wsgi.errors in parts": (get(b"/errors", CLOSE), r"conformance: two parts"),
}
# What is sent, and what the log says of it: the rule that it breaks too, and the limit that it exceeds.
REFUSALS: dict[str, tuple[bytes, str]] = {
    "malformed line": (request(b"GET /a b HTTP/1.1", b"Host: a"), r"400 .*request line.*\(RFC 9112 section 3\)"),
    "Content-Length": (get(b"/", b"Content-Length: nonsense"), r"400 .*Content-Length \(RFC 9112 section 6\.3\)"),
    "chunk": (chunked(b"x\r\n"), r"400 .*chunk.*\(RFC 9112 section 7\.1\)"),
    "expectation": (get(b"/", b"Expect: x"), r"417 .*expectation.*\(RFC 9110 section 10\.1\.1\)"),
    "version": (request(b"GET / HTTP/2.0", b"Host: a"), r"505 .*version.*\(RFC 9112 section 2\.3\)"),
    "long line": (get(b"/" + b"p" * 9000), r"414 .*request line.*limits\.request_line \(RFC 9110 section 15\.5\.15\)"),
    "many fields": (get(b"/", *(b"X: y",) * 150), r"431 .*fields.*limits\.fields \(RFC 6585 section 5\)"),
    "coding": (get(b"/", b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"), r"501 .*coding.*\(RFC 9112 section 6\.1\)"),
    "large body": (get(b"/", b"Content-Length: 200000000"), r"413 .*limits\.body_max \(RFC 9110 section 15\.5\.14\)"),
}


def added(server: Server, sent: bytes, pattern: str) -> str:
    """Send it and wait for a new line that matches; that line, "" if none came. A burst is over after ten seconds."""
    deadline = time.monotonic() + LOG_SECONDS
    while time.monotonic() < deadline:
        before = len(server.log())
        run([Exchange([Send(sent), *([] if CLOSE in sent else [Send(get(b"/", CLOSE))])])], server.target.address)
        settled = time.monotonic() + 2.0
        while time.monotonic() < settled:
            for line in server.log()[before:].splitlines():
                if re.search(pattern, line):
                    return line
            time.sleep(0.005)
    return ""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_application_s_mistake_is_logged(mistake: str, servers: Servers) -> None:
    server = servers("proxied")
    sent, pattern = MISTAKES[mistake]
    assert added(server, sent, pattern), server.log()[-2000:]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_is_logged_with_what_and_from_where(refusal: str, servers: Servers) -> None:
    server = servers("proxied")
    sent, pattern = REFUSALS[refusal]
    line = added(server, sent, f" warning .*refused a request with {pattern}")
    assert "peer=127.0.0.1" in line, line or server.log()[-2000:]


def test_a_flood_of_refusals_does_not_flood_the_log(pool: Pool, servers: Servers) -> None:
    if pool.kind == "fork":
        pytest.skip("a process a connection: each has a log of its own")
    server = servers("proxied")
    before = len(server.log())
    began = time.monotonic()
    run([Exchange([Send(get(b"/", b"nonsense"))]) for _ in range(200)], server.target.address, server.pool.concurrency)
    allowed = 6 * (2 + (time.monotonic() - began) // 10)  # five lines in ten seconds, and one that counts the rest
    refused = [line for line in server.log()[before:].splitlines() if "refused a request" in line]
    assert 0 < len(refused) <= allowed
