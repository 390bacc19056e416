"""Certificates, and TLS over a socket pair, for tests."""

from __future__ import annotations

import functools
import socket
import ssl
from typing import Any

import trustme
from miniwsgi.daemon.tls.contexts import ServerContext
from miniwsgi.daemon.tls.material import ClientCertificates, Material, Pair, as_file
from miniwsgi.daemon.tls.stream import TLSStream


@functools.cache
def authority(name: str = "one") -> trustme.CA:
    return trustme.CA(organization_name=name)


@functools.cache
def issued(*names: str, by: str = "one", **options: Any) -> Pair:
    """A certificate for these names; `options` as of trustme."""
    certificate = authority(by).issue_cert(*names, **options)
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    return Pair(chain.decode(), certificate.private_key_pem.bytes().decode(), names)


def material(*pairs: Pair, client_ca: str = "") -> Material:
    pem = authority(client_ca).cert_pem.bytes().decode() if client_ca else ""
    return Material(pairs or (issued("localhost", "127.0.0.1"),), pem)


@functools.cache
def context(*pairs: Pair, client: str = "none", client_ca: str = "") -> ServerContext:
    return ServerContext(material(*pairs, client_ca=client_ca), ClientCertificates(client))


class Peer:
    """A client with a socket of its own, over memory as well: so each record is in our hand."""

    def __init__(self, sock: socket.socket, *, version: ssl.TLSVersion | None = None, name: str | None = "localhost",
                 certificate: Pair | None = None, trusts: str = "one", session: ssl.SSLSession | None = None,
                 options: ssl.SSLContext | None = None) -> None:  # fmt: skip
        self.sock = sock
        self.ended = False
        self.context = options or client_context(version, certificate, trusts)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(self._incoming, self._outgoing, server_hostname=name, session=session)

    def handshake(self) -> bool:
        """Go on with what is here; whether that was the end. What is to be sent is in `take`."""
        self._receive()
        return self.handshake_with(b"")

    def handshake_with(self, data: bytes) -> bool:
        """The same with what has been read elsewhere."""
        if data:
            self._incoming.write(data)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def take(self) -> bytes:
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.take()

    def write(self, *records: bytes) -> None:
        self.sock.sendall(b"".join(map(self.encrypt, records)))

    def end(self) -> None:
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.sock.send(self.take())

    def read(self) -> bytes:
        """All that is here."""
        self._receive()
        return self.decrypt(b"")

    def decrypt(self, data: bytes) -> bytes:
        """The same of what has been read elsewhere."""
        if data:
            self._incoming.write(data)
        got = b""
        try:
            while data := self.tls.read(16384):
                got += data
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return got

    def read_to_end(self) -> bytes:
        got = b""
        while not self.ended:
            got += self.read()
        return got

    def close(self) -> None:
        self.sock.close()

    def _receive(self) -> None:
        try:
            while data := self.sock.recv(1 << 20):
                self._incoming.write(data)
            self._incoming.write_eof()
        except BlockingIOError:
            pass


def client_context(version: ssl.TLSVersion | None = None, certificate: Pair | None = None,
                   trusts: str = "one") -> ssl.SSLContext:  # fmt: skip
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority(trusts).configure_trust(made)
    if version is not None:
        made.minimum_version = made.maximum_version = version
    if certificate is not None:
        with as_file(certificate) as path:
            made.load_cert_chain(path)
    return made


def shake_hands(stream: TLSStream, peer: Peer, early: bytes = b"") -> None:
    """To the end, `early` with the client's last word. Raises as `handshake` of either."""
    done = complete = False
    while not (done and complete):
        if not done:
            done = peer.handshake()
        data = peer.take()
        if done and early:
            data, early = data + peer.encrypt(early), b""
        complete = complete or stream.handshake(data)


def pair(*, early: bytes = b"", server: ServerContext | None = None, **options: Any) -> tuple[TLSStream, Peer]:
    """Both ends of a connection whose handshake is complete; `options` as of Peer."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.setblocking(False)
    stream, peer = TLSStream(near, server or context()), Peer(far, **options)
    shake_hands(stream, peer, early)
    return stream, peer
