"""The load client itself: what it counts as lost, against servers that misbehave on cue."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.load import Failure, Load
from tests.support.ports import free_port

Behave = Callable[[socket.socket, bytes, int], bool]


def answer(token: bytes, version: bytes = b"v1", extra: bytes = b"") -> bytes:
    body = version + b" 42 " + token + b"\n"
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), extra, body)


@contextmanager
def server(behave: Behave) -> Iterator[tuple[str, int]]:
    """One connection at a time; `behave(connection, token, number)` says whether the connection goes on."""
    listener = socket.create_server(("127.0.0.1", 0))
    number = 0

    def serve() -> None:
        nonlocal number
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while request := connection.recv(65536):
                    number += 1
                    found = re.search(rb"token=(\S+)", request)
                    if not behave(connection, found[1] if found else b"", number):
                        break

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def run(behave: Behave, answers: int = 5) -> Load:
    with server(behave) as address, Load(address, connections=1) as load:
        load.wait_for_more(answers)
    return load


def test_right_answers_are_counted_by_version_in_order() -> None:
    def behave(connection: socket.socket, token: bytes, number: int) -> bool:
        connection.sendall(answer(token, b"v1" if number < 4 else b"v2"))
        return True

    report = run(behave, 20).report
    assert report.failures() == {}
    assert report.order() == ["v1", "v2"]
    assert report.by_version["v1"] == 3
    assert report.by_pid.keys() == {42}
    assert report.requests == report.answered >= 20


def test_an_answer_in_pieces_is_one_answer() -> None:
    def behave(connection: socket.socket, token: bytes, number: int) -> bool:
        for byte in answer(token):
            connection.sendall(bytes([byte]))
        return True

    assert run(behave).report.failures() == {}


def test_a_close_that_was_announced_loses_nothing() -> None:
    def behave(connection: socket.socket, token: bytes, number: int) -> bool:
        connection.sendall(answer(token, extra=b"Connection: close\r\n"))
        return False

    report = run(behave).report
    assert report.failures() == {}
    assert report.closes_announced == report.answered


def test_an_idle_connection_that_is_closed_loses_nothing() -> None:
    def behave(connection: socket.socket, token: bytes, number: int) -> bool:
        last = number % 3 == 0
        if last:  # answer and end in one segment: the client cannot ask again in between, however slow this side is
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        connection.sendall(answer(token))
        if last:
            connection.shutdown(socket.SHUT_WR)
        return not last

    with server(behave) as address, Load(address, connections=1, pausing=1) as load:
        load.wait_for_more(10)
    assert load.report.failures() == {}
    assert load.report.idle_closes >= 3


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (lambda token: b"", Failure.CLOSED),
        (lambda token: answer(token)[:-3], Failure.TRUNCATED),
        (lambda token: answer(token)[:9], Failure.TRUNCATED),
        (lambda token: answer(b"another"), Failure.BODY),
        (lambda token: answer(token).replace(b"200 OK", b"503 No"), Failure.STATUS),
        (lambda token: answer(token).replace(b"Content-Length", b"Length"), Failure.BODY),
    ],
)
def test_every_third_answer_that_is_wrong_is_a_loss_of_its_kind(sent: Callable[[bytes], bytes], kind: Failure) -> None:
    def behave(connection: socket.socket, token: bytes, number: int) -> bool:
        connection.sendall(sent(token) if number % 3 == 0 else answer(token))
        return number % 3 != 0

    report = run(behave).report
    assert report.lost
    assert {lost.kind for lost in report.lost} == {kind}


def test_a_reset_instead_of_an_answer_is_a_loss() -> None:
    def behave(connection: socket.socket, token: bytes, number: int) -> bool:
        if number % 3:
            connection.sendall(answer(token))
            return True
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close sends RST
        return False

    assert {lost.kind for lost in run(behave).report.lost} == {Failure.RESET}


def test_nobody_listening_is_refused() -> None:
    with Load(("127.0.0.1", free_port()), connections=1) as load:
        load.wait(lambda report: len(report.lost) > 2, "three refusals")
    assert {lost.kind for lost in load.report.lost} == {Failure.REFUSED}
