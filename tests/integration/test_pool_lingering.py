"""Close in stages (RFC 9112 section 9.6): what a client sends behind its last request takes nothing of its answer."""

from __future__ import annotations

import socket

from miniwsgi.metrics.scoreboard import CONNECTIONS

from tests.support.waiting import wait_for

from .worker_harness import pools

BODY = b"x" * 400_000  # more than the client's buffer holds, and no more than the server's
LAST = {
    "close": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "the application fails": b"GET /fail HTTP/1.0\r\n\r\n",
    "refused": b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n",
}
COMPLETE = {"close": 400_000, "HTTP/1.0": 400_000, "the application fails": 400_000, "refused": 16}


def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/fail":
        return iter([BODY, "no bytes"])
    return [BODY]


def sockets(worker):
    return sorted(name for name in worker.descriptors() if name.startswith("socket:"))


@pools()
def test_bytes_behind_the_last_request_do_not_reset_its_answer(site, pool):
    worker = site.fork(application, pool, connections=2)
    before = sockets(worker)
    clients = {}
    for name, request in LAST.items():
        client = clients[name] = site.connect(receive_bytes=4096).send(request)
        client.take_until(lambda client=client: client.received)
        wait_for(lambda: worker.slot.cells[CONNECTIONS] == 0, f"{name}: the worker is done with it")
    # All of them, four of two that are allowed, are still there: nobody waits for their end.
    for client in clients.values():
        client.send(b"\r\n" * 10)
        client.socket.shutdown(socket.SHUT_WR)
    for name, client in clients.items():
        while client.take():  # a reset would be raised
            pass
        (response,) = client.reader.responses
        assert len(response.body) == COMPLETE[name], name
        client.close()
    wait_for(lambda: sockets(worker) == before, "nothing of them is left")


@pools()
def test_a_drain_waits_for_the_end_of_those_it_has_answered(site, pool):
    worker = site.fork(application, pool)
    client = site.connect(receive_bytes=4096).send(LAST["close"])
    client.take_until(lambda: client.received)
    wait_for(lambda: worker.slot.cells[CONNECTIONS] == 0)
    worker.tell("drain", deadline=20)
    client.send(b"\r\n")
    (response,) = client.end()
    assert len(response.body) == len(BODY)
    assert worker.wait() == 0
