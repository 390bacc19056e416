"""What handshakes of a listener are made with: its certificates by name, the profile, the keys of session tickets.

The profile is Mozilla's intermediate one (Server Side TLS, version 5.7): TLS 1.2 and 1.3, forward secrecy and AEAD
alone, the client's preference among them, no compression, no renegotiation. What the standard library cannot say is
left as OpenSSL has it: the groups, of which X25519, P-256 and P-384 come first. DHE is not offered: whoever speaks TLS
1.2 has ECDHE.
"""

from __future__ import annotations

import ssl
import sys
from ssl import SSLContext, SSLObject, SSLSocket  # as they are before the application is imported: see `unpatched`
from typing import Any, cast

from .material import ClientCertificates, Material, Pair, as_file

CIPHERS = ":".join((
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
))  # fmt: skip
PROTOCOLS = ["http/1.1"]  # ALPN, RFC 7301 section 6

_VERIFY = {
    ClientCertificates.NONE: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Session(SSLObject):
    """TLS with one client, in memory."""

    server_name: str | None = None  # that the client asked for, as it wrote it (RFC 6066 section 3)


class ServerContext:
    """One listener's. To be made before workers are forked: what opens session tickets is then the same in all.

    Session tickets belong to a context without a certificate, with which handshakes begin; which certificate there
    is to be is decided when the client has said its name. So a renewal changes certificates, and no ticket.
    """

    def __init__(
        self, material: Material, client: ClientCertificates = ClientCertificates.NONE, minimum: str = "1.2",
        ciphers: str = "",
    ) -> None:  # fmt: skip
        """As `settings.Tls`. Raises OSError, of which ssl.SSLError is one, if material or ciphers are no good."""
        self._client = client
        self._minimum = _VERSIONS[minimum]
        self._ciphers = ciphers or CIPHERS
        self._by_name, self._first = self._certificates(material)
        self._client_ca = material.client_ca
        self.context = self._ticket_context()

    def __repr__(self) -> str:
        return f"<ServerContext {', '.join(self._by_name)} client={self._client.value}>"

    def renew(self, material: Material) -> None:
        """Take other certificates for handshakes that begin from now on. Raises OSError; then all is as before.

        A session that a client certificate was good for is worth nothing where its authority has been changed.
        """
        by_name, first = self._certificates(material)
        if material.client_ca != self._client_ca:
            self._client_ca = material.client_ca
            self.context = self._ticket_context()
        self._by_name, self._first = by_name, first

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> Session:
        """A handshake with a new client, over what it sends and what is to be sent to it."""
        return cast("Session", self.context.wrap_bio(incoming, outgoing, server_side=True))

    def _certificates(self, material: Material) -> tuple[dict[str, SSLContext], SSLContext]:
        """By name, of several for one name the first; and that for clients who name none of them."""
        by_name: dict[str, SSLContext] = {}
        contexts = [(self._context(material.client_ca, pair), pair) for pair in material.pairs]
        for context, pair in contexts:
            for name in pair.names:
                by_name.setdefault(name, context)
        return by_name, contexts[0][0]

    def _ticket_context(self) -> SSLContext:
        context = self._context(self._client_ca)
        context.sslobject_class = Session
        context.sni_callback = self._choose
        _NamesOfClients.install()
        return context

    def _context(self, client_ca: str, pair: Pair | None = None) -> SSLContext:
        context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _set(context, "minimum_version", self._minimum)
        context.set_ciphers(self._ciphers)
        options = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        _set(context, "options", (context.options | options) & ~ssl.OP_CIPHER_SERVER_PREFERENCE)
        context.set_alpn_protocols(PROTOCOLS)
        if client_ca:
            context.load_verify_locations(cadata=client_ca)
        _set(context, "verify_mode", _VERIFY[self._client])
        if pair is not None:
            with as_file(pair) as path:
                context.load_cert_chain(path)
        return context

    def _choose(self, session: SSLObject | SSLSocket, name: str | None, _context: SSLContext) -> None:
        """Called by OpenSSL when the client has said whom it wants, or has not."""
        cast("Session", session).server_name = name
        session.context = self._for(name)

    def _for(self, name: str | None) -> SSLContext:
        """RFC 6125 section 6.4.3: a wildcard stands for one whole label, the first."""
        if name is None:
            return self._first
        name = name.lower().rstrip(".")
        return self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}") or self._first


class _NamesOfClients:
    """A hook for exceptions that nobody catches (sys.unraisablehook) without those of names that are not ASCII.

    Python ends the handshake of a client that sends one, and would have a traceback of it in the log each time.
    """

    def __init__(self) -> None:
        self._others = sys.unraisablehook

    def __call__(self, failure: sys.UnraisableHookArgs, /) -> None:
        error = failure.exc_value
        if isinstance(error, UnicodeDecodeError) and (
            failure.object == error.object or "servername" in (failure.err_msg or "")  # before and since Python 3.13
        ):
            return
        self._others(failure)

    @classmethod
    def install(cls) -> None:
        if not isinstance(sys.unraisablehook, cls):
            sys.unraisablehook = cls()


def _set(context: SSLContext, name: str, value: int) -> None:
    """Past Python's own properties, which look up their class by name and never end once gevent has replaced that."""
    inherited: Any = getattr(SSLContext.__base__, name)
    inherited.__set__(context, value)


def server_context(
    material: Material, *, client: ClientCertificates = ClientCertificates.NONE, minimum: str = "1.2", ciphers: str = ""
) -> SSLContext:
    """As one for sockets, of material that stays as it is. Raises as ServerContext."""
    return ServerContext(material, client, minimum, ciphers).context
