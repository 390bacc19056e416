"""HTTPS as clients of other makes have it: one daemon, with names, a port that redirects, and HSTS."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from tests.support.daemon import Daemon
from tests.support.effort import FULL
from tests.support.ports import free_port
from tests.support.programs import needs, program
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS, wait_for
from tests.unit.tls_world import authority, issued

from .browser import Browser

RELOADS, RENEWALS = (10, 50) if FULL else (1, 1)
STALLED = 2000
YEAR = "max-age=31536000"
APP = """
import os

def application(environ, start_response):
    names = ("wsgi.url_scheme", "HTTPS", "SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI", "SSL_SESSION_RESUMED")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    if environ["PATH_INFO"] == "/large":
        return [b"x" * 1_000_000]
    return [" ".join(f"{name}={environ.get(name)}" for name in names).encode()]
"""


class World:
    """The daemon, and what its clients know."""

    def __init__(self, directory: Path) -> None:
        self.service = Service(directory)
        self.service.write(APP)
        self.ca = directory / "ca.pem"
        authority("one").cert_pem.write_to_path(str(self.ca))
        self.port, self.plain = free_port(), free_port()
        self.certificate = directory / "shop.pem"
        self.write(issued("localhost", "127.0.0.1"), "shop")
        self.write(issued("other.example"), "other")
        files = f'["{directory}/shop.pem", "{directory}/other.pem"]'
        configuration = self.service.configure(
            f"""
            [server]
            workers = 2
            bind = [
                {{ address = "127.0.0.1:{self.port}", certificate = {files}, hsts = "{YEAR}" }},
                {{ address = "127.0.0.1:{self.plain}", redirect = "https:{self.port}" }},
            ]
            """
        )
        self.daemon: Daemon = self.service.start("-c", configuration, bind=False)
        self.url = f"https://localhost:{self.port}"

    def write(self, pair: Any, name: str) -> None:
        """Certificate and key in one file."""
        path = self.service.directory / f"{name}.pem"
        path.with_suffix(".new").write_text(f"{pair.chain}{pair.key}", "utf-8")
        path.with_suffix(".new").replace(path)

    def curl(self, *arguments: str) -> str:
        return run(program("curl"), "--silent", "--show-error", "--cacert", str(self.ca), *arguments)

    def s_client(self, *arguments: str, said: str = "") -> str:
        """What openssl shows, and the server says; `said` is what is typed."""
        place = ("-connect", f"127.0.0.1:{self.port}", "-CAfile", str(self.ca))
        return run(program("openssl"), "s_client", *place, *arguments, said=said)

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


def run(*command: str, said: str = "") -> str:
    """All that it writes."""
    ended = subprocess.run(command, input=said.encode(), capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    return (ended.stdout + ended.stderr).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("tls"))
    yield made
    made.service.close()


GET = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@needs("curl")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl(world: World, version: str) -> None:
    answer = world.curl("--include", f"--tlsv{version}", "--tls-max", version, f"{world.url}/", f"{world.url}/")
    assert answer.count(f"wsgi.url_scheme=https HTTPS=on SSL_PROTOCOL=TLSv{version}") == 2
    assert answer.lower().count(f"strict-transport-security: {YEAR}") == 2
    assert len(world.curl(f"{world.url}/large")) == 1_000_000


@needs("curl")
def test_curl_follows_the_redirect(world: World) -> None:
    answer = world.curl("--include", "--location", f"http://localhost:{world.plain}/a?b=c")
    assert answer.startswith("HTTP/1.1 308 Permanent Redirect\r\n")
    assert f"Location: {world.url}/a?b=c\r\n" in answer
    assert "HTTPS=on" in answer
    plain = world.curl("--include", f"http://localhost:{world.plain}/.well-known/acme-challenge/x")
    assert "HTTP/1.1 200 OK" in plain
    assert "strict-transport" not in plain.lower()


def test_requests(world: World) -> None:
    with requests.Session() as session:
        for _ in range(2):
            assert "HTTPS=on" in session.get(f"{world.url}/", verify=str(world.ca), timeout=PATIENCE_SECONDS).text
        with pytest.raises(requests.exceptions.SSLError):
            session.get(f"{world.url}/", verify=True, timeout=PATIENCE_SECONDS)  # no authority of the system's
    posted = requests.post(f"http://localhost:{world.plain}/", b"x", allow_redirects=False, timeout=PATIENCE_SECONDS)
    assert posted.status_code == 308


def test_httpx(world: World) -> None:
    with httpx.Client(verify=world.context()) as client:
        for _ in range(2):
            assert "SSL_PROTOCOL=TLSv1.3" in client.get(f"{world.url}/").text
        assert len(client.get(f"{world.url}/large").content) == 1_000_000


# --- what openssl sees, as testssl.sh would ---


@needs("openssl")
@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused(world: World, option: str) -> None:
    seen = world.s_client(option, "-cipher", "ALL:@SECLEVEL=0")
    assert "protocol version" in seen or "no protocols available" in seen
    assert "Cipher is (NONE)" in seen


@needs("openssl")
@pytest.mark.parametrize(
    "ciphers",
    ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "aNULL", "PSK"],
)
def test_ciphers_without_forward_secrecy_or_aead_are_refused(world: World, ciphers: str) -> None:
    assert "Cipher is (NONE)" in world.s_client("-tls1_2", "-cipher", f"{ciphers}:@SECLEVEL=0")


@needs("openssl")
def test_what_is_agreed_on(world: World) -> None:
    seen = world.s_client("-tls1_3", "-alpn", "h2,http/1.1", said="")
    assert "Verification: OK" in seen
    assert "ALPN protocol: http/1.1" in seen
    assert "Compression: NONE" in seen
    assert "X25519" in seen


@needs("openssl")
@pytest.mark.parametrize(("name", "subject"), [("other.example", "other.example"), ("nobody.example", "localhost")])
def test_the_name_chooses_the_certificate(world: World, name: str, subject: str) -> None:
    seen = world.s_client("-servername", name, "-showcerts")
    certificate = ssl.PEM_cert_to_DER_cert(re.findall(r"-----BEGIN.*?-----END CERTIFICATE-----", seen, re.DOTALL)[0])
    assert subject.encode() in certificate


@needs("openssl")
def test_renegotiation_is_refused(world: World) -> None:
    seen = world.s_client("-tls1_2", said="R\n" + GET)
    assert "no renegotiation" in seen
    assert "RENEGOTIATING" in seen


@needs("openssl")
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_session_is_resumed_whichever_worker_takes_the_client(world: World, option: str) -> None:
    ticket = world.service.directory / f"ticket{option}"
    first = world.s_client(option, "-sess_out", str(ticket), "-ign_eof", said=GET)
    assert "SSL_SESSION_RESUMED=Initial" in first
    pids = set()
    for _ in range(50):
        again = world.s_client(option, "-sess_in", str(ticket), "-ign_eof", said=GET)
        assert "SSL_SESSION_RESUMED=Resumed" in again
        pids |= set(re.findall(r"X-Pid: (\d+)", again))
        if len(pids) == 2:
            break
    assert len(pids) == 2


@needs("openssl")
def test_new_keys_may_be_asked_for(world: World) -> None:
    command = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{world.port}", "-tls1_3"]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert client.stdin is not None
    assert client.stdout is not None
    seen = b""
    client.stdin.write(b"K\n")  # it is done only if it comes alone
    client.stdin.flush()
    while b"KEYUPDATE" not in seen:
        seen += read_some(client)
    client.stdin.write(GET.encode())
    client.stdin.flush()
    while b"HTTPS=on" not in seen:
        seen += read_some(client)
    client.kill()
    client.communicate()


def read_some(client: subprocess.Popen[bytes]) -> bytes:
    assert client.stdout is not None
    data = os.read(client.stdout.fileno(), 65536)
    assert data, "it has ended"
    return data


# --- nothing is lost ---


class Load:
    """Clients that ask again and again, each on its connection, and now and then on a new one."""

    def __init__(self, world: World, clients: int = 4, requests_a_connection: int = 20) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self.certificates: set[bytes] = set()
        self._world = world
        self._many = requests_a_connection
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.answered > 50 or self.failed, "load")
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        context = self._world.context()
        while not self._over.is_set():
            connection = http.client.HTTPSConnection(
                "localhost", self._world.port, timeout=PATIENCE_SECONDS, context=context
            )
            try:
                for _ in range(self._many):
                    connection.request("GET", "/")
                    response = connection.getresponse()
                    assert response.read().startswith(b"wsgi.url_scheme=https")
                    self.answered += 1
                    if response.will_close:
                        break
                    self.certificates.add(connection.sock.getpeercert(True))
            except Exception as error:
                self.failed.append(repr(error))
            finally:
                connection.close()


def test_a_reload_loses_no_request(world: World) -> None:
    with Load(world) as load:
        for _ in range(RELOADS):
            world.daemon.signal(signal.SIGHUP)
            world.daemon.wait_for_notice("READY=1")
            before = load.answered
            wait_for(lambda at=before: load.answered > at + 50 or load.failed)
    assert not load.failed


def test_renewals_lose_no_request_and_are_seen(world: World) -> None:
    """As certbot does it: the file is replaced, and nobody is told."""
    with Load(world) as load:
        for number in range(RENEWALS):
            renewed = issued("localhost", "127.0.0.1", common_name=f"renewed-{number}")
            world.write(renewed, "shop")
            wanted = ssl.PEM_cert_to_DER_cert(renewed.chain)
            wait_for(lambda der=wanted: der in load.certificates or load.failed, f"renewal {number}")
    assert not load.failed


@pytest.mark.full
def test_a_client_is_answered_at_once_beside_2000_stalled_handshakes(world: World) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    words = world.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        words.do_handshake()
    hello = outgoing.read()
    stalled = []
    for number in range(STALLED):
        client = socket.create_connection(("127.0.0.1", world.port), timeout=PATIENCE_SECONDS)
        client.sendall(hello if number % 2 else hello[: number % len(hello)])
        stalled.append(client)
    for client in stalled[1::2]:
        assert client.recv(65536), "it has its answer, and says nothing more"
    took = []
    for _ in range(50):
        began = time.perf_counter()
        with httpx.Client(verify=world.context()) as client:
            made = time.perf_counter() - began  # what the client itself takes to begin
            assert "HTTPS=on" in client.get(f"{world.url}/").text
        took.append(time.perf_counter() - began - made)
    told = f"median {sorted(took)[25] * 1e3:.1f} ms, most {max(took) * 1e3:.1f} ms"
    print(f"of {len(took)} new clients beside {STALLED}: {told}")
    assert sorted(took)[25] < 0.05
    for client in stalled:
        client.close()


@needs("chromium")
@pytest.mark.full
def test_a_browser_is_redirected_and_served(world: World, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        browser.call("Security.setIgnoreCertificateErrors", ignore=True)  # it has no way to be given an authority
        browser.open(f"http://localhost:{world.plain}/")
        assert browser.value("location.href") == f"{world.url}/"
        assert "SSL_PROTOCOL=TLSv1.3" in browser.text("body")
        assert browser.value("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "http/1.1"
        assert browser.errors == []
