"""Certificates that are renewed while clients come and go: none of them fails, and no application is reloaded."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import certificates as made
from tests.support.daemon import Daemon
from tests.support.effort import effort
from tests.support.ports import free_port
from tests.support.service import HELLO
from tests.support.waiting import PATIENCE_SECONDS

RENEWED = "certificates are renewed"
CLIENTS = 3


class Site:
    """A daemon with two workers that speaks TLS, also on its metrics port, where clients need a certificate."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "app.py").write_text(HELLO, "utf-8")
        for name in ("Test", "Scrapers"):
            (directory / f"{name}.ca").write_bytes(made.authority(name).cert_pem.bytes())
        self.renew(0)
        self.port, self.metrics_port = free_port(), free_port()
        tls = "certificate = 'shop.pem', key = 'shop.key'"
        metrics = (
            f"{{ address = '127.0.0.1:{self.metrics_port}', {tls}, client_ca = 'Scrapers.ca', client = 'required' }}"
        )
        self.daemon = Daemon(
            directory, "app", "--workers", "2", "--bind", f"{{ address = '127.0.0.1:{self.port}', {tls} }}",
            "--metrics-bind", metrics,
        )  # fmt: skip

    def renew(self, number: int) -> None:
        """Another certificate: as an administrator copies it, one file and then the other."""
        made.write(self.directory, self.leaf(number))

    def leaf(self, number: int) -> made.trustme.LeafCert:
        return made.issued("localhost", "127.0.0.1", number=number)

    def get(self, context: ssl.SSLContext, path: str = "/", port: int = 0) -> bytes:
        """What is answered on a new connection. Raises OSError."""
        connection = self.connect(context, port)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def connect(self, context: ssl.SSLContext, port: int = 0) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", port or self.port, context=context, timeout=PATIENCE_SECONDS)

    def shown(self, port: int = 0) -> bytes:
        """The certificate that a new client is shown."""
        connection = self.connect(client(by="Scrapers"), port)
        try:
            connection.connect()
            found = connection.sock.getpeercert(binary_form=True)
            assert isinstance(found, bytes)
            return found
        finally:
            connection.close()

    def shows(self, number: int, port: int = 0) -> bool:
        return self.shown(port) == made.der_of(made.chain_of(self.leaf(number)))


def client(*, by: str = "") -> ssl.SSLContext:
    """Of one that trusts us, with a certificate issued by the authority `by`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.authority().configure_trust(context)
    if by:
        made.issued("client", by=by).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    found = Site(tmp_path_factory.mktemp("tls"))
    with found.daemon:
        yield found


def test_no_client_fails_while_certificates_are_renewed(site: Site) -> None:
    often, before = effort(2, 50), site.daemon.log().count(RENEWED)
    workers = site.daemon.workers()
    done, counts, failures = threading.Event(), [0] * CLIENTS, []

    def load(index: int) -> None:
        """New connections, some of which are kept for a few requests."""
        context = client()
        while not done.is_set():
            connection = site.connect(context)
            try:
                for _ in range(1 + index * 5):
                    connection.request("GET", "/")
                    assert connection.getresponse().read().startswith(b"v1")
                    counts[index] += 1
            except Exception as error:
                failures.append(repr(error))
            finally:
                connection.close()

    clients = [threading.Thread(target=load, args=(index,)) for index in range(CLIENTS)]
    for one in clients:
        one.start()
    try:
        for number in range(1, often + 1):
            site.renew(number)
            # Two addresses have them.
            site.daemon.wait_for_log(RENEWED, before + 2 * number)
            site.daemon.wait(lambda number=number: site.shows(number), "the new certificate")
            assert site.shows(number, site.metrics_port)
    finally:
        done.set()
        for one in clients:
            one.join()
    assert failures == []
    assert all(counts), counts
    assert site.daemon.workers() == workers
    print(f"\n{often} renewals, {sum(counts)} requests, {len(failures)} failures")


def test_metrics_are_scraped_with_a_certificate_and_tell_of_ours(site: Site) -> None:
    text = site.get(client(by="Scrapers"), "/metrics", site.metrics_port).decode()
    ends = [line for line in text.splitlines() if line.startswith("miniwsgi_tls_certificate_not_after_seconds{")]
    assert len(ends) == 2
    with pytest.raises(OSError, match=r"(?i)certificate|alert|reset|closed|EOF"):
        site.get(client(), "/metrics", site.metrics_port)


def test_an_expired_certificate_of_the_metrics_port_alone_is_told(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HELLO, "utf-8")
    made.write(tmp_path, made.issued("localhost", from_days=-9, to_days=-3))
    port = free_port()
    bind = f"{{ address = '127.0.0.1:{port}', certificate = 'shop.pem', key = 'shop.key' }}"
    trusting = ssl._create_unverified_context()
    with Daemon(tmp_path, "app", "--workers", "1", "--metrics-bind", bind):
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/status.json")
        status = json.loads(connection.getresponse().read())
        connection.close()
    reasons = ["the certificate of localhost has expired"]
    assert status["verdict"] == {"level": "degraded", "reasons": reasons, "codes": ["MW7202"]}
