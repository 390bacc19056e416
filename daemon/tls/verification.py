"""Whether certificates and keys can be served, before anybody is served with them; each flaw with what to do.

What OpenSSL would not load is refused. What clients will not accept (expired, not yet valid) is told apart, as who
restarts must decide what is worse; what some clients, or people, should mind is a warning. `ssl` comes when there is
something to verify: a master without TLS does without OpenSSL.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from . import pem, x509
from .material import Material, Pair, as_file

RSA_BITS, EC_BITS = 2048, 224  # fewer are weak (NIST SP 800-57 part 1, table 2: 112 bits of strength)
DAY_SECONDS = 86400
NO_LINES = "it has lost its line breaks, as in a variable, or in a text with \\n: write it as it was issued"


class Sources(NamedTuple):
    """The files that an address's certificates are read from."""

    pairs: tuple[tuple[str, str], ...]  # of certificate and key, which may be the same
    client_ca: str = ""


class Served(NamedTuple):
    """A certificate that clients are shown."""

    file: str
    names: tuple[str, ...]
    issuer: str
    not_before: int  # seconds since the epoch
    not_after: int

    def untimely(self, now: float) -> str:
        """Why clients refuse it now: one phrase; "" if they do not."""
        if now > self.not_after:
            return f"it expired on {date(self.not_after)}{_ago(now - self.not_after)}: renew it"
        if now < self.not_before:
            return f"it is not valid before {date(self.not_before)}: is the clock right?"
        return ""


class Verified(NamedTuple):
    """What can be served."""

    material: Material
    served: tuple[Served, ...]  # one for each pair
    warnings: tuple[str, ...] = ()

    def untimely(self, now: float) -> list[str]:
        """One line for each that has expired or is not valid yet."""
        return [f"certificate {one.file}: {why}" for one in self.served if (why := one.untimely(now))]


class UnusableError(Exception):
    """Certificates that cannot be served: a line for each flaw, with its file and what to do."""

    def __init__(self, *flaws: str) -> None:
        super().__init__("; ".join(flaws))
        self.flaws = list(flaws)


def verify(sources: Sources, contents: Mapping[str, bytes]) -> Verified:
    """Check what was read, by file. Raises UnusableError."""
    flaws: list[str] = []
    warnings: list[str] = []
    pairs: list[Pair] = []
    served: list[Served] = []
    for certificate, key in sources.pairs:
        try:
            pair, leaf = _pair(certificate, key, contents, warnings)
        except UnusableError as error:
            flaws += error.flaws
            continue
        pairs.append(pair)
        served.append(Served(certificate, pair.names, leaf.issuer, leaf.not_before, leaf.not_after))
    client_ca = ""
    if sources.client_ca:
        try:
            client_ca = _authorities(sources.client_ca, contents[sources.client_ca])
        except UnusableError as error:
            flaws += error.flaws
    if flaws:
        raise UnusableError(*flaws)
    return Verified(Material(tuple(pairs), client_ca), tuple(served), tuple(warnings))


def date(seconds: float) -> str:
    """For people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ago(seconds: float) -> str:
    days = int(seconds // DAY_SECONDS)
    return f" ({days} day{'' if days == 1 else 's'} ago)" if days else ""


def _pair(
    certificate: str, key: str, contents: Mapping[str, bytes], warnings: list[str]
) -> tuple[Pair, x509.Certificate]:
    chain, parsed = _certificates(f"certificate {certificate}", certificate, contents[certificate])
    pair = Pair("\n".join(chain) + "\n", _key(certificate, key, contents), parsed[0].server_names)
    if why := _not_loaded(pair):
        at = next((at for at in range(1, len(chain)) if not _not_loaded(pair._replace(chain=chain[at]))), 0)
        if at:
            raise UnusableError(
                f"certificate {certificate}: the key is that of the certificate at place {at + 1} in it, which must be "
                "first, followed by those of the authorities"
            )
        raise UnusableError(why.format(certificate=f"certificate {certificate}", key=f"key {key or certificate}"))
    warnings += [f"certificate {certificate}: {text}" for text in _doubts(certificate, parsed)]
    return pair, parsed[0]


def _certificates(what: str, path: str, content: bytes) -> tuple[list[str], list[x509.Certificate]]:
    found = [block for block in pem.blocks(content) if block.is_certificate]
    if not found:
        raise UnusableError(f"{what}: there is no certificate in it; {pem.what_else(content, path)}")
    parsed = []
    for at, block in enumerate(found, 1):
        if not block.has_lines:
            raise UnusableError(f"{what}: {NO_LINES}")
        try:
            parsed.append(x509.parse(block.der()))
        except (ValueError, x509.NotACertificate):
            raise UnusableError(f"{what}: the certificate at place {at} in it is damaged: fetch it again") from None
    return [block.text for block in found], parsed


def _key(certificate: str, key: str, contents: Mapping[str, bytes]) -> str:
    path = key or certificate
    content = contents[path]
    found = next((block for block in pem.blocks(content) if block.is_key), None)
    if found is None and path == certificate:
        raise UnusableError(f"certificate {certificate}: its private key is not there, too: name its file in key")
    if found is None:
        raise UnusableError(f"key {path}: there is no private key in it; {pem.what_else(content, path)}")
    if found.is_encrypted:
        raise UnusableError(
            f"key {path}: it is encrypted, and nobody is there to type the passphrase: openssl pkey -in {path} writes "
            "it without; protect it by its mode, or with systemd-creds encrypt and LoadCredentialEncrypted="
        )
    if found.label.startswith("OPENSSH"):
        raise UnusableError(f"key {path}: it is in OpenSSH's form: ssh-keygen -p -m PEM -f {path} makes it PEM")
    if not found.has_lines:
        raise UnusableError(f"key {path}: {NO_LINES}")
    return found.text


def _not_loaded(pair: Pair) -> str:
    """Why OpenSSL does not take them, with {certificate} and {key} for their names; "" if it does."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with as_file(pair) as path:
            context.load_cert_chain(path, password=lambda: "")  # else OpenSSL would ask on the terminal
    except ssl.SSLError as error:
        reason = (error.reason or "").upper()
        if reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}:
            return "{key}: it is not the key of {certificate}"
        if reason == "EE_KEY_TOO_SMALL":
            return "{certificate}: its key is too small for OpenSSL here: have one made with RSA 2048 or EC P-256"
        if reason == "CA_MD_TOO_WEAK":
            return "{certificate}: its signature is too weak for OpenSSL here (SHA-1, MD5): have it made anew"
        said = (reason or str(error)).replace("_", " ").lower().replace("{", "(").replace("}", ")")
        return "{certificate}, {key}: OpenSSL does not take them: " + said
    except OSError as error:
        return "{certificate}: memory for it cannot be had: " + (error.strerror or str(error))
    return ""


def _authorities(path: str, content: bytes) -> str:
    import ssl

    chain, _parsed = _certificates(f"client_ca {path}", path, content)
    text = "\n".join(chain) + "\n"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text)
    except ssl.SSLError as error:
        raise UnusableError(f"client_ca {path}: OpenSSL does not take it: {error.reason or error}") from None
    return text


def _doubts(path: str, chain: list[x509.Certificate]) -> list[str]:
    """What clients, or people, may mind."""
    leaf, found = chain[0], []
    if not leaf.names:
        found.append("it has no subjectAltName, without which browsers refuse it (RFC 9525)")
    least = {"RSA": RSA_BITS, "EC": EC_BITS}.get(leaf.key, 0)
    if leaf.key_bits < least:
        found.append(f"its key is weak: {leaf.key} of {leaf.key_bits} bits; {least} are the least")
    if leaf.key == "DSA":
        found.append("its key is DSA, which no browser takes")
    for at, (one, its_issuer) in enumerate(pairwise(chain), 2):
        if one.issuer_der != its_issuer.subject_der:
            found.append(
                f"its chain is out of order: at place {at} is not the issuer ({one.issuer}) of the one before, but "
                f"{its_issuer.subject}"
            )
            break
    full = os.path.join(os.path.dirname(path), "fullchain.pem")
    if len(chain) == 1 and os.path.basename(path) == "cert.pem" and os.path.exists(full):
        found.append(f"certificates of the authorities are missing, which are in {full}: name that one")
    return found
