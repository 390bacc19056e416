"""nginx and HAProxy under test, with the files of packaging/proxies: only paths and ports are put in place of others.

Each runs in the foreground, in a directory of the test's, and is ended by its pid.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.support.ports import free_port, is_listened_on
from tests.support.programs import program
from tests.support.waiting import PATIENCE_SECONDS, wait_for

PROXIES = Path(__file__).resolve().parents[2] / "packaging" / "proxies"
PAGE = PROXIES.parents[1] / "docs" / "proxies.md"
SOCKET, METRICS_PORT = "/run/miniwsgi/miniwsgi.sock", "9464"  # as the files name them

NGINX_AROUND = """
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/proxy.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/snippet.conf;
}}
"""

HAPROXY_AROUND = """
global
    nbthread 1
    maxconn 500
    log stderr format raw local0

defaults
    log global

"""


def recipes() -> dict[str, dict[str, str]]:
    """What docs/proxies.md says of each proxy: by its section, the snippets by language."""
    text = PAGE.read_text("utf-8").partition("\n## Recipes\n")[2].partition("\n## ")[0]
    sections = re.split(r"^### (.+)$", text, flags=re.MULTILINE)[1:]
    return {
        name: dict(re.findall(r"```(\w+)\n(.*?)```", body, flags=re.DOTALL))
        for name, body in zip(sections[::2], sections[1::2], strict=True)
    }


def in_place(text: str, places: Mapping[str, str]) -> str:
    """The one place where a snippet is changed. Raises AssertionError if it does not hold what is to be replaced."""
    for old, new in places.items():
        assert old in text, f"the snippet does not hold {old!r}"
        text = text.replace(old, new)
    return text


class Proxy:
    """A context: it listens on entry, and is gone on exit. It serves `address` (http) and `tls_address` (https)."""

    name = ""

    def __init__(self, directory: Path, unix_socket: Path, metrics_port: int) -> None:
        self.directory = directory
        self.log_path = directory / "proxy.log"
        self.address = ("127.0.0.1", free_port())
        self.tls_address = ("127.0.0.1", free_port())
        self.unix_socket = unix_socket
        self.metrics_port = metrics_port
        self.process: subprocess.Popen[bytes]

    def __repr__(self) -> str:
        return f"<{self.name} {self.address[1]}>"

    @classmethod
    def need(cls) -> None:
        """Without it, or without openssl for its certificate, the test is skipped."""
        program(cls.name)
        program("openssl")

    def configure(self) -> list[str]:
        """Write the configuration; the command that runs it."""
        raise NotImplementedError

    def __enter__(self) -> Proxy:
        self.directory.mkdir()
        make_certificate(self.directory)
        command = self.configure()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, start_new_session=True
            )
        try:
            self._wait_for(self.address)
            self._wait_for(self.tls_address)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def connect(self, *, tls: bool = False, source: str = "127.0.0.1") -> http.client.HTTPConnection:
        """A client's connection, from a loopback address of the test's choice."""
        if tls:
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            return http.client.HTTPSConnection(
                *self.tls_address, timeout=PATIENCE_SECONDS, source_address=(source, 0), context=trusting
            )
        return http.client.HTTPConnection(*self.address, timeout=PATIENCE_SECONDS, source_address=(source, 0))

    def get(self, path: str = "/", headers: Mapping[str, str] | None = None, *, tls: bool = False) -> tuple[int, bytes]:
        """Status and body of an answer on a connection of its own."""
        connection = self.connect(tls=tls)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _wait_for(self, address: tuple[str, int]) -> None:
        def listens() -> bool:
            assert self.process.poll() is None, f"{self.name} has ended:\n{self.log()}"
            return is_listened_on(address[1])

        wait_for(listens, f"{self.name} listens", story=self.log)

    def _end(self) -> None:
        try:
            family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        for process in family:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                pass
        self.process.wait(PATIENCE_SECONDS)
        psutil.wait_procs([one for one in family if isinstance(one, psutil.Process)], timeout=PATIENCE_SECONDS)


class Nginx(Proxy):
    name = "nginx"

    def snippet(self) -> str:
        """What is under test, with places of its own."""
        return in_place(
            (PROXIES / "nginx.conf").read_text("utf-8"),
            {
                "listen 80;": f"listen 127.0.0.1:{self.address[1]};",
                "listen [::]:80;": "",
                "listen 443 ssl;": f"listen 127.0.0.1:{self.tls_address[1]} ssl;",
                "listen [::]:443 ssl;": "",
                "/etc/ssl/shop.crt": f"{self.directory}/shop.crt",
                "/etc/ssl/shop.key": f"{self.directory}/shop.key",
                SOCKET: str(self.unix_socket),
            },
        )

    def configure(self) -> list[str]:
        snippet = self.snippet()
        (self.directory / "snippet.conf").write_text(snippet, "utf-8")
        user = "user root;" if os.geteuid() == 0 else ""
        around = self.directory / "nginx.conf"
        around.write_text(NGINX_AROUND.format(directory=self.directory, user=user), "utf-8")
        return [program(self.name), "-e", str(self.log_path), "-p", str(self.directory), "-c", str(around)]


SERVER = """
server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {directory}/shop.crt;
    ssl_certificate_key {directory}/shop.key;
    client_max_body_size 16m;
    {locations}
}}
"""


class NginxOf(Nginx):
    """nginx with what a test says of its locations."""

    def __init__(self, directory: Path, locations: str) -> None:
        super().__init__(directory, directory / "unused", 0)
        self.locations = locations

    def snippet(self) -> str:
        return SERVER.format(
            port=self.address[1], tls_port=self.tls_address[1], directory=self.directory, locations=self.locations
        )


class HAProxy(Proxy):
    name = "haproxy"

    def snippet(self) -> str:
        """What is under test, with places of its own."""
        return in_place(
            (PROXIES / "haproxy.cfg").read_text("utf-8"),
            {
                "bind :80": f"bind 127.0.0.1:{self.address[1]}",
                "bind :443": f"bind 127.0.0.1:{self.tls_address[1]}",
                "/etc/haproxy/shop.pem": f"{self.directory}/shop.pem",
                SOCKET: str(self.unix_socket),
                f"port {METRICS_PORT}": f"port {self.metrics_port}",
            },
        )

    def configure(self) -> list[str]:
        path = self.directory / "haproxy.cfg"
        path.write_text(HAPROXY_AROUND + self.snippet(), "utf-8")
        return [program(self.name), "-db", "-f", str(path)]

    def has_marked_it_down(self) -> bool:
        """Whether the daemon counts as away, by the last that the log says of its health."""
        return self.log().rfind("/miniwsgi is DOWN") > self.log().rfind("/miniwsgi is UP")


def make_certificate(directory: Path) -> None:
    """A certificate for a test: shop.crt, shop.key, and both in shop.pem."""
    key, certificate = directory / "shop.key", directory / "shop.crt"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    request += ["-subj", "/CN=shop.example.com", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(request, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    (directory / "shop.pem").write_text(certificate.read_text("utf-8") + key.read_text("utf-8"), "utf-8")
