"""nginx and HAProxy before a real daemon on a Unix socket, with the files of packaging/proxies as they are shipped."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.load import Load
from tests.support.metrics_client import Port
from tests.support.ports import free_port
from tests.support.programs import needs, program
from tests.support.proxies import PROXIES, SOCKET, HAProxy, Nginx, Proxy, in_place
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = needs("openssl")

APP = """
import hashlib, json, os, time

SHOWN = ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REQUEST_ID",
         "SERVER_PROTOCOL", "CONTENT_LENGTH")

def stream():
    yield b"first\\n"
    while os.path.exists("held"):
        time.sleep(0.01)
    yield b"last\\n"

def application(environ, start_response):
    path, headers = environ["PATH_INFO"], [("Content-Type", "text/plain")]
    if path == "/environ":
        body = json.dumps({name: environ.get(name) for name in SHOWN}).encode()
    elif path == "/hash":
        digest, length = hashlib.sha256(), 0
        while data := environ["wsgi.input"].read(65536):
            digest.update(data)
            length += len(data)
        body = f"{digest.hexdigest()} {length}".encode()
    elif path == "/large":
        body = bytes(range(256)) * (4096 * int(environ["QUERY_STRING"]))
    elif path == "/stream":
        start_response("200 OK", [*headers, ("X-Accel-Buffering", "no")])
        return stream()
    else:
        query = dict(pair.partition("=")[::2] for pair in environ["QUERY_STRING"].split("&"))
        body = f"{VERSION} {os.getpid()} {query.get('token', '')}\\n".encode()
    start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
    return [body]

VERSION = "v1"
"""
MEBIBYTE = 1 << 20


class Behind:
    """A daemon on a Unix socket, and a proxy before it."""

    def __init__(self, service: Service, kind: type[Proxy]) -> None:
        self.service = service
        self.metrics_port = free_port()
        self.control_socket = service.directory / "control.sock"
        self.configuration = service.configure(
            f"""
            [server]
            bind = ["unix:{service.directory}/http.sock"]
            workers = 2
            [proxy]
            trusted = ["unix"]
            fields = "x-forwarded"
            [metrics]
            bind = "127.0.0.1:{self.metrics_port}"
            [control]
            socket = "{self.control_socket}"
            """
        )
        service.write(APP)
        self.proxy = kind(service.directory / "proxy", service.directory / "http.sock", self.metrics_port)
        self.daemon = self.start()

    def start(self) -> Daemon:
        """The daemon, with all of its workers."""
        # From the file alone: the tests' own environment turns both off.
        settings = {"control.socket": str(self.control_socket), "metrics.bind": f"127.0.0.1:{self.metrics_port}"}
        flags = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
        daemon = self.service.start("-c", self.configuration, *flags, bind=False)
        daemon.settle(2)
        return daemon

    def environ(self, **headers: str) -> dict[str, Any]:
        """What the application sees of a request with these headers."""
        status, body = self.proxy.get("/environ", {name.replace("_", "-"): text for name, text in headers.items()})
        assert status == 200, body
        found = json.loads(body)
        assert isinstance(found, dict)
        return found

    def counted(self, name: str) -> int:
        """A counter's sum over its series, from the metrics port."""
        return int(Port(self.metrics_port).total(name))

    def wait_for_status(self, wanted: int) -> None:
        """Wait until a request through the proxy is answered so."""
        self.daemon.wait(lambda: self.proxy.get()[0] == wanted, f"the proxy answers {wanted}")


def put_behind(service: Service, kind: type[Proxy]) -> Iterator[Behind]:
    kind.need()
    behind = Behind(service, kind)
    with behind.proxy:
        behind.wait_for_status(200)
        yield behind


@pytest.fixture(scope="module", params=[Nginx, HAProxy], ids=lambda kind: kind.name)
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """For tests that do no more than ask."""
    service = Service(tmp_path_factory.mktemp("behind"))
    yield from put_behind(service, request.param)
    service.close()


@pytest.fixture(params=[Nginx, HAProxy], ids=lambda kind: kind.name)
def alone(request: pytest.FixtureRequest, service: Service) -> Iterator[Behind]:
    """For a test that stops it, or changes what it serves."""
    yield from put_behind(service, request.param)


# --- what the application learns --------------------------------------------------------------------------------------


def test_the_client_and_not_the_proxy_is_seen(behind: Behind) -> None:
    connection = behind.proxy.connect(source="127.0.0.9")
    connection.request("GET", "/environ", headers={"Host": "shop.example.com"})
    seen = json.loads(connection.getresponse().read())
    connection.close()
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("127.0.0.9", "http")
    assert (seen["HTTP_HOST"], seen["SERVER_PROTOCOL"]) == ("shop.example.com", "HTTP/1.1")
    assert seen["HTTP_X_REQUEST_ID"]


def test_https_is_seen(behind: Behind) -> None:
    status, body = behind.proxy.get("/environ", tls=True)
    assert status == 200
    assert json.loads(body)["wsgi.url_scheme"] == "https"


def test_what_clients_say_about_themselves_is_dropped(behind: Behind) -> None:
    seen = behind.environ(
        X_Forwarded_For="203.0.113.66", X_Forwarded_Proto="https", Forwarded="for=203.0.113.66", X_Request_ID="mine"
    )
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    assert (seen["HTTP_X_FORWARDED_FOR"], seen["HTTP_FORWARDED"]) == ("127.0.0.1", None)
    assert seen["HTTP_X_REQUEST_ID"] != "mine"


def test_a_wish_to_upgrade_is_ignored(behind: Behind) -> None:
    connection = behind.proxy.connect()
    wish = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    wish["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
    for headers in (wish, {}):  # and the connection serves on
        connection.request("GET", "/", headers=headers)
        response = connection.getresponse()
        assert (response.status, response.read()[:3]) == (200, b"v1 ")
    connection.close()


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_request_bodies_arrive_whole(chunked: bool, behind: Behind) -> None:
    body = random.Random(1).randbytes(5 * MEBIBYTE)
    pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
    connection = behind.proxy.connect()
    connection.request(
        "POST", "/hash", iter(pieces) if chunked else body, encode_chunked=chunked, headers=framing(chunked)
    )
    response = connection.getresponse()
    assert response.read().decode() == f"{hashlib.sha256(body).hexdigest()} {len(body)}"
    connection.close()


def framing(chunked: bool) -> dict[str, str]:
    return {"Transfer-Encoding": "chunked"} if chunked else {}


def test_large_responses_arrive_whole(behind: Behind) -> None:
    status, body = behind.proxy.get("/large?20")
    assert status == 200
    assert len(body) == 20 * MEBIBYTE
    assert body == bytes(range(256)) * (20 * MEBIBYTE // 256)


def test_a_stream_arrives_part_by_part(behind: Behind) -> None:
    behind.service.hold()
    connection = behind.proxy.connect()
    connection.request("GET", "/stream")
    response = connection.getresponse()
    assert response.readline() == b"first\n", "while the application still runs"
    behind.service.release()
    assert response.read() == b"last\n"
    connection.close()


# --- connections ------------------------------------------------------------------------------------------------------


def test_connections_to_the_daemon_are_kept(behind: Behind) -> None:
    accepted, reused = (f"miniwsgi_connections_{name}_total" for name in ("accepted", "reused"))
    before = behind.counted(accepted), behind.counted(reused)
    for _ in range(50):
        assert behind.proxy.get()[0] == 200  # each client has a connection of its own
    behind.daemon.wait(lambda: behind.counted(reused) - before[1] >= 25, "25 requests on kept connections")
    assert behind.counted(accepted) - before[0] <= 25


# --- what operators do ------------------------------------------------------------------------------------------------


def test_reloads_under_load_lose_nothing(alone: Behind) -> None:
    with Load(alone.proxy.address, connections=8) as load:
        load.wait_for_version("v1")
        for number in range(2, 6):
            alone.service.write(APP.replace('"v1"', f'"v{number}"'))
            assert alone.daemon.reload()
            load.wait_for_version(f"v{number}")
        load.wait_for_more(100)
        report = load.stop()
    assert report.failures() == {}, (report.lost, alone.proxy.log())
    assert report.order() == ["v1", "v2", "v3", "v4", "v5"]


def test_a_daemon_that_is_away_is_told_at_once_and_found_again(alone: Behind) -> None:
    assert alone.daemon.stop() == 0
    alone.wait_for_status(502 if isinstance(alone.proxy, Nginx) else 503)
    alone.daemon = alone.start()
    alone.wait_for_status(200)


def test_a_drained_daemon_is_found_again(alone: Behind) -> None:
    """HAProxy asks for health and refuses what would have to wait; nginx does not, and it waits."""
    with Control(alone.control_socket) as control:
        control.change("/drain")
        if isinstance(alone.proxy, HAProxy):
            alone.daemon.wait(alone.proxy.has_marked_it_down, "HAProxy notices")  # a request before that would wait
        connection = alone.proxy.connect()
        connection.request("GET", "/")
        if isinstance(alone.proxy, HAProxy):
            assert connection.getresponse().status == 503
        control.change("/undrain")
        if isinstance(alone.proxy, Nginx):
            assert connection.getresponse().status == 200
        connection.close()
        alone.wait_for_status(200)


# --- the files --------------------------------------------------------------------------------------------------------


def test_the_files_say_how_the_daemon_is_to_be_configured() -> None:
    """Each carries the [proxy] settings that match it."""
    for name in ("nginx.conf", "haproxy.cfg", "Caddyfile"):
        text = (PROXIES / name).read_text("utf-8")
        assert 'trusted = ["unix"]' in text, name
        assert 'fields = "x-forwarded"' in text, name
        assert SOCKET in text, name


def test_caddy_accepts_its_file(tmp_path: Path) -> None:
    caddy = program("caddy")
    path = tmp_path / "Caddyfile"
    path.write_text(in_place((PROXIES / "Caddyfile").read_text("utf-8"), {"shop.example.com": ":80"}), "utf-8")
    checked = subprocess.run(
        [caddy, "validate", "--config", str(path), "--adapter", "caddyfile"],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        timeout=PATIENCE_SECONDS,
    )
    assert checked.returncode == 0, checked.stderr
    assert "Caddyfile input is not formatted" not in checked.stderr
