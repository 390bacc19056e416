"""The client's HTTP: every framing of an answer, however the bytes come; and every way not to get one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from miniwsgi.manager.client.unix_http import TransportError, Trouble, UnixConnection

OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "length": (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", b"hello"),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", b"hello"),
    "informational first": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", b"ok"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"ok"),
    "until closed": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    "until closed, nothing": (b"HTTP/1.0 200 OK\r\n\r\n", b""),
}


@contextmanager
def listener(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[Path]:
    """Each connection is handed to `serve`, one after another, and closed after it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(5)

        def accept() -> None:
            while True:
                try:
                    connection, _ = sock.accept()
                except OSError:
                    return
                with connection:
                    try:
                        serve(connection)
                    except OSError:
                        pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield path
        sock.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def head(connection: socket.socket) -> bytes:
    """Read a request's head."""
    found = b""
    while b"\r\n\r\n" not in found:
        more = connection.recv(65536)
        if not more:
            break
        found += more
    return found


@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_understood_however_it_is_framed_and_cut(name: str, pieces: str, tmp_path: Path) -> None:
    data, body = ANSWERS[name]

    def serve(connection: socket.socket) -> None:
        head(connection)
        for piece in [data] if pieces == "whole" else [data[at : at + 1] for at in range(len(data))]:
            connection.sendall(piece)

    with listener(tmp_path / "s", serve) as path:
        answer = UnixConnection(str(path)).request("GET", "/", deadline=soon())
    assert (answer.status, answer.body) == (200, body)


def test_a_body_is_sent_with_its_length_and_type(tmp_path: Path) -> None:
    seen = []

    def serve(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(OK + b"Content-Length: 0\r\n\r\n")

    with listener(tmp_path / "s", serve) as path:
        UnixConnection(str(path)).request("POST", "/v1/scale", b'{"workers":8}', deadline=soon())
    assert seen[0].startswith(b"POST /v1/scale HTTP/1.1\r\nHost: localhost\r\n")
    assert b"Content-Type: application/json\r\nContent-Length: 13\r\n" in seen[0]
    assert seen[0].endswith(b'\r\n\r\n{"workers":8}')


TROUBLES = {
    "garbage": (b"SSH-2.0-OpenSSH_9.2\r\n", Trouble.FOREIGN),
    "an endless line": (b"x" * 100_000, Trouble.FOREIGN),
    "an endless head": (OK + b"X: y\r\n" * 200, Trouble.FOREIGN),
    "a length that is none": (OK + b"Content-Length: many\r\n\r\n", Trouble.FOREIGN),
    "a negative length": (OK + b"Content-Length: -1\r\n\r\n", Trouble.FOREIGN),
    "a chunk without a size": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", Trouble.FOREIGN),
    "nothing": (b"", Trouble.LOST),
    "half a line": (b"HTTP/1.1 2", Trouble.LOST),
    "half a head": (OK + b"Content-Le", Trouble.LOST),
    "half a body": (OK + b"Content-Length: 5\r\n\r\nhel", Trouble.LOST),
    "half a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", Trouble.LOST),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_what_is_no_answer_is_named_for_what_it_is(name: str, tmp_path: Path) -> None:
    data, trouble = TROUBLES[name]

    def serve(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(data)

    with listener(tmp_path / "s", serve) as path, pytest.raises(TransportError) as caught:
        UnixConnection(str(path)).request("GET", "/", deadline=soon())
    assert caught.value.trouble is trouble


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", OK + b"Content-Length: 9\r\n\r\nhel"])
def test_silence_and_half_answers_end_at_the_deadline(sent: bytes, tmp_path: Path) -> None:
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(sent)
        over.wait(60)

    with listener(tmp_path / "s", serve) as path:
        started = time.monotonic()
        with pytest.raises(TransportError) as caught:
            UnixConnection(str(path)).request("GET", "/", deadline=soon(0.2))
        over.set()
    assert caught.value.trouble is Trouble.LATE
    assert time.monotonic() - started < 20


def test_a_drop_at_a_time_does_not_put_the_deadline_off(tmp_path: Path) -> None:
    def serve(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(OK + b"Content-Length: 1000\r\n\r\n")
        while True:
            connection.sendall(b".")
            time.sleep(0.02)

    with listener(tmp_path / "s", serve) as path, pytest.raises(TransportError) as caught:
        UnixConnection(str(path)).request("GET", "/", deadline=soon(0.3))
    assert caught.value.trouble is Trouble.LATE


def test_a_full_accept_queue_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(0)
        waiting = []
        try:
            while True:  # until the queue is full
                client = socket.socket(socket.AF_UNIX)
                waiting.append(client)
                client.setblocking(False)
                client.connect(str(path))
        except BlockingIOError:
            pass
        with pytest.raises(TransportError) as caught:
            UnixConnection(str(path)).request("GET", "/", deadline=soon(0.2))
        for client in waiting:
            client.close()
    assert caught.value.trouble is Trouble.LATE


def test_why_there_is_nobody(tmp_path: Path) -> None:
    def trouble(path: Path) -> Trouble:
        with pytest.raises(TransportError) as caught:
            UnixConnection(str(path)).request("GET", "/", deadline=soon())
        return caught.value.trouble

    assert trouble(tmp_path / "nothing") is Trouble.MISSING
    (tmp_path / "file").write_text("")
    assert trouble(tmp_path / "file") is Trouble.SILENT
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "left"))
    assert trouble(tmp_path / "left") is Trouble.SILENT
    assert trouble(tmp_path / ("x" * 200)) is Trouble.UNUSABLE


def test_a_kept_connection_that_was_closed_meanwhile_is_opened_again_for_a_look(tmp_path: Path) -> None:
    served = []

    def serve(connection: socket.socket) -> None:  # one request a connection, without saying so
        served.append(head(connection).split(b" ")[0])
        connection.sendall(OK + b"Content-Length: 2\r\n\r\nok")

    with listener(tmp_path / "s", serve) as path:
        connection = UnixConnection(str(path))
        for _ in range(3):
            assert connection.request("GET", "/", deadline=soon()).body == b"ok"
        with pytest.raises(TransportError) as caught:  # whether it was done is not known: never twice
            connection.request("POST", "/", b"", deadline=soon())
    assert caught.value.trouble is Trouble.LOST
    assert served == [b"GET"] * 3


def test_what_was_said_before_the_connection_was_closed_is_heard(tmp_path: Path) -> None:
    """A refused body: the answer comes before all of it is read."""

    def serve(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with listener(tmp_path / "s", serve) as path:
        answer = UnixConnection(str(path)).request("POST", "/", b"x" * 10_000_000, deadline=soon())
    assert (answer.status, answer.body) == (413, b"no")


def test_a_stream_gives_its_pieces_as_they_come_and_ends_in_time(tmp_path: Path) -> None:
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        over.wait(60)
        connection.sendall(b"3\r\ntwo\r\n")
        over.wait(60)

    with listener(tmp_path / "s", serve) as path:
        connection = UnixConnection(str(path))
        _, pieces = connection.stream("/", deadline=soon(), end=soon(3))
        assert next(pieces) == b"one"
        with pytest.raises(TransportError) as caught:
            next(pieces)
        assert caught.value.trouble is Trouble.LATE
        over.set()
        connection.close()
