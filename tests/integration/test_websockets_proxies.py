"""WebSockets behind a real nginx: proxy_pass with the file that is shipped, and uwsgi_pass; and through a reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import websocket

from tests.support.daemon import Daemon
from tests.support.ports import free_port
from tests.support.programs import needs
from tests.support.proxies import Nginx
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.full, needs("nginx"), needs("openssl")]

APP = """
import flask, flask_sock

app = flask.Flask("shop")
sock = flask_sock.Sock(app)

@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(f"{flask.request.scheme} {ws.receive()}")
"""
UWSGI = """
server {{
    listen 127.0.0.1:{port};
    location / {{ include /etc/nginx/uwsgi_params; uwsgi_pass unix:{socket}; }}
}}
"""


class Both(Nginx):
    """As shipped, and beside it a server that speaks uwsgi to the daemon."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "nginx", directory / "http.sock", 0)
        self.uwsgi_socket, self.uwsgi_port = directory / "uwsgi.sock", free_port()

    def snippet(self) -> str:
        return super().snippet() + UWSGI.format(port=self.uwsgi_port, socket=self.uwsgi_socket)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Both]]:
    directory = tmp_path_factory.mktemp("w")
    (directory / "app.py").write_text(APP, "utf-8")
    nginx = Both(directory)
    flags = ["--bind", f"unix:{nginx.unix_socket}", "--bind", f"uwsgi:{nginx.uwsgi_socket}", "--workers", "1"]
    for setting in ("proxy.trusted=unix", "timeouts.sockets=0.2s", "timeouts.drain_idle=0.1s"):
        flags += ["--set", setting]
    daemon = Daemon(directory, "app:app", *flags)
    with daemon, nginx:
        yield daemon, nginx
        assert daemon.stop() == 0, daemon.log()


def converse(url: str) -> websocket.WebSocket:
    client = websocket.create_connection(url, timeout=PATIENCE_SECONDS, sslopt={"cert_reqs": 0})
    client.send("é" * 100_000)
    assert client.recv() == f"{'https' if url.startswith('wss') else 'http'} {'é' * 100_000}"
    return client


def test_each_way_to_pass_an_upgrade_on(behind):
    daemon, nginx = behind
    for url in (
        "ws://{}:{}/echo".format(*nginx.address), "wss://{}:{}/echo".format(*nginx.tls_address),
        f"ws://127.0.0.1:{nginx.uwsgi_port}/echo",
    ):  # fmt: skip
        converse(url).close()
    assert "Traceback" not in daemon.log()


def test_a_reload_ends_them_at_their_time_and_serves_others(behind):
    daemon, nginx = behind
    url = "ws://{}:{}/echo".format(*nginx.address)
    client = converse(url)
    assert daemon.reload()
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        client.recv()
    converse(url).close()
    assert "Traceback" not in daemon.log()
