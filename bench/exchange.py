"""A request and the answer that it must get: what a server has to show before it is timed."""

from __future__ import annotations

import http.client
import io
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from bench.apps.bench_app import CHUNK, PAUSE_SECONDS

HELLO_BODY = b"Hello, world!\n"
NOT_YET = (502, 503)  # what a proxy says while the server behind it starts
ANSWER_SECONDS = 10.0
CLOSE_SECONDS = 2.0  # from an answer to the close() of the result that it was made of
FURTHER_SECONDS = 2.0  # for the next of several that were asked at once


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is asked, and what must come back."""

    path: str = "/"
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    expected: bytes = HELLO_BODY
    sized: bool = True  # Content-Length must be there and right
    ends: bool = False  # the connection must be closed after the answer
    may_end: bool = False  # the connection may be closed after the answer
    paced: bool = False  # what is on /paced must come as it is made: with a pause
    closes: bool = False  # close() of the application's result must be called (PEP 3333): /closed tells of /closing
    deep: int = 1  # so many requests at once on one connection


class NotYet(Exception):
    """The server starts, and says so."""


def complaint(port: int, exchange: Exchange, keeps_alive: bool = True) -> str:
    """What is wrong with a server's answers to two such requests, on one connection if it keeps it; "" if nothing.

    Raises OSError and http.client.HTTPException when there are none, NotYet when it is too early.
    """
    if exchange.deep > 1:
        return _complaint_pipelined(port, exchange)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        for _ in range(2):
            connection.request(exchange.method, exchange.path, exchange.body or None, dict(exchange.fields))
            response = connection.getresponse()
            body = response.read()
            if response.status in NOT_YET:
                raise NotYet(f"{response.status} {response.reason}")
            if wrong := wrong_answer(response, body, exchange):
                return wrong
            if exchange.ends and not response.will_close:
                return "keeps a connection alive that was to be closed"
            if keeps_alive and response.will_close and not (exchange.ends or exchange.may_end):
                return "does not keep the connection alive"
            if not keeps_alive:
                connection.close()
    finally:
        connection.close()
    if exchange.closes:
        return _complaint_closes(port, exchange)
    return _complaint_paced(port) if exchange.paced else ""


def _complaint_paced(port: int) -> str:
    """Whether a part of an answer is sent before the next is made."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)) as connection:
        connection.request("GET", "/paced")
        response = connection.getresponse()
        first = response.read(len(CHUNK))
        begin = time.monotonic()
        rest = response.read()
        waited = time.monotonic() - begin
    if (response.status, first, rest) != (200, CHUNK, CHUNK):
        return f"on /paced {response.status} and {len(first) + len(rest)} bytes"
    return "" if waited > PAUSE_SECONDS / 2 else "does not stream: it gathers the answer before it sends any of it"


def _complaint_closes(port: int, exchange: Exchange) -> str:
    """Whether what an application gives back is closed behind its answer."""
    before = _body(port, "/closed")
    if (body := _body(port, "/closing")) != exchange.expected:
        return f"on /closing the body is {body[:40]!r} ({len(body)} bytes)"
    deadline = time.monotonic() + CLOSE_SECONDS
    while _body(port, "/closed") == before:
        if time.monotonic() > deadline:
            return "does not call close() of what the application gives back, which ends the frameworks' requests"
        time.sleep(0.01)
    return ""


def _body(port: int, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def wrong_answer(response: http.client.HTTPResponse, body: bytes, exchange: Exchange) -> str:
    """What is wrong with one answer; "" when it is right."""
    if response.status != 200:
        return f"{response.status} {response.reason}"
    if body != exchange.expected:
        return f"the body is {body[:40]!r} ({len(body)} bytes)"
    if exchange.sized and response.getheader("Content-Length") != str(len(body)):
        return "Content-Length is missing or wrong"
    return ""


def complaint_echo(port: int) -> str:
    """What is wrong with the answer of an echo; "" when it is right. Raises OSError when there is none."""
    sent = b"GET / HTTP/1.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as sock:
        sock.sendall(sent)
        got = b""
        while len(got) < len(sent) and (data := sock.recv(len(sent))):
            got += data
    return "" if got == sent else f"echoes {got[:40]!r}"


class _Kept(io.BufferedReader):
    """What one response leaves unread is the next one's: not closed after the first."""

    def close(self) -> None:
        """Called at the end of each response."""

    def makefile(self, mode: str) -> _Kept:
        """Called by HTTPResponse, which takes it for a socket."""
        return self


def _complaint_pipelined(port: int, exchange: Exchange) -> str:
    request = f"{exchange.method} {exchange.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as sock:
        sock.sendall(request * exchange.deep)
        stream = _Kept(socket.SocketIO(sock, "r"))
        for number in range(1, exchange.deep + 1):
            response = http.client.HTTPResponse(cast("socket.socket", stream), method=exchange.method)
            try:
                response.begin()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                if number == 1:
                    raise
                return f"answers {number - 1} of {exchange.deep} requests at once: {error}"
            if response.status in NOT_YET:
                raise NotYet(f"{response.status} {response.reason}")
            if wrong := wrong_answer(response, body, exchange):
                return f"request {number} of {exchange.deep} at once: {wrong}"
            sock.settimeout(FURTHER_SECONDS)
    return ""
