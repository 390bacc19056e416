"""What the benchmark accepts as a right answer, shown on servers that answer as a test tells them."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from bench import exchange, openloop
from bench.apps.bench_app import CHUNK
from bench.exchange import HELLO_BODY, Exchange, NotYet, complaint, complaint_echo
from bench.idle import IdleConnections
from bench.load import run_wrk
from bench.openloop import Plan
from bench.slow import HEAD, SlowClients
from bench.workloads import WORKLOADS
from tests.support.bench_server import RIGHT, serving
from tests.support.programs import needs
from tests.support.waiting import PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (RIGHT, ""),
        (RIGHT.replace(b"200 OK", b"500 No"), "500 No"),
        (RIGHT.replace(b"world", b"World"), "the body is"),
        (RIGHT.replace(b"14", b"13"), "the body is"),
        (RIGHT.replace(b"Date: now", b"Connection: close"), "does not keep the connection alive"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\nHello, world!\n\r\n0\r\n\r\n", "Content-Length"),
    ],
)
def test_a_server_that_answers_wrongly_is_not_timed(answer: bytes, expected: str) -> None:
    with serving(answer) as fake:
        found = complaint(fake.port, Exchange())
    assert expected in found
    assert bool(found) == bool(expected)


def test_a_body_without_a_length_is_right_where_the_workload_streams() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n9\r\n, world!\n\r\n0\r\n\r\n"
    with serving(chunked) as fake:
        assert complaint(fake.port, Exchange(sized=False)) == ""


def test_an_answer_must_come_as_it_is_made_where_the_workload_streams() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(CHUNK))
    streams = Exchange(expected=2 * CHUNK, paced=True)
    with serving(head + 2 * CHUNK) as fake:
        assert complaint(fake.port, streams).startswith("does not stream")
    with serving(head + CHUNK, then=CHUNK) as fake:
        assert complaint(fake.port, streams) == ""
    with serving(head + CHUNK, then=CHUNK[::-1]) as fake:
        assert complaint(fake.port, replace(streams, expected=CHUNK + CHUNK[::-1])) == "on /paced 200 and 2048 bytes"


@pytest.mark.parametrize("closing_server", [True, False])
def test_what_the_frameworks_give_back_must_be_closed(closing_server: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CLOSE_SECONDS", 0.05)
    asked: list[bytes] = []

    def answer(head: bytes) -> bytes:
        asked.append(path := head.split()[1])
        closes = asked.count(b"/closing") if closing_server and asked.count(b"/closed") > 2 else 0  # a little later
        return b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % closes if path == b"/closed" else RIGHT

    with serving(answer) as fake:
        found = complaint(fake.port, Exchange(closes=True))
    assert found.startswith("" if closing_server else "does not call close()")
    assert bool(found) is not closing_server
    assert [WORKLOADS[name].exchange.closes for name in ("flask", "django")] == [True, True]


def test_the_flask_application_tells_how_many_of_its_answers_were_closed() -> None:
    flask_app = pytest.importorskip("bench.apps.flask_app")
    client = flask_app.app.test_client()
    before = int(client.get("/closed").text)
    answer = client.get("/closing")
    assert answer.data == HELLO_BODY
    assert int(client.get("/closed").text) == before
    answer.close()
    assert int(client.get("/closed").text) == before + 1


def test_a_server_that_is_known_to_close_is_asked_on_two_connections() -> None:
    with serving(RIGHT.replace(b"Date: now", b"Connection: close")) as fake:
        assert complaint(fake.port, Exchange(), keeps_alive=False) == ""
        assert len(fake.heads) == 2


def test_a_connection_for_each_request_must_be_closed() -> None:
    once = Exchange(fields=(("Connection", "close"),), ends=True)
    with serving(RIGHT) as fake:
        assert complaint(fake.port, once) == "keeps a connection alive that was to be closed"


def test_a_proxy_whose_server_starts_is_asked_again_later() -> None:
    with (
        serving(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as fake,
        pytest.raises(NotYet, match="502 Bad Gateway"),
    ):
        complaint(fake.port, Exchange())


def test_each_of_the_requests_at_once_must_be_answered() -> None:
    with serving(RIGHT) as fake:
        assert complaint(fake.port, Exchange(deep=16)) == ""
        assert len(fake.heads) == 16
    with serving(RIGHT.replace(b"world", b"World")) as fake:
        assert complaint(fake.port, Exchange(deep=3)).startswith("request 1 of 3 at once: the body is")


def test_a_server_that_forgets_some_of_the_requests_at_once_is_not_asked_again() -> None:
    with serving(RIGHT, most=2) as fake:
        assert complaint(fake.port, Exchange(deep=3)).startswith("answers 2 of 3 requests at once: ")


def test_an_echo_says_what_it_was_told() -> None:
    with serving(b"GET / HTTP/1.1\r\n\r\n") as fake:
        assert complaint_echo(fake.port) == ""
    with serving(b"HTTP/1.1 200 OK\r\n\r\n") as fake:
        assert "echoes" in complaint_echo(fake.port)


def test_idle_connections_are_answered_once_and_then_counted() -> None:
    with serving(RIGHT) as fake, IdleConnections(fake.port, 5) as idle:
        assert idle.still_open() == 5
    with serving(RIGHT, most=1) as fake, IdleConnections(fake.port, 5) as idle:
        for sock in idle.sockets:
            sock.settimeout(PATIENCE_SECONDS)
            while sock.recv(100, socket.MSG_PEEK):
                sock.recv(100)
        assert idle.still_open() == 0


def test_slow_clients_never_finish_their_heads() -> None:
    with serving(RIGHT) as fake:
        with SlowClients(fake.port, 40, turn_seconds=0.001) as slow, fake.changed:
            assert fake.changed.wait_for(lambda: fake.received > 10 * slow.count, PATIENCE_SECONDS)
        assert slow.refused == 0
        assert not fake.heads
    assert b"\r\n\r\n" not in HEAD


def test_a_connection_that_is_closed_is_an_error_only_when_an_answer_is_due() -> None:
    with serving(RIGHT) as fake:
        client = openloop.Client(Plan(fake.port, 1.0, 1.0))
        idle, busy = client.open(beside=False), client.open(beside=False)
        client.idle.append(idle)
        client.lost(idle)
        assert (client.outcome.closed, client.outcome.errors) == (1, 0)
        client.lost(busy)
        assert (client.outcome.closed, client.outcome.errors) == (1, 1)
        assert len(client.idle) == len(client.connections) == 2  # others took their places
        client.close()


def test_a_server_that_closes_instead_of_answering_fails_each_request() -> None:
    with serving(b"", most=1) as fake:
        outcome = openloop.run(Plan(fake.port, 50.0, 0.1, warm_up=0.0, connections=4))
    assert outcome.errors > 0
    assert not outcome.fast


@needs("wrk")
def test_wrk_loads_for_a_part_of_a_second_and_reports_what_it_has() -> None:
    with serving(RIGHT) as fake:
        load = run_wrk(f"http://127.0.0.1:{fake.port}/", seconds=0.2, connections=2, script="browser.lua")
    assert load.errors == 0
    assert len(fake.heads) >= load.requests


def test_the_curve_of_latencies_rises_from_the_least_to_the_most() -> None:
    with serving(RIGHT) as fake:
        summary = openloop.run(Plan(fake.port, 200.0, 0.2, warm_up=0.0, connections=4)).summary()
    seconds = [point["seconds"] for point in summary["curve"]]
    assert seconds == sorted(seconds)
    assert [point["percentile"] for point in summary["curve"]][-1] == 100
    assert seconds[-1] == summary["fast"]["max"]
