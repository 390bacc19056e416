"""Authorities, certificates and keys for tests, made once: good ones, and one for each mistake."""

from __future__ import annotations

import datetime
import functools
import re
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

YEAR = datetime.timedelta(days=365)


def authority(name: str = "Test") -> trustme.CA:
    return _authority(name)


@functools.cache
def _authority(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name)


@functools.cache
def issued(
    *names: str, number: int = 0, from_days: float = -1, to_days: float = 90, rsa: bool = False, by: str = "Test"
) -> trustme.LeafCert:
    """A certificate for `names`, valid from and to so many days from now; another one for each `number`."""
    now = datetime.datetime.now(datetime.UTC)
    kind = trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA
    return authority(by).issue_cert(
        *names,
        not_before=now + datetime.timedelta(days=from_days),
        not_after=now + datetime.timedelta(days=to_days),
        key_type=kind,
    )


def chain_of(leaf: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in leaf.cert_chain_pems)


def key_of(leaf: trustme.LeafCert) -> bytes:
    return leaf.private_key_pem.bytes()


def combined(leaf: trustme.LeafCert) -> bytes:
    """As HAProxy has it."""
    return leaf.private_key_and_cert_chain_pem.bytes()


def encrypted_key(leaf: trustme.LeafCert, *, traditional: bool = False) -> bytes:
    key = serialization.load_pem_private_key(key_of(leaf), None)
    form = serialization.PrivateFormat.TraditionalOpenSSL if traditional else serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret"))


def openssh_key(leaf: trustme.LeafCert) -> bytes:
    key = serialization.load_pem_private_key(key_of(leaf), None)
    form = serialization.PrivateFormat.OpenSSH
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def request_for(leaf: trustme.LeafCert) -> bytes:
    """A signing request."""
    key = serialization.load_pem_private_key(key_of(leaf), None)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def damaged(pem: bytes) -> bytes:
    """With a piece of its inside gone."""
    return re.sub(rb"(-----BEGIN CERTIFICATE-----\n.{40}).{64}", rb"\1", pem, count=1, flags=re.DOTALL)


@functools.cache
def self_signed(common_name: str, *, bits: int = 0) -> tuple[bytes, bytes]:
    """A certificate without a subjectAltName, and its key: RSA of so many bits, otherwise EC."""
    key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + YEAR)
    certificate = builder.sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()),
    )


def write(directory: Path, leaf: trustme.LeafCert, name: str = "shop") -> tuple[Path, Path]:
    """The files of its chain and key."""
    chain, key = directory / f"{name}.pem", directory / f"{name}.key"
    chain.write_bytes(chain_of(leaf))
    key.write_bytes(key_of(leaf))
    return chain, key
