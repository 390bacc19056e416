"""What comes before a client's first request, in every pool: it holds nobody up, has its limit and is not lost."""

from __future__ import annotations

import json
import resource
import signal
import socket
import ssl
from typing import Any

import pytest
from miniwsgi.daemon.settings import Tls
from miniwsgi.daemon.tls.material import MaterialMemory
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED_BY, CONNECTIONS, REQUESTS, Closed

from tests.support import proxy_headers as make
from tests.support.daemon import suspend
from tests.support.effort import effort
from tests.support.waiting import PATIENCE_SECONDS, wait_for
from tests.unit.tls_world import client_context, material

from .worker_applications import holding
from .worker_harness import Client, Site, Worker, pools
from .worker_pace import BRIEF_SECONDS, hurry

SHOWN = ("PATH_INFO", "REMOTE_ADDR", "REMOTE_PORT", "PROXY_PROTOCOL")
OF_TLS = ("SSL_PROTOCOL", "SSL_CLIENT_S_DN_CN")
SEEN = {"REMOTE_ADDR": make.CLIENT, "REMOTE_PORT": "4567", "PROXY_PROTOCOL": "TCP4"}


def show(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    names = SHOWN + OF_TLS if environ["wsgi.url_scheme"] == "https" else SHOWN
    return [json.dumps({name: environ.get(name) for name in names}).encode()]


def fork(site: Site, pool: str, application: Any = show, *, tls: Tls | None = None, **settings: Any) -> Worker:
    """A worker whose listener begins with a PROXY header, from this machine."""
    listener = site.as_listener(proxy_protocol=True, tls=tls)
    return site.fork(application, pool, **{"listeners": (listener,), "trusted": ("127.0.0.1",), **settings})


def seen(client: Client, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.answer().body)
    assert found.pop("PATH_INFO") == path
    return found


def closed(worker: Worker, why: Closed, count: int = 1) -> None:
    wait_for(lambda: worker.cells[CLOSED_BY + why] == count, f"{count} closed: {why.name}", story=worker.log)


def told(worker: Worker, text: str) -> None:
    """A connection is counted first, and then told of."""
    wait_for(lambda: text in worker.log(), text, story=worker.log)


def at_rest(site: Site, worker: Worker) -> list[str]:
    """Its descriptors, once it has had a client."""
    client = site.connect().send(make.LINE).get("/")
    client.answer()
    client.close()
    return worker.at_rest()


def silent_clients(site: Site, worker: Worker, wanted: int = effort(200, 1000)) -> int:
    """So many that say nothing, or as many as this machine allows."""
    count = min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 200)
    for _ in range(count):
        site.connect()
    wait_for(lambda: worker.cells[CONNECTIONS] == count, story=lambda: worker.cells[CONNECTIONS])
    return count


@pools()
def test_a_client_is_who_its_header_says(site, pool, engine):
    worker = fork(site, pool, engine=engine)
    for header in (make.LINE, make.binary(), make.NLB):
        whole = site.connect().send(header + b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\n")
        assert seen(whole, "/whole") == SEEN
        assert seen(whole.get("/kept"), "/kept") == SEEN
        whole.close()
        pieces = site.connect()
        for at in range(0, len(header), 7):
            pieces.send(header[at : at + 7])
            wait_for(lambda: worker.cells[CONNECTIONS] or worker.cells[ACCEPTED])  # that it was told of
        assert seen(pieces.get("/pieces"), "/pieces") == SEEN
        pieces.close()
    wait_for(lambda: worker.cells[ACCEPTED] == 6 and not worker.cells[CONNECTIONS])
    assert worker.cells[REQUESTS] == 9


@pools(short=("epoll-8", "fork"))
def test_a_health_check_of_the_proxy_is_its_own(site, pool):
    worker = fork(site, pool)
    check = site.connect().send(make.LOCAL + b"GET /check HTTP/1.0\r\n\r\n")
    here = check.socket.getsockname()
    assert seen(check, "/check") == {"REMOTE_ADDR": here[0], "REMOTE_PORT": str(here[1]), "PROXY_PROTOCOL": "LOCAL"}
    site.connect().send(make.LOCAL).close()
    site.connect().close()
    closed(worker, Closed.CLIENT, 3)
    assert not worker.log()


@pools()
def test_those_that_never_speak_hold_nobody_up(site, pool):
    worker = fork(site, pool, head_timeout=600)
    count = silent_clients(site, worker)
    client = site.connect().send(make.LINE)
    assert seen(client.get("/answered"), "/answered") == SEEN
    client.close()
    wait_for(lambda: worker.cells[CONNECTIONS] == count)  # all of them are still there


@pools()
def test_who_takes_too_long_is_closed(site, pool):
    worker = fork(site, pool, prepare=hurry, head_timeout=BRIEF_SECONDS)
    before = at_rest(site, worker)
    silent, half = site.connect(), site.connect().send(make.LINE[:9])
    assert silent.end() == half.end() == []
    closed(worker, Closed.TIMEOUT, 2)
    told(worker, "its PROXY header did not come in time; the limit is timeouts.head")
    worker.wait_for_descriptors(before)


@pools(short=("epoll-8", "prefork"))
def test_who_comes_without_a_header_is_closed_and_named(site, pool):
    worker = fork(site, pool)
    before = at_rest(site, worker)
    assert site.connect().get("/").end() == []
    assert site.connect().send(make.LINE[:9] + b"\r\n").end() == []
    closed(worker, Closed.OPENING, 2)
    worker.wait_for_descriptors(before)
    told(worker, "it does not begin with a PROXY header")
    told(worker, "its PROXY line is not well-formed")
    assert worker.log().count("peer=127.0.0.1") == 2
    assert worker.cells[REQUESTS] == 1


@pools(short=("epoll-8",))
def test_who_is_not_trusted_is_closed_and_named(site, pool):
    worker = fork(site, pool, trusted=("10.0.0.1",))
    assert site.connect().send(make.LINE).end() == []  # in one piece: it may be closed by then
    closed(worker, Closed.OPENING)
    told(worker, "its peer is not in proxy.trusted")


@pools(short=("epoll-8", "fork"))
def test_tls_comes_behind_the_header(site, pool):
    """Also when both come at once, as the request does with the handshake's end; what is said of TLS is of that
    which ends here."""
    memory = MaterialMemory(material())
    try:
        worker = fork(site, pool, tls=Tls(memory.fd))
        for header in (make.LINE, make.binary(make.ssl(7, 0, make.tlv(0x21, b"TLSv1.0"), make.tlv(0x22, b"alice")))):
            with socket.create_connection(site.address, PATIENCE_SECONDS) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                client.sendall(header)
                context = client_context()
                with context.wrap_socket(client, server_hostname="localhost", do_handshake_on_connect=False) as secure:
                    secure.setblocking(False)
                    with pytest.raises(ssl.SSLWantReadError):
                        secure.do_handshake()
                    secure.settimeout(PATIENCE_SECONDS)
                    secure.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
                    secure.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                    secure.do_handshake()
                    secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    secure.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
                    with secure.makefile("rb") as answer:
                        seen = json.loads(answer.read().rpartition(b"\r\n\r\n")[2])
            assert (seen["REMOTE_ADDR"], seen["SSL_PROTOCOL"], seen["SSL_CLIENT_S_DN_CN"]) == (
                make.CLIENT,
                "TLSv1.3",
                None,
            )
        assert site.connect().get("/").end() == []
        closed(worker, Closed.OPENING)
    finally:
        memory.close()


@pools("epoll-1", "epoll-8", "prefork", short=("epoll-8", "prefork"))
def test_they_count_against_the_limit_of_connections(site, pool):
    worker = fork(site, pool, connections=3, head_timeout=600)
    silent = [site.connect() for _ in range(3)]
    wait_for(lambda: worker.cells[CONNECTIONS] == 3)
    waiting = site.connect().send(make.LINE).get("/waits")
    assert waiting.silent(0.2)
    silent[0].close()
    assert seen(waiting, "/waits") == SEEN


@pools("fork")
def test_one_that_is_ready_waits_for_a_place(site, pool):
    application, gate = holding(site)
    worker = fork(site, pool, application, threads=1)
    first, second, third = (site.connect() for _ in range(3))
    wait_for(lambda: worker.cells[CONNECTIONS] == 3)
    first.send(make.LINE).get("/hold", "Connection: close")
    site.record.wait(1)
    for client in (second, third):
        client.send(make.LINE).get("/waits", "Connection: close")
    wait_for(lambda: worker.cells[CONNECTIONS] == 1)
    gate.open()
    assert first.answer().body == b"/hold"
    assert second.answer().body == third.answer().body == b"/waits"


@pools("prefork")
def test_who_leaves_while_a_client_that_has_just_opened_is_served_is_not(site, pool):
    gate, record = site.gate(), site.record

    def application(environ, start_response):
        record.note(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/hold":
            gate.wait()
        return show(environ, start_response)

    worker = fork(site, pool, application)
    opens, leaves = site.connect(), site.connect().send(make.LINE)
    site.connect().send(make.LINE).get("/").answer()  # by then the worker has read that
    suspend(worker.pid)
    opens.send(make.LINE).get("/hold")
    leaves.get("/left")
    worker.signal(signal.SIGCONT)
    record.wait(2)
    leaves.reset()
    gate.open()
    assert seen(opens, "/hold") == SEEN
    wait_for(lambda: worker.cells[ACCEPTED] == 3 and not worker.cells[CONNECTIONS])
    assert record.lines() == ["/", "/hold"]


@pools()
def test_a_drain_waits_for_who_has_begun_and_not_for_who_is_silent(site, pool):
    worker = fork(site, pool, prepare=hurry, head_timeout=600, drain_idle=BRIEF_SECONDS)
    silent, begun = site.connect(), site.connect()
    wait_for(lambda: worker.cells[CONNECTIONS] == 2)
    begun.send(make.LINE[:9])
    other = site.connect().send(make.LINE).get("/", "Connection: close")
    other.answer()  # by then the worker has read those 9 bytes
    other.close()
    worker.tell("drain", deadline=60)
    assert silent.end() == []
    assert worker.alive()
    begun.send(make.LINE[9:]).get("/late")
    assert seen(begun, "/late") == SEEN
    begun.close()
    assert worker.wait() == 0


@pools(short=("epoll-8", "fork"))
@pytest.mark.parametrize("order", ["drain", "end"])
def test_a_worker_ends_with_its_openings(site, pool, order):
    worker = fork(site, pool, prepare=hurry, head_timeout=600, drain_idle=0)
    silent = site.connect()
    wait_for(lambda: worker.cells[CONNECTIONS] == 1)
    if order == "drain":
        worker.tell("drain", deadline=60)
    else:
        worker.control.close()
    assert worker.wait() == 0
    assert silent.end() == []
