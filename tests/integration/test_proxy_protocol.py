"""HAProxy and nginx before a real daemon, passing on bytes behind a PROXY header: who the client is, and health checks.

One daemon, with an address for each way in which it is told.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import proxy_headers as make
from tests.support.daemon import Daemon
from tests.support.ports import free_port, is_listened_on
from tests.support.programs import program
from tests.support.proxies import HAPROXY_AROUND, make_certificate
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS, wait_for

STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
CLIENT = "127.0.0.9"

APP = """
import json
import os
import socket

SHOWN = ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTPS", "PATH_INFO")

def application(environ, start_response):
    seen = {name: value for name, value in environ.items() if name in SHOWN or name.startswith(("PROXY_", "SSL_"))}
    if environ["PATH_INFO"] == "/check":
        with open("checks", "a") as file:
            file.write(json.dumps(seen) + "\\n")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
"""

HAPROXY = (
    HAPROXY_AROUND
    + """
    mode tcp
    timeout client 60s
    timeout server 60s
    timeout connect 60s

listen line
    bind 127.0.0.1:{line}
    server shop 127.0.0.1:{proxied} send-proxy

listen binary
    bind 127.0.0.1:{binary}
    unique-id-format %ci-%cp
    server shop 127.0.0.1:{proxied} send-proxy-v2 proxy-v2-options crc32c,unique-id

listen tls
    bind 127.0.0.1:{tls} ssl crt {directory}/shop.pem ca-file {directory}/shop.crt verify optional alpn http/1.1
    server shop 127.0.0.1:{proxied} send-proxy-v2-ssl-cn proxy-v2-options ssl,ssl-cipher,cert-sig,cert-key,crc32c

listen checked
    bind 127.0.0.1:{checked}
    option httpchk GET /check
    server shop 127.0.0.1:{proxied} send-proxy-v2 check check-send-proxy inter 100ms

listen checked-by-a-line
    bind 127.0.0.1:{checked_line}
    option httpchk GET /check
    server shop 127.0.0.1:{proxied} send-proxy check check-send-proxy inter 100ms
"""
)

NGINX = """
daemon off;
{user}
load_module {module};
pid {directory}/nginx.pid;
error_log {directory}/proxy.log;
events {{ worker_connections 64; }}
stream {{
    server {{
        listen 127.0.0.1:{stream};
        proxy_pass 127.0.0.1:{proxied};
        proxy_protocol on;
    }}
}}
"""


@contextlib.contextmanager
def running(command: list[str], directory: Path, port: int) -> Iterator[None]:
    """A proxy in the foreground, once it listens."""
    with (directory / "output.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)

    def listens() -> bool:
        assert process.poll() is None, (directory / "output.log").read_text()
        return is_listened_on(port)

    try:
        wait_for(listens, f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


class World:
    """The daemon, and the ports of everything."""

    names = ("proxied", "line", "binary", "tls", "checked", "checked_line", "stream", "changing")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = {name: free_port() for name in self.names}
        self.service = Service(directory)
        self.service.write(APP)
        self.daemon: Daemon = self.service.start("-c", self.configure(), bind=False)
        make_certificate(directory)

    def configure(self, *, changing: bool = False) -> str:
        """The configuration file; `changing` says what is spoken at the address of that name."""
        return self.service.configure(
            f"""
            [server]
            bind = [
                {{ address = "127.0.0.1:{self.ports["proxied"]}", proxy_protocol = true }},
                {{ address = "127.0.0.1:{self.ports["changing"]}", proxy_protocol = {str(changing).lower()} }},
            ]
            workers = 1
            [proxy]
            trusted = ["127.0.0.1"]
            """
        )

    def fill(self, template: str, **others: str) -> str:
        return template.format(directory=self.directory, **self.ports, **others)

    def seen(self, way: str, path: str = "/", *, context: ssl.SSLContext | None = None) -> dict[str, Any]:
        """What the application sees of two requests on one connection, which have to be alike."""
        place = ("127.0.0.1", self.ports[way])
        source = (CLIENT, 0)
        if context is None:
            connection = http.client.HTTPConnection(*place, timeout=PATIENCE_SECONDS, source_address=source)
        else:
            connection = http.client.HTTPSConnection(
                *place, timeout=PATIENCE_SECONDS, source_address=source, context=context
            )
        with contextlib.closing(connection):
            found = []
            for _ in range(2):
                connection.request("GET", path, headers={"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "https"})
                found.append(json.loads(connection.getresponse().read()))
            assert found[0] == found[1]
            assert found[0].pop("REMOTE_PORT") == str(connection.sock.getsockname()[1])
        return {name: value for name, value in found[0].items() if name != "PATH_INFO"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    program("openssl")
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.service.close()


@pytest.fixture(scope="module")
def haproxy(world: World) -> Iterator[World]:
    path = world.directory / "haproxy.cfg"
    path.write_text(world.fill(HAPROXY), "utf-8")
    with running([program("haproxy"), "-db", "-f", str(path)], world.directory, world.ports["checked_line"]):
        yield world


def tcp(world: World, way: str) -> dict[str, Any]:
    """What is said of each client that has come so."""
    return {
        "REMOTE_ADDR": CLIENT, "wsgi.url_scheme": "http",
        "PROXY_PROTOCOL": "TCP4", "PROXY_ADDR": "127.0.0.1", "PROXY_PORT": str(world.ports[way]),
    }  # fmt: skip


def test_haproxy_with_a_line(haproxy: World) -> None:
    assert haproxy.seen("line") == tcp(haproxy, "line")


def test_haproxy_with_a_binary_header(haproxy: World) -> None:
    seen = haproxy.seen("binary")
    assert seen.pop("PROXY_PROTOCOL_TLV_UNIQUE_ID").startswith(f"{CLIENT}-")
    assert seen == tcp(haproxy, "binary")


@pytest.mark.parametrize("certificate", [False, True])
def test_haproxy_says_what_tls_the_client_has_come_by(haproxy: World, certificate: bool) -> None:
    context = ssl.create_default_context(cafile=str(haproxy.directory / "shop.crt"))
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(haproxy.directory / "shop.crt", haproxy.directory / "shop.key")
    seen = haproxy.seen("tls", context=context)
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"], seen["HTTPS"]) == (CLIENT, "https", "on")
    assert seen["SSL_PROTOCOL"] == "TLSv1.3"
    assert seen["SSL_CIPHER"].startswith("TLS_")
    assert seen["SSL_SERVER_A_KEY"].startswith("EC")
    assert seen["SSL_CLIENT_VERIFY"] == ("SUCCESS" if certificate else "NONE")
    assert seen.get("SSL_CLIENT_S_DN_CN") == ("shop.example.com" if certificate else None)


def test_haproxys_health_checks_are_its_own(haproxy: World) -> None:
    """Version 2 says that they are the proxy's, version 1 that it does not know."""
    checks = haproxy.directory / "checks"

    def found() -> set[str]:
        lines = checks.read_text().splitlines() if checks.exists() else []
        assert all(json.loads(line)["REMOTE_ADDR"] == "127.0.0.1" for line in lines)
        return {json.loads(line)["PROXY_PROTOCOL"] for line in lines}

    wait_for(lambda: found() >= {"LOCAL"} and len(found()) == 2, "both checks", story=found)
    assert "closed a connection" not in haproxy.daemon.log()
    assert haproxy.seen("checked") == tcp(haproxy, "checked")


def test_nginx_stream(world: World) -> None:
    if not STREAM_MODULE.exists():
        pytest.skip(f"{STREAM_MODULE} is not installed (Debian: libnginx-mod-stream)")
    path = world.directory / "nginx.conf"

    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(world.fill(NGINX, module=str(STREAM_MODULE), user=user), "utf-8")
    command = [program("nginx"), "-e", str(world.directory / "proxy.log"), "-p", str(world.directory), "-c", str(path)]
    with running(command, world.directory, world.ports["stream"]):
        assert world.seen("stream") == tcp(world, "stream")


def test_who_is_not_behind_a_proxy_is_closed_and_named(world: World) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", world.ports["proxied"], timeout=PATIENCE_SECONDS)
    connection.request("GET", "/")
    with contextlib.closing(connection), pytest.raises(ConnectionResetError):  # RemoteDisconnected is one
        connection.getresponse()
    world.daemon.wait(lambda: "it does not begin with a PROXY header" in world.daemon.log(), "it is told")


def test_a_reload_turns_it_on_for_an_address_whose_socket_stays(world: World) -> None:
    place = ("127.0.0.1", world.ports["changing"])

    def asked(first: bytes) -> bytes:
        with socket.create_connection(place, PATIENCE_SECONDS) as client:
            client.sendall(first + b"GET / HTTP/1.0\r\n\r\n")
            return client.recv(65536)

    def inode() -> list[str]:
        """Of the socket that listens there (proc_net_tcp(5))."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return [row[9] for row in rows if row[1].endswith(f":{place[1]:04X}") and row[3] == "0A"]

    assert asked(b"").startswith(b"HTTP/1.1 200 ")
    before = inode()
    assert before
    world.configure(changing=True)
    assert world.daemon.reload()
    world.daemon.settle(1)  # the last worker of before accepts nothing more
    assert b'"REMOTE_ADDR": "203.0.113.9"' in asked(make.LINE)
    assert inode() == before
