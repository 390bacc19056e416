"""WebSockets beside WSGI: flask-sock, simple-websocket and Flask-SocketIO, with clients that are not ours."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress

import flask
import flask.logging
import flask_socketio
import pytest
import socketio
import websocket
from flask_sock import Sock
from miniwsgi.daemon.engine import upgrade
from miniwsgi.daemon.settings import Tls
from miniwsgi.daemon.tls.material import MaterialMemory
from miniwsgi.metrics.scoreboard import CLOSED, CONNECTIONS, ERRORS, REQUESTS, SOCKETS_CLOSED, SOCKETS_OPENED, SlotState
from simple_websocket import Client as SimpleClient

from tests.support.engines import ENGINES
from tests.support.waiting import PATIENCE_SECONDS, wait_for
from tests.unit.tls_world import material

from .worker_harness import Site, Worker, pools
from .worker_pace import BRIEF_SECONDS, hurry

UPGRADE = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: " + base64.b64encode(bytes(16)).decode(),
)  # fmt: skip


def application(site: Site, **options: object) -> flask.Flask:
    app = flask.Flask("shop")
    app.logger.handlers = [flask.logging.default_handler]
    app.logger.propagate = False  # pytest's handlers have descriptors that are not theirs any more in a worker
    app.config["SOCK_SERVER_OPTIONS"] = options
    sock = Sock(app)
    record, gate = site.record, site.gate()
    app.config["gate"] = gate

    @sock.route("/echo")
    def echo(ws):
        try:
            while True:
                ws.send(ws.receive())
        finally:
            record.note("left")

    @sock.route("/once")
    def once(ws):
        ws.send(ws.receive())

    @sock.route("/broken")
    def broken(ws):
        raise ZeroDivisionError

    @sock.route("/stuck")
    def stuck(_ws):
        record.note("begun")
        gate.wait()

    def plain(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/hang":
            record.note("hangs")
            gate.wait()
        elif path != "/plain":
            return app(environ, start_response)
        start_response("200 OK", [])
        return [repr(environ.get("werkzeug.socket")).encode()]

    return plain, gate


def connect(site: Site, path: str, make=websocket.create_connection, **options):
    return make("ws://{}:{}{}".format(*site.address, path), timeout=PATIENCE_SECONDS, **options)


def in_haste() -> None:
    from miniwsgi.daemon.worker.pools.epoll import sockets

    sockets.LEAVE_NS = sockets.MARGIN_NS = 50_000_000


def sockets_of(worker: Worker) -> list[str]:
    return [each for each in worker.descriptors() if each.startswith("socket:")]


def at_rest(worker: Worker, sockets: int) -> None:
    """So many have been open, and none is any more."""
    cells = worker.cells
    wait_for(
        lambda: cells[SOCKETS_OPENED] == cells[SOCKETS_CLOSED] == sockets,
        f"{sockets} sockets to end",
        story=lambda: f"{cells[SOCKETS_OPENED]} {cells[SOCKETS_CLOSED]}\n{worker.log()}",
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_client_sends_comes_back(site, engine):
    app, _ = application(site)
    lines = site.directory / "access.log"
    worker = site.fork(app, engine=engine, access_log=str(lines), access_log_format="%(r)s %(s)s")
    client = connect(site, "/echo")
    for message in ("hello", "é" * 1000, "x" * (1 << 18)):
        client.send(message)
        assert client.recv() == message
    client.send_binary(data := os.urandom(1 << 18))
    assert client.recv() == data
    client.ping("here?")
    assert client.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"here?")
    assert worker.cells[SOCKETS_OPENED] == 1
    assert (worker.cells[CONNECTIONS], worker.cells[SOCKETS_CLOSED]) == (0, 0)
    client.close()
    at_rest(worker, 1)
    assert (worker.cells[REQUESTS], worker.cells[ERRORS], worker.cells[CLOSED]) == (0, 0, 1)
    wait_for(lambda: lines.read_text() == "GET /echo HTTP/1.1 101\n", story=lines.read_text)
    assert not worker.log()


@pytest.mark.parametrize("engine", ["plain"])  # the other has the conversations of this one over TLS
def test_over_tls(site, engine):
    """The library looks with select, and takes 4 KiB of what may be a record of 16: nothing waits unseen."""
    memory = MaterialMemory(material())
    app, _ = application(site, ping_interval=2 * PATIENCE_SECONDS)
    listeners = (site.as_listener(tls=Tls(memory.fd)),)
    worker = site.fork(app, engine=engine, listeners=listeners)
    rest = sockets_of(worker)
    client = websocket.create_connection(
        "wss://{}:{}/echo".format(*site.address), timeout=PATIENCE_SECONDS, sslopt={"cert_reqs": ssl.CERT_NONE}
    )
    for message in ("a", "x" * 16_000, "x" * (1 << 18)):
        client.send(message)
        assert client.recv() == message
    client.close()
    at_rest(worker, 1)
    other = websocket.create_connection(
        "wss://{}:{}/once".format(*site.address), timeout=PATIENCE_SECONDS, sslopt={"cert_reqs": ssl.CERT_NONE}
    )
    other.send("last")
    assert other.recv() == "last"
    assert other.recv_data()[0] == websocket.ABNF.OPCODE_CLOSE
    other.shutdown()
    at_rest(worker, 2)
    wait_for(lambda: sockets_of(worker) == rest, "no socket to be left")
    assert not worker.log()
    memory.close()


def test_the_server_ends_it_and_the_client_answers(site):
    worker = site.fork(application(site)[0])
    client = connect(site, "/once")
    client.send("last")
    assert client.recv() == "last"
    opcode, data = client.recv_data()
    assert (opcode, struct.unpack("!H", data[:2])) == (websocket.ABNF.OPCODE_CLOSE, (1000,))
    client.shutdown()
    at_rest(worker, 1)


def test_another_client_of_the_same_library(site):
    worker = site.fork(application(site)[0])
    client = SimpleClient("ws://{}:{}/echo".format(*site.address), ping_interval=BRIEF_SECONDS)
    client.send(b"data")
    assert client.receive(PATIENCE_SECONDS) == b"data"
    client.close()
    at_rest(worker, 1)


def test_a_client_that_is_cut_off_ends_the_function(site):
    worker = site.fork(application(site)[0])
    client = connect(site, "/echo")
    client.send("a")
    assert client.recv() == "a"
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()
    site.record.wait(1)
    at_rest(worker, 1)


def test_an_exception_behind_the_handshake_is_told(site):
    worker = site.fork(application(site)[0])
    client = connect(site, "/broken")
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        client.recv()
    client.shutdown()
    at_rest(worker, 1)
    assert "ZeroDivisionError" in worker.log()


def test_a_frame_that_comes_with_the_request_is_not_lost(site):
    def app(environ, start_response):
        environ["PATH_INFO"] = "/echo"
        return flask_app(environ, start_response)

    flask_app, _ = application(site)
    worker = site.fork(app)
    frame = websocket.ABNF.create_frame("early", websocket.ABNF.OPCODE_TEXT).format()
    client = site.connect()
    client.send("\r\n".join(["GET / HTTP/1.1", "Host: test", *UPGRADE, "", ""]).encode() + frame)
    received = b""
    while not received.endswith(b"early"):
        received += client.socket.recv(4096)
    assert received.startswith(b"HTTP/1.1 101")
    client.close()
    at_rest(worker, 1)


def test_sockets_take_no_thread_from_requests(site):
    worker = site.fork(application(site)[0], threads=2)
    clients = [connect(site, "/echo") for _ in range(10)]
    for client in clients:
        client.send("x")
        assert client.recv() == "x"
    assert worker.cells[SOCKETS_OPENED] == 10
    assert [site.get("/plain").body for _ in range(4)] == [b"None"] * 4
    for client in clients:
        client.shutdown()
    at_rest(worker, 10)


def test_many_at_once_are_all_let_in(site):
    worker = site.fork(application(site)[0], threads=2)
    clients = [site.connect().get("/echo", *UPGRADE) for _ in range(10)]  # before one is looked at
    for client in clients:
        assert client.socket.recv(4096).startswith(b"HTTP/1.1 101")
        client.close()
    at_rest(worker, 10)


def test_an_ordinary_answer_leaves_the_connection_as_it_was(site):
    worker = site.fork(application(site)[0])
    client = site.connect()
    assert client.get("/plain", *UPGRADE).answer().body == b"<a socket that nobody has used yet>"
    assert client.get("/plain").answer().body == b"None"
    assert client.get("/none", *UPGRADE).answer().status == 404
    client.get("/echo", *UPGRADE)
    assert client.socket.recv(4096).startswith(b"HTTP/1.1 101")
    client.close()
    at_rest(worker, 1)
    assert worker.cells[REQUESTS] == 3


def test_beyond_the_limit_is_503_and_a_line(site):
    worker = site.fork(application(site)[0], sockets=1)
    first = connect(site, "/echo")
    for _ in range(2):
        answer = site.get("/echo", *UPGRADE)
        assert (answer.status, answer.all("Retry-After")) == (503, ["1"])
    assert site.get("/plain", *UPGRADE).status == 200
    assert worker.log().count("a WebSocket got 503: limits.sockets = 1 are open") == worker.log().count("\n") == 2
    first.shutdown()
    at_rest(worker, 1)
    connect(site, "/echo").shutdown()
    at_rest(worker, 2)


def test_in_flight_are_those_whose_application_has_not_decided(site):
    app, gate = application(site)
    worker = site.fork(app, in_flight=1)
    first = connect(site, "/echo")
    second = connect(site, "/echo")
    assert site.get("/plain").status == 200
    held = site.connect().get("/hang", *UPGRADE)
    site.record.wait(1)
    assert [site.get(path, *UPGRADE).status for path in ("/echo", "/plain")] == [503, 503]
    assert "limits.sockets" not in worker.log()
    gate.open()
    assert held.answer().status == 200
    held.close()
    first.shutdown()
    second.shutdown()
    at_rest(worker, 2)


def test_a_thread_of_the_application_may_take_it_while_the_request_comes_back(site):
    """The worker has one opinion of whose it is: else it loses count, and dies."""
    begun = threading.Event()

    def slowly() -> None:
        upgrade.probe = lambda _sock: (begun.set(), time.sleep(BRIEF_SECONDS))

    def use(sock) -> None:
        with suppress(OSError):  # the request may be over before anything is sent
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/plain":
            start_response("200 OK", [])
            return [b"plain"]
        sock = environ["werkzeug.socket"]
        threading.Thread(target=use, args=(sock,)).start()
        begun.wait()
        start_response("200 OK", [])
        return [b"ordinary"]

    worker = site.fork(app, prepare=slowly)
    client = site.connect().get("/", *UPGRADE)
    received = b""
    while data := client.socket.recv(4096):
        received += data
    assert b"ordinary" not in received
    client.close()
    at_rest(worker, 1)
    assert site.get("/plain").body == b"plain"
    wait_for(lambda: worker.cells[REQUESTS] == 1)
    assert not worker.log()


def test_where_no_thread_can_be_started_that_is_told(site):
    def none() -> None:
        from miniwsgi.daemon.worker.pools.epoll import sockets

        def start_thread(*_args: object, **_options: object) -> None:
            raise RuntimeError("can't start new thread")

        sockets.start_thread = start_thread

    worker = site.fork(application(site)[0], prepare=none)
    answer = site.get("/echo", *UPGRADE)
    assert (answer.status, answer.all("Retry-After")) == (503, ["1"])
    assert site.get("/plain", *UPGRADE).status == 200
    assert "no thread for a WebSocket: can't start new thread; see TasksMax" in worker.log()
    assert "a WebSocket got 503: no thread could be started" in worker.log()


def test_one_that_vanishes_is_found_also_while_bytes_are_on_their_way(site):
    def app(environ, _start_response):
        sock = environ["werkzeug.socket"]
        wanted = (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        sock.sendall(repr([sock.getsockopt(*each) for each in wanted]).encode())

    site.fork(app)
    client = site.connect().get("/", *UPGRADE)
    assert client.socket.recv(100) == b"[1, 40000]"
    client.close()


@pools("epoll-1", "prefork", "fork")
def test_where_there_are_no_threads_it_is_501_and_a_line(site, pool):
    worker = site.fork(application(site)[0], pool)
    client = site.connect()
    for _ in range(2):
        assert client.get("/echo", *UPGRADE).answer().status == 501
    assert client.get("/plain", *UPGRADE).answer().body == b"<no socket: 501>"
    client.close()
    told = "set server.threads" if pool == "epoll-1" else 'set server.pool = "epoll"'
    wait_for(lambda: told in worker.log(), story=worker.log)
    assert worker.log().count("a WebSocket got 501") == worker.log().count("\n") == 2


def test_switched_off_it_is_501(site):
    worker = site.fork(application(site)[0], sockets=0)
    assert site.get("/echo", *UPGRADE).status == 501
    assert "limits.sockets is off" in worker.log()


def test_a_worker_that_drains_shuts_them_down_at_their_time(site):
    worker = site.fork(application(site)[0], prepare=hurry, sockets_timeout=BRIEF_SECONDS, drain_idle=0)
    clients = [connect(site, "/echo") for _ in range(3)]
    wait_for(lambda: worker.cells[SOCKETS_OPENED] == 3)
    worker.tell("drain", deadline=PATIENCE_SECONDS)
    for client in clients:
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            client.recv()
    assert worker.wait() == 0
    assert len(site.record.lines()) == 3, "each function came to its end"
    assert "WebSockets are shut down (timeouts.sockets) sockets=3" in worker.log()


def test_until_then_they_go_on(site):
    worker = site.fork(application(site)[0], prepare=hurry, sockets_timeout=PATIENCE_SECONDS, drain_idle=0)
    client = connect(site, "/echo")
    worker.tell("drain", deadline=2 * PATIENCE_SECONDS)
    wait_for(lambda: worker.slot.state is SlotState.DRAINING)
    client.send("still here")
    assert client.recv() == "still here"
    client.shutdown()
    assert worker.wait() == 0


def test_a_function_that_does_not_end_keeps_no_worker(site):
    app, _gate = application(site)
    worker = site.fork(app, prepare=lambda: (hurry(), in_haste()), sockets_timeout=0, drain_idle=0)
    client = connect(site, "/stuck")
    site.record.wait(1)
    worker.tell("drain", deadline=PATIENCE_SECONDS)
    assert worker.wait() == 0
    client.shutdown()
    assert "threads of WebSockets do not end: left" in worker.log()


def test_the_time_of_a_request_is_that_of_its_decision(site):
    app, _gate = application(site)
    worker = site.fork(app, prepare=hurry, request_timeout=BRIEF_SECONDS)
    client = connect(site, "/echo")
    time.sleep(2 * BRIEF_SECONDS)
    client.send("x")
    assert client.recv() == "x"
    assert not worker.heard("timeout")
    assert site.get("/hang", *UPGRADE).status == 504
    worker.message("timeout")
    client.shutdown()


def test_flask_socketio_broadcasts_to_all_of_a_worker(site):
    app = flask.Flask("chat")
    io = flask_socketio.SocketIO(app, async_mode="threading")

    @io.on("say")
    def say(text):
        io.emit("said", text)

    worker = site.fork(app)
    heard = threading.Barrier(4, timeout=PATIENCE_SECONDS)
    clients = []
    for transports in (["websocket"], ["polling", "websocket"], ["polling"]):
        client = socketio.Client(reconnection=False, handle_sigint=False)
        client.on("said", lambda _text: heard.wait())
        client.connect("http://{}:{}".format(*site.address), transports=transports, wait_timeout=PATIENCE_SECONDS)
        clients.append(client)
    wait_for(lambda: worker.cells[SOCKETS_OPENED] == 2)
    clients[1].emit("say", "hello")
    heard.wait()
    for client in clients:
        client.disconnect()
    at_rest(worker, 2)
    assert "Traceback" not in worker.log()
