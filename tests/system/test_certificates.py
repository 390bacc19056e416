"""Certificates that root alone may read, handed to the service by systemd: LoadCredential= (systemd.exec(5))."""

from __future__ import annotations

import shutil
import socket
import ssl

from tests.support import certificates as made
from tests.support.waiting import PATIENCE_SECONDS

from .installation import UNITS
from .machine import Machine

LIVE = "/etc/letsencrypt/live/shop.example"
CONFIGURED = """
[app]
module = "app"
directory = "/srv/miniwsgi"
[server]
workers = 1
[[server.bind]]
address = "unix:/run/miniwsgi/miniwsgi/http.sock"
certificate = "credential:shop.pem"
key = "credential:shop.key"
"""


def issue(machine: Machine, number: int) -> bytes:
    """As certbot has it; the certificate, in DER."""
    leaf = made.issued("shop.example", number=number)
    live = machine.place(LIVE)
    for directory in (live, live.parent):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    (live / "fullchain.pem").write_bytes(made.chain_of(leaf))
    (live / "privkey.pem").write_bytes(made.key_of(leaf))
    (live / "privkey.pem").chmod(0o600)
    return made.der_of(made.chain_of(leaf))


def shown(machine: Machine) -> bytes:
    """The certificate that a client is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.authority().configure_trust(context)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(machine.address())
        with context.wrap_socket(sock, server_hostname="shop.example") as client:
            return client.getpeercert(binary_form=True) or b""


def test_the_drop_in_hands_on_what_root_alone_may_read_and_a_restart_renews_it(machine: Machine) -> None:
    target = machine.place("/etc/systemd/system/miniwsgi.service.d/tls.conf")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(UNITS / "drop-in/miniwsgi.service.d/tls.conf", target)
    machine.do("systemctl", "daemon-reload")
    machine.write(machine.place("/etc/miniwsgi/miniwsgi.toml"), CONFIGURED)
    first = issue(machine, 10)
    machine.systemctl("start")
    assert shown(machine) == first
    second = issue(machine, 11)
    machine.systemctl("restart")
    assert shown(machine) == second
