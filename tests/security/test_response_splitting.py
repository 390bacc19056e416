"""Response splitting: no text of an application or a client ends a line of a response's head before its time.

The common cases (CR, LF and NUL in values, names and statuses) are in tests/conformance/tables/heads.py.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS

APP = """
import json
from urllib.parse import unquote

class Shifty(str):
    # shows itself as something else than it is
    def __str__(self):
        return EVIL
    __format__ = lambda self, spec: EVIL
    encode = lambda self, *arguments: EVIL.encode("latin-1")

EVIL = "x\\r\\nX-Injected: 1"

def application(environ, start_response):
    place, text = environ["PATH_INFO"][1:], unquote(environ["QUERY_STRING"])
    status, headers = "200 OK", [("X-First", "1")]
    if place == "reason":
        status = "200 " + text
    elif place == "name":
        headers.append((text, "x"))
    elif place in ("X-Value", "Set-Cookie", "Location"):
        headers.append((place, text))
    elif place == "hint-name":
        environ["wsgi.early_hints"]([("Link", "</a>"), (text, "x")])
    elif place == "hint-value":
        environ["wsgi.early_hints"]([("Link", "</a>"), ("Link", text)])
    elif place == "shifty":
        headers.append((Shifty("X-Name"), Shifty("value")))
        status = Shifty("200 Fine")
    start_response(status, headers)
    if place == "later":  # behind the check
        headers.append(("X-Later", EVIL))
        headers[0] = ("X-First", EVIL)
    return [b"the body"]
"""
EVIL = {
    "CRLF": "x\r\nX-Injected: 1",
    "LF": "x\nX-Injected: 1",
    "CR": "x\rX-Injected: 1",
    "CRLF twice": "x\r\n\r\nHTTP/1.1 200 OK\r\nX-Injected: 1\r\n\r\n",
    "letters that are CR and LF when cut to bytes": "x\u010d\u010aX-Injected: 1",
    "letters that are CR and LF when cut to bytes, from afar": "x\u560d\u560aX-Injected: 1",
    "NUL": "x\0X-Injected: 1",
    "vertical tab": "x\x0bX-Injected: 1",
}


class Site:
    """A daemon on TCP, where nobody is trusted, and on a Unix socket, where everybody is."""

    def __init__(self, directory: Path) -> None:
        self.service = Service(directory)
        self.service.write(APP)
        self.path = directory / "http.sock"
        configuration = self.service.configure(
            """
            [server]
            workers = 1
            request_id_header = "X-Request-ID"
            [proxy]
            trusted = ["unix"]
            """
        )
        self.daemon = self.service.start("-c", configuration, "--bind", f"unix:{self.path}")
        self.daemon.settle(1)

    def ask(self, target: str, *lines: bytes, trusted: bool = False) -> list[bytes]:
        """The lines of everything that is answered to one request."""
        client = socket.socket(socket.AF_UNIX if trusted else socket.AF_INET)
        client.settimeout(PATIENCE_SECONDS)
        client.connect(str(self.path) if trusted else self.daemon.address)
        with client, client.makefile("rb") as answer:
            head = [f"GET {target} HTTP/1.1".encode(), b"Host: a", b"Connection: close", *lines]
            client.sendall(b"\r\n".join(head) + b"\r\n\r\n")
            return answer.read().replace(b"\n", b"\r").split(b"\r")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("splitting"))
    yield site
    site.service.close()


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("place", ["reason", "name", "X-Value", "Set-Cookie", "Location", "hint-name", "hint-value"])
def test_what_would_end_a_line_is_not_sent(place: str, evil: str, site: Site) -> None:
    lines = site.ask(f"/{place}?{quote(EVIL[evil])}")
    assert lines[0] == b"HTTP/1.1 500 Internal Server Error"
    assert sum(line.startswith(b"HTTP/") for line in lines) == 1
    assert not any(b"Injected" in line for line in lines), "the value itself must not be there either"


def test_text_that_shows_itself_as_something_else_is_sent_as_it_was_checked(site: Site) -> None:
    lines = site.ask("/shifty")
    assert lines[0] == b"HTTP/1.1 200 Fine"
    assert b"X-Name: value" in lines
    assert not any(b"Injected" in line for line in lines)


def test_fields_that_are_changed_behind_the_check_are_not_sent(site: Site) -> None:
    lines = site.ask("/later")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert b"X-First: 1" in lines
    assert not any(b"Injected" in line or b"Later" in line for line in lines)


def request_ids(lines: list[bytes]) -> list[str]:
    return [line.partition(b": ")[2].decode("latin-1") for line in lines if line.startswith(b"X-Request-ID")]


@pytest.mark.parametrize(
    "given",
    [b'a"b', b"a b", b"a,b", b"a\tb", b"a;b", b"<b>", b"a\\b", b"\x85", b"caf\xc3\xa9", b"x" * 129, b"", b"${jndi}"],
    ids=repr,
)
def test_a_request_id_is_sent_back_only_if_it_can_do_no_harm(given: bytes, site: Site) -> None:
    """Not even a trusted proxy's: it may pass on what its client has sent."""
    for lines in (site.ask("/", b"X-Request-ID: " + given, trusted=True), site.ask("/", b"X-Request-ID: mine")):
        (found,) = request_ids(lines)
        assert found.partition("-")[0].isalnum(), found
        assert found.encode("latin-1") not in {given, b"mine"}


def test_two_request_ids_are_none(site: Site) -> None:
    (found,) = request_ids(site.ask("/", b"X-Request-ID: a", b"X-Request-ID: b", trusted=True))
    assert found not in {"a", "b", "a, b"}


def test_a_trusted_proxys_request_id_is_sent_back(site: Site) -> None:
    assert request_ids(site.ask("/", b"X-Request-ID: from-1.2/3", trusted=True)) == ["from-1.2/3"]


def test_nothing_of_the_failure_is_told_to_the_client(site: Site) -> None:
    """The log has what the application did; the client has nothing of it."""
    answer = b"\r".join(site.ask("/X-Value?" + quote("secret\r\n")))
    assert b"secret" not in answer
    assert json.dumps("secret")[1:-1] in site.daemon.log()
