"""The options of an address that speaks TLS: which certificates it shows, whom it asks for one, and what it speaks.

The files are named here and read elsewhere: as `master.certificates` has it, again and again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..tls.material import ClientCertificates
from .declaration import key as option  # `key` is one of them
from .kinds import Choice, Kind, Many, MismatchError, Path, Text

CREDENTIAL = "credential:"
HTTPS_PORT = 443


class CertificateFile(Kind[str]):
    """A path, or a credential of systemd (systemd.exec(5), LoadCredential=)."""

    name = "path"
    expected = 'the path of a PEM file, or "credential:NAME" with a name of LoadCredential='

    def __init__(self, off: bool = False) -> None:
        self._path = Path(off=off)

    def accepts(self) -> str:
        return self._path.accepts()

    def parse(self, value: object, base: str) -> str:
        if isinstance(value, str) and value.startswith(CREDENTIAL):
            if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.@-]{0,254}", value.removeprefix(CREDENTIAL)):
                raise MismatchError(self.expected)
            return value
        try:
            return self._path.parse(value, base)
        except MismatchError:
            raise MismatchError(self.expected) from None

    def show(self, value: str) -> str:
        return self._path.show(value)


def _ciphers(text: str) -> str:
    """Raises MismatchError for what OpenSSL knows nothing of."""
    import ssl  # not for each command's sake

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(text)
    except ssl.SSLError:
        raise MismatchError("a list of ciphers as OpenSSL has it (openssl-ciphers(1)), one of which it knows") from None
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """What an address speaks TLS with; without a certificate it does not."""

    certificate: tuple[str, ...] = option(
        Many(CertificateFile()),
        (),
        "TLS is spoken, with this certificate: a PEM file that has it first, then those of the authorities "
        "(fullchain.pem), and its key, unless `key` names that. Several: the client's server name (SNI) chooses, the "
        "first is for all others. `credential:NAME` is a credential of systemd (tls.md).",
    )
    key: tuple[str, ...] = option(
        Many(CertificateFile()), (), "The files of their private keys, in the same order. PEM, without a passphrase."
    )
    client_ca: str = option(
        CertificateFile(off=True), "", "The authorities of clients' certificates: a PEM file. It needs `client`."
    )
    client: str = option(
        Choice(*(one.value for one in ClientCertificates)),
        ClientCertificates.NONE.value,
        "Whether clients are asked for a certificate. optional: one that is sent must be good; required: without a "
        "good one there is no connection.",
    )
    tls_minimum: str = option(Choice("1.2", "1.3"), "1.2", "The oldest version of TLS that is spoken.")
    ciphers: str = option(
        Text("a list of ciphers", check=_ciphers, off=True),
        "",
        "Those of TLS 1.2, as OpenSSL writes them (openssl-ciphers(1)). off: Mozilla's intermediate ones.",
    )

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return bool(self.certificate)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The files of certificates and keys, which may be the same."""
        return tuple(zip(self.certificate, self.key or self.certificate, strict=True))

    @property
    def files(self) -> tuple[str, ...]:
        """All that are read, each once."""
        return tuple(dict.fromkeys((*self.certificate, *self.key, *filter(None, (self.client_ca,)))))


def contradictions(secured: Secured) -> Iterator[tuple[str, str]]:
    """Options of TLS that do not go with each other, each with what was expected of it."""
    certificates, keys = len(secured.certificate), len(secured.key)
    if secured.secure and keys and keys != certificates:
        yield "key", f"as many files as certificate has, {certificates}, or none: each key is in its certificate's file"
    asked = ClientCertificates(secured.client) is not ClientCertificates.NONE
    if secured.client_ca and not asked:
        yield "client", '"optional" or "required", as client_ca is given'
    if asked and not secured.client_ca:
        yield "client_ca", f'the authorities of clients\' certificates, as client is "{secured.client}"'
    if not secured.secure:
        for name in ("key", "client_ca", "tls_minimum", "ciphers"):
            if getattr(secured, name) != getattr(PLAIN, name):
                yield name, "a certificate beside it: without one no TLS is spoken"


PLAIN = Secured()
