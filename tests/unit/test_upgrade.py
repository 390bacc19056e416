"""A request's own connection: which requests are offered it, who gets it, and what becomes of the answer."""

from __future__ import annotations

import select
import socket
import sys
import threading
from typing import Any

import pytest
from miniwsgi.daemon.engine import upgrade
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.engine.pump import Pump
from miniwsgi.daemon.engine.upgrade import VARIABLES, Lack, Offer
from miniwsgi.daemon.http.connection import Connection
from miniwsgi.daemon.http.head import Limits
from miniwsgi.metrics.scoreboard import ERRORS, REQUESTS

from tests.conformance.case import get
from tests.support.engines import ENGINES
from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .conversation_world import NOW, World

BRIEF_SECONDS = 0.05

ASKED = (b"Connection: Upgrade", b"Upgrade: websocket")
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "is_asked"),
    [
        (ASKED, True),
        ((b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket"), True),
        ((b"Connection: upgrade", b"Upgrade: h2c, websocket"), True),
        ((b"Connection: upgrade", b"Connection: keep-alive", b"Upgrade: websocket"), True),
        ((b"Upgrade: websocket",), False),
        ((b"Connection: upgrade",), False),
        ((b"Connection: upgrade", b"Upgrade: h2c"), False),
        ((b"Connection: upgraded", b"Upgrade: websocket"), False),
        ((b"Connection: close", b"Upgrade: websocket"), False),
        ((*ASKED, b"Content-Length: 0"), True),
        ((*ASKED, b"Content-Length: 1"), False),
        ((*ASKED, b"Transfer-Encoding: chunked"), False),
    ],
)
def test_which_fields_ask_for_it(fields, is_asked):
    for _ in range(2):  # what is remembered says the same
        connection = Connection(Limits())
        connection.receive(get(b"/", *fields))
        assert connection.head is not None
        assert connection.head.upgrade is is_asked


def test_http_1_0_cannot_ask():
    connection = Connection(Limits())
    connection.receive(get(b"/", *ASKED).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert connection.head is not None
    assert not connection.head.upgrade


class Offering:
    """What a pool does of it, without threads.

    `take` is what the application does with the socket, `late`: as late as in its result.
    """

    def __init__(
        self, engine: str, take: Any, behind: bytes = b"", method: bytes = b"GET", *,
        late: bool = False, lack: Lack | None = None,
    ) -> None:  # fmt: skip
        self.lack = lack
        self.offered: Offer | None = None
        self.found: dict[str, Any] = {}
        self.told = 0
        self.world = world = World(engine)
        world.context.site.sockets = self
        self.said: list[str] = []
        world.context.site._log.limited = lambda _key, _level, _code, text, **_fields: self.said.append(text)
        application = world.context.site.application

        def take_it(environ: dict[str, Any], start_response: Any) -> Any:
            self.found = {name: environ[name] for name in VARIABLES if name in environ}
            if late:
                return take_late(environ, start_response)
            take(self, environ, start_response)
            return application(environ, start_response)

        def take_late(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", [])
            take(self, environ, start_response)
            yield b"late"

        world.context.site.application = take_it
        world.send(get(b"/", *ASKED, method=method) + behind)
        self.outcome = world.conversation.receive(NOW)
        world.conversation.answer(world.thread, NOW)

    def offer(self, conversation: Any, call: Any) -> Offer | Lack:
        if self.lack is not None:
            return self.lack

        def tell() -> None:
            self.told += 1

        self.offered = Offer(conversation, call, tell)
        return self.offered

    @property
    def received(self) -> bytes:
        return self.world._read()


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


def test_what_uses_it_has_it_and_the_answer_is_discarded(engine):
    def take(_offering, environ, _start_response):
        sock = environ["werkzeug.socket"]
        assert sock is environ["gunicorn.socket"]
        sock.sendall(SWITCHING)
        assert isinstance(sock, socket.socket)
        assert sock.getblocking()
        sock.close()

    offering = Offering(engine, take)
    assert offering.outcome is Outcome.UPGRADE
    assert offering.received == SWITCHING
    assert (offering.told, offering.offered is not None and offering.offered.taken) == (1, True)
    cells = offering.world.context.slot.cells
    assert (cells[REQUESTS], cells[ERRORS]) == (0, 0)


def test_a_look_is_no_use(engine):
    def look(_offering, environ, _start_response):
        sock = environ["werkzeug.socket"]
        assert repr(sock) == "<a socket that nobody has used yet>"
        assert not hasattr(sock, "to_dict")
        assert issubclass(sock.__class__, socket.socket)

    offering = Offering(engine, look)
    assert b"200 OK" in offering.received
    assert not offering.told


def test_a_result_may_take_it_as_well(engine):
    offering = Offering(engine, lambda _o, environ, _s: environ["werkzeug.socket"].sendall(SWITCHING), late=True)
    assert offering.received == SWITCHING
    assert offering.told == 1


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("lack", "told"),
    [
        (Lack.POOL, "501: limits.sockets is off"),
        (Lack.PLACES, "503: limits.sockets = 100 are open in this worker"),
        (Lack.THREAD, "503: no thread could be started for it; see TasksMax and memory"),
    ],
)
def test_each_lack_is_answered_and_told(engine, lack, told, late):
    offering = Offering(engine, lambda _o, environ, _s: environ["werkzeug.socket"].recv(1), late=late, lack=lack)
    received = offering.received
    assert received.startswith(b"HTTP/1.1 %d " % lack.status)
    assert (b"Retry-After: 1" in received) is (lack is not Lack.POOL)
    assert offering.said == [f"a WebSocket got {told}"]


def test_another_thread_may_take_it_while_the_request_s_own_comes_back(engine, monkeypatch):
    """Either both find it taken, or neither does."""
    begun, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(upgrade, "probe", lambda _sock: (begun.set(), ended.wait(BRIEF_SECONDS)))
    thread: list[threading.Thread] = []

    def take(_offering, environ, _start_response):
        thread.append(threading.Thread(target=lambda: environ["werkzeug.socket"].sendall(SWITCHING)))
        thread[0].start()
        assert begun.wait(PATIENCE_SECONDS)

    offering = Offering(engine, take)
    assert offering.offered is not None
    is_taken = offering.offered.close()
    ended.set()
    thread[0].join()
    assert (is_taken, offering.told) == (True, 1)
    assert offering.received == SWITCHING


def test_other_methods_are_offered_nothing(engine):
    offering = Offering(engine, lambda *_: None, method=b"HEAD")
    assert offering.outcome is Outcome.REQUEST
    assert offering.found == {}


def test_what_came_behind_the_request_is_read_first_and_seen_by_select(engine):
    seen: list[bytes] = []

    def take(offering, environ, _start_response):
        sock = environ["werkzeug.socket"]
        assert select.select([sock], [], [], PATIENCE_SECONDS)[0]
        seen.append(sock.recv(100))
        offering.world.send(b"more")
        seen.append(sock.recv(100))
        sock.sendall(SWITCHING)

    offering = Offering(engine, take, behind=b"early")
    assert seen == [b"early", b"more"]
    assert wait_for(lambda: offering.received) == SWITCHING
    offered = offering.offered
    assert offered is not None
    assert offered.pump is not None
    offered.end.shutdown(socket.SHUT_RDWR)
    offering.world.leave()
    assert offered.pump.join(PATIENCE_SECONDS)
    offered.end.close()


def test_who_was_answered_meanwhile_gets_nothing(engine):
    def take(offering, environ, _start_response):
        assert offering.world.conversation.expire(0, NOW + 1) is not None
        with pytest.raises(ConnectionAbortedError):
            environ["werkzeug.socket"].send(b"late")

    offering = Offering(engine, take)
    assert offering.received.startswith(b"HTTP/1.1 504")
    assert not offering.told


def test_who_has_it_is_not_answered_for(engine):
    def take(offering, environ, _start_response):
        environ["werkzeug.socket"].sendall(SWITCHING)
        assert offering.world.conversation.expire(0, NOW + 1) is None

    assert Offering(engine, take).received == SWITCHING


def test_an_answer_that_has_begun_cannot_be_taken_back(engine):
    def take(_offering, environ, start_response):
        start_response("200 OK", [])(b"begun")
        with pytest.raises(ConnectionAbortedError):
            environ["werkzeug.socket"].recv(1)
        raise LookupError

    offering = Offering(engine, take)
    assert b"begun" in offering.received
    assert not offering.told


def test_where_the_application_is_patched_it_is_a_socket_of_the_patch(engine):
    class Patched(socket.socket):
        pass

    found = []

    def take(_offering, environ, _start_response):
        environ["werkzeug.socket"].sendall(SWITCHING)
        found.append(isinstance(environ["werkzeug.socket"], Patched))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["socket"], "socket", Patched)
        Offering(engine, take)
    assert found == [True]


def test_a_pump_ends_with_both_its_sides():
    client, far = socket.socketpair()
    client.setblocking(False)
    with client, far:
        pump = Pump(client, b"first ")
        pump.start()
        with pump.end as end:
            far.sendall(b"second")
            far.shutdown(socket.SHUT_WR)
            inwards = b""
            while data := end.recv(100):
                inwards += data
            assert inwards == b"first second"
            end.sendall(bytes(1 << 16))
            end.shutdown(socket.SHUT_WR)
            outwards = 0
            while data := far.recv(65536):
                outwards += len(data)
            assert outwards == 1 << 16
            assert pump.join(PATIENCE_SECONDS)
